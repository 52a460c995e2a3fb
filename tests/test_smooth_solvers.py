"""The methods for smooth objectives: the optimum by SciPy and NumPy, the laws of each method, and
an honest end at the floor of the dtype."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from cases import precision

import jreg
from jreg import Status
from jreg.penalties import Huber, envelope
from jreg.problem import OnCoef, Problem
from jreg.solvers.gradient_descent import GradientDescent
from jreg.solvers.newton import (
    LowRankNewton,
    Newton,
    NewtonCG,
    descent_direction,
    orthonormal_rows,
    truncated_cg,
)
from jreg.solvers.optax_solver import Optax
from jreg.solvers.quasi_newton import BFGS, LBFGS, Pairs, two_loop
from jreg.solvers.smooth import Objective, line_search, scaling

N, P = 40, 6
OPTAX_LBFGS = optax.lbfgs()  # one object: it is compared by identity


@dataclasses.dataclass(frozen=True)
class Case:
    """A solver. unit_free: its steps do not depend on the units of X and y."""

    make: Callable[[], Any]
    unit_free: bool = True


SMOOTH = {
    "gradient_descent": Case(GradientDescent),
    "armijo": Case(lambda: GradientDescent(barzilai_borwein=False)),
    "bfgs": Case(BFGS),
    "lbfgs": Case(LBFGS),
    "newton": Case(Newton),
    "newton_cg": Case(NewtonCG),
    "low_rank": Case(lambda: LowRankNewton(rank=3)),
    "optax": Case(lambda: Optax(OPTAX_LBFGS), unit_free=False),
}


def solvers(*quick, **wanted):
    """All solvers as parameters; those not named as quick are slow tests: each compiles anew."""
    marks = {name: () if not quick or name in quick else (pytest.mark.slow,) for name in SMOOTH}
    chosen = {n: c for n, c in SMOOTH.items() if all(getattr(c, k) == v for k, v in wanted.items())}
    rows = [pytest.param(c, id=n, marks=marks[n]) for n, c in chosen.items()]
    return pytest.mark.parametrize("case", rows)


# --- linear models ----------------------------------------------------------------------------


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)) + 0.5 * rng.normal(size=(N, 1)) + 1
    return X, X[:, :3] @ [2.0, -1.5, 1.0] + rng.normal(size=N) + 3


def squared():
    return (*data(), jreg.Squared())


def logistic():
    X, y = data()
    return X, (y > np.median(y)).astype(float), jreg.Logistic()


def poisson():
    X, y = data()
    return X, np.random.default_rng(1).poisson(np.exp(0.6 * y - 2)).astype(float), jreg.Poisson()


def solve(X, y, loss, lam, solver, dtype="float64", **options):
    with precision(dtype):
        problem = jreg.LinearProblem(X.astype(dtype), y.astype(dtype), loss)
        penalty = lam if hasattr(lam, "prox") else jreg.Ridge(lam)
        solution = jreg.solve(problem, penalty, solver=solver, **options)
        assert {leaf.dtype for leaf in jax.tree.leaves(solution.params)} == {np.dtype(dtype)}
    return jax.tree.map(np.asarray, solution)


def by_hand(X, y, loss, w, lam):
    """(objective, gradient, Hessian) at w = (coef, intercept)."""
    Z = np.c_[X, np.ones(len(y))]
    eta = Z @ w
    if isinstance(loss, jreg.Squared):
        value, first, second = (eta - y) ** 2 / 2, eta - y, np.ones_like(eta)
    elif isinstance(loss, jreg.Logistic):
        mean = 1 / (1 + np.exp(-eta))
        value, first, second = np.logaddexp(0, eta) - y * eta, mean - y, mean * (1 - mean)
    else:
        value, first, second = np.exp(eta) - y * eta, np.exp(eta) - y, np.exp(eta)
    ridge = lam * np.append(np.ones(X.shape[1]), 0)
    gradient = Z.T @ first / len(y) + ridge * w
    hessian = (Z.T * second) @ Z / len(y) + np.diag(ridge)
    return value.mean() + w @ (ridge * w) / 2, gradient, hessian


def by_scipy(X, y, loss, lam):
    if isinstance(loss, jreg.Squared):  # in closed form
        zero = np.zeros(X.shape[1] + 1)
        _, gradient, hessian = by_hand(X, y, loss, zero, lam)
        return -np.linalg.solve(hessian, gradient)
    found = scipy.optimize.minimize(
        lambda w: by_hand(X, y, loss, w, lam)[0],
        np.zeros(X.shape[1] + 1),
        jac=lambda w: by_hand(X, y, loss, w, lam)[1],
        hess=lambda w: by_hand(X, y, loss, w, lam)[2],
        method="trust-exact",
        options={"gtol": 1e-11},
    )
    return found.x


def assert_converged(solution):
    assert solution.status == Status.CONVERGED, Status(int(solution.status)).describe()


@solvers()
@pytest.mark.parametrize("lam", [0.0, 0.05, 2.0])
def test_least_squares(case, lam):
    check_optimum(case, squared, lam)


@solvers("gradient_descent", "lbfgs", "newton", "newton_cg")
def test_poisson(case):
    for lam in (0.0, 0.05, 2.0):
        check_optimum(case, poisson, lam)
    check_columns_of_any_scale(case, poisson)


@pytest.mark.slow
@solvers()
def test_logistic(case):
    for lam in (0.05, 2.0):  # the classes are separable: no optimum without a penalty
        check_optimum(case, logistic, lam)


def check_optimum(case, make, lam):
    X, y, loss = make()
    solution = solve(X, y, loss, lam, case.make(), tol=1e-14)
    assert_converged(solution)
    expected = by_scipy(X, y, loss, lam)
    np.testing.assert_allclose(solution.params.coef, expected[:P], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(solution.params.intercept, expected[P], rtol=1e-5, atol=1e-6)
    w = np.append(solution.params.coef, solution.params.intercept)
    np.testing.assert_allclose(solution.value, by_hand(X, y, loss, w, lam)[0], rtol=1e-12)
    assert (solution.params.coef != 0).all()  # ridge never gives an exact zero


@solvers()
def test_columns_of_any_scale(case):
    check_columns_of_any_scale(case, squared)


def check_columns_of_any_scale(case, make):
    """Columns from 1e-3 to 1e3 under one strength."""
    X, y, loss = make()
    X = X * np.logspace(-3, 3, P)
    solution = solve(X, y, loss, 0.05, case.make(), tol=1e-9)
    assert_converged(solution)
    w = np.append(solution.params.coef, solution.params.intercept)
    value, gradient, _ = by_hand(X, y, loss, w, 0.05)
    if make is squared:
        best = by_hand(X, y, loss, by_scipy(X, y, loss, 0.05), 0.05)[0]
        assert value - best <= 1e-9 * np.var(y) / 2
    start = by_hand(X, y, loss, np.append(np.zeros(P), 0.0), 0.05)[1]
    assert np.abs(gradient).max() <= 1e-4 * np.abs(start).max()


@solvers(unit_free=True)
@pytest.mark.parametrize("power", [-20, 20])
@pytest.mark.parametrize("which", ["X", "y", "both"])
def test_units_change_nothing(case, power, which):
    """y and X times 2^20 or 2^-20 (about a million): the same steps to the same fit."""
    X, y, loss = squared()
    a = 2.0**power if which in ("X", "both") else 1.0
    b = 2.0**power if which in ("y", "both") else 1.0
    plain = solve(X, y, loss, 0.05, case.make())
    scaled = solve(a * X, b * y, loss, 0.05 * a**2, case.make())
    assert_converged(scaled)
    assert scaled.num_steps == plain.num_steps
    np.testing.assert_allclose(scaled.params.coef * a / b, plain.params.coef, rtol=1e-6)


@pytest.mark.parametrize("power", [-20, 20])
def test_units_of_optax(power):
    """A search of optax's own: other steps, the same verdict."""
    X, y, loss = squared()
    unit = 2.0**power
    scaled = solve(X, unit * y, loss, 0.05, Optax(OPTAX_LBFGS))
    assert_converged(scaled)
    expected = by_scipy(X, y, loss, 0.05)[:P]
    np.testing.assert_allclose(scaled.params.coef / unit, expected, rtol=1e-2, atol=1e-3)


