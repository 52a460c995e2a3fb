"""First-order methods: subgradient, ISTA, Anderson acceleration and proximal L-BFGS.

References are independent of jreg: scikit-learn, SciPy, and the optimality conditions by hand.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import naive_l1, precision
from penalty_cases import PENALTIES
from scipy.optimize import minimize
from sklearn import linear_model

import jreg
from jreg import Status, projections, tree
from jreg.solvers.anderson import Anderson
from jreg.solvers.ista import ISTA
from jreg.solvers.prox_lbfgs import ProxLBFGS
from jreg.solvers.subgradient import Subgradient

N, P = 30, 8
TIGHT = 1e-10


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


every_solver = pytest.mark.parametrize("make", [ISTA, Anderson, ProxLBFGS])
# what takes long to compile: one or two of them in the fast tests
most = pytest.mark.parametrize("make", [slow(ISTA), Anderson, ProxLBFGS])
ista = pytest.mark.parametrize("make", [ISTA, slow(Anderson), slow(ProxLBFGS)])


def data(n=N, p=P, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1)) + 1
    return X, X[:, :3] @ [2.0, -1.5, 1.0] + rng.normal(size=n) + 3


def ill_conditioned(n=60, p=40):
    """Singular values from 1 to 1e-2.5 and a strength at which 14 coefficients are not 0."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(m, p)))[0] for m in (n, p))
    X = np.sqrt(n) * U * np.logspace(0, -2.5, p) @ V.T
    y = X @ np.where(np.arange(p) < 8, 3 * rng.normal(size=p), 0) + 0.01 * rng.normal(size=n)
    return X, y, np.abs(X.T @ (y - y.mean()) / n).max() / 300


def solve(problem, penalty, solver, dtype="float64", params=None, **options):
    """The solution as NumPy arrays, data cast to `dtype`."""
    with precision(dtype):
        if isinstance(problem, jreg.LinearProblem):
            problem = jax.tree.map(lambda a: np.asarray(a, dtype), problem)
        solution = jreg.solve(problem, penalty, params, solver=solver, **options)
        chex.assert_type(list(jax.tree.leaves(solution.params)), dtype)
    return jax.tree.map(np.asarray, solution)


def assert_sound(solution, status=Status.CONVERGED):
    assert solution.status == status, Status(int(solution.status)).describe()
    chex.assert_tree_all_finite((solution.params, solution.value, solution.residual))


@tree.dataclass
class Constraint:
    """A convex set, by its projection: what a penalty of one's own looks like."""

    radius: Any
    project: Callable = tree.static()

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    ranges: ClassVar[dict] = {"radius": (0, np.inf)}

    def value(self, w):
        outside = jnp.abs(w - self.project(w, self.radius)) > 1e-6 * self.radius
        return jnp.where(jnp.any(outside), jnp.inf, 0.0 * jnp.sum(w))

    def prox(self, v, step):
        del step
        return self.project(v, self.radius)

    def at(self, c):
        del c
        return self

    def kkt_distance(self, w, grad):
        return jnp.abs(w - self.project(w - grad, self.radius))

    def lam_max(self, grad_at_zero):
        return jnp.full((), jnp.inf, grad_at_zero.dtype)

    def unpenalized(self, w):
        del w

    def support(self, w):
        return jnp.zeros(w.shape, bool)


# --- the optimum ------------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("lasso", "float64"),
        ("lasso", "float32"),
        slow("elastic_net", "float64"),
        slow("elastic_net", "float32"),
    ],
)
def test_scikit_learn(make, name, dtype):
    """The same coefficients, and the same zeros exactly."""
    X, y = data()
    if name == "lasso":
        penalty, model = jreg.L1(0.3), linear_model.Lasso(0.3, tol=1e-14, max_iter=10**6)
    else:
        penalty = jreg.ElasticNet(0.4, l1_ratio=0.7)
        model = linear_model.ElasticNet(0.4, l1_ratio=0.7, tol=1e-14, max_iter=10**6)
    model.fit(X, y)
    assert (model.coef_ == 0).any()
    tol, near = {"float64": (TIGHT, 1e-5), "float32": (2e-6, 1e-3)}[dtype]
    solution = solve(jreg.LinearProblem(X, y), penalty, make(), dtype, tol=tol)
    assert_sound(solution)
    assert 0 <= solution.gap <= tol
    np.testing.assert_allclose(solution.params.coef, model.coef_, atol=near)
    np.testing.assert_allclose(solution.params.intercept, model.intercept_, atol=10 * near)
    np.testing.assert_array_equal(solution.params.coef == 0, model.coef_ == 0)


