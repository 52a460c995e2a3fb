"""Every solver on every problem: the same certified optimum, whatever the units; honest status.

References are computed here in NumPy and float64: textbook coordinate descent on quadratic models,
and the KKT conditions with the naive subdifferentials of `cases`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SOLVERS, Naive, naive_elastic_net, naive_l1, naive_ridge, precision, rows

import jreg
from jreg import Status

N, P = 30, 6  # tall problems
WIDE = (10, 14)
TIGHT = 1e-10

every_solver = pytest.mark.parametrize("case", rows(SOLVERS))


# --- problems and their solutions without jreg ------------------------------------------------


class Setup(NamedTuple):
    """Data, penalty, and the same penalty by the book."""

    X: np.ndarray
    y: np.ndarray
    penalty: Any
    naive: Naive
    loss: Any = jreg.Squared()
    options: Mapping = MappingProxyType({})

    def problem(self, dtype="float64"):
        arrays = {k: v.astype(dtype) for k, v in self.options.items() if isinstance(v, np.ndarray)}
        options = {**self.options, **arrays}
        return jreg.LinearProblem(self.X.astype(dtype), self.y.astype(dtype), self.loss, **options)


def data(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1)) + 1
    y = X[:, :3] @ [2.0, -1.5, 1.0] + rng.normal(size=n) + 3
    return X, y


def lasso(n=N, p=P):
    X, y = data(n, p)
    return Setup(X, y, jreg.L1(0.3), naive_l1(*[0.3] * p))


def weighted_lasso():
    """Column 1 is free, column 0 excluded."""
    X, y = data(N, P)
    v = np.array([np.inf, 0, 1, 2, 0.5, 1])
    return Setup(X, y, jreg.L1(0.3, weights=v), naive_l1(*np.where(v == np.inf, v, 0.3 * v)))


def elastic_net():
    """Also sample weights (two rows are absent), an offset and standardised columns."""
    X, y = data(N, P)
    rng = np.random.default_rng(1)
    s = rng.uniform(0.5, 2, N)
    s[:2] = 0
    options = {"sample_weight": s, "offset": rng.normal(size=N), "standardize": True}
    penalty = jreg.ElasticNet(0.4, l1_ratio=0.5)
    return Setup(X, y, penalty, naive_elastic_net(0.5, *[0.4] * P), options=options)


def ridge():
    X, y = data(N, P)
    return Setup(X, y, jreg.Ridge(0.5), naive_ridge(*[0.5] * P), options={"fit_intercept": False})


def logistic():
    """More features than samples."""
    X, y = data(*WIDE)
    labels = (y > np.median(y)).astype(float)
    return Setup(X, labels, jreg.L1(0.03), naive_l1(*[0.03] * WIDE[1]), jreg.Logistic())


PROBLEMS = {
    "lasso": lasso,
    "weighted_lasso": weighted_lasso,
    "elastic_net": elastic_net,
    "ridge": ridge,
    "wide_lasso": lambda: lasso(*WIDE),
    "logistic": logistic,
}
every_problem = pytest.mark.parametrize("name", PROBLEMS)


class ByHand:
    """The objective of a `Setup` in the variables theta = scale * coef, in NumPy."""

    def __init__(self, setup):
        self.setup, n = setup, len(setup.y)
        s = setup.options.get("sample_weight", np.ones(n))
        self.s = s / s.sum()
        self.offset = setup.options.get("offset", np.zeros(n))
        self.intercept = setup.options.get("fit_intercept", True)
        deviation = np.sqrt(self.s @ (setup.X - self.s @ setup.X) ** 2)
        self.scale = deviation if setup.options.get("standardize") else np.ones_like(deviation)
        self.Z = setup.X / self.scale

    def eta(self, theta, b):
        return self.Z @ theta + b + self.offset

    def value(self, theta, b):
        return self.loss(self.eta(theta, b)) + self.setup.naive.value(theta)

    def loss(self, eta):
        y = self.setup.y
        if isinstance(self.setup.loss, jreg.Squared):
            return self.s @ (eta - y) ** 2 / 2
        return self.s @ (np.logaddexp(0, eta) - y * eta)

    def derivatives(self, eta):
        """First and second, sample by sample, without weights."""
        if isinstance(self.setup.loss, jreg.Squared):
            return eta - self.setup.y, np.ones_like(eta)
        mean = 1 / (1 + np.exp(-eta))
        return mean - self.setup.y, mean * (1 - mean)

    def gradient(self, theta, b):
        r = self.s * self.derivatives(self.eta(theta, b))[0]
        return self.Z.T @ r, r.sum() if self.intercept else 0.0

    def kkt(self, theta, b):
        g, g_b = self.gradient(theta, b)
        return max(self.setup.naive.distance(theta, g).max(), abs(g_b))

    def solution(self):
        """(theta, b) by Newton models, each solved by coordinate descent."""
        theta, b = np.zeros(self.Z.shape[1]), 0.0
        for _ in range(60):
            start, eta = np.append(theta, b), self.eta(theta, b)
            first, h = self.derivatives(eta)
            target, h = eta - first / h, h * self.s  # the model is sum h/2 (eta - target)^2
            for _ in range(3000):
                before = np.append(theta, b)
                if self.intercept:
                    b += h @ (target - self.eta(theta, b)) / h.sum()
                for j in range(theta.size):
                    z = h @ self.Z[:, j] ** 2
                    v = theta.copy()
                    v[j] += (h * self.Z[:, j]) @ (target - self.eta(theta, b)) / z
                    theta[j] = self.setup.naive.prox(v, 1 / z)[j]
                if np.abs(np.append(theta, b) - before).max() < 1e-13:
                    break
            if np.abs(np.append(theta, b) - start).max() < 1e-12:
                return theta, b
        raise AssertionError("the reference did not converge")


@pytest.fixture(scope="module")
def references():
    """Of every problem: (objective by hand, theta, b)."""
    found = {}
    for name, make in PROBLEMS.items():
        hand = ByHand(make())
        found[name] = hand, *hand.solution()
    return found


def solve(setup, solver, dtype="float64", *, penalty=None, params=None, **options):
    with precision(dtype):
        penalty = setup.penalty if penalty is None else penalty
        problem = setup.problem(dtype)
        solution = jreg.solve(problem, penalty, params, solver=solver, **options)
        chex.assert_type(list(jax.tree.leaves(solution.params)), dtype)
    return as_numpy(solution)


def as_numpy(solution):
    """Outside the context of float64, arithmetic on JAX's float64 arrays would round them."""
    return jax.tree.map(np.asarray, solution)


