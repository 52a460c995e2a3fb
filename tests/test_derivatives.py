"""Derivatives of solutions: equal to difference quotients off kinks, in whatever they depend on."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision

import jreg
from jreg.penalties import Groups, of_map
from jreg.penalties.iterated import Iterated
from jreg.status import Status

N, P = 24, 6
H = 1e-5
PAIRS = Groups.of_sizes([2, 2, 2])


@dataclasses.dataclass(frozen=True)
class Case:
    """A penalty made of a tree of numbers, all of which are varied."""

    make: Callable[..., Any]
    numbers: tuple
    loss: Any = jreg.Squared()
    options: dict = dataclasses.field(default_factory=dict)
    atol: float = 1e-6  # relative to the largest entry


v = np.array([1.0, 0.5, 2.0, 1.0, 0.0, 1.0])
CASES = {
    "lasso": Case(jreg.L1, (0.2,)),
    "weights": Case(lambda lam, v: jreg.L1(lam, weights=v), (0.2, v)),
    "excluded": Case(lambda lam: jreg.L1(lam, np.array([np.inf, 0, 1, 1, 1, 1])), (0.2,)),
    "standardized": Case(jreg.L1, (0.2,), options={"standardize": True}),
    "elastic_net": Case(jreg.ElasticNet, (0.2, 0.6)),
    "ridge": Case(jreg.Ridge, (0.2,), options={"fit_intercept": False}),
    "group": Case(lambda lam: jreg.GroupLasso(lam, groups=PAIRS), (0.15,)),
    "total_variation": Case(jreg.TotalVariation, (0.1,)),
    "slope": Case(jreg.SLOPE, (0.1, np.linspace(3, 1, P))),
    "box": Case(jreg.Box, (-0.4, 0.7)),
    "lasso and box": Case(lambda lam, b: jreg.L1(lam) + jreg.Box(-b, b), (0.1, 0.8)),
    "mcp": Case(jreg.MCP, (0.2, 3.0)),
    "logistic": Case(jreg.L1, (0.05,), jreg.Logistic()),
    "logistic group": Case(
        lambda lam: jreg.GroupLasso(lam, groups=PAIRS), (0.05,), jreg.Logistic()
    ),
    "poisson": Case(jreg.ElasticNet, (0.1, 0.5), jreg.Poisson(), atol=1e-5),
}


def data(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P)) + 0.3 * rng.normal(size=(N, 1))
    y = X[:, :3] @ [2.0, -1.5, 1.0] + 0.5 * rng.normal(size=N)
    if isinstance(loss, jreg.Logistic):
        y = (y > 0.3).astype(float)
    if isinstance(loss, jreg.Poisson):
        y = np.floor(np.exp(0.3 * y))
    return {
        "X": X,
        "y": y,
        "sample_weight": rng.uniform(0.5, 2, N),
        "offset": 0.1 * rng.normal(size=N),
    }


def solution(case, inputs):
    """Coefficients and value as a function of everything."""
    numbers, arrays = inputs
    problem = jreg.LinearProblem(**arrays, loss=case.loss, **case.options)
    found = jreg.solve(problem, case.make(*numbers), tol=1e-12)
    return found.params, found.value, found.status


def direction(case, inputs):
    """A random one; labels and counts stay."""
    rng = np.random.default_rng(1)
    d = jax.tree.map(lambda x: rng.normal(size=np.shape(x)) * (np.asarray(x) != 0), inputs)
    if not isinstance(case.loss, jreg.Squared):
        d[1]["y"] = np.zeros(N)
    return d


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_derivative_is_a_difference_quotient(case):
    """In the strength and its like, X, y, weights and offset at once; reverse mode agrees."""
    with precision("float64"):
        inputs = jax.tree.map(jnp.asarray, (case.numbers, data(case.loss)))
        d = jax.tree.map(jnp.asarray, direction(case, inputs))
        run = jax.jit(partial(solution, case))

        def at(h):
            *found, status = run(jax.tree.map(lambda x, d: x + h * d, inputs, d))
            assert status in (Status.CONVERGED, Status.AT_PRECISION)
            return found

        quotient = jax.tree.map(lambda a, b: (a - b) / (2 * H), at(H), at(-H))
        smooth = lambda inputs: solution(case, inputs)[:2]  # noqa: E731
        found, pull = jax.vjp(jax.jit(smooth), inputs)
        _, tangent = jax.jvp(jax.jit(smooth), (inputs,), (d,))
        scale = max(1.0, float(jnp.max(jnp.abs(quotient[0].coef))))
        chex.assert_trees_all_close(tangent, tuple(quotient), atol=case.atol * scale)
        np.testing.assert_array_equal(tangent[0].coef[found[0].coef == 0], 0)

        u = jax.tree.map(
            lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), found
        )
        (back,) = pull(u)
        forward = sum(
            jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (u, tangent)), strict=True)
        )
        reverse = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (back, d)), strict=True))
        np.testing.assert_allclose(reverse, forward, rtol=1e-8)


DIFFERENCES = np.diff(np.eye(P), axis=0)


def two_by_three(w):
    """Down and across a picture of 2 x 3, the last column apart: (2, 2)."""
    z = w.reshape(2, 3)
    return jnp.stack([z[1, :2] - z[0, :2], z[0, 1:] - z[0, :2]])


slow = pytest.mark.slow
WITHOUT_PROX = {
    "fused": Case(lambda lam, A: of_map(jreg.L1(lam), A), (0.3, DIFFERENCES)),
    "sparse and fused": Case(
        lambda lam, mu: of_map(jreg.L1(lam), DIFFERENCES) + jreg.L1(mu), (0.2, 0.3)
    ),
    "redundant": Case(
        lambda lam: of_map(jreg.L1(lam), np.r_[DIFFERENCES, DIFFERENCES[:2]]), (0.3,)
    ),
    "isotropic": Case(lambda lam: of_map(jreg.GroupLasso(lam, axis=1), two_by_three), (0.3,)),
    "two kinks": Case(
        lambda lam, b: jreg.L1(lam) + jreg.penalties.translated(jreg.L1(lam), b),
        (0.2, np.linspace(-1, 1, P)),
    ),
    "bounded": Case(
        lambda lam, b: of_map(jreg.penalties.Huber(lam, 0.1), DIFFERENCES) + jreg.Box(-b, b),
        (0.3, 0.8),
    ),
    "logistic": Case(lambda lam: of_map(jreg.L1(lam), DIFFERENCES), (0.05,), jreg.Logistic()),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name == "sparse and fused" else slow)
        for name, case in WITHOUT_PROX.items()
    ],
)
def test_penalties_without_a_prox(case):
    """Solved by splitting: a batch of derivatives against difference quotients, both modes."""
    h = 1e-5
    with precision("float64"):
        inputs = jax.tree.map(jnp.asarray, (case.numbers, data(case.loss)))
        d = jax.tree.map(jnp.asarray, direction(case, inputs))
        u = jreg.Linear(jnp.cos(jnp.arange(P)), jnp.asarray(1.0))

        def smooth(inputs):
            numbers, arrays = inputs
            problem = jreg.LinearProblem(**arrays, loss=case.loss)
            found = jreg.solve(problem, case.make(*numbers), tol=1e-11)
            return found.params, found.value, found.residual

        @jax.jit
        @jax.vmap
        def both_modes(h):
            moved = jax.tree.map(lambda x, d: x + h * d, inputs, d)
            found, derivative = jax.linearize(smooth, moved)
            zeros = jnp.zeros(()), jnp.zeros(())
            return found, derivative(d), jax.linear_transpose(derivative, moved)((u, *zeros))[0]

        found, tangent, back = both_modes(h * jnp.array([-1.0, 0.0, 1.0]))
        assert np.all(found[2] <= 1e-11)
        quotient = jax.tree.map(lambda a: (a[2] - a[0]) / (2 * h), found[:2])
        scale = max(1.0, float(jnp.max(jnp.abs(quotient[0].coef))))
        at = jax.tree.map(lambda a: a[1], tangent[:2])
        chex.assert_trees_all_close(at, quotient, atol=1e-5 * scale)
        pairs = zip(*map(jax.tree.leaves, (back, d)), strict=True)
        reverse = sum(jnp.vdot(a[1], b) for a, b in pairs)
        np.testing.assert_allclose(reverse, sum(map(jnp.vdot, u, at[0])), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tol"), [("float32", 2e-3), ("float64", 1e-6)])
def test_iterated_derivatives_are_those_of_the_exact_prox(dtype, tol):
    """Total variation as a map of differences, along a sweep."""
    arrays = data(jreg.Squared())
    with precision(dtype):
        X, y, A = (jnp.asarray(a, dtype) for a in (arrays["X"], arrays["y"], DIFFERENCES))

        def slopes(penalty):
            problem, lams = jreg.LinearProblem(X, y), jnp.asarray([0.3, 0.03, 0.1], dtype)
            coef = lambda lams: jreg.sweep(problem, penalty, lams, tol=1e-5).coef  # noqa: E731
            return jax.jvp(coef, (lams,), (jnp.ones(3, dtype),))[1]

        found, exact = slopes(of_map(jreg.L1(), A)), slopes(jreg.TotalVariation())
        chex.assert_type(found, dtype)
    np.testing.assert_allclose(found, exact, atol=tol * np.abs(exact).max())


def test_no_derivative_rather_than_a_wrong_one():
    """A penalty that cannot be taken apart, and one that is not convex."""
    v, ones = jnp.zeros(P), jnp.ones((2, 2))
    nested = of_map(of_map(jreg.L1(), ones), jnp.ones((2, P)))
    for penalty, lack in ((nested, "no prox"), (of_map(jreg.MCP(), DIFFERENCES), "not convex")):
        with pytest.raises(TypeError, match=lack):
            Iterated(penalty).prox(v, 1.0)


def test_zero_beyond_lam_max():
    arrays = data(jreg.Squared())
    with precision("float64"):
        problem = jreg.LinearProblem(arrays["X"], arrays["y"])
        d = jax.jacrev(lambda lam: jreg.solve(problem, jreg.L1(lam)).params)(1e3)
    np.testing.assert_array_equal(d.coef, 0)
    np.testing.assert_array_equal(d.intercept, 0)


def test_unconverged_solutions_have_no_derivative():
    arrays = data(jreg.Squared())
    problem = jreg.LinearProblem(arrays["X"].astype("f4"), arrays["y"].astype("f4"))

    def coef(lam, max_steps):
        found = jreg.solve(problem, jreg.L1(lam), solver=jreg.FISTA(), max_steps=max_steps)
        return found.params.coef

    assert np.isnan(jax.jacfwd(coef)(0.1, 1)).all()
    assert np.isfinite(jax.jacfwd(coef)(0.1, 10_000)).all()


def test_lanes_are_independent():
    """vmap of a derivative is a loop, and a NaN stays in its lane."""
    arrays = data(jreg.Squared())
    with precision("float64"):
        X = jnp.asarray(arrays["X"])
        ys = jnp.stack([arrays["y"], np.full(N, np.nan), -arrays["y"]])

        def slope(lam, y):
            return jax.grad(
                lambda lam: jreg.solve(jreg.LinearProblem(X, y), jreg.L1(lam)).params.coef.sum()
            )(lam)

        together = jax.vmap(slope, (None, 0))(0.2, ys)
        alone = slope(0.2, ys[0])
    np.testing.assert_allclose(together[0], alone, rtol=1e-10)
    np.testing.assert_allclose(together[2], -alone, rtol=1e-8)
    assert np.isnan(together[1])


def test_sweep():
    """Each lambda's derivative in its own lambda, and in y, as that of solve."""
    arrays = data(jreg.Squared())
    with precision("float64"):
        X, y = jnp.asarray(arrays["X"]), jnp.asarray(arrays["y"])
        lams = jnp.array([0.1, 0.5, 0.2])

        def coef(lams, y):
            swept = jreg.sweep(jreg.LinearProblem(X, y), jreg.L1(), lams, block=2, tol=1e-12)
            return swept.coef, swept.intercept, swept.deviance_ratio

        d = jnp.array([1.0, -2.0, 0.5]), jnp.cos(y)
        _, tangent = jax.jvp(coef, (lams, y), d)
        ends = [coef(lams + h * d[0], y + h * d[1]) for h in (H, -H)]
        quotient = jax.tree.map(lambda a, b: (a - b) / (2 * H), *ends)
        chex.assert_trees_all_close(tangent, quotient, atol=1e-6)
        total = lambda lams, y: sum(jnp.sum(a**2) for a in coef(lams, y))  # noqa: E731
        gradient = jax.grad(total, (0, 1))(lams, y)
        forward = jax.jvp(total, (lams, y), d)[1]
        np.testing.assert_allclose(sum(map(jnp.vdot, gradient, d)), forward, rtol=1e-8)