LOSSES = {
    "squared": (jreg.Squared(), lambda y: y, lambda eta, y: eta - y),
    "logistic": (
        jreg.Logistic(),
        lambda y: (y > np.median(y)) * 1.0,
        lambda eta, y: 1 / (1 + np.exp(-eta)) - y,
    ),
    "poisson": (jreg.Poisson(), lambda y: np.round(np.abs(y)), lambda eta, y: np.exp(eta) - y),
}


@most
@pytest.mark.parametrize("name", [slow("squared"), "logistic", slow("poisson")])
def test_optimality_by_hand(make, name):
    """A weighted lasso, column 0 excluded and column 1 free, under each loss."""
    X, y = data()
    loss, response, slope = LOSSES[name]
    y, v = response(y), np.array([np.inf, 0, 1, 2, 0.5, 1, 1, 1])
    solution = solve(jreg.LinearProblem(X, y, loss), jreg.L1(0.05, v), make(), tol=TIGHT)
    assert_sound(solution)
    coef, b = solution.params
    r = slope(X @ coef + b, y) / N
    strengths = np.where(np.isinf(v), v, 0.05 * v)
    assert naive_l1(*strengths).distance(coef, X.T @ r).max() < 1e-4
    assert abs(r.sum()) < 1e-5
    assert coef[0] == 0
    assert coef[1] != 0


@pytest.mark.parametrize("make", [ISTA, ProxLBFGS])
def test_far_start_where_curvature_explodes(make):
    """Poisson from means of up to e^50: the step follows the curvature down and up again."""
    X, _ = data()
    y = np.random.default_rng(1).poisson(3.0, N) * 1.0
    problem, penalty = jreg.LinearProblem(X, y, jreg.Poisson()), jreg.L1(0.05, np.ones(P))
    start = jreg.Linear(np.full(P, 3.0), 0.0)
    assert (X @ start.coef).max() > 50
    solution = solve(problem, penalty, make(), params=start, tol=1e-8)
    assert_sound(solution)
    coef, b = solution.params
    r = (np.exp(X @ coef + b) - y) / N
    assert naive_l1(*[0.05] * P).distance(coef, X.T @ r).max() < 1e-3


@pytest.mark.parametrize("make", [slow(ISTA), slow(Anderson), ProxLBFGS])
def test_group_lasso(make):
    """In each group the gradient is -lam v w / |w|, or no longer than lam v where w is 0."""
    X, y = data()
    ids, lam = np.array([0, 0, 1, 1, 1, 2, 2, 2]), 0.6
    penalty = jreg.GroupLasso(lam, groups=jreg.Groups(ids))
    solution = solve(jreg.LinearProblem(X, y), penalty, make(), tol=1e-12)
    assert_sound(solution)
    coef, b = solution.params
    gradient = X.T @ (X @ coef + b - y) / N
    zero = [not coef[ids == g].any() for g in range(3)]
    assert any(zero)
    assert not all(zero)
    for g in range(3):
        w, s = coef[ids == g], lam * np.sqrt((ids == g).sum())
        if zero[g]:
            assert np.linalg.norm(gradient[ids == g]) <= s
        else:
            np.testing.assert_allclose(gradient[ids == g], -s * w / np.linalg.norm(w), atol=1e-5)