def assert_sound(solution, status=Status.CONVERGED):
    assert solution.status == status, Status(int(solution.status)).describe()
    chex.assert_tree_all_finite((solution.params, solution.value, solution.residual))


# --- the optimum ------------------------------------------------------------------------------


@every_solver
@every_problem
def test_certified_optimum(case, name, references):
    setup = PROBLEMS[name]()
    hand, theta, b = references[name]
    solution = solve(setup, case.make(), tol=TIGHT)
    assert_sound(solution)
    found = hand.scale * np.asarray(solution.params.coef), float(solution.params.intercept)
    np.testing.assert_allclose(found[0], theta, atol=2e-4)
    np.testing.assert_allclose(found[1], b, atol=2e-4)
    np.testing.assert_array_equal(found[0][np.abs(theta) > 1e-3] != 0, True)
    assert hand.kkt(*found) < 1e-4

    # what is reported is true
    np.testing.assert_allclose(solution.value, hand.value(*found), rtol=1e-12)
    null = hand.value(0 * theta, 0.0)  # at least the null model's objective
    assert 0 <= solution.gap <= TIGHT
    assert hand.value(*found) - hand.value(theta, b) <= solution.gap * null + 1e-14 * null


@every_solver
@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6])
def test_gap_bounds_the_error(case, tol):
    """Loose solutions too: value - optimum <= gap * null objective, gap <= tol."""
    setup = lasso()
    hand = ByHand(setup)
    best = hand.value(*hand.solution())
    null = hand.s @ (setup.y - hand.s @ setup.y) ** 2 / 2
    solution = solve(setup, case.make(), tol=tol)
    value = hand.value(np.asarray(solution.params.coef), float(solution.params.intercept))
    assert value - best <= float(solution.gap) * null * (1 + 1e-9) + 1e-14
    assert solution.gap <= tol


@every_solver
def test_free_and_excluded_columns(case):
    setup = weighted_lasso()
    coef = solve(setup, case.make(), tol=TIGHT).params.coef
    assert coef[0] == 0
    strong = solve(setup, case.make(), tol=TIGHT, penalty=setup.penalty.at(1e3)).params.coef
    free = np.linalg.lstsq(np.c_[setup.X[:, 1], np.ones(N)], setup.y)[0][0]
    np.testing.assert_allclose(strong, free * np.eye(P)[1], rtol=1e-4)


@every_solver
def test_residual_is_the_kkt_distance(case):
    """... relative to the null model's gradient, wherever the solver stops."""
    setup = lasso()
    hand = ByHand(setup)
    solution = solve(setup, case.make(), max_steps=1)
    kkt = hand.kkt(np.asarray(solution.params.coef), float(solution.params.intercept))
    null = np.abs(hand.gradient(np.zeros(P), hand.s @ setup.y)[0]).max()
    np.testing.assert_allclose(solution.residual, kkt / null, atol=1e-6)


# --- units ------------------------------------------------------------------------------------


@every_solver
def test_columns_in_other_units(case):
    """Columns from 1e-3 to 1e3, each penalised in its own units: the same model."""
    setup, units = weighted_lasso(), np.logspace(-3, 3, P)
    scaled = setup._replace(X=setup.X * units)
    penalty = dataclasses.replace(setup.penalty, weights=setup.penalty.weights * units)
    solution = solve(scaled, case.make(), penalty=penalty, tol=TIGHT)
    assert_sound(solution)
    reference = solve(setup, case.make(), tol=TIGHT)
    np.testing.assert_allclose(solution.params.coef * units, reference.params.coef, atol=2e-4)