@solvers("lbfgs", "newton")
@pytest.mark.parametrize("make", [poisson, pytest.param(squared, marks=pytest.mark.slow)])
def test_float32_ends_at_its_floor(case, make):
    """At the smallest tol: converged or at precision, long before the last step allowed."""
    X, y, loss = make()
    for scale in (np.ones(P), np.logspace(-3, 3, P)):
        for lam in (0.0, 0.05):
            solution = solve(X * scale, y, loss, lam, case.make(), "float32", tol=1.2e-6)
            assert solution.status in (Status.CONVERGED, Status.AT_PRECISION)
            assert solution.num_steps < 1000
            if (scale == 1).all():
                expected = by_scipy(X, y, loss, lam)[:P]
                np.testing.assert_allclose(solution.params.coef, expected, atol=5e-3)


@solvers("newton")
def test_steps_that_overflow(case):
    """From a bad start the first trials reach exp(1000); they are rejected."""
    X, y, loss = poisson()
    start = jreg.Linear(np.full(P, -2.0), np.asarray(0.0))
    far = solve(X, y, loss, 0.05, case.make(), params=start, tol=1e-10)
    near = solve(X, y, loss, 0.05, case.make(), tol=1e-10)
    assert_converged(far)
    np.testing.assert_allclose(far.params.coef, near.params.coef, atol=1e-4)