@ista
@pytest.mark.parametrize("which", ["simplex", slow("box")])
def test_constrained_least_squares(make, which):
    """Against sequential quadratic programming."""
    X, y = data()
    if which == "simplex":
        penalty, bounds = Constraint(1.5, projections.simplex), [(0, None)] * P
        sums = [{"type": "eq", "fun": lambda w: w.sum() - 1.5}]
    else:
        penalty, bounds, sums = jreg.Box(-0.5, 1.0), [(-0.5, 1.0)] * P, []
    found = minimize(
        lambda w: (np.sum((X @ w - y) ** 2) / (2 * N), X.T @ (X @ w - y) / N),
        np.full(P, 1.5 / P),
        jac=True,
        method="SLSQP",
        bounds=bounds,
        constraints=sums,
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    problem = jreg.LinearProblem(X, y, fit_intercept=False)
    solution = solve(problem, penalty, make(), tol=1e-9)
    assert_sound(solution)
    np.testing.assert_allclose(solution.params.coef, found.x, atol=1e-5)
    at_bound = np.isin(np.round(found.x, 6), [0, -0.5, 1.0])
    assert at_bound.any()
    assert np.isin(solution.params.coef[at_bound], [0, -0.5, 1.0]).all()


@ista
@pytest.mark.parametrize("name", ["l1", slow("l2")])
def test_penalised_is_constrained(make, name):
    """Minimisation over the ball of radius |w(lam)| gives w(lam)."""
    X, y = data()
    problem = jreg.LinearProblem(X - X.mean(0), y - y.mean(), fit_intercept=False)
    if name == "l1":
        w = linear_model.Lasso(0.3, tol=1e-14, max_iter=10**6).fit(X, y).coef_
        ball = Constraint(np.abs(w).sum(), projections.l1_ball)
    else:
        w = linear_model.Ridge(0.3 * N, tol=1e-14).fit(X, y).coef_
        ball = Constraint(np.linalg.norm(w), projections.l2_ball)
    free = np.linalg.lstsq(problem.X, problem.y)[0]
    assert ball.radius < 0.95 * (np.abs(free).sum() if name == "l1" else np.linalg.norm(free))
    solution = solve(problem, ball, make(), tol=1e-9)
    assert_sound(solution)
    np.testing.assert_allclose(solution.params.coef, w, atol=1e-5)


def test_l1_ball_as_conjugate():
    """`conjugate(Linf(radius))` is the constraint |w|_1 <= radius."""
    X, y = data()
    w = linear_model.Lasso(0.3, tol=1e-14, max_iter=10**6).fit(X, y).coef_
    ball = jreg.penalties.conjugate(jreg.penalties.Linf(np.abs(w).sum()))
    solution = solve(jreg.LinearProblem(X, y), ball, ISTA(), tol=1e-9)
    assert_sound(solution)
    np.testing.assert_allclose(solution.params.coef, w, atol=1e-4)


@most
def test_functions_of_trees(make):
    """argmin 1/2 |w - a|^2 + lam |w|_1 = soft(a, lam) on a dictionary, in float32."""
    rng = np.random.default_rng(0)
    target = {"a": rng.normal(size=3), "b": {"c": rng.normal(size=(2, 2))}, "d": rng.normal()}
    target = jax.tree.map(lambda x: np.asarray(x, "float32"), target)

    def fun(w, a):
        squares = jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2) / 2, w, a)
        return sum(jax.tree.leaves(squares))

    start = jax.tree.map(np.ones_like, target)
    solution = jreg.solve(fun, jreg.L1(0.5), start, target, solver=make())
    assert_sound(solution)
    expected = jax.tree.map(lambda t: np.sign(t) * np.maximum(np.abs(t) - 0.5, 0), target)
    chex.assert_trees_all_close(solution.params, expected, atol=1e-3)


@most
def test_nonconvex_penalty(make):
    """MCP: a stationary point by hand, no higher than the lasso's solution it starts from."""
    X, y = data()
    lam, gamma = 0.3, 3.0

    def objective(coef, b):
        size = np.abs(coef)
        concave = np.where(size <= gamma * lam, lam * size - size**2 / (2 * gamma), 0)
        flat = np.where(size > gamma * lam, gamma * lam**2 / 2, 0)
        return np.sum((X @ coef + b - y) ** 2) / (2 * N) + np.sum(concave + flat)

    lasso = linear_model.Lasso(lam).fit(X, y)
    start = jreg.Linear(lasso.coef_, lasso.intercept_)
    penalty = jreg.MCP(lam, gamma)
    solution = solve(jreg.LinearProblem(X, y), penalty, make(), params=start, tol=1e-9)
    assert_sound(solution)
    coef, b = solution.params
    gradient = X.T @ (X @ coef + b - y) / N
    slope = np.sign(coef) * np.maximum(lam - np.abs(coef) / gamma, 0)
    assert np.where(coef == 0, np.maximum(np.abs(gradient) - lam, 0), 0).max() < 1e-7
    assert np.where(coef == 0, 0, np.abs(gradient + slope)).max() < 1e-7
    assert (coef == 0).any()
    assert objective(coef, b) < objective(lasso.coef_, lasso.intercept_)