@every_solver
@pytest.mark.parametrize(
    ("name", "dtype"), [("lasso", "float64"), ("lasso", "float32"), ("logistic", "float64")]
)
def test_columns_of_any_scale(case, name, dtype):
    """The same strength for columns from 1e-3 to 1e3: hard, but it converges to the optimum."""
    setup = PROBLEMS[name]()
    scaled = setup._replace(X=setup.X * np.logspace(-3, 3, setup.X.shape[1]))
    solution = solve(scaled, case.make(), dtype)
    assert_sound(solution)
    hand = ByHand(scaled)
    coef, b = solution.params.coef.astype(float), float(solution.params.intercept)
    null = hand.loss(np.full_like(setup.y, setup.y.mean() if name == "lasso" else 0))
    best = solve(scaled, jreg.ProxNewton(), tol=TIGHT).params
    tol = {"float64": 1e-6, "float32": 1e-4}[dtype]
    assert hand.value(coef, b) - hand.value(*best) <= tol * null


@every_solver
@pytest.mark.parametrize("power", [-20, 20])
@pytest.mark.parametrize("which", ["y", "X", "both"])
def test_units_change_nothing(case, power, which):
    """y and X times 2^20 or 2^-20 (about a million): same status, steps and relative gap."""
    setup, unit = lasso(), 2.0**power
    a, b = (unit if which in ("X", "both") else 1), (unit if which in ("y", "both") else 1)
    plain = solve(setup, case.make())
    scaled = setup._replace(X=a * setup.X, y=b * setup.y)
    solution = solve(scaled, case.make(), penalty=setup.penalty.at(a * b))
    assert_sound(solution)
    assert abs(int(solution.num_steps) - int(plain.num_steps)) <= case.make().check_every
    np.testing.assert_allclose(solution.params.coef * a / b, plain.params.coef, rtol=1e-4)


@every_solver
def test_sample_weights_have_no_unit(case):
    setup = elastic_net()
    s = 1e6 * setup.options["sample_weight"]
    scaled = setup._replace(options={**setup.options, "sample_weight": s})
    plain, scaled = solve(setup, case.make()), solve(scaled, case.make())
    assert scaled.status == plain.status
    np.testing.assert_allclose(scaled.params.coef, plain.params.coef, rtol=1e-6)


# --- ends of the range ------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_strength_zero_is_least_squares(case, dtype):
    setup = lasso()
    solution = solve(setup, case.make(), dtype, penalty=jreg.L1(0.0))
    assert_sound(solution)
    exact = np.linalg.lstsq(np.c_[setup.X, np.ones(N)], setup.y)[0]
    near = {"float64": 1e-4, "float32": 1e-2}[dtype]
    np.testing.assert_allclose(solution.params.coef, exact[:P], atol=near)
    np.testing.assert_allclose(solution.params.intercept, exact[P], atol=near)


@every_solver
@pytest.mark.parametrize("name", ["lasso", "logistic"])
def test_at_lam_max(case, name):
    """All zeros at once at lam_max, and not all zeros just below."""
    setup = PROBLEMS[name]()
    Xc = setup.X - setup.X.mean(axis=0)
    lam_max = np.abs(
        Xc.T @ setup.y / len(setup.y)
    ).max()  # the null model fits the mean, for both losses
    for factor in (1 + 1e-9, 1.001, 1e6):
        solution = solve(setup, case.make(), penalty=jreg.L1(factor * lam_max))
        assert_sound(solution)
        assert solution.num_steps == 0
        np.testing.assert_array_equal(solution.params.coef, 0)
    below = solve(setup, case.make(), tol=TIGHT, penalty=jreg.L1(0.98 * lam_max))
    assert_sound(below)
    assert (below.params.coef != 0).any()


@every_solver
def test_warm_start(case):
    """From a solution, also of another method, no step is taken and nothing moves."""
    setup = lasso()
    for start in (
        solve(setup, case.make(), tol=1e-8).params,
        solve(setup, jreg.ProxNewton(), tol=1e-8).params,
    ):
        again = solve(setup, case.make(), params=start, tol=1e-7)
        assert_sound(again)
        assert again.num_steps == 0
        np.testing.assert_allclose(again.params.coef, start.coef, rtol=1e-12)
        np.testing.assert_allclose(again.params.intercept, start.intercept, rtol=1e-12)


@every_solver
@pytest.mark.parametrize("limit", [0, 1])
def test_max_steps(case, limit):
    setup = lasso()
    solution = solve(setup, case.make(), tol=1e-13, max_steps=limit)
    assert solution.num_steps == limit
    if solution.gap > 1e-13:
        assert_sound(solution, Status.MAX_STEPS)
    assert limit == 1 or solution.gap > 1e-3


@every_solver
def test_the_best_reason_is_given(case):
    """Converging with the last step allowed is converging; NaN is NaN, also in 0 steps."""
    setup = lasso()
    needed = int(solve(setup, case.make()).num_steps)
    assert needed > 0
    assert_sound(solve(setup, case.make(), max_steps=needed))
    bad = setup._replace(X=np.where(np.arange(P)[None, :] == 1, np.nan, setup.X))
    assert solve(bad, case.make(), max_steps=0).status == Status.NOT_FINITE


