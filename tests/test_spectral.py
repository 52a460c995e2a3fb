"""Penalties of singular values: the nuclear norm and the rank.

References are semidefinite or eigenvalue computations that share nothing with jreg's.
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision

from jreg import prox
from jreg.penalties.nuclear import Nuclear
from jreg.penalties.rank import Rank
from jreg.prox.ordered import linf, sorted_l1
from jreg.typing import Penalty

TOL = {"float32": 4e-6, "float64": 1e-13}
SHAPES = [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1)]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def bank(shape):
    """Generic, of low rank, with repeated and with zero singular values."""
    rng = np.random.default_rng(sum(shape))
    low = np.outer(np.arange(1, shape[0] + 1.0), np.ones(shape[1]))
    return np.stack(
        [
            *rng.normal(size=(4, *shape)),
            2 * np.eye(*shape),
            -np.eye(*shape),
            low,
            low + 0.25 * np.eye(*shape),
            np.zeros(shape),
        ]
    )


def by_eigenvalues(f, V):
    """sum_i f(sigma_i) u_i w_i' from the symmetric matrix [[0, V], [V', 0]], f odd."""
    m, n = V.shape
    both = np.block([[np.zeros((m, m)), V], [V.T, np.zeros((n, n))]])
    eigenvalues, vectors = np.linalg.eigh(both)
    return ((vectors * f(eigenvalues)) @ vectors.T)[:m, m:]


def soft(t):
    return lambda s: np.sign(s) * np.maximum(np.abs(s) - t, 0)


def hard(t):
    return lambda s: np.where(np.abs(s) > np.sqrt(2 * t), s, 0)


MEMBERS = {"nuclear": (Nuclear, prox.nuclear, soft), "rank": (Rank, prox.rank, hard)}
every = pytest.mark.parametrize("name", MEMBERS)


@every
@every_shape
@every_dtype
def test_prox(name, shape, dtype):
    make, _, naive = MEMBERS[name]
    V = bank(shape).astype(dtype)
    with precision(dtype):
        z = jax.jit(jax.vmap(lambda v: make(0.35).prox(v, 2.0)))(V)
        batch = make(0.35).prox(V, 2.0)  # a batch of matrices is a loop
    assert z.dtype == dtype
    expected = [by_eigenvalues(naive(0.7), v) for v in V.astype(float)]
    np.testing.assert_allclose(z, expected, atol=TOL[dtype] * 4)
    np.testing.assert_allclose(batch, z, atol=TOL[dtype])
    assert not np.signbit(np.asarray(z)[-1]).any()


@every
def test_contract(name):
    make = MEMBERS[name][0]
    penalty = make(0.5)
    assert isinstance(penalty, Penalty)
    assert not penalty.separable
    W = bank((3, 3))[0].astype("float32")
    np.testing.assert_allclose(penalty.at(2.0).value(W), 2 * penalty.value(W), rtol=1e-6)
    assert penalty.unpenalized(W) is None
    two = {"a": W, "b": 2 * W}
    np.testing.assert_allclose(
        penalty.value(two), penalty.value(W) + penalty.value(2 * W), rtol=1e-6
    )
    assert penalty.support(W).all()
    assert not penalty.support(np.ones((2, 3))).any()
    with pytest.raises(ValueError, match="matrices"):
        penalty.value(np.ones(3))
    with pytest.raises(ValueError, match="lam must be at least 0"):
        make(-1.0)
    with pytest.raises(TypeError, match="one step for all entries"):
        penalty.prox(W, np.ones((3, 3)))


@every
def test_limits(name):
    make, function, _ = MEMBERS[name]
    V = bank((2, 4))[0]
    with precision("float64"):
        np.testing.assert_allclose(function(V, 0.0), V, atol=1e-15)
        for t in (1e30, np.inf):
            np.testing.assert_array_equal(function(V, t), 0)
            np.testing.assert_array_equal(make(t).prox(V, 1.0), 0)
        np.testing.assert_array_equal(make(np.inf).value(0 * V), 0)
        assert np.isnan(function(V * np.nan, 1.0)).all()
        assert np.isnan(make(1.0).value(V * np.nan))
        assert not np.isfinite(make(1.0).lam_max(V * np.nan))
        assert np.isnan(jax.jit(lambda lam: make(lam).prox(V, 1.0))(-1.0)).all()


# --- the nuclear norm -------------------------------------------------------------------------


@every_shape
@every_dtype
def test_value_and_dual_norm(shape, dtype):
    """The dual norm is the largest singular value, attained along its vectors."""
    V = bank(shape).astype(dtype)
    with precision(dtype):
        value, polar, lam_max = jax.jit(
            jax.vmap(
                lambda v: (Nuclear(0.5).value(v), Nuclear(0.5).polar(v), Nuclear(0.5).lam_max(v))
            )
        )(V)
    sigma = np.stack([np.linalg.svd(v.astype(float), compute_uv=False) for v in V])
    np.testing.assert_allclose(value, 0.5 * sigma.sum(1), rtol=TOL[dtype], atol=1e-30)
    np.testing.assert_allclose(polar, sigma.max(1) / 0.5, rtol=TOL[dtype], atol=1e-30)
    np.testing.assert_array_equal(polar, lam_max)
    products = np.einsum("aij,bij->ab", V.astype(float), V.astype(float))
    bound = np.outer(polar, value)
    assert (products <= bound * (1 + TOL[dtype]) + 1e-30).all()


def test_fenchel_young_and_conjugate():
    V = bank((3, 4))
    with precision("float64"):

        def both(v):
            penalty = Nuclear(0.5)
            z = penalty.prox(v, 1.0)
            u = (1 - 1e-13) * (v - z)  # v, z and so the norm of u are rounded relative to v
            rest = penalty.value(z) + penalty.conjugate(u) - jnp.sum(u * z)
            scaled = v / jnp.maximum(penalty.polar(v), 1e-30)
            return rest, penalty.conjugate(0.999 * scaled), penalty.conjugate(1.001 * scaled)

        rest, inside, outside = jax.jit(jax.vmap(both))(V)
    np.testing.assert_allclose(rest, 0, atol=3e-12)
    np.testing.assert_array_equal(inside, 0)
    np.testing.assert_array_equal(outside[:-1], np.inf)


@every_shape
@every_dtype
def test_kkt_distance_is_zero_at_the_prox(shape, dtype):
    V = bank(shape).astype(dtype)
    with precision(dtype):

        def distance(v):
            z = Nuclear(0.7).prox(v, 1.0)
            return Nuclear(0.7).kkt_distance(z, z - v), Rank(0.7).kkt_distance(
                Rank(0.7).prox(v, 1.0), Rank(0.7).prox(v, 1.0) - v
            )

        nuclear, rank = jax.jit(jax.vmap(distance))(V)
    np.testing.assert_allclose(nuclear, 0, atol=40 * TOL[dtype])
    np.testing.assert_allclose(rank, 0, atol=40 * TOL[dtype])


def test_kkt_distance_is_the_distance():
    """... to {U W' + M: U'M = 0, MW = 0, |M| <= 1}, by projecting in full bases."""
    rng = np.random.default_rng(1)
    with precision("float64"):
        distance = jax.jit(lambda w, g: Nuclear(0.5).kkt_distance(w, g))
        for shape in ((3, 4), (4, 3)):
            for r in (0, 1, 2, 3):
                U, _ = np.linalg.qr(rng.normal(size=(shape[0], shape[0])))
                B, _ = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))
                w = (U[:, :r] * np.arange(1, r + 1)) @ B[:, :r].T
                g = rng.normal(size=shape)
                free = U[:, r:].T @ (-g) @ B[:, r:]
                P, sigma, Q = np.linalg.svd(free, full_matrices=False)
                nearest = 0.5 * U[:, :r] @ B[:, :r].T
                nearest = nearest + U[:, r:] @ ((P * np.minimum(sigma, 0.5)) @ Q) @ B[:, r:].T
                np.testing.assert_allclose(distance(w, g), np.abs(-g - nearest), atol=1e-12)


def test_lam_max():
    g = bank((3, 4))[:4]
    with precision("float64"):

        def at(factor, g):
            penalty = Nuclear(0.5)
            penalty = penalty.at(factor * penalty.lam_max(g))
            return penalty.prox(-g, 1.0), penalty.kkt_distance(0 * g, g)

        over = jax.jit(jax.vmap(at, in_axes=(None, 0)))
        for x in over(1 + 1e-9, g):
            np.testing.assert_allclose(x, 0, atol=1e-14)
        for x in over(0.999, g):
            assert (np.abs(x).max((1, 2)) > 1e-4).all()


def test_rank_is_the_global_minimiser():
    """Against the truncation to every rank."""
    V = bank((4, 4))
    with precision("float64"):
        z = np.asarray(jax.jit(jax.vmap(lambda v: prox.rank(v, 0.6)))(V))
        value = np.asarray(jax.jit(jax.vmap(Rank(0.6).value))(z))
    for v, new, penalty in zip(V, z, value, strict=True):
        sigma = np.linalg.svd(v, compute_uv=False)
        best = min(0.6 * r + np.sum(sigma[r:] ** 2) / 2 for r in range(5))
        np.testing.assert_allclose(penalty + np.sum((new - v) ** 2) / 2, best, atol=1e-12)


# --- derivatives ------------------------------------------------------------------------------

LIFTS = {
    "nuclear": prox.nuclear,
    "rank": prox.rank,
    "spectral_norm": lambda V, t: prox.spectral(linf, V, t),
    "slope": lambda V, t: prox.spectral(
        lambda s, t: sorted_l1(s, t * jnp.linspace(1, 0.5, s.size, dtype=s.dtype)), V, t
    ),
    "cube": lambda V, t: prox.spectral(lambda s, t: t * s**3, V, t),
}


def jacobians(f, V, t):
    """(forward, reverse, central differences) in V and t, by one compiled function."""
    h, shape = 1e-6, V.shape[1:]
    with precision("float64"):
        both = jax.jit(
            jax.vmap(
                lambda V, t: (f(V, t), jax.jacfwd(f, (0, 1))(V, t), jax.jacrev(f, (0, 1))(V, t))
            )
        )
        t = np.full(len(V), t)
        _, forward, reverse = both(V, t)
        moves = h * np.eye(V[0].size).reshape(-1, 1, *shape)
        in_V = np.stack([(both(V + e, t)[0] - both(V - e, t)[0]) / (2 * h) for e in moves], -1)
        in_t = (both(V, t + h)[0] - both(V, t - h)[0]) / (2 * h)
    return forward, reverse, (in_V.reshape(*V.shape, *shape), in_t)


@pytest.mark.parametrize("name", LIFTS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)], ids=str)
def test_derivatives(name, shape):
    """Also at repeated and at zero singular values, where those of the factors do not exist."""
    V = bank(shape)
    kinks = 1 if name in ("slope", "spectral_norm") else 0  # ties there are kinks of f itself
    for forward, reverse, differences in zip(*jacobians(LIFTS[name], V, 0.6), strict=True):
        assert np.isfinite(forward).all()
        np.testing.assert_allclose(forward, reverse, atol=1e-12)
        smooth = slice(4) if kinks else slice(None)
        np.testing.assert_allclose(forward[smooth], differences[smooth], atol=2e-7)


def test_nuclear_derivative_at_the_identity():
    """Through the factors of the decomposition it is NaN there."""
    with precision("float64"):
        V = np.eye(2)
        found = jax.jacrev(prox.nuclear)(V, 0.25)
        np.testing.assert_allclose(
            np.asarray(found).reshape(4, 4),
            # the trace and the symmetric part keep their slope 1, the skew part is scaled by 3/4
            [[1, 0, 0, 0], [0, 0.875, 0.125, 0], [0, 0.125, 0.875, 0], [0, 0, 0, 1]],
            atol=1e-14,
        )


def test_gradient_of_the_value():
    V = bank((3, 3))
    with precision("float64"):
        gradient, distance, forward = jax.jit(
            jax.vmap(
                lambda v: (
                    jax.grad(Nuclear(0.5).value)(v),
                    Nuclear(0.5).kkt_distance(v, -jax.grad(Nuclear(0.5).value)(v)),
                    jax.jacfwd(Nuclear(0.5).value)(v),
                )
            )
        )(V)
    np.testing.assert_allclose(distance, 0, atol=1e-13)
    np.testing.assert_allclose(forward, gradient, atol=1e-14)
    np.testing.assert_array_equal(gradient[-1], 0)


# --- traps and published cases ----------------------------------------------------------------

PUBLISHED = json.loads((Path(__file__).parent / "prox_cases_ordered.json").read_text())


def published(op):
    (case,) = [case for case in PUBLISHED if case["op"] == op]
    return case["params"], np.array(case["input"]), np.array(case["output"])


def test_trap_value_of_small_singular_values_keeps_its_digits():
    """From the eigenvalues of X'X, as another library takes it, half the digits are lost."""
    with precision("float64"):
        value = Nuclear(1.0).value(np.diag([1.0, 1e-12]))
        np.testing.assert_allclose(value - 1, 1e-12, rtol=1e-3)
        V = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-10]])
        np.testing.assert_allclose(Nuclear(1.0).value(V), 2 + 1e-10, rtol=1e-15)


