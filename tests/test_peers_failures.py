"""What is known to go wrong in other libraries' solvers does not happen here.

The problems have the shape of those on which jaxopt 0.8.5 fails: columns times 1000, where its line
search ends in NaN; single precision, where its stopping rule is never met; and coordinate descent
for the mean squared loss, where its column constant is n times too large and 1344 sweeps stand for
5. `benchmarks/solvers.py` runs both.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision

import jreg
from jreg import Status
from jreg.solvers.choice import SOLVERS, provided

N, P, USED = 200, 50, 5
slow = pytest.mark.slow


def data(scale=1.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P))
    y = X[:, :USED] @ np.linspace(3, 1, USED) + 0.5 * rng.normal(size=N)
    return scale * X, y


def kkt(X, y, coef, lam):
    """Largest distance of the negative gradient from the subdifferential, relative to lam_max."""
    coef = np.asarray(coef, float)
    slope = X.T @ (y - X @ coef) / N
    apart = np.where(
        coef == 0, np.maximum(np.abs(slope) - lam, 0), np.abs(slope - lam * np.sign(coef))
    )
    return apart.max() / lam_max(X, y)


def lam_max(X, y):
    return np.abs(X.T @ y).max() / N


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=slow)])
@pytest.mark.parametrize("solver", [jreg.FISTA, jreg.ISTA, jreg.ProxNewton, jreg.CoordinateDescent])
def test_columns_times_1000(solver, dtype):
    """Curvatures of two million, from 0: certified, and the same run as without the factor."""
    steps = []
    for scale in (1.0, 1e3):
        X, y = data(scale)
        lam = 0.05 * lam_max(X, y)
        with precision(dtype):
            problem = jreg.LinearProblem(X.astype(dtype), y.astype(dtype), fit_intercept=False)
            start = jreg.Linear(np.zeros(P), 0.0)
            found = jreg.solve(problem, jreg.L1(lam), start, solver=solver())
            found = jax.tree.map(np.asarray, found)
        assert found.status == Status.CONVERGED
        assert 0 <= found.gap <= {"float32": 1e-4, "float64": 1e-6}[dtype]
        assert kkt(X, y, found.params.coef, lam) < 2e-3
        steps.append(int(found.num_steps))
    assert abs(steps[0] - steps[1]) <= solver.check_every


def test_single_precision_meets_its_tolerance():
    """Eight strengths at a tight tol: no lane runs to the limit."""
    X, y = (jnp.asarray(a, "float32") for a in data(10.0))
    lams = jnp.asarray(lam_max(*data(10.0)) * np.geomspace(0.5, 1e-3, 8), "float32")

    @jax.jit
    @jax.vmap
    def lanes(lam):
        return jreg.solve(jreg.LinearProblem(X, y), jreg.L1(lam), solver=jreg.FISTA(), tol=1e-5)

    found = lanes(lams)
    assert np.isin(found.status, [Status.CONVERGED, Status.AT_PRECISION]).all()
    assert np.max(found.num_steps) < 500


# neither stops by itself: their steps are no shorter at a kink, where they go to and fro
WITHOUT_END = (jreg.Subgradient, jreg.OptaxSubgradient)
TRANSFORMS = {jreg.Optax: optax.lbfgs(), jreg.OptaxProximal: optax.sgd(0.5)}
QUICK = (jreg.FISTA, jreg.CoordinateDescent, jreg.LBFGS)


def losses():
    y = data()[1]
    return {"lasso": (y, jreg.Squared()), "logistic": ((y > 0) * 1.0, jreg.Logistic())}


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        pytest.param(name, s, marks=() if s in QUICK and name == "logistic" else slow)
        for s in SOLVERS
        if s not in WITHOUT_END
        for name in ("lasso", "logistic")
    ],
)
def test_every_solver_stops_in_single_precision(name, solver):
    """At the default tol, before the limit of steps; with a ridge where a kink is too much."""
    response, loss = losses()[name]
    X = data()[0].astype("float32")
    problem = jreg.LinearProblem(X, response.astype("float32"), loss)
    penalty = jreg.L1(0.02)
    if not set(solver.needs) <= provided(problem.checked(), penalty):
        penalty = jreg.Ridge(0.02)
    method = solver(TRANSFORMS[solver]) if solver in TRANSFORMS else solver()
    found = jreg.solve(problem, penalty, solver=method)
    assert found.params.coef.dtype == "float32"
    assert found.status in (Status.CONVERGED, Status.AT_PRECISION)
    assert found.num_steps < method.max_steps
    error = found.residual if np.isnan(found.gap) else found.gap
    assert 0 <= error < 1e-3


def test_column_constants_of_a_mean():
    """A handful of sweeps: with constants n times too large there would be a thousand."""
    X, y = data()
    lam = 0.1
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, fit_intercept=False)
        start = jreg.Linear(np.zeros(P), 0.0)
        solver = jreg.CoordinateDescent()
        found = jreg.solve(problem, jreg.L1(lam), start, solver=solver, tol=1e-6)
        constants = problem.checked().centred().column_curvature()
    assert found.status == Status.CONVERGED
    assert found.num_steps <= 10
    assert kkt(X, y, found.params.coef, lam) < 1e-4
    np.testing.assert_allclose(constants, np.mean(X**2, axis=0), rtol=1e-12)
    assert set(range(USED)) <= set(np.flatnonzero(found.params.coef))