@every_solver
def test_tol_below_reach_says_so(case):
    """At the smallest tol allowed in float32 a solver may stop at precision, never lie."""
    solution = solve(lasso(), case.make(), "float32", tol=1.2e-6)
    assert solution.status in (Status.CONVERGED, Status.AT_PRECISION)
    assert (solution.gap <= 1.2e-6) == (solution.status == Status.CONVERGED)
    assert solution.gap < 1e-3


@every_solver
def test_bad_numbers_end_in_status(case):
    setup = lasso()
    for bad in (np.nan, np.inf):
        X = setup.X.copy()
        X[3, 1] = bad
        assert solve(setup._replace(X=X), case.make()).status == Status.NOT_FINITE


# --- lanes ------------------------------------------------------------------------------------


@every_solver
def test_a_bad_lane_leaves_the_others_alone(case):
    """NaN data and a negative strength under vmap: both lanes say so, the rest is bit for bit."""
    setup = lasso()
    X = setup.X
    ys = np.stack([setup.y, 2 * setup.y, setup.y[::-1], setup.y + X[:, 3]])
    lams = np.array([0.3, 0.1, 0.2, 0.05])
    bad_ys, bad_lams = ys.copy(), lams.copy()
    bad_ys[1, 4] = np.nan
    bad_lams[2] = -1.0

    @jax.jit
    @jax.vmap
    def lanes(y, lam):
        return jreg.solve(jreg.LinearProblem(X, y), jreg.L1(lam), solver=case.make())

    with precision("float64"):
        good, mixed = as_numpy(lanes(ys, lams)), as_numpy(lanes(bad_ys, bad_lams))
    assert (good.status == Status.CONVERGED).all()
    codes = [Status.CONVERGED, Status.NOT_FINITE, Status.NOT_FINITE, Status.CONVERGED]
    np.testing.assert_array_equal(mixed.status, codes)
    for lane in (0, 3):
        for one, other in zip(*map(jax.tree.leaves, (good, mixed)), strict=True):
            np.testing.assert_array_equal(one[lane], other[lane])
    alone = solve(setup, case.make())
    np.testing.assert_allclose(mixed.params.coef[0], alone.params.coef, rtol=1e-9, atol=1e-12)
    assert mixed.num_steps[0] == alone.num_steps


@pytest.mark.parametrize("order", ["shuffled", "greedy"])
def test_orders_of_coordinates(order):
    """Every order ends at the same certified point."""
    setup = lasso()
    found = solve(setup, jreg.CoordinateDescent(order=order), tol=TIGHT)
    assert found.status == Status.CONVERGED
    exact = solve(setup, jreg.CoordinateDescent(), tol=TIGHT)
    np.testing.assert_allclose(found.params.coef, exact.params.coef, atol=1e-6)
    assert not np.array_equal(found.params.coef, exact.params.coef)


# --- groups and several outputs ---------------------------------------------------------------

UNEVEN = jreg.Groups([2, 0, 1, 1, 0, 2, 2, 4])  # group 3 is empty


def block_soft(v, t):
    size = np.linalg.norm(v)
    return v * max(0.0, 1 - t / size) if size > 0 else v


def loss_by_hand(eta, y):
    """(mean, gradient in eta): squares for floats, else the multinomial loss of classes."""
    if y.dtype == float:
        return ((eta - y) ** 2).sum() / len(y) / 2, (eta - y) / len(y)
    one_hot = np.eye(eta.shape[1])[y]
    p = np.exp(eta - np.logaddexp.reduce(eta, axis=1)[:, None])
    return -np.log((p * one_hot).sum(axis=1)).mean(), (p - one_hot) / len(y)


def by_proximal_gradient(X, y, prox, steps=20_000):
    """(coef, intercept) by plain proximal gradient steps in NumPy, columns centred."""
    Z = X - X.mean(axis=0)
    outputs = y.shape[1:] if y.dtype == float else (int(y.max()) + 1,)
    coef, b = np.zeros((X.shape[1], *outputs)), np.zeros(outputs)
    step = 1 / max(1.0, np.linalg.norm(Z, 2) ** 2 / len(y))
    for _ in range(steps):
        r = loss_by_hand(Z @ coef + b, y)[1]
        coef, b = prox(coef - step * Z.T @ r, step), b - step * r.sum(axis=0)
    return coef, b - X.mean(axis=0) @ coef


def prox_of_groups(within=0.0, non_negative=False):
    """Of 0.2 times the sum of norms by UNEVEN, with weights sqrt(size), after a soft threshold."""

    def prox(v, step):
        v = np.sign(v) * np.maximum(np.abs(v) - step * within, 0)
        v = np.maximum(v, 0) if non_negative else v
        for g in range(UNEVEN.n_groups):
            members = UNEVEN.ids == g
            v[members] = block_soft(v[members], step * 0.2 * np.sqrt(members.sum()))
        return v

    return prox


def prox_of_rows(v, step):
    return np.array([block_soft(row, step * 0.1) for row in v])