@solvers("lbfgs")
def test_lanes(case):
    """Under vmap each strength has its own solution, and a bad lane leaves the others alone."""
    X, y, loss = squared()
    lams = np.array([0.01, 0.1, 1.0, 10.0])
    ys = np.stack([y, y[::-1], 2 * y, y])
    bad = ys.copy()
    bad[1, 4] = np.nan

    @jax.jit
    @jax.vmap
    def lanes(y, lam):
        return jreg.solve(
            jreg.LinearProblem(X, y, loss), jreg.Ridge(lam), solver=case.make(), tol=1e-12
        )

    with precision("float64"):
        found, mixed = (jax.tree.map(np.asarray, lanes(v, lams)) for v in (ys, bad))
    assert (found.status == Status.CONVERGED).all()
    assert mixed.status[1] == Status.NOT_FINITE
    for lane in range(4):
        expected = by_scipy(X, ys[lane], loss, lams[lane])[:P]
        np.testing.assert_allclose(found.params.coef[lane], expected, atol=1e-5)
        if lane != 1:
            np.testing.assert_array_equal(mixed.params.coef[lane], found.params.coef[lane])


@pytest.mark.slow
@solvers()
def test_huber_penalty(case):
    """A penalty with a jump in its curvature: SciPy's optimum."""
    X, y, loss = squared()

    def objective(w):
        inner = np.clip(w[:P], -0.5, 0.5)
        penalty = (inner * (w[:P] - inner / 2)).sum()
        return ((X @ w[:P] + w[P] - y) ** 2).mean() / 2 + penalty

    expected = scipy.optimize.minimize(objective, np.zeros(P + 1), method="BFGS", tol=1e-9).x
    for penalty in (Huber(1.0, delta=0.5), envelope(jreg.L1(0.5), mu=0.5)):
        solution = solve(X, y, loss, penalty, case.make(), tol=1e-12)
        assert_converged(solution)
        if isinstance(penalty, Huber):
            np.testing.assert_allclose(solution.params.coef, expected[:P], atol=1e-5)
            assert solution.value <= objective(expected) + 1e-12


# --- functions --------------------------------------------------------------------------------


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def network(w, X, y):
    hidden = jnp.tanh(X @ w["first"] + w["bias"][None, :])
    return jnp.mean((hidden @ w["second"] - y) ** 2)