@pytest.mark.parametrize("make", [Anderson, ProxLBFGS])
def test_curved_valley(make):
    """Rosenbrock's function under L1: a KKT point, in fewer steps than `FISTA`."""

    def fun(w, bend):
        return (1 - w[0]) ** 2 + bend * (w[1] - w[0] ** 2) ** 2

    start = np.array([-1.2, 1.0])
    with precision("float64"):
        solution = jreg.solve(fun, jreg.L1(0.2), start, 100.0, solver=make(), tol=TIGHT)
        fista = jreg.solve(fun, jreg.L1(0.2), start, 100.0, solver=jreg.FISTA(), tol=TIGHT)
    assert_sound(solution)
    assert solution.num_steps < fista.num_steps
    w = np.asarray(solution.params)
    slope = 200 * (w[1] - w[0] ** 2)
    gradient = np.array([-2 * (1 - w[0]) - 2 * slope * w[0], slope])
    assert naive_l1(0.2, 0.2).distance(w, gradient).max() < 1e-6


# --- units, lanes, ends -----------------------------------------------------------------------


@every_solver
def test_columns_of_any_scale(make):
    """The same strength for columns from 1e-3 to 1e3: the optimum of coordinate descent."""
    X, y = data()
    X = X * np.logspace(-3, 3, P)
    solution = solve(jreg.LinearProblem(X, y), jreg.L1(0.3), make())
    assert_sound(solution)
    model = linear_model.Lasso(0.3, tol=1e-12, max_iter=10**6).fit(X, y)
    value = np.mean((y - model.predict(X)) ** 2) / 2 + 0.3 * np.abs(model.coef_).sum()
    assert solution.value - value <= 1e-6 * y.var() / 2


@every_solver
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_units_of_the_response(make, dtype):
    """y times 2^20 or 2^-20 (about a million), X times 2^-20: the same run."""
    X, y = data()
    plain = solve(jreg.LinearProblem(X, y), jreg.L1(0.3), make(), dtype)
    for a, b in [(1, 2.0**20), (1, 2.0**-20), (2.0**-20, 1)]:
        scaled = solve(jreg.LinearProblem(a * X, b * y), jreg.L1(0.3 * a * b), make(), dtype)
        assert_sound(scaled)
        assert abs(int(scaled.num_steps) - int(plain.num_steps)) <= make().check_every
        np.testing.assert_allclose(scaled.params.coef * a / b, plain.params.coef, rtol=1e-3)


@most
def test_lanes(make):
    """vmap over strengths and data: as alone, and a lane of NaN is on its own."""
    X, y = data()
    lams, ys = np.array([0.1, 0.3, 0.5, 1.0]), np.stack([y, y, y, y[::-1]])
    ys[2, 0] = np.nan
    lanes = jax.jit(jax.vmap(lambda y, lam: jreg.solve(problem(y), jreg.L1(lam), solver=make())))

    def problem(y):
        return jreg.LinearProblem(X, y)

    with precision("float64"):
        found = jax.tree.map(np.asarray, lanes(ys, lams))
    assert found.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.NOT_FINITE, 0]
    for i in (0, 1, 3):
        coef = linear_model.Lasso(lams[i], tol=1e-12).fit(X, ys[i]).coef_
        np.testing.assert_allclose(found.params.coef[i], coef, atol=5e-3)


@most
def test_strength_zero_with_a_column_twice(make):
    """A singular problem: the fit is unique, the coefficients are not, and nothing is NaN."""
    X, y = data()
    X = np.column_stack([X, X[:, 0], np.ones(N)])
    solution = solve(jreg.LinearProblem(X, y), None, make(), tol=1e-12)
    assert_sound(solution)
    fit = np.column_stack([X, np.ones(N)])
    expected = fit @ np.linalg.lstsq(fit, y)[0]
    found = X @ solution.params.coef + solution.params.intercept
    np.testing.assert_allclose(found, expected, atol=1e-4)


@every_solver
def test_stays_at_a_solution(make):
    X, y = data()
    problem = jreg.LinearProblem(X, y)
    solution = solve(problem, jreg.L1(0.3), Anderson(), tol=1e-14)
    again = solve(problem, jreg.L1(0.3), make(), params=solution.params, tol=3e-15, max_steps=40)
    np.testing.assert_allclose(again.params.coef, solution.params.coef, rtol=1e-7)
    np.testing.assert_array_equal(again.params.coef == 0, solution.params.coef == 0)