def grouped():
    """Columns in groups of unequal sizes, none of them consecutive, correlated within."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(40, 5))[:, UNEVEN.ids]
    X = common + 0.5 * rng.normal(size=(40, UNEVEN.ids.size)) + 1
    eta = X[:, [0, 2, 5]] @ np.array([1.5, -1.0, 0.7])
    responses = eta[:, None] * [1.0, -0.5, 0.0] + rng.normal(size=(40, 3))
    return X, eta + rng.normal(size=40), responses, np.argmax(responses, axis=1)


GROUPED = {
    "groups": (1, jreg.GroupLasso(0.2, groups=UNEVEN), prox_of_groups()),
    "sparse_groups": (
        1,
        jreg.SparseGroupLasso(0.3, l1_ratio=1 / 3, groups=UNEVEN),
        prox_of_groups(within=0.1),
    ),
    "positive_groups": (
        1,
        jreg.penalties.NonNegativeGroupLasso(0.2, groups=UNEVEN),
        prox_of_groups(non_negative=True),
    ),
    "one_group": (1, jreg.GroupLasso(0.1, weights=np.ones(1)), lambda v, t: block_soft(v, 0.1 * t)),
    "rows": (2, jreg.GroupLasso(0.1, weights=np.ones(8), axis=0), prox_of_rows),
    "classes": (3, jreg.GroupLasso(0.1, weights=np.ones(8), axis=0), prox_of_rows),
    "classes_l1": (
        3,
        jreg.L1(0.03),
        lambda v, t: np.sign(v) * np.maximum(np.abs(v) - 0.03 * t, 0),
    ),
}
BLOCK_SOLVERS = {
    "cyclic": jreg.CoordinateDescent(),
    "shuffled": jreg.CoordinateDescent(order="shuffled"),
    "greedy": jreg.CoordinateDescent(order="greedy"),
    "newton": jreg.ProxNewton(),
}
QUICK = {("groups", "cyclic"), ("classes", "greedy"), ("classes_l1", "newton")}


def pairs_of_blocks():
    for name in GROUPED:
        for solver in BLOCK_SOLVERS:
            marks = () if (name, solver) in QUICK else pytest.mark.slow
            yield pytest.param(name, solver, id=f"{name}-{solver}", marks=marks)


def group_problem(name, dtype="float64"):
    X, which = grouped()[0], GROUPED[name][0]
    loss = jreg.Multinomial(3) if which == 3 else jreg.Squared()
    return jreg.LinearProblem(X.astype(dtype), grouped()[which].astype(dtype), loss)


@pytest.mark.parametrize(("name", "solver"), list(pairs_of_blocks()))
def test_blocks(name, solver):
    """Groups, rows and classes: the point that plain proximal gradient steps in NumPy reach."""
    data, (which, penalty, prox) = grouped(), GROUPED[name]
    coef, b = by_proximal_gradient(data[0], data[which], prox)
    assert 0 < (coef == 0).sum() < coef.size or name == "one_group"
    with precision("float64"):
        found = jreg.solve(group_problem(name), penalty, solver=BLOCK_SOLVERS[solver], tol=TIGHT)
        found = as_numpy(found)
    assert_sound(found)
    np.testing.assert_allclose(found.params.coef, coef, atol=1e-4)
    np.testing.assert_array_equal(found.params.coef == 0, coef == 0)
    shift = np.mean(found.params.intercept - b)  # means nothing for classes
    np.testing.assert_allclose(found.params.intercept - b, shift if which == 3 else 0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("solver", BLOCK_SOLVERS)
@pytest.mark.parametrize("unit", [1.0, 2.0**20, 2.0**-20])
def test_blocks_in_float32_and_other_units(solver, unit):
    with precision("float32"):
        X, y = (np.float32(unit) * a.astype("float32") for a in grouped()[:2])
        penalty = jreg.GroupLasso(0.2 * unit**2, groups=UNEVEN)
        found = jreg.solve(jreg.LinearProblem(X, y), penalty, solver=BLOCK_SOLVERS[solver])
    assert_sound(found)
    chex.assert_type(list(jax.tree.leaves(found.params)), "float32")
    with precision("float64"):
        best = jreg.solve(group_problem("groups"), GROUPED["groups"][1], tol=TIGHT)
    np.testing.assert_allclose(found.params.coef, best.params.coef, atol=0.02)


@pytest.mark.parametrize(
    "solver", [pytest.param(jreg.CoordinateDescent(), marks=pytest.mark.slow), jreg.ProxNewton()]
)
def test_lanes_of_groups(solver):
    """Under vmap over strengths and responses each lane is as alone; a bad one spoils no other."""
    X, y = grouped()[:2]
    lams, ys = np.array([0.1, 0.4, 0.2]), np.stack([y, y + np.nan, 2 * y])

    @jax.jit
    @jax.vmap
    def lanes(y, lam):
        penalty = jreg.GroupLasso(lam, groups=UNEVEN)
        return jreg.solve(jreg.LinearProblem(X, y), penalty, solver=solver, tol=1e-9)

    with precision("float64"):
        found = as_numpy(lanes(ys, lams))
        alone = [
            jreg.solve(jreg.LinearProblem(X, y), jreg.GroupLasso(lam, groups=UNEVEN), tol=1e-9)
            for y, lam in zip(ys[::2], lams[::2], strict=True)
        ]
    codes = [Status.CONVERGED, Status.NOT_FINITE, Status.CONVERGED]
    np.testing.assert_array_equal(found.status, codes)
    for lane, one in zip((0, 2), alone, strict=True):
        np.testing.assert_allclose(found.params.coef[lane], one.params.coef, atol=1e-4)


def test_free_and_excluded_groups():
    """Weight 0 leaves a group free, weight inf keeps it at 0, also those of padded blocks."""
    X, y = grouped()[:2]
    weights = np.array([1.0, np.inf, 0.0, 1.0, 1.0])
    penalty = jreg.GroupLasso(1e3, weights, UNEVEN)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y)
        found = jreg.solve(problem, penalty, solver=jreg.CoordinateDescent(), tol=TIGHT)
    assert_sound(found)
    free = UNEVEN.ids == 2
    exact = np.linalg.lstsq(np.c_[X[:, free], np.ones(len(y))], y)[0][:-1]
    np.testing.assert_allclose(found.params.coef[free], exact, atol=1e-5)
    np.testing.assert_array_equal(found.params.coef[~free], 0)


def test_members_of_groups():
    for groups in (UNEVEN, jreg.Groups([0, 0, 1]), jreg.Groups([], n_groups=2)):
        table = groups.members()
        assert table.shape == (groups.n_groups, groups.sizes().max(initial=0))
        for g, row in enumerate(table):
            expected = np.flatnonzero(groups.ids == g)
            np.testing.assert_array_equal(row[: expected.size], expected)
            assert (row[expected.size :] == groups.ids.size).all()


def test_groups_across_rows_are_no_blocks():
    X, _, responses, _ = grouped()
    problem, penalty = jreg.LinearProblem(X, responses), jreg.GroupLasso(0.1, axis=1)
    with pytest.raises(TypeError, match=r"needs a penalty of single entries or of groups of rows"):
        jreg.solve(problem, penalty, solver=jreg.CoordinateDescent())


def test_unknown_order():
    with pytest.raises(ValueError, match="got 'random'"):
        jreg.CoordinateDescent(order="random")


# --- any smooth function ----------------------------------------------------------------------

GENERAL = [pytest.param(c, id=name) for name, c in SOLVERS.items() if not c.linear_only]


def distance_to_soft(params, target, lam):
    expected = jax.tree.map(lambda t: np.sign(t) * np.maximum(np.abs(t) - lam, 0), target)
    chex.assert_trees_all_close(params, expected, atol=1e-3)


@pytest.mark.parametrize("solver", GENERAL)
def test_functions_of_trees(solver):
    """argmin 1/2 |w - a|^2 + lam |w|_1 = soft(a, lam), on a dictionary, data passed as args."""
    rng = np.random.default_rng(0)
    target = {"a": rng.normal(size=3), "b": {"c": rng.normal(size=(2, 2))}}
    target = jax.tree.map(lambda x: x.astype("float32"), target)
    start = jax.tree.map(np.zeros_like, target)

    def fun(w, a):
        squares = jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2) / 2, w, a)
        return sum(jax.tree.leaves(squares))

    for problem, args in [(fun, (target,)), (jreg.Problem(fun, (target,)), ())]:
        solution = jreg.solve(problem, jreg.L1(0.5), start, *args, solver=solver.make())
        assert_sound(solution)
        assert np.isnan(solution.gap)
        assert solution.residual <= 1e-4
        distance_to_soft(solution.params, target, 0.5)


@pytest.mark.parametrize("solver", GENERAL)
@pytest.mark.parametrize("lam", [0.0, 0.2, 1.0])
def test_nonconvex_function(solver, lam):
    """Rosenbrock's valley under L1: a KKT point, from a start beyond the bend."""

    def fun(w, bend):
        return (1 - w[0]) ** 2 + bend * (w[1] - w[0] ** 2) ** 2

    start, bend = np.array([-1.2, 1.0]), 100.0
    with precision("float64"):
        solution = jreg.solve(fun, jreg.L1(lam), start, bend, solver=solver.make(), tol=1e-9)
    assert_sound(solution)
    w = np.asarray(solution.params)
    slope = 2 * bend * (w[1] - w[0] ** 2)
    gradient = np.array([-2 * (1 - w[0]) - 2 * slope * w[0], slope])
    kkt = naive_l1(lam, lam).distance(w, gradient)
    assert kkt.max() <= 1e-4
    assert fun(w, bend) + lam * np.abs(w).sum() <= fun(start, bend) + lam * np.abs(start).sum()
    if lam == 0:
        np.testing.assert_allclose(w, 1, atol=1e-6)


