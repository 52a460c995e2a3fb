"""Every penalty of the table inside `solve`: certificates that hold, other libraries' answers."""

import functools

import jax
import numpy as np
import pytest
from cases import precision
from penalty_cases import PENALTIES
from scipy.optimize import lsq_linear
from sklearn.linear_model import Lasso

import jreg
from jreg import penalties

N, P = 30, 5


@functools.cache
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, P)) + rng.normal(size=(N, 1))
    y = X @ np.array([2.0, -1.0, 0.0, 0.5, 0.0]) + 0.5 * rng.normal(size=N)
    return X, y


def fit(penalty, tol, fit_intercept=True):
    X, y = data()
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, fit_intercept=fit_intercept)
        found = jreg.solve(problem, penalty, solver=jreg.FISTA(), tol=tol, max_steps=100_000)
        return jax.tree.map(np.asarray, found)


def objective(case, coef, intercept):
    X, y = data()
    return 0.5 * np.mean((y - X @ coef - intercept) ** 2) + case.value(coef)


VECTORS = [
    name
    for name, case in PENALTIES.items()
    if case.shape == (P,) and not name.endswith("_weighted") and "_as_" not in name
]
FAST = ("nonnegative_l1", "asymmetric_l1", "mcp")


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in VECTORS]
)
def test_the_certificate_holds(name):
    """The objective is within the gap of the best one known, at a loose and a tight tolerance."""
    case = PENALTIES[name]
    X, y = data()
    null = 0.5 * np.var(y)
    loose, tight = fit(case.make(), 1e-2), fit(case.make(), 1e-9)
    assert loose.status == tight.status == jreg.Status.CONVERGED
    for found in (loose, tight):
        value = objective(case, found.params.coef, found.params.intercept)
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
    if not case.make().convex:
        assert np.isnan(tight.gap)
        assert tight.residual <= 1e-9
        return
    excess = loose.value - tight.value
    assert excess >= -1e-8
    if not np.isnan(loose.gap):
        assert excess <= loose.gap * null * (1 + 1e-6) + 1e-9
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0):
        for _ in range(20):
            coef = tight.params.coef + scale * rng.normal(size=P)
            intercept = np.mean(y - X @ coef)
            assert objective(case, coef, intercept) >= tight.value - 1e-8


def test_nonnegative_lasso_is_that_of_scikit_learn():
    X, y = data()
    for lam in (0.01, 0.3):
        found = fit(penalties.NonNegativeL1(lam), 1e-10)
        reference = Lasso(alpha=lam, positive=True, tol=1e-12, max_iter=100_000).fit(X, y)
        np.testing.assert_allclose(found.params.coef, reference.coef_, atol=1e-5)
        np.testing.assert_array_equal(found.params.coef == 0, reference.coef_ == 0)


def test_box_constrained_least_squares_is_that_of_scipy():
    X, y = data()
    found = fit(penalties.Box(-0.5, 1.0), 1e-10, fit_intercept=False)
    reference = lsq_linear(X, y, (-0.5, 1.0), tol=1e-14)
    np.testing.assert_allclose(found.params.coef, reference.x, atol=1e-5)


def test_nonconvex_path_by_sweep():
    """MCP leaves large coefficients alone, where the lasso shrinks them."""
    X, y = data()
    with precision("float64"):
        problem = jreg.LinearProblem(X, y)
        lams = np.geomspace(1.0, 0.1, 5)
        mcp = jreg.sweep(problem, jreg.MCP(), lams)
        lasso = jreg.sweep(problem, jreg.L1(), lams)
    assert (mcp.status == int(jreg.Status.CONVERGED)).all()
    assert np.isnan(mcp.gap).all()
    assert np.abs(mcp.coef[-1][0]) > np.abs(lasso.coef[-1][0])