def network_data(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    y = np.sin(X[:, 0]) + X[:, 1] ** 2
    shapes = {"first": (3, 4), "bias": 4, "second": 4}
    start = {k: rng.normal(size=s).astype(dtype) for k, s in shapes.items()}
    return start, X.astype(dtype), y.astype(dtype)


@solvers()
def test_rosenbrock(case):
    with precision("float64"):
        start = np.array([-1.2, 1.0])
        solution = jreg.solve(rosenbrock, None, start, solver=case.make(), tol=1e-8)
        solution = jax.tree.map(np.asarray, solution)
    assert_converged(solution)
    assert np.isnan(solution.gap)
    np.testing.assert_allclose(solution.params, 1, atol=1e-5)


def network_by_hand(w, X, y, lam):
    first, bias, second = w[:12].reshape(3, 4), w[12:16], w[16:]
    fit = np.tanh(X @ first + bias) @ second
    return ((fit - y) ** 2).mean() + lam / 2 * (w**2).sum()


@solvers("bfgs", "newton_cg")
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_network(case, dtype):
    """A tree of parameters and a function that is not convex: a minimum, by finite differences."""
    start, X, y = network_data(dtype)
    tol = {"float64": 1e-7, "float32": 1e-4}[dtype]
    steps = 2000 if case is SMOOTH["armijo"] else None
    with precision(dtype):
        solution = jreg.solve(
            network, jreg.Ridge(0.01), start, X, y, solver=case.make(), tol=tol, max_steps=steps
        )
        found = jax.tree.map(np.asarray, solution)
    assert {v.dtype for v in found.params.values()} == {np.dtype(dtype)}
    if steps is None:  # the textbook's method is slow
        assert_converged(found)
    w = np.concatenate([found.params[k].ravel() for k in ("first", "bias", "second")]).astype(float)
    value = lambda w: network_by_hand(w, X, y, 0.01)  # noqa: E731
    gradient = scipy.optimize.approx_fprime(w, value, 1e-6)
    assert np.abs(gradient).max() <= (1e-2 if steps else 10 * tol + 1e-5)
    np.testing.assert_allclose(found.value, value(w), rtol=1e-5)
    rng = np.random.default_rng(1)
    assert all(value(w + 0.01 * rng.normal(size=20)) > value(w) for _ in range(50))


@pytest.mark.slow
@solvers()
def test_functions_in_float32_end_at_their_floor(case):
    """A constant of 1000 hides all of the decrease: slopes decide."""
    curvatures = np.array([1.0, 1e3], "float32")

    def hidden(w, c):
        return 1000.0 + jnp.sum(c * (w - 1) ** 2)

    start = np.array([0.0, 2.0], "float32")
    solution = jreg.solve(hidden, None, start, curvatures, solver=case.make(), tol=1.2e-6)
    assert solution.status in (Status.CONVERGED, Status.AT_PRECISION)
    np.testing.assert_allclose(solution.params, 1, atol=1e-3)

    start, X, y = network_data("float32")
    penalty = jreg.Ridge(0.01)
    solution = jreg.solve(network, penalty, start, X, y, solver=case.make(), tol=1.2e-6)
    if case is not SMOOTH["armijo"]:
        assert solution.status in (Status.CONVERGED, Status.AT_PRECISION)


@pytest.mark.parametrize("make", [GradientDescent, LBFGS, lambda: Optax(optax.sgd(0.1))])
def test_gradients_of_your_own(make):
    """Value and gradient by the caller: nothing else is differentiated."""

    @jax.custom_jvp
    def opaque(x):
        return x

    @opaque.defjvp
    def refuse(primals, tangents):
        raise AssertionError("differentiated")

    def both(w, a):
        residual = opaque(w - a)
        return jnp.sum(residual**2) / 2, residual

    target = np.array([1.0, -2.0], "float32")
    problem = Problem(both, (target,), value_and_grad=True)
    solution = jreg.solve(problem, jreg.Ridge(1.0), np.zeros(2, "float32"), solver=make())
    assert_converged(solution)
    np.testing.assert_allclose(solution.params, target / 2, atol=1e-3)


# --- Newton -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damped", [True, False])
def test_newton_solves_a_quadratic_in_one_step(damped):
    solution = solve(*squared(), 0.05, Newton(damped=damped), tol=1e-13)
    assert_converged(solution)
    assert solution.num_steps == 1

    A = np.array([[2.0, 0.5], [0.5, 1.0]])
    with precision("float64"):
        solution = jreg.solve(
            lambda w: w @ A @ w / 2 - jnp.sum(w), None, np.ones(2), solver=Newton(damped=damped)
        )
    assert solution.num_steps == 1
    np.testing.assert_allclose(solution.params, np.linalg.solve(A, np.ones(2)), atol=1e-12)


def saddle(w):
    """Minima at (1, 0) and (-1, 0), a saddle at 0."""
    return w[0] ** 4 / 4 - w[0] ** 2 / 2 + w[1] ** 2 / 2


@solvers("newton", "newton_cg", "low_rank")
def test_leaves_a_saddle(case):
    start = np.array([0.1, 1.0], "float32")
    solution = jreg.solve(saddle, None, start, solver=case.make())
    assert_converged(solution)
    np.testing.assert_allclose(solution.params, [1.0, 0.0], atol=1e-3)


def test_pure_newton_fails_honestly():
    start = np.array([0.1, 1.0], "float32")
    solution = jreg.solve(saddle, None, start, solver=Newton(damped=False))
    assert abs(solution.params).max() < 1e-3  # in the saddle
    # from w the pure method goes to -w^3, which diverges beyond 1
    convex = lambda w: jnp.sum(jnp.sqrt(1 + w**2))  # noqa: E731
    start = np.array([3.0], "float32")
    pure = jreg.solve(convex, None, start, solver=Newton(damped=False))
    assert pure.status != Status.CONVERGED
    assert_converged(jreg.solve(convex, None, start, solver=Newton()))


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (jreg.Poisson(), np.arange(12.0) % 4),
        (jreg.Squared(), np.arange(12.0)),
        (jreg.Squared(), np.arange(24.0).reshape(12, 2) ** 0.5),
        (jreg.Multinomial(3), np.arange(12.0) % 3),
        pytest.param(
            jreg.Cox(),
            np.c_[np.arange(12.0) % 7 + 1, np.arange(12.0) % 3 > 0],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["poisson", "squared", "two outputs", "multinomial", "cox"],
)
@pytest.mark.parametrize("fit_intercept", [pytest.param(False, marks=pytest.mark.slow), True])
def test_hessians(loss, y, fit_intercept):
    """Against twice the automatic derivative of the objective; also products, weights and gram."""
    fit_intercept = fit_intercept and not isinstance(loss, jreg.Cox)
    rng = np.random.default_rng(0)
    with precision("float64"):
        X, weight = rng.normal(size=(12, 3)), rng.uniform(size=12)
        weight[0] = 0
        X[0, 0] = 1e6  # an absent row may hold anything
        problem = jreg.LinearProblem(X, y, loss, weight, fit_intercept=fit_intercept)
        problem = Newton().prepare(problem.checked().centred())
        penalty = OnCoef(Huber(0.7, delta=0.3) + jreg.Ridge(0.1))
        params = jax.tree.map(lambda a: a + rng.normal(size=a.shape), problem.zero())
        if not fit_intercept:
            params = params._replace(intercept=0 * params.intercept)
        objective = Objective.around(problem, penalty, params, scaling(problem, penalty, params))
        v = rng.normal(size=sum(leaf.size for leaf in params))
        k = v.size - (0 if fit_intercept else np.size(params.intercept))
        v[k:] = 0

        @jax.jit
        def everything(v):
            value = lambda x: objective.at(x).value  # noqa: E731
            point = objective.start(params)
            found = point.gradient, objective.hessian(point), objective.hessian_times(point, v)
            return *found, jax.grad(value)(point.x), jax.hessian(value)(point.x)

        found, dense, product, gradient, exact = map(np.asarray, everything(v))
        np.testing.assert_allclose(found[:k], gradient[:k], atol=1e-12)
    np.testing.assert_allclose(dense[:k, :k], exact[:k, :k], atol=1e-12)
    np.testing.assert_allclose(product, dense @ v, atol=1e-11)
    # an intercept that is not free keeps the system symmetric and regular
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    fixed = dense[k:, k:]
    np.testing.assert_array_equal(fixed, fixed[:1, :1] * np.eye(v.size - k))
    assert (np.diagonal(fixed) > 0).all()


@pytest.mark.parametrize("solver", [NewtonCG(), pytest.param(Newton(), marks=pytest.mark.slow)])
def test_multinomial(solver):
    """Three classes under a ridge penalty: the probabilities that scikit-learn finds."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.argmax(X[:, [0, 0, 1]] * [1, -1, 2] + rng.gumbel(size=(60, 3)), axis=1)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y.astype(float), jreg.Multinomial(3))
        found = jreg.solve(problem, jreg.Ridge(0.05), solver=solver, tol=1e-12)
    assert_converged(found)
    assert found.num_steps <= 10
    model = LogisticRegression(C=1 / (0.05 * 60), tol=1e-10, max_iter=10**4).fit(X, y)
    np.testing.assert_allclose(found.params.coef.T, model.coef_, atol=1e-5)
    b = np.asarray(found.params.intercept)
    np.testing.assert_allclose(b - b.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-5)


direction_of = jax.jit(descent_direction)


@pytest.mark.parametrize("kind", ["definite", "singular", "indefinite", "negative", "zero"])
def test_descent_direction(kind):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(5, 5))
    A, g = A @ A.T + 0.1 * np.eye(5), rng.normal(size=5)
    values, vectors = np.linalg.eigh(A)
    changed = {
        "definite": values,
        "singular": values * (np.arange(5) > 1),
        "indefinite": values * [-1, 1, 1, 1, -1],
        "negative": -values,
        "zero": 0 * values,
    }[kind]
    H = (vectors * changed) @ vectors.T
    with precision("float64"):
        for unit in (1e-6, 1.0, 1e6):
            d = np.asarray(direction_of(jnp.asarray(unit * H), jnp.asarray(g)))
            assert np.isfinite(d).all()
            cosine = -g @ d / np.linalg.norm(g) / np.linalg.norm(d)
            assert cosine > (1e-13 if kind == "singular" else 1e-6)
            if kind == "definite":
                np.testing.assert_allclose(d, -np.linalg.solve(unit * H, g), rtol=1e-9)


def test_truncated_cg():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(8, 8))
    H, g = A @ A.T + np.eye(8), rng.normal(size=8)
    with precision("float64"):
        cg = jax.jit(lambda H, g, forcing: truncated_cg(lambda v: H @ v, g, forcing, 50)[0])
        run = lambda H, forcing: np.asarray(cg(H, g, forcing))  # noqa: E731
        np.testing.assert_allclose(run(H, 1e-12), -np.linalg.solve(H, g), rtol=1e-8)
        for forcing in (0.5, 0.1):
            assert np.linalg.norm(H @ run(H, forcing) + g) <= forcing * np.linalg.norm(g)
        concave = run(-H, 0.1)  # negative curvature at once: a multiple of -g
        np.testing.assert_allclose(concave / concave[0], g / g[0], rtol=1e-12)
        assert concave @ g < 0
        assert run(H - 5 * np.eye(8), 1e-9) @ g < 0


def count_numbers(solver, p=50, n=10):
    """The largest array in the program of one step."""
    X = np.ones((n, p), "float32")
    problem = jreg.LinearProblem(X, np.arange(n, dtype="float32")).checked().centred()
    penalty = OnCoef(jreg.Ridge(1.0))

    def step(problem):
        params = problem.zero()
        return solver.update(problem, penalty, params, solver.init(problem, penalty, params))

    sizes = []

    def visit(jaxpr):
        for eqn in jaxpr.eqns:
            sizes.extend(v.aval.size for v in eqn.outvars)
            for value in jax.tree.leaves(
                eqn.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
            ):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    visit(inner)

    visit(jax.make_jaxpr(step)(problem).jaxpr)
    return max(sizes)


def test_only_dense_methods_form_a_square():
    p, n = 50, 10
    assert count_numbers(NewtonCG()) <= n * (p + 1)
    assert count_numbers(LowRankNewton(rank=4)) <= 10 * (p + 1)
    assert count_numbers(LBFGS(memory_size=5)) <= n * (p + 1)
    assert count_numbers(BFGS()) >= p * p
    assert count_numbers(Newton()) >= p * p


def test_low_rank_newton_beats_gradient_descent():
    """Eigenvalues 10 k^-2: a few directions hold almost all of the curvature."""
    rng = np.random.default_rng(0)
    n, p = 60, 30
    U, V = (np.linalg.qr(rng.normal(size=(m, p)))[0] for m in (n, p))
    X = (U * np.arange(1.0, p + 1) ** -1.0) @ V.T * np.sqrt(10 * n)
    y = X @ rng.normal(size=p) + 0.1 * rng.normal(size=n)
    steps = {}
    for solver in (LowRankNewton(rank=10), GradientDescent()):
        solution = solve(X, y, jreg.Squared(), 1e-3, solver, tol=1e-10)
        assert_converged(solution)
        steps[type(solver)] = int(solution.num_steps)
    assert 3 * steps[LowRankNewton] < steps[GradientDescent]


def test_orthonormal_rows():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 6))
    A[2] = 3 * A[0] - A[1]
    A[3] *= 1e-20
    with precision("float64"):
        Q = np.asarray(orthonormal_rows(jnp.asarray(A)))
    np.testing.assert_allclose(Q @ Q.T, np.diag([1.0, 1, 0, 1]), atol=1e-14)
    np.testing.assert_allclose(A @ Q.T @ Q, A, atol=1e-12)


# --- quasi-Newton -----------------------------------------------------------------------------


def iterates(solver, problem, params, steps):
    penalty = jreg.Ridge(0.0)

    @jax.jit
    def run(params):
        def step(carry, _):
            carry = solver.update(problem, penalty, *carry)
            return carry, carry[0]

        start = (params, solver.init(problem, penalty, params))
        return jax.lax.scan(step, start, length=steps)[1]

    return np.asarray(run(jnp.asarray(params)))


def conjugate_gradients(A, w, steps):
    """Of 1/2 w'Aw, by the book."""
    found, r = [], -A @ w
    d = r
    for _ in range(steps):
        a = r @ r / (d @ A @ d)
        w, new = w + a * d, r - a * A @ d
        d, r = new + new @ new / (r @ r) * d, new
        found.append(w)
    return np.array(found)


@pytest.mark.parametrize("rescale", [True, False])
def test_full_memory_lbfgs_equals_bfgs_and_conjugate_gradients(rescale):
    """On a quadratic, with exact searches, whatever the scale of H_0: iterate by iterate."""
    A = np.diag([1.0, 3.0, 10.0, 30.0, 100.0]) + 0.5
    problem = Problem(lambda w, A: w @ A @ w / 2, (A,))
    start = np.array([1.0, -2.0, 3.0, -1.0, 0.5])
    with precision("float64"):
        dense = iterates(BFGS(curvature=1e-12), problem, start, 4)
        limited = iterates(
            LBFGS(memory_size=4, rescale=rescale, curvature=1e-12), problem, start, 4
        )
    np.testing.assert_allclose(limited, dense, atol=1e-9)
    np.testing.assert_allclose(dense, conjugate_gradients(A, start, 4), atol=1e-9)


def test_full_memory_lbfgs_equals_bfgs_anywhere():
    """With H_0 kept: Rosenbrock's valley, the inexact searches of every day."""
    start = np.array([-1.2, 1.0])
    with precision("float64"):
        dense = iterates(BFGS(), Problem(rosenbrock), start, 15)
        limited = iterates(LBFGS(memory_size=15, rescale=False), Problem(rosenbrock), start, 15)
        short = iterates(LBFGS(memory_size=2, rescale=False), Problem(rosenbrock), start, 15)
    np.testing.assert_allclose(limited, dense, rtol=1e-6)
    assert np.abs(short - dense).max() > 1e-2


def test_two_loop_is_the_product_of_the_updates():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(3, 5))
    Y = S @ np.diag(np.arange(1.0, 6))
    H = 0.7 * np.eye(5)
    for s, y in zip(S, Y, strict=True):
        V = np.eye(5) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    g = rng.normal(size=5)
    pad = lambda a: jnp.asarray(np.concatenate([np.zeros_like(a[:2]), a]))  # noqa: E731
    with precision("float64"):
        rho = 1 / (S * Y).sum(axis=1)
        pairs = Pairs(pad(S), pad(Y), pad(rho), jnp.asarray(0.7), jnp.asarray(False))
        np.testing.assert_allclose(two_loop(pairs, jnp.asarray(g)), H @ g, rtol=1e-12)