def test_scalar_parameter():
    solution = jreg.solve(lambda w: (w - 2.0) ** 2, jreg.L1(1.0), 0.0)
    assert_sound(solution)
    np.testing.assert_allclose(solution.params, 1.5, atol=1e-3)


# --- the door ---------------------------------------------------------------------------------


def plain(**changes):
    X = np.random.default_rng(0).normal(size=(8, 2))
    return jreg.LinearProblem(**{"X": X, "y": X[:, 0] + 1, **changes})


def quadratic(w):
    return jnp.sum(w**2)


DOOR = [
    (lambda: jreg.solve(plain(y=np.ones((8, 1))), jreg.L1()), ValueError, r"\(8,\); got \(8, 1\)"),
    (lambda: jreg.solve(plain(y=np.ones((8, 1))), jreg.L1()), ValueError, r"Use y.ravel\(\)"),
    (lambda: jreg.solve(plain(y=np.ones(7)), jreg.L1()), ValueError, r"y must .*got \(7,\)"),
    (lambda: jreg.solve(plain(X=np.ones(8)), jreg.L1()), ValueError, r"Use X\[:, None\]"),
    (lambda: jreg.solve(plain(X=np.ones((8, 0))), jreg.L1()), ValueError, "at least one row"),
    (lambda: jreg.solve(plain(X=np.ones((8, 2), complex)), jreg.L1()), TypeError, "complex128"),
    (lambda: jreg.solve(plain(X=np.ones((8, 2), "float16")), jreg.L1()), TypeError, "astype"),
    (lambda: jreg.solve(plain(y=np.array(["a"] * 8)), jreg.L1()), TypeError, "y must hold"),
    (lambda: jreg.solve(plain(y=np.full(8, np.nan)), jreg.L1()), ValueError, "8 values are NaN"),
    (
        lambda: jreg.solve(plain(y=np.arange(8.0), loss=jreg.Logistic()), jreg.L1()),
        ValueError,
        "labels 0 and 1, or -1 and 1",
    ),
    (
        lambda: jreg.solve(plain(y=np.ones(8), loss=jreg.Logistic()), jreg.L1()),
        ValueError,
        r"single class \(1\).*fit_intercept=False",
    ),
    (lambda: jreg.solve(plain(loss="squared"), jreg.L1()), TypeError, "loss must be a member"),
    (
        lambda: jreg.solve(plain(sample_weight=-np.ones(8)), jreg.L1()),
        ValueError,
        "sample_weight must be at least 0",
    ),
    (
        lambda: jreg.solve(plain(sample_weight=np.zeros(8)), jreg.L1()),
        ValueError,
        "sample_weight must have a positive entry",
    ),
    (lambda: jreg.solve(plain(offset=np.ones(3)), jreg.L1()), ValueError, "offset must have shape"),
    (lambda: jreg.solve(plain(), "l1"), TypeError, "penalty must be a member.*'l1'"),
    (lambda: jreg.solve(plain(), jreg.L1), TypeError, "penalty must be"),
    (lambda: jreg.solve(plain(), jreg.L1(jnp.array(-1.0))), ValueError, "lam must be at least 0"),
    (
        lambda: jreg.solve(plain(), jreg.L1(weights=jnp.array([1.0, -1.0]))),
        ValueError,
        "weights must be at least 0",
    ),
    (
        lambda: jreg.solve(plain(), jreg.ElasticNet(l1_ratio=jnp.array(1.5))),
        ValueError,
        "l1_ratio must be between 0 and 1",
    ),
    (
        lambda: jreg.solve(plain(), jreg.L1(weights=np.ones(3))),
        ValueError,
        r"weights must have the shape of the coefficients, \(2,\); got \(3,\)",
    ),
    (lambda: jreg.solve(plain(), jreg.L1(), (np.ones(3), 0.0)), ValueError, r"coef \(2,\)"),
    (
        lambda: jreg.solve(plain(), jreg.L1(), solver="fista"),
        TypeError,
        "solver must be a member of",
    ),
    (
        lambda: jreg.solve(plain(), jreg.L1(), solver=jreg.FISTA),
        TypeError,
        "solver must be a member of",
    ),
    (lambda: jreg.solve(plain(), jreg.L1(), None, 3.0), TypeError, "args belong to a function"),
    (lambda: jreg.solve(plain(), jreg.L1(), tol=1e-16), ValueError, r"at least 1.2e-06 in float32"),
    (lambda: jreg.solve(plain(), jreg.L1(), tol=1e-16), ValueError, "use float64 data"),
    (lambda: jreg.solve(plain(), jreg.L1(), tol=-1.0), ValueError, "tol must be at least"),
    (lambda: jreg.solve(plain(), jreg.L1(), tol=np.nan), ValueError, "tol must be at least"),
    (lambda: jreg.solve(plain(), jreg.L1(), max_steps=-1), ValueError, "max_steps"),
    (lambda: jreg.solve(quadratic, jreg.L1()), ValueError, "needs params to start from"),
    (lambda: jreg.solve(quadratic, jreg.L1(), {}), ValueError, "params has no arrays"),
    (lambda: jreg.solve(np.ones(3), jreg.L1()), TypeError, "problem must be.*ndarray"),
    (
        lambda: jreg.solve(quadratic, jreg.L1(), np.ones(2), solver=jreg.CoordinateDescent()),
        TypeError,
        "CoordinateDescent needs a LinearProblem.*use FISTA",
    ),
    (
        lambda: jreg.solve(quadratic, jreg.L1(), np.ones(2), solver=jreg.ProxNewton()),
        TypeError,
        "ProxNewton needs a LinearProblem.*use FISTA",
    ),
    (lambda: jreg.sweep(quadratic, jreg.L1(), [1.0]), TypeError, "sweep needs a LinearProblem"),
    (lambda: jreg.sweep(plain(), jreg.L1(), 1.0), ValueError, r"lams must have shape \(n_lams,\)"),
    (lambda: jreg.sweep(plain(), jreg.L1(), []), ValueError, "n_lams >= 1"),
    (lambda: jreg.sweep(plain(), jreg.L1(), [-1.0]), ValueError, "lams must be at least 0"),
    (lambda: jreg.sweep(plain(), jreg.L1(), [1.0], block=0), ValueError, "block must be at least"),
]