def test_published_value():
    params, V, value = published("value_nuclear")
    with precision("float64"):
        np.testing.assert_allclose(Nuclear(params["lam"]).value(V), value, rtol=1e-14)


def test_published_nuclear_prox():
    params, V, z = published("prox_nuclear")
    with precision("float64"):
        found = Nuclear(params["lam"]).prox(V, params["step"])
    np.testing.assert_allclose(found, z, atol=1e-12)


def test_published_projection_on_a_rank():
    """... is the prox of the rank with a threshold between two singular values."""
    params, V, z = published("proj_rank")
    sigma, r = np.linalg.svd(V, compute_uv=False), params["r"]
    with precision("float64"):
        found = prox.rank(V, (sigma[r - 1] + sigma[r]) ** 2 / 8)
        assert Rank(1.0).value(found) == r
    np.testing.assert_allclose(found, z, atol=1e-14)


def test_strength_is_a_leaf():
    """One compiled function serves a batch of strengths."""
    lams = np.array([0.1, 1.0, 5.0], "float32")
    V = bank((3, 4))[0].astype("float32")
    z = jax.vmap(lambda lam: dataclasses.replace(Nuclear(), lam=lam).prox(V, 1.0))(lams)
    for one, lam in zip(z, lams, strict=True):
        np.testing.assert_allclose(one, by_eigenvalues(soft(lam), V.astype(float)), atol=2e-6)


@pytest.mark.slow
def test_nuclear_prox_against_a_convex_solver():
    cp = pytest.importorskip("cvxpy")
    for shape in ((4, 4), (3, 5)):
        V = bank(shape)[0]
        Z = cp.Variable(shape)
        objective = 0.6 * cp.normNuc(Z) + cp.sum_squares(Z - V) / 2
        cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL")
        with precision("float64"):
            np.testing.assert_allclose(Nuclear(0.6).prox(V, 1.0), Z.value, atol=1e-5)