def test_wrong_options():
    with pytest.raises(ValueError, match="memory_size must be at least 1; got 0"):
        LBFGS(memory_size=0)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        LowRankNewton(rank=0)
    with pytest.raises(ValueError, match="max_inner must be at least 1"):
        NewtonCG(max_inner=0)
    with pytest.raises(TypeError, match="transform must be an optax gradient transformation"):
        Optax(0.1)


# --- the line search --------------------------------------------------------------------------


def search(fun, direction, first, curvature):
    """From 0, for all first lengths and bounds of the slope: (x, t)."""

    @jax.jit
    def run(direction, first, curvature):
        objective = Objective.around(Problem(fun), jreg.Ridge(0.0), direction, jnp.ones(1))
        start = objective.start(0 * first[None])
        point, t, _ = line_search(objective, start, direction, first, curvature=curvature)
        return point.x[0], t

    pairs = np.array([(f, c) for f in first for c in curvature])
    with precision("float64"):
        direction = jnp.asarray(direction, float)
        x, t = jax.vmap(run, (None, 0, 0))(direction, *jnp.asarray(pairs).T)
        return pairs[:, 1], np.asarray(x), np.asarray(t)


@pytest.mark.parametrize(
    "fun",
    [
        lambda w: jnp.sum((w - 3) ** 2),
        lambda w: jnp.sum(jnp.exp(w) - 5 * w),
        lambda w: jnp.sum(-w / (w**2 + 2)),
        lambda w: jnp.sum((w + 0.004) ** 5 - 2 * (w + 0.004) ** 4),
    ],
    ids=["quadratic", "overflows", "concave far away", "flat at the start"],
)
def test_line_search_satisfies_wolfe(fun):
    """The last two are functions 1 and 2 of More and Thuente (1994), section 5."""
    curvatures, x, t = search(fun, [1.0], [1e-9, 1e-3, 1.0, 1e3, 1e9], [0.9, 1e-2])
    with precision("float64"):
        value, slope = jax.vmap(jax.value_and_grad(fun))(jnp.asarray(np.append(0.0, t)))
        value, slope = np.asarray(value), np.asarray(slope)
    assert (value[1:] <= value[0] + 1e-4 * t * slope[0]).all()
    assert (np.abs(slope[1:]) <= curvatures * np.abs(slope[0])).all()
    np.testing.assert_allclose(x, t)