@pytest.mark.parametrize(("call", "error", "message"), DOOR, ids=[row[2] for row in DOOR])
def test_messages_at_the_door(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_tol_floor_in_float64():
    with precision("float64"), pytest.raises(ValueError, match=r"at least 2.2e-15 in float64"):
        jreg.solve(plain(), jreg.L1(), tol=1e-15)


# --- solvers as values ------------------------------------------------------------------------


@every_solver
def test_equal_by_value(case):
    assert case.make() == case.make()
    assert hash(case.make()) == hash(case.make())
    assert isinstance(case.make(), jreg.typing.Solver)
    assert case.make() in {case.make(): 1}
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.make().max_steps = 3


def test_options_and_methods_differ():
    different = [
        jreg.FISTA(), jreg.FISTA(restart=False), jreg.ProxNewton(), jreg.ProxNewton(sweeps=2),
        jreg.CoordinateDescent(),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


def test_default_solver():
    y, logistic = np.arange(8.0), jreg.Logistic()
    for width, loss, expected in [
        (1000, jreg.Squared(), jreg.ProxNewton()),
        (1001, jreg.Squared(), jreg.FISTA()),
        (500, logistic, jreg.ProxNewton()),
        (501, logistic, jreg.FISTA()),
    ]:
        problem = jreg.LinearProblem(np.ones((8, width)), y, loss)
        assert jreg.default_solver(problem, jreg.L1()) == expected
    assert jreg.default_solver(jreg.Problem(quadratic), jreg.L1()) == jreg.FISTA()
    for samples, outputs, penalty, expected in [
        (9, (), jreg.GroupLasso(axis=0), jreg.ProxNewton()),
        (8, (), jreg.GroupLasso(axis=0), jreg.FISTA()),
        (18, (2,), jreg.GroupLasso(axis=0), jreg.ProxNewton()),
        (18, (2,), jreg.GroupLasso(axis=1), jreg.FISTA()),
        (18, (2,), jreg.L1(), jreg.FISTA()),
        (18, (), jreg.TotalVariation(), jreg.FISTA()),
    ]:
        problem = jreg.LinearProblem(np.ones((samples, 9)), np.ones((samples, *outputs)))
        assert jreg.default_solver(problem, penalty) == expected


@every_solver
@pytest.mark.parametrize("x64", [False, True])
def test_float32_stays_float32(case, x64):
    """... whatever the flag, and though numbers of Python and NumPy are wider."""
    solver = case.make()
    with jax.enable_x64(x64):
        found = jax.eval_shape(
            lambda problem: jreg.solve(problem, jreg.L1(np.float64(0.3)), solver=solver, tol=1e-3),
            lasso().problem("float32"),
        )
    floats = [found.params, found.value, found.gap, found.residual]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(floats)} == {"float32"}
    assert found.num_steps.dtype == found.status.dtype == "int32"


# --- published cases --------------------------------------------------------------------------

CASES = json.loads((Path(__file__).parent / "prox_cases.json").read_text())


def published(op):
    (found,) = [case for case in CASES if case["op"] == op]
    return found["params"], np.array(found["output"])


def test_published_lasso():
    """1/2 |Ax - b|^2 + lam |x|_1."""
    params, expected = published("solve_lasso")
    A, b = np.array(params["A"]), np.array(params["b"])
    lam = jreg.convert_lam(params["lam"], "half_rss_l1", n_samples=b.size)
    with precision("float64"):
        problem = jreg.LinearProblem(A, b, fit_intercept=False)
        solution = jreg.solve(problem, jreg.L1(lam), tol=1e-14, solver=jreg.CoordinateDescent())
    np.testing.assert_allclose(solution.params.coef, expected, atol=1e-6)


def test_published_sparse_logistic():
    """sum log(1 + exp(-(Ax - b))) + 0.1 |x|_1: all labels 1, offset -b."""
    params, expected = published("solve_sparse_logistic")
    A, b = np.array(params["A"]), np.array(params["b"])
    with precision("float64"):
        problem = jreg.LinearProblem(
            A, np.ones(b.size), jreg.Logistic(), offset=-b, fit_intercept=False
        )
        solution = jreg.solve(problem, jreg.L1(params["lam"] / b.size), tol=1e-13)
    np.testing.assert_allclose(solution.params.coef, expected, atol=1e-5)