def test_equal_by_value():
    different = [
        ISTA(), Subgradient(), Subgradient(optimum=1.0), Subgradient(length=2.0), Anderson(),
        Anderson(memory_size=3), ProxLBFGS(), ProxLBFGS(memory_size=3),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert Anderson() == Anderson()
    assert all(isinstance(solver, jreg.typing.Solver) for solver in different)


# --- speed, counted in steps ------------------------------------------------------------------


def test_steps_on_an_ill_conditioned_lasso():
    """Acceleration pays: far fewer steps than ISTA, and fewer than FISTA."""
    X, y, lam = ill_conditioned()
    problem, penalty = jreg.LinearProblem(X, y), jreg.L1(lam)
    steps = {}
    coefs = []
    for solver in (ISTA(), jreg.FISTA(), Anderson(), ProxLBFGS()):
        solution = solve(problem, penalty, solver, tol=TIGHT)
        assert_sound(solution)
        steps[type(solver)] = int(solution.num_steps)
        coefs.append(solution.params.coef)
    assert steps[Anderson] < steps[ISTA] / 4
    assert steps[ProxLBFGS] < steps[ISTA] / 4
    assert max(steps[Anderson], steps[ProxLBFGS]) < steps[jreg.FISTA]

    model = linear_model.Lasso(lam, tol=1e-14, max_iter=10**6).fit(X, y)
    assert 5 < (model.coef_ != 0).sum() < 20
    for coef in coefs:
        np.testing.assert_array_equal(coef != 0, model.coef_ != 0)
        np.testing.assert_allclose(coef, model.coef_, atol=1e-3)


@pytest.mark.parametrize("make", [Anderson, slow(ProxLBFGS)])
def test_memory_pays(make):
    """Without memory these are the plain method, or nearly."""
    X, y, lam = ill_conditioned()
    problem, penalty = jreg.LinearProblem(X, y), jreg.L1(lam)
    short = solve(problem, penalty, make(memory_size=1), tol=TIGHT)
    assert solve(problem, penalty, make(), tol=TIGHT).num_steps < 0.8 * short.num_steps


@pytest.mark.parametrize(
    ("make", "penalty"),
    [
        (ISTA, jreg.L1(0.1)),
        (Anderson, jreg.MCP(0.3)),
        slow(ISTA, jreg.MCP(0.3)),
        slow(Anderson, jreg.L1(0.1)),
    ],
)
def test_the_objective_never_rises(make, penalty):
    X, y = data()
    start = jreg.Linear(np.full(P, 5.0), -3.0)
    problem = jreg.LinearProblem(X, y)
    solution = solve(problem, penalty, make(), params=start, history=True, max_steps=60, tol=1e-8)
    values = solution.history.value
    values = values[~np.isnan(values)]
    assert values.size > 10
    assert (np.diff(values) <= 1e-14 * values[0]).all()
    assert values[-1] < 0.1 * values[0]


# --- subgradients -----------------------------------------------------------------------------


def test_rate_of_the_subgradient_method():
    """The best of k objectives falls like 1 / sqrt(k), where FISTA has long arrived."""
    X, y = data()
    problem, penalty = jreg.LinearProblem(X, y), jreg.L1(0.3)
    best = solve(problem, penalty, ISTA(), tol=1e-14).value
    start = solve(problem, penalty, Subgradient(), max_steps=0).value - best
    counts = [50, 200, 800, 3200]
    gaps = [solve(problem, penalty, Subgradient(), max_steps=k).value - best for k in counts]
    scaled = np.array(gaps) * np.sqrt(counts) / start
    assert (np.diff(gaps) <= 0).all()
    assert scaled.max() < 2
    assert gaps[-1] > 1e-6 * start  # it does not get to the tolerance of the others
    fista = solve(problem, penalty, jreg.FISTA(), tol=1e-12, max_steps=200).value - best
    assert fista < 1e-3 * gaps[1]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_subgradient_method_gives_no_zeros(dtype):
    X, y = data()
    problem, penalty = jreg.LinearProblem(X, y), jreg.L1(0.3)
    solution = solve(problem, penalty, Subgradient(), dtype, max_steps=1000)
    assert_sound(solution, Status.MAX_STEPS)
    exact = solve(problem, penalty, ISTA(), dtype)
    assert (exact.params.coef == 0).sum() >= 2
    assert (solution.params.coef != 0).all()
    np.testing.assert_allclose(solution.params.coef, exact.params.coef, atol=0.1)
    assert solution.value > exact.value


def test_polyak_steps():
    """With the optimal value known: better, and still no zeros; too high a value stops it."""
    X, y = data()
    problem, penalty = jreg.LinearProblem(X, y), jreg.L1(0.3)
    best = float(solve(problem, penalty, ISTA(), tol=1e-14).value)
    polyak = solve(problem, penalty, Subgradient(optimum=best), max_steps=1000)
    diminishing = solve(problem, penalty, Subgradient(), max_steps=1000)
    assert best < polyak.value < diminishing.value
    assert (polyak.params.coef != 0).all()
    stopped = solve(problem, penalty, Subgradient(optimum=2 * best))
    assert stopped.status == Status.NO_DESCENT
    assert best < stopped.value <= 2 * best


@pytest.mark.parametrize("name", ["logistic", "poisson"])
def test_subgradients_of_other_losses(name):
    """... with weights 0 and inf, and from where Poisson's curvature is e^10 and more."""
    X, y = data()
    loss, response, _ = LOSSES[name]
    v = np.array([np.inf, 0, 1, 2, 0.5, 1, 1, 1])
    problem, penalty = jreg.LinearProblem(X, response(y), loss), jreg.L1(0.05, v)
    best = solve(problem, penalty, Anderson(), tol=TIGHT).value
    start = jreg.Linear(np.full(P, 1.0 if name == "poisson" else 0.1), 0.0)
    options = {"params": start, "solver": Subgradient()}
    first, last = (solve(problem, penalty, max_steps=k, **options) for k in (0, 2000))
    chex.assert_tree_all_finite(last.params)
    assert first.params.coef[0] == last.params.coef[0] == 0  # projected
    assert best < last.value < best + 0.05 * (first.value - best)


def test_projected_subgradients():
    """Least squares over the simplex; every point is feasible, the start is brought there."""
    X, y = data()
    problem = jreg.LinearProblem(X, y, fit_intercept=False)
    ball = Constraint(1.5, projections.simplex)
    exact = solve(problem, ball, ISTA(), tol=1e-9)
    start = jreg.Linear(np.full(P, 9.0), 0.0)
    solution = solve(problem, ball, Subgradient(), params=start, max_steps=2000)
    np.testing.assert_allclose(solution.params.coef.sum(), 1.5, rtol=1e-9)
    assert (solution.params.coef >= 0).all()
    assert exact.value - 1e-9 <= solution.value <= 1.01 * exact.value


def test_subgradient_units():
    """The method has no units of its own."""
    X, y = data()
    a, b = 2.0**20, 2.0**-20
    plain = solve(jreg.LinearProblem(X, y), jreg.L1(0.3), Subgradient(), max_steps=100)
    scaled = jreg.LinearProblem(a * X, b * y)
    scaled = solve(scaled, jreg.L1(0.3 * a * b), Subgradient(), max_steps=100)
    np.testing.assert_allclose(scaled.params.coef * a / b, plain.params.coef, rtol=1e-6)


def test_subgradients_need_convexity():
    X, y = data()
    with pytest.raises(TypeError, match="Subgradient needs a convex penalty"):
        solve(jreg.LinearProblem(X, y), jreg.MCP(0.3), Subgradient())


CONVEX = {name: case for name, case in PENALTIES.items() if case.make().convex}
QUICK = {"l1", "elastic_net", "group_lasso", "linf", "slope", "total_variation", "box"}


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in CONVEX])
def test_gradients_of_penalties_are_subgradients(name):
    """P(z) >= P(w) + <grad P(w), z - w>, also at kinks: 0, single zeros, ties, constant pieces."""
    shape, rng = CONVEX[name].shape, np.random.default_rng(0)
    points = [np.zeros(shape), np.ones(shape), 0.75 * np.sign(rng.normal(size=shape))]
    points += [np.where(rng.random(shape) < 0.5, 0, rng.normal(size=shape))]
    points += [rng.normal(size=shape) for _ in range(2)]
    points += [np.round(rng.normal(size=shape)) for _ in range(2)]
    noise = 0.1 * rng.normal(size=(len(points), *shape))

    @jax.jit
    def evaluate(penalty, points, noise):
        points = jax.vmap(lambda v: penalty.prox(v, jnp.zeros(())))(points)  # feasible
        others = jnp.concatenate([points, points + noise])
        slopes = jax.vmap(jax.grad(penalty.value))(points)
        return points, others, slopes, jax.vmap(penalty.value)(others)

    with precision("float64"):
        found = evaluate(CONVEX[name].make(), np.array(points), noise)
    points, others, slopes, there = jax.tree.map(np.asarray, found)
    here = there[: len(points)]
    assert np.isfinite(here).all()
    assert np.isfinite(slopes).all()
    moves = (others[None] - points[:, None]).reshape(len(here), len(there), -1)
    rise = np.einsum("ijk,ik->ij", moves, slopes.reshape(len(here), -1))
    assert (there[None, :] - here[:, None] >= rise - 1e-9).all()
    if name == "l1":
        np.testing.assert_array_equal(slopes[0], 0)