def test_path_sensitivity():
    arrays = data(jreg.Squared())
    lams = np.array([0.4, 0.1, 10.0])
    fit = partial(jreg.path, arrays["X"], arrays["y"], jreg.ElasticNet(l1_ratio=0.7), tol=1e-12)
    found = jreg.path_sensitivity(fit(lams=lams), arrays["X"], arrays["y"])
    ends = [fit(lams=lams + h) for h in (H, -H)]
    quotient = (ends[0].coef - ends[1].coef) / (2 * H)
    np.testing.assert_allclose(found.coef, quotient, atol=1e-6)
    np.testing.assert_allclose(
        found.intercept, (ends[0].intercept - ends[1].intercept) / (2 * H), atol=1e-6
    )
    assert (found.entering > 0).all()
    assert found.leaving[2] == np.inf
    with pytest.raises(ValueError, match="columns of the path"):
        jreg.path_sensitivity(fit(lams=lams), arrays["X"][:, 1:], arrays["y"])


def test_distance_from_kinks():
    """An orthogonal design: coef_j = soft(y_j, 3 lam), which is known by hand."""
    problem = jreg.LinearProblem(np.eye(3), np.array([3.0, 1.0, -2.0]), fit_intercept=False)
    params = jreg.solve(problem, jreg.L1(0.5)).params
    found = jreg.kink_distance(problem, jreg.L1(0.5), params)
    np.testing.assert_allclose(found.entering, 1 - 1 / 1.5, rtol=1e-5)  # |y_1| / (3 lam)
    np.testing.assert_allclose(found.leaving, 0.5 / 1.5, rtol=1e-5)
    with pytest.raises(TypeError, match="where entries enter"):
        jreg.kink_distance(problem, jreg.SLOPE(np.ones(3)), params)


