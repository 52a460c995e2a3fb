"""A convex solver (cvxpy with Clarabel) as oracle: the prox of every convex member of the table,
with one step and in a random diagonal metric."""

import cvxpy as cp
import numpy as np
import pytest
from cases import precision
from penalty_cases import BLOCKS, GROUP_WEIGHTS, LAM, PENALTIES, SLOPE_WEIGHTS, WEIGHTS

pytestmark = pytest.mark.slow

W = np.array(WEIGHTS)
FINITE = np.where(np.isinf(W), 0, W)
EXCLUDED = np.isinf(W)
ROOT2 = np.sqrt(2)


def absolute(s):
    return lambda z: s @ cp.abs(z), lambda z: []


def weighted(expression, *constraints):
    """With the weights of the table: `expression(z, s)`, excluded entries 0."""
    return (
        lambda z: expression(z, LAM * FINITE),
        lambda z: [z[EXCLUDED] == 0, *(c(z) for c in constraints)],
    )


def equal(expression, *constraints):
    return lambda z: expression(z, np.full(len(W), LAM)), lambda z: [c(z) for c in constraints]


def l1(z, s):
    return s @ cp.abs(z)


def ridge(z, s):
    return s @ cp.square(z) / 2


def net(z, s):
    return 0.25 * l1(z, s) + 0.75 * ridge(z, s)


def asymmetric(z, s):
    return s @ cp.maximum(2 * z, -0.5 * z)


def huber(z, s):
    return s @ cp.huber(z, 0.5) / 2


def positive(z):
    return z >= 0


def groups(weights):
    return lambda z: (
        LAM
        * sum(w * cp.norm(z[list(b)]) for w, b in zip(weights, BLOCKS, strict=True) if w < np.inf)
    )


def sorted_l1(z):
    steps = -np.diff([*SLOPE_WEIGHTS, 0.0])
    return LAM * sum(s * cp.sum_largest(cp.abs(z), k + 1) for k, s in enumerate(steps) if s)


def matrix(z):
    return cp.reshape(z, (3, 2), order="C")


ROOTS = [np.sqrt(len(b)) for b in BLOCKS]
NOTHING = lambda z: []  # noqa: E731

ORACLES = {
    "l1": equal(l1),
    "l1_weighted": weighted(l1),
    "nonnegative_l1": equal(l1, positive),
    "nonnegative_l1_weighted": weighted(l1, positive),
    "asymmetric_l1": equal(asymmetric),
    "asymmetric_l1_weighted": weighted(asymmetric),
    "elastic_net": equal(net),
    "elastic_net_weighted": weighted(net),
    "elastic_net_as_l1": equal(l1),
    "elastic_net_as_ridge": equal(ridge),
    "ridge": equal(ridge),
    "ridge_weighted": weighted(ridge),
    "huber": equal(huber),
    "huber_weighted": weighted(huber),
    "box": (lambda z: 0, lambda z: [z >= -0.5, z <= 1]),
    "box_of_arrays": (
        lambda z: 0,
        lambda z: [z[1] >= 0, cp.abs(z[2]) <= 1, z[3] >= 0.5, z[3] <= 2, z[4] == 0],
    ),
    "nonnegative": (lambda z: 0, lambda z: [z >= 0]),
    "group_lasso": (groups(ROOTS), NOTHING),
    "group_lasso_weighted": (groups(GROUP_WEIGHTS), lambda z: [z[3:] == 0]),
    "group_lasso_empty_group": (groups(ROOTS), NOTHING),
    "group_lasso_rows": (
        lambda z: LAM * ROOT2 * cp.sum(cp.norm(matrix(z), axis=1)),
        NOTHING,
    ),
    "group_lasso_columns": (
        lambda z: LAM * cp.sum(cp.norm(matrix(z), axis=0)),
        NOTHING,
    ),
    "l2_norm": (lambda z: LAM * cp.norm(z), NOTHING),
    "sparse_group_lasso": (
        lambda z: 0.25 * LAM * cp.norm1(z) + 0.75 * groups(ROOTS)(z),
        NOTHING,
    ),
    "nonnegative_group_lasso": (groups(ROOTS), lambda z: [z >= 0]),
    "slope": (sorted_l1, NOTHING),
    "linf": (lambda z: LAM * cp.norm_inf(z), NOTHING),
    "total_variation": (lambda z: LAM * cp.tv(z), NOTHING),
    "fused_lasso": (lambda z: LAM * (0.25 * cp.norm1(z) + 0.75 * cp.tv(z)), NOTHING),
    "isotonic": (lambda z: 0, lambda z: [cp.diff(z) >= 0]),
    "nuclear": (lambda z: LAM * cp.normNuc(matrix(z)), NOTHING),
}


def test_every_convex_member_has_an_oracle():
    assert set(ORACLES) == {name for name, case in PENALTIES.items() if case.conjugate is not None}


@pytest.mark.parametrize("name", ORACLES)
def test_prox(name):
    case = PENALTIES[name]
    expression, constraints = ORACLES[name]
    rng = np.random.default_rng(5)
    n = int(np.prod(case.shape))
    metric = "metric" not in case.exempt
    for trial in range(6):
        v = 2 * rng.normal(size=n)
        step = np.exp(rng.normal(size=n)) if metric and trial % 2 else np.full(n, 0.7 + trial / 3)
        z = cp.Variable(n)
        distance = cp.sum(cp.multiply(1 / step, cp.square(z - v))) / 2
        problem = cp.Problem(cp.Minimize(expression(z) + distance), constraints(z))
        problem.solve(solver=cp.CLARABEL)
        with precision("float64"):
            one = step[0] if np.ptp(step) == 0 else step.reshape(case.shape)
            found = np.asarray(case.make().prox(v.reshape(case.shape), one)).ravel()
        np.testing.assert_allclose(found, z.value, atol=2e-4)
        objective = case.value(found.reshape(case.shape)) + np.sum((found - v) ** 2 / step) / 2
        assert objective <= problem.value + 1e-7 * (1 + abs(problem.value))