# --- orthants ---------------------------------------------------------------------------------


def test_owlqn_is_lbfgs_without_a_kink():
    """Weights 0: every step is that of L-BFGS whose line search asks for a decrease alone."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6)), rng.normal(size=40)
    with precision("float64"):
        problem = jreg.LinearProblem(X, 1.0 * (y > 0), jreg.Logistic())
        free = jreg.L1(1.0, weights=jnp.zeros(6))
        found = jreg.solve(problem, free, solver=jreg.OWLQN(), tol=1e-9)
        best = jreg.solve(problem, None, solver=jreg.LBFGS(), tol=1e-9)
        np.testing.assert_allclose(found.params.coef, best.params.coef, atol=1e-5)


def test_owlqn_never_leaves_an_orthant_in_a_step():
    """Signs change by way of 0."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 8)) + rng.normal(size=(30, 1))
    y = X @ np.array([2.0, -1, 1, -1, 0, 0, 0, 0]) + rng.normal(size=30)
    with precision("float64"):
        start = jreg.Linear(jnp.asarray(rng.normal(size=8)), jnp.zeros(()))
        found = jreg.solve(
            jreg.LinearProblem(X, y),
            jreg.L1(0.1),
            start,
            solver=jreg.OWLQN(),
            tol=1e-10,
            history="params",
        )
        trail = np.asarray(found.history.params.coef)[: int(found.num_steps) + 1]
        assert (trail[:-1] * trail[1:] >= 0).all()
        assert (trail[0] * trail[-1] < 0).any()
        assert (trail[-1] == 0).any()
        best = jreg.solve(jreg.LinearProblem(X, y), jreg.L1(0.1), tol=1e-10)
        np.testing.assert_allclose(trail[-1], best.params.coef, atol=1e-6)


