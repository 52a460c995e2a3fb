"""Passes over X, counted while they happen: proximal Newton against FISTA, steps that grow."""

import dataclasses
import importlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision

import jreg
from jreg import tree
from jreg.certificates import certify, null_model
from jreg.problem import CentredProblem
from jreg.solvers.solve import iterate
from jreg.status import Status

passes = Counter()


def note(kind, many=1):
    jax.debug.callback(lambda: passes.update({kind: many}))


@tree.dataclass
class Counting(CentredProblem):
    """A problem that notes each product with X; a Gram matrix is as much work as p of them."""

    def times(self, theta):
        note("times")
        return super().times(theta)

    def transposed_times(self, r):
        note("transposed")
        return super().transposed_times(r)

    def weighted_gram(self, h):
        note("gram", self.X.shape[1])
        return super().weighted_gram(h)


def count(problem, penalty, solver, tol=1e-6):
    """Passes until the relative duality gap is certified."""
    centred = problem.checked().centred()
    counting = Counting(**{f.name: getattr(centred, f.name) for f in dataclasses.fields(centred)})
    null = null_model(centred, penalty)
    passes.clear()
    limit, tol = jnp.asarray(100_000), jnp.asarray(tol, centred.X.dtype)
    found = jax.jit(
        lambda: iterate(
            solver,
            counting,
            penalty,
            null.params,
            lambda w, penalty: certify(counting, penalty, w, null),
            tol,
            limit,
        )
    )()
    jax.effects_barrier()
    return found, sum(passes.values())


@pytest.mark.parametrize("loss", [jreg.Logistic(), jreg.Poisson()], ids=["logistic", "poisson"])
def test_proximal_newton_needs_a_tenth_of_the_passes_of_fista(loss):
    """Condition number 1e6 of X'X; Gram matrices, line searches and certificates counted."""
    rng = np.random.default_rng(0)
    n, p = 120, 12
    U, _ = np.linalg.qr(rng.normal(size=(n, p)))
    V, _ = np.linalg.qr(rng.normal(size=(p, p)))
    X = np.sqrt(n) * (U * np.geomspace(1, 1e-3, p)) @ V.T
    assert np.linalg.cond(X.T @ X) == pytest.approx(1e6, rel=1e-3)
    eta = U @ np.full(p, 6.0)
    y = rng.random(n) < 1 / (1 + np.exp(-eta)) if "Log" in str(loss) else rng.poisson(np.exp(eta))
    with precision("float64"):
        problem = jreg.LinearProblem(X, y.astype(float), loss)
        penalty = jreg.ElasticNet(1e-5, 0.9)
        newton, few = count(problem, penalty, jreg.ProxNewton())
        fista, many = count(problem, penalty, jreg.FISTA())
        assert newton.status == fista.status == Status.CONVERGED
        np.testing.assert_allclose(newton.value, fista.value, rtol=1e-5)
    assert 10 * few <= many, (few, many)


def correlated(n=100, p=100, rho=0.9):
    """Columns of an autoregressive process, and a response of the first ten."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    return X, X[:, :10] @ rng.normal(size=10) + rng.normal(size=n)


@pytest.mark.slow
def test_proximal_newton_needs_fewer_passes_for_groups():
    X, y = correlated(n=200, p=20)
    penalty = jreg.GroupLasso(1e-4, groups=jreg.Groups.of_sizes([4] * 5))
    with precision("float64"):
        problem = jreg.LinearProblem(X, (y > 0).astype(float), jreg.Logistic())
        newton, few = count(problem, penalty, jreg.ProxNewton())
        fista, many = count(problem, penalty, jreg.FISTA())
        assert newton.status == fista.status == Status.CONVERGED
        np.testing.assert_allclose(newton.value, fista.value, atol=2e-6)
    assert 2 * few <= many, (few, many)


def test_steps_that_grow_save_passes(monkeypatch):
    """The curvature along the way is below its bound everywhere: half the passes of FISTA."""
    X, y = correlated()
    with precision("float64"):
        problem = jreg.LinearProblem(X, (y > 0).astype(float), jreg.Logistic())
        growing, few = count(problem, jreg.L1(0.003), jreg.FISTA())
        monkeypatch.setattr(importlib.import_module("jreg.solvers.fista"), "GROWTH", 1.0)
        rigid, many = count(problem, jreg.L1(0.003), jreg.FISTA())
        assert growing.status == rigid.status == Status.CONVERGED
    assert 2 * few <= many, (few, many)