def test_line_search_gives_up():
    for direction in ([1.0], [0.0], [np.nan]):  # ascent, nothing, nonsense
        _, x, t = search(lambda w: jnp.sum((w + 3) ** 2), direction, [1.0], [0.9])
        np.testing.assert_array_equal((x, t), 0)
    wall = lambda w: jnp.sum(jnp.where(w > 0, jnp.nan, -w))  # noqa: E731
    np.testing.assert_array_equal(search(wall, [1.0], [1.0], [0.9])[1:], 0)


# --- optax ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adam(optax.exponential_decay(0.1, 100, 0.5)),
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.2)),
        optax.polyak_sgd(f_min=-2.5),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
    ],
    ids=["momentum", "adam with a schedule", "clipped", "polyak", "backtracking"],
)
def test_optimisers_of_optax(transform):
    """argmin 1/2 |w - a|^2 + 1/2 |w|^2 = a / 2, on a tree; with value, gradient and function."""
    target = {"a": np.array([1.0, -2.0], "float32"), "b": np.array([[3.0]], "float32")}

    def fun(w, a):
        squares = jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2) / 2, w, a)
        return sum(jax.tree.leaves(squares)) - 6.0  # the optimum is -2.5

    start = jax.tree.map(np.zeros_like, target)
    solution = jreg.solve(fun, jreg.Ridge(1.0), start, target, solver=Optax(transform), tol=1e-3)
    assert_converged(solution)
    for key, value in target.items():
        np.testing.assert_allclose(solution.params[key], value / 2, atol=1e-2)


def test_optax_compiles_once():
    """The same transform in a new solver is the same program."""
    traces = []

    def fun(w, a):
        traces.append(1)
        return jnp.sum((w - a) ** 2)

    transform = optax.adam(0.1)
    counts = []
    for target in (1.0, 2.0, 3.0):
        jreg.solve(fun, None, np.zeros(2, "float32"), target, solver=Optax(transform), max_steps=20)
        counts.append(len(traces))
    assert counts == 3 * counts[:1]
    assert Optax(transform) == Optax(transform)
    assert hash(Optax(transform)) == hash(Optax(transform))


# --- the door ---------------------------------------------------------------------------------


@solvers()
def test_kinks_are_refused(case):
    X, y, _ = squared()
    with pytest.raises(TypeError, match="needs a penalty without kinks"):
        jreg.solve(jreg.LinearProblem(X, y), jreg.L1(0.1), solver=case.make())