@pytest.mark.parametrize(
    "penalty",
    [
        jreg.penalties.NonNegativeL1(0.1),
        jreg.L1(0.1) + jreg.penalties.NonNegative(),
        jreg.penalties.tilted(jreg.L1(0.2), 1.0),
    ],
    ids=["non-negative L1", "non-negative", "tilted"],
)
def test_owlqn_with_kinks_and_bounds_at_0(penalty):
    with precision("float64"):
        problem = jreg.LinearProblem(*data())
        found = jreg.solve(problem, penalty, solver=jreg.OWLQN(), tol=TIGHT)
        best = jreg.solve(problem, penalty, solver=jreg.FISTA(), tol=TIGHT)
        assert found.status == Status.CONVERGED
        np.testing.assert_allclose(found.params.coef, best.params.coef, atol=1e-6)


@pytest.mark.parametrize(
    "penalty",
    [
        jreg.penalties.Box(-2.0, 2.0),
        jreg.L1(0.1) + jreg.penalties.Box(-2.0, 2.0),
        jreg.penalties.translated(jreg.L1(0.1), 1.0),
        jreg.penalties.conjugate(jreg.L1(1.0)),
    ],
    ids=["Box", "Sum", "Translated", "Conjugate"],
)
def test_owlqn_refuses_kinks_and_bounds_elsewhere(penalty):
    with pytest.raises(TypeError, match="OWLQN needs a penalty with kinks and bounds at 0 alone"):
        jreg.solve(jreg.LinearProblem(*data()), penalty, solver=jreg.OWLQN())
