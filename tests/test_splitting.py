"""Splitting methods: penalties of linear maps and sums without a prox.

References: FISTA where a prox exists, closed forms, NumPy; cvxpy with Clarabel in the slow tests.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision

import jreg
from jreg import Status
from jreg.penalties import Groups, fixed, of_map, scaled, translated
from jreg.penalties.parts import Term, has_parts, map_norm, parts
from jreg.solvers.admm import ADMM
from jreg.solvers.primal_dual import PrimalDual
from jreg.solvers.splitting import terms_of

SOLVERS = {"primal_dual": PrimalDual, "admm": ADMM}
every_solver = pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)

N, P = 40, 10
D = np.diff(np.eye(P), axis=0)


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)) + 0.5
    y = X @ np.repeat([1.0, 0.0], P // 2) + 0.5 * rng.normal(size=N) + 3
    return X, y


def half_distance(w, a):
    return 0.5 * jnp.sum((w - a) ** 2)


def differences(w):
    """Down and across, 0 over the border; (2, n)."""
    down = jnp.diff(w, axis=0, append=w[-1:])
    across = jnp.diff(w, axis=1, append=w[:, -1:])
    return jnp.stack([down.ravel(), across.ravel()])


def solve(problem, penalty, solver, params=None, dtype="float64", **options):
    """In NumPy, and converged."""
    with precision(dtype):
        cast = lambda leaf: jnp.asarray(leaf, dtype)  # noqa: E731
        problem, penalty, params = jax.tree.map(cast, (problem, penalty, params))
        solution = jreg.solve(problem, penalty, params, solver=solver, **options)
        chex.assert_type([*jax.tree.leaves(solution.params), solution.value], dtype)
        solution = jax.tree.map(np.asarray, solution)
    assert solution.status == Status.CONVERGED, Status(int(solution.status)).describe()
    return solution


def linear(X, y, loss=None, **options):
    return jreg.LinearProblem(X, y, jreg.Squared() if loss is None else loss, **options)


# --- against exact proxes and closed forms ----------------------------------------------------


@every_solver
@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_a_map_of_differences_is_total_variation(make, loss):
    X, y = data()
    y, member = {
        "squared": (y, jreg.Squared()),
        "logistic": ((y > 3.5).astype(float), jreg.Logistic()),
        "poisson": (np.round(np.abs(y)), jreg.Poisson()),
    }[loss]
    problem = linear(X / 3, y, member)
    expected = solve(problem, jreg.TotalVariation(0.03), jreg.FISTA(), tol=1e-12)
    found = solve(problem, of_map(jreg.L1(0.03), D), make(), tol=1e-9)
    np.testing.assert_allclose(found.params.coef, expected.params.coef, atol=1e-6)
    np.testing.assert_allclose(found.params.intercept, expected.params.intercept, atol=1e-6)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-7)


@every_solver
@both_dtypes
def test_two_levels(make, dtype):
    """m zeros, then n threes: the levels move by lam / m and lam / n until they meet."""
    m, n, height = 6, 14, 3.0
    signal = np.repeat([0.0, height], [m, n])
    A = np.diff(np.eye(m + n), axis=0)
    tol = {"float32": 2e-3, "float64": 2e-5}[dtype]
    problem = jreg.Problem(half_distance, (signal,))
    for lam in (0.0, 1.2, 1e4):
        low, high = lam / m, height - lam / n
        if low > high:
            low = high = signal.mean()
        penalty = of_map(jreg.L1(lam), A)
        found = solve(problem, penalty, make(), np.zeros(m + n), dtype)
        np.testing.assert_allclose(found.params, np.repeat([low, high], [m, n]), atol=tol)
        assert found.num_steps <= 2000


@every_solver
def test_two_kinks_in_one_entry(make):
    """|z - b| + |z| has no rule; by hand it is a search over the candidates."""
    rng = np.random.default_rng(1)
    v, b, a, c = 2 * rng.normal(size=30), rng.normal(size=30), 0.7, 0.4
    moves = [s * a + t * c for s in (-1, 1) for t in (-1, 1)]
    candidates = np.stack([b, np.zeros(30), *(v + move for move in moves)])
    objective = 0.5 * (candidates - v) ** 2 + a * np.abs(candidates - b) + c * np.abs(candidates)
    expected = np.take_along_axis(candidates, objective.argmin(0)[None], 0)[0]
    penalty = translated(jreg.L1(a), b) + jreg.L1(c)
    assert not jreg.penalties.has_prox(penalty)
    found = solve(jreg.Problem(half_distance, (v,)), penalty, make(), np.zeros(30), tol=1e-10)
    np.testing.assert_allclose(found.params, expected, atol=1e-8)


@every_solver
def test_without_strength_it_is_least_squares(make):
    X, y = data()
    found = solve(linear(X, y), of_map(jreg.L1(0.0), D), make(), tol=1e-9)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(N)]), y, rcond=None)[0]
    np.testing.assert_allclose(np.append(*found.params), expected, atol=1e-6)


@every_solver
def test_a_huge_strength_and_a_start_at_the_solution(make):
    """The parameters rest at 0 while the dual variables are still on their way."""
    X, y = data()
    penalty = of_map(jreg.L1(1e3), D) + jreg.L1(1e3)
    found = solve(linear(X, y), penalty, make(), jreg.Linear(np.zeros(P), y.mean()))
    assert np.all(found.params.coef == 0)
    np.testing.assert_allclose(found.value, 0.5 * np.var(y), rtol=1e-6)


@every_solver
def test_a_penalty_with_a_prox_keeps_its_duality_gap(make):
    X, y = data()
    expected = solve(linear(X, y), jreg.L1(0.2), jreg.FISTA(), tol=1e-10)
    found = solve(linear(X, y), jreg.L1(0.2), make(), tol=1e-10)
    assert 0 <= found.gap <= 1e-10
    np.testing.assert_array_equal(found.params.coef == 0, expected.params.coef == 0)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-9)


# --- exact zeros and constraints --------------------------------------------------------------


@every_solver
def test_parts_without_a_map_hold_exactly(make):
    X, y = data()
    sparse = solve(linear(X, y), of_map(jreg.L1(0.05), D) + jreg.L1(0.2), make())
    assert 0 < np.sum(sparse.params.coef == 0) < P
    penalty = of_map(jreg.L1(0.05), D) + jreg.Box(0.1, 0.7)
    bounded = solve(linear(X, y), penalty, make())
    assert bounded.params.coef.min() == 0.1
    assert bounded.params.coef.max() == 0.7
    assert np.isfinite(bounded.value)


@every_solver
def test_a_constraint_on_the_image(make):
    """Bounded differences: met to the tolerance, and the value is finite."""
    X, y = data()
    found = solve(linear(X, y), of_map(jreg.Box(-0.1, 0.1), D), make(), tol=1e-8)
    steps = np.diff(found.params.coef)
    assert 0.1 - 1e-6 < np.abs(steps).max() < 0.1 + 1e-6
    eta = X @ found.params.coef + found.params.intercept
    np.testing.assert_allclose(found.value, 0.5 * np.mean((eta - y) ** 2), rtol=1e-6)


# --- units, batches, bad lanes ----------------------------------------------------------------


@every_solver
@both_dtypes
@pytest.mark.parametrize("powers", [(-6, 6), (6, -6)])
def test_units_do_not_matter(make, dtype, powers):
    X, y = data()
    a, b = 10.0 ** powers[0], 10.0 ** powers[1]
    penalty = lambda c: of_map(jreg.L1(0.1 * c), D) + jreg.L1(0.05 * c)  # noqa: E731
    base = solve(linear(X, y), penalty(1.0), make(), dtype=dtype)
    found = solve(linear(a * X, b * y), penalty(a * b), make(), dtype=dtype)
    assert found.num_steps <= 2 * base.num_steps
    tol = {"float32": 2e-3, "float64": 2e-5}[dtype]
    np.testing.assert_allclose(found.params.coef * a / b, base.params.coef, atol=tol)


@every_solver
def test_a_batch_is_a_loop_and_keeps_its_lanes_apart(make):
    X, y = data()
    lams = np.array([0.0, 0.1, np.nan, 1.0])

    def params(lam, X, y, D):
        return jreg.solve(linear(X, y), of_map(jreg.L1(lam), D), solver=make())

    with precision("float64"):
        batch = jax.vmap(params, (0, None, None, None))(lams, X, y, D)
        batch = jax.tree.map(np.asarray, batch)
        alone = {i: jax.tree.map(np.asarray, params(lams[i], X, y, D)) for i in (0, 1, 3)}
    assert batch.status[2] == Status.NOT_FINITE
    for i, one in alone.items():
        assert batch.status[i] == Status.CONVERGED
        np.testing.assert_allclose(batch.params.coef[i], one.params.coef, atol=1e-6)


@every_solver
def test_single_precision_data_in_a_double_precision_session(make):
    X, y = (jnp.asarray(a, "float32") for a in data())
    with jax.enable_x64(True):
        solution = jreg.solve(
            linear(X, y), of_map(jreg.L1(0.1), D) + jreg.L1(0.1), solver=make(), max_steps=40
        )
        chex.assert_type(solution.params.coef, "float32")


@every_solver
def test_trees_of_parameters(make):
    """A map of a whole tree: the difference of two leaves is to be 0."""
    a = {"left": np.array([1.0, 2.0]), "right": np.array([3.0, 2.5])}

    def fun(w, a):
        return half_distance(w["left"], a["left"]) + half_distance(w["right"], a["right"])

    def gap(w):
        return w["left"] - w["right"]

    start = jax.tree.map(np.zeros_like, a)
    found = solve(jreg.Problem(fun, (a,)), of_map(jreg.L1(0.5), gap), make(), start, tol=1e-9)
    np.testing.assert_allclose(found.params["left"], [1.5, 2.25], atol=1e-7)
    np.testing.assert_allclose(found.params["right"], [2.5, 2.25], atol=1e-7)


@every_solver
def test_history(make):
    X, y = data()
    found = solve(
        linear(X, y), of_map(jreg.L1(0.1), D), make(), history=True, max_steps=300, tol=1e-6
    )
    steps = int(found.num_steps)
    assert found.history.residual[steps] == found.residual
    assert np.all(found.history.residual[:steps] > 1e-6)


@every_solver
def test_what_it_needs(make):
    X, y = data()
    with pytest.raises(TypeError, match="convex"):
        jreg.solve(linear(X, y), of_map(jreg.MCP(1.0), D), solver=make())
    nested = of_map(of_map(jreg.L1(1.0), D[:4, :9]), D)
    with pytest.raises(TypeError, match="linear map"):
        jreg.solve(linear(X, y), nested, solver=make())


# --- the parts and the certificate ------------------------------------------------------------


def names(penalty):
    return [(type(f).__name__, of is None) for f, of in parts(penalty)]


def test_parts():
    l1, tv = jreg.L1(1.0), of_map(jreg.L1(1.0), D)
    assert names(l1) == [("L1", True)]
    assert names(tv + l1 + jreg.Box(0, 1)) == [("Sum", True), ("L1", False)]
    assert names(translated(l1, 1.0) + l1) == [("Translated", True), ("L1", True)]
    assert names(scaled(tv + l1, 2.0)) == [("Scaled", True), ("Scaled", False)]
    assert names(fixed(tv) + l1) == [("L1", True), ("L1", False)]
    assert names(of_map(translated(l1, 1.0) + l1, D)) == [("Translated", False), ("L1", False)]
    assert names(of_map(l1, np.eye(3), mu=1.0)) == [("OfMap", True)]
    assert not has_parts(of_map(tv, np.ones((2, P))))
    with pytest.raises(TypeError, match="no prox"):
        terms_of(of_map(tv, np.ones((2, P))))


def test_parts_add_up():
    with precision("float64"):
        w = np.random.default_rng(2).normal(size=P)
        penalty = scaled(of_map(jreg.L1(0.3) + jreg.Ridge(0.2), D) + jreg.penalties.Linf(0.5), 2.0)
        total = sum(float(f.value(Term(f, of).map(w))) for f, of in parts(penalty))
        np.testing.assert_allclose(total, float(penalty.value(w)), rtol=1e-12)


def test_map_norm():
    rng = np.random.default_rng(3)
    A, metric = rng.normal(size=(7, P)), np.exp(rng.normal(size=P))
    with precision("float64"):
        norm = float(map_norm(Term(None, of_map(jreg.L1(), A)), jnp.asarray(metric)))
        zero = float(map_norm(Term(None, of_map(jreg.L1(), 0 * A)), jnp.asarray(metric)))
    exact = np.linalg.norm(A / np.sqrt(metric), 2)
    assert 0.97 * exact < norm < exact * (1 + 1e-12)
    assert zero == 1


@every_solver
def test_the_certificate_is_that_of_numpy(make):
    """Stationarity, subgradients and copies by hand; and a wrong point is not certified."""
    X, y = data()
    lam, sizes = 0.1, []
    with precision("float64"):
        problem, penalty = linear(X, y).checked().centred(), of_map(jreg.L1(lam), jnp.asarray(D))
        on_coef, solver = jreg.problem.OnCoef(penalty), make()
        update, w = jax.jit(solver.update), problem.zero()
        state = solver.init(problem, on_coef, w)
        for _ in range(400):
            w, state = update(problem, on_coef, w, state)
        split = solver.certified(penalty, state)
        gradient = problem.gradient(problem.image(w)).coef
        for moved in (0.0, 1e-3):
            sizes.append(float(jnp.max(split.kkt_distance(w.coef.at[3].add(moved), gradient))))
        sizes.append(float(jnp.max(split.kkt_distance(w.coef, gradient.at[3].add(1e-3)))))
        (z,), (u,), w = split.copies.z, split.copies.u, w.coef
        z, u, w = (np.asarray(a) for a in (z, u, w))
    slope = -(X - X.mean(0)).T @ (y - y.mean() - (X - X.mean(0)) @ w) / N
    np.testing.assert_allclose(slope + D.T @ u, 0, atol=1e-8)
    assert np.abs(u).max() <= lam * (1 + 1e-10)
    np.testing.assert_allclose(u[z != 0], lam * np.sign(z[z != 0]), rtol=1e-10)
    np.testing.assert_allclose(D @ w, z, atol=1e-8)
    assert sizes[0] < 1e-7
    assert min(sizes[1:]) > 1e-4


# --- a convex solver as oracle ----------------------------------------------------------------


def image():
    rng = np.random.default_rng(4)
    a = np.zeros((8, 8))
    a[2:6, 3:7] = 2
    return a + 0.4 * rng.normal(size=a.shape)


@pytest.mark.slow
@every_solver
@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_image_denoising(make, kind):
    import cvxpy as cp

    img, lam = image(), 0.5
    z = cp.Variable(img.shape)
    if kind == "isotropic":
        inner = jreg.GroupLasso(lam / np.sqrt(2), axis=1)  # weights are roots of sizes
        padded = cp.vstack([z, z[-1:]]), cp.hstack([z, z[:, -1:]])
        down = cp.vec(padded[0][1:] - padded[0][:-1], order="C")
        across = cp.vec(padded[1][:, 1:] - padded[1][:, :-1], order="C")
        roughness = cp.sum(cp.norm(cp.vstack([down, across]), axis=0))
    else:
        inner = jreg.L1(lam)
        roughness = cp.sum(cp.abs(cp.diff(z, axis=0))) + cp.sum(cp.abs(cp.diff(z, axis=1)))
    oracle = cp.Problem(cp.Minimize(cp.sum_squares(z - img) / 2 + lam * roughness))
    oracle.solve(solver=cp.CLARABEL)
    problem = jreg.Problem(half_distance, (img,))
    found = solve(problem, of_map(inner, differences), make(), np.zeros((8, 8)), tol=1e-8)
    np.testing.assert_allclose(found.value, oracle.value, rtol=1e-6)
    np.testing.assert_allclose(found.params, z.value, atol=1e-4)


GROUPS = np.concatenate([np.arange(4) + 2 * i for i in range(4)])  # overlapping

ORACLES = {
    "total variation": (
        lambda: of_map(jreg.L1(0.2), D),
        lambda cp, w: (0.2 * cp.tv(w), []),
    ),
    "fused": (
        lambda: of_map(jreg.L1(0.2), D) + jreg.L1(0.1),
        lambda cp, w: (0.2 * cp.tv(w) + 0.1 * cp.norm1(w), []),
    ),
    "linf and total variation": (
        lambda: jreg.penalties.Linf(0.3) + jreg.TotalVariation(0.2),
        lambda cp, w: (0.2 * cp.tv(w) + 0.3 * cp.norm_inf(w), []),
    ),
    "box": (
        lambda: of_map(jreg.L1(0.05), D) + jreg.Box(0.1, 0.7),
        lambda cp, w: (0.05 * cp.tv(w), [w >= 0.1, w <= 0.7]),
    ),
    "bounded differences": (
        lambda: of_map(jreg.Box(-0.1, 0.1), D),
        lambda cp, w: (0, [cp.abs(cp.diff(w)) <= 0.1]),
    ),
    "trend": (
        lambda: of_map(jreg.L1(0.1), np.diff(np.eye(P), 2, axis=0)),
        lambda cp, w: (0.1 * cp.norm1(cp.diff(w, 2)), []),
    ),
    "overlapping groups": (
        lambda: of_map(
            jreg.GroupLasso(0.1, groups=Groups(np.repeat(np.arange(4), 4))), np.eye(P)[GROUPS]
        ),
        lambda cp, w: (0.2 * sum(cp.norm(w[2 * i : 2 * i + 4]) for i in range(4)), []),
    ),
}


@pytest.mark.slow
@every_solver
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("name", ORACLES)
def test_linear_models(make, loss, name):
    import cvxpy as cp

    penalty, expression = ORACLES[name]
    X, y = data()
    w, b = cp.Variable(P), cp.Variable()
    term, constraints = expression(cp, w)
    if loss == "logistic":
        X, y, member = X / 2, (y > 3.5).astype(float), jreg.Logistic()
        y[::7] = 1 - y[::7]  # no combination of features separates them
        smooth = cp.sum(cp.logistic(X @ w + b) - cp.multiply(y, X @ w + b)) / N
    else:
        member = jreg.Squared()
        smooth = cp.sum_squares(X @ w + b - y) / (2 * N)
    factor = 0.1 if loss == "logistic" else 1.0
    oracle = cp.Problem(cp.Minimize(smooth + factor * term), constraints)
    oracle.solve(solver=cp.CLARABEL)
    found = solve(linear(X, y, member), penalty().at(factor), make(), tol=1e-8)
    np.testing.assert_allclose(found.value, oracle.value, rtol=1e-6)
    np.testing.assert_allclose(found.params.coef, w.value, atol=1e-4)
    np.testing.assert_allclose(found.params.intercept, b.value, atol=1e-4)


@pytest.mark.slow
@every_solver
def test_sparse_and_of_low_rank(make):
    import cvxpy as cp

    rng = np.random.default_rng(5)
    M = rng.normal(size=(6, 5)) + 2 * np.outer(rng.normal(size=6), rng.normal(size=5))
    z = cp.Variable((6, 5))
    objective = cp.sum_squares(z - M) / 2 + cp.normNuc(z) + 0.3 * cp.sum(cp.abs(z))
    oracle = cp.Problem(cp.Minimize(objective))
    oracle.solve(solver=cp.CLARABEL)
    penalty = jreg.Nuclear(1.0) + jreg.L1(0.3)
    found = solve(jreg.Problem(half_distance, (M,)), penalty, make(), np.zeros((6, 5)), tol=1e-8)
    np.testing.assert_allclose(found.value, oracle.value, rtol=1e-6)
    np.testing.assert_allclose(found.params, z.value, atol=1e-4)