def test_functions_and_what_they_capture():
    """A function of a pytree; arguments, closures and partials have the same derivative."""

    def loss(w, a):
        return jnp.sum((w["x"] - a) ** 2) + 0.5 * jnp.sum(w["y"] ** 4) - jnp.sum(w["y"])

    start = {"x": jnp.zeros(3), "y": jnp.ones(2)}

    def by_argument(a):
        return jreg.solve(loss, jreg.L1(0.1), start, a).params["x"].sum()

    def by_closure(a):
        def inner(w):
            return loss(w, a)

        return jreg.solve(lambda w: inner(w), jreg.L1(0.1), start).params["x"].sum()

    def by_partial(a):
        return jreg.solve(partial(loss, a=a), jreg.L1(0.1), start).params["x"].sum()

    for f in (by_argument, by_closure, by_partial):
        np.testing.assert_allclose(jax.grad(f)(2.0), 3.0, rtol=1e-4)
        np.testing.assert_allclose(jax.vmap(f)(jnp.array([1.0, 2.0])), [2.85, 5.85], rtol=1e-4)


@pytest.mark.parametrize("steps", [4, 2])
def test_cost_is_that_of_the_support(steps, monkeypatch):
    """With 4 of 1000 coefficients in the support, 4 conjugate gradient steps are enough.

    Where they are not, there is no derivative rather than a wrong one.
    """
    monkeypatch.setattr(jreg.implicit, "MAX_STEPS", steps)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 1000))
    X[:, :4] += 0.5 * rng.normal(size=(100, 1))
    y = X[:, :4] @ [3.0, -2.0, 2.0, 1.5]
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, fit_intercept=False)
        params = jreg.solve(problem, jreg.L1(0.5), tol=1e-10).params
        centred = problem.checked().centred()
        lam, one = jnp.asarray(0.5), jnp.asarray(1.0)
        d = jreg.implicit.solution_tangent(
            centred, jreg.L1(lam), params, jreg.tree.no_tangent(centred), jreg.L1(one)
        )
        coef, d = np.asarray(params.coef), np.asarray(d.coef)
    assert np.all(d[coef == 0] == 0) or steps < 4
    support = np.flatnonzero(coef)
    A = X[:, support]
    exact = np.linalg.solve(A.T @ A / 100, -np.sign(coef[support]))
    assert support.size == 4
    error = np.abs(d[support] - exact).max()
    assert error < 1e-9 if steps == 4 else np.isnan(error)
