"""Hyper-parameters by gradient: criteria against brute force, and the search against a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from cases import precision

import jreg
from jreg.solvers.watch import check_watch


def data(n, p, seed=0, noise=1.0, useful=4):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.3 * rng.normal(size=(n, 1))
    y = X[:, :useful] @ np.linspace(3, 1, useful) + noise * rng.normal(size=n)
    return X, y


def value(criterion, problem, penalty):
    """The criterion by its definition, one fit after the other."""
    problem = problem.checked()
    weights, ys = criterion.variants(problem)
    fits = []
    for weight, y in zip(weights, ys, strict=True):
        one = jreg.LinearProblem(problem.X, y, problem.loss, weight, problem.offset)
        fits.append(jreg.solve(one, penalty, tol=1e-12).params)
    return criterion.score(problem, penalty, jax.tree.map(lambda *a: jnp.stack(a), *fits))


def test_leave_one_out_is_exact_for_ridge():
    """Against n fits in closed form, intercept and sample weights included."""
    X, y = data(14, 5)
    s = np.random.default_rng(1).uniform(0.5, 2, 14)
    lam, held = 0.3, []
    for i in range(14):
        w = np.where(np.arange(14) == i, 0, s)
        A = np.c_[X, np.ones(14)]
        # weights keep their size: what is left out does not make the others weigh more
        system = A.T @ (w[:, None] * A) / s.sum() + lam * np.diag([1.0] * 5 + [0])
        held.append(A[i] @ np.linalg.solve(system, A.T @ (w * y) / s.sum()))
    exact = np.sum(s * (y - held) ** 2) / s.sum() / 2
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, sample_weight=s)
        found = value(jreg.ApproximateLeaveOneOut(), problem, jreg.Ridge(lam))
    np.testing.assert_allclose(found, exact, rtol=1e-8)


def test_leave_one_out_of_logistic_lasso_is_close():
    X, y = data(60, 4)
    labels = (y > np.median(y)).astype(float)
    penalty = jreg.L1(0.02)
    with precision("float64"):
        problem = jreg.LinearProblem(X, labels, jreg.Logistic())
        found = value(jreg.ApproximateLeaveOneOut(), problem, penalty)
        brute = value(jreg.KFold(np.arange(60), 60), problem, penalty)
    np.testing.assert_allclose(found, brute, rtol=0.02)


def test_sure_estimates_the_risk():
    """Its mean over draws of the noise is the mean risk, which is known here."""
    X, _ = data(40, 6)
    signal = X[:, :2] @ [1.0, -1.0]
    with precision("float64"):

        def fit(y):
            return jreg.solve(jreg.LinearProblem(X, y, fit_intercept=False), jreg.L1(0.1)).params

        @jax.jit
        @jax.vmap
        def both(noise, seed):
            criterion = jreg.SURE(1.0, seed)
            problem = jreg.LinearProblem(X, signal + noise, fit_intercept=False).checked()
            params = jax.vmap(fit)(criterion.variants(problem)[1])
            estimate = criterion.score(problem, None, params)
            return estimate, jnp.mean((X @ params.coef[0] - signal) ** 2)

        noise = np.random.default_rng(0).normal(size=(300, 40))
        estimate, risk = both(noise, jnp.arange(300))
        difference = np.asarray(estimate - risk)
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(300)
    assert difference.std() > 0


CRITERIA = {
    "held_out": lambda X, y: jreg.HeldOut(jreg.LinearProblem(X[:10], y[:10] + 1)),
    "k_fold": lambda X, y: jreg.KFold.random(len(y), 3),
    "leave_one_out": lambda X, y: jreg.ApproximateLeaveOneOut(),
    "sure": lambda X, y: jreg.SURE(1.0),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_derivative_of_a_criterion(name):
    X, y = data(30, 5)
    h = 1e-6
    with precision("float64"):
        criterion = CRITERIA[name](X, y)
        problem = jreg.LinearProblem(X, y).checked()

        def score(lam):
            penalty = jreg.ElasticNet(lam, 0.5)

            def fit(weight, y):
                one = jreg.LinearProblem(problem.X, y, sample_weight=weight)
                return jreg.solve(one, penalty, tol=1e-12).params

            return criterion.score(problem, penalty, jax.vmap(fit)(*criterion.variants(problem)))

        run = jax.jit(score)
        quotient = (run(0.2 + h) - run(0.2 - h)) / (2 * h)
        np.testing.assert_allclose(jax.jit(jax.grad(score))(0.2), quotient, rtol=1e-5)


def test_tune_against_a_grid_of_100():
    """The grid's optimum, with less than a third of its steps."""
    X, y = data(100, 20, noise=2.0)
    solver = jreg.CoordinateDescent()
    with precision("float64"):
        problem = jreg.LinearProblem(X[:60], y[:60])
        held = jreg.HeldOut(jreg.LinearProblem(X[60:], y[60:]))
        lams = jnp.geomspace(3.0, 3e-4, 100)
        grid = jreg.sweep(problem, jreg.L1(), lams, block=1, solver=solver)
        errors = 0.5 * np.mean((np.asarray(grid.predict(X[60:])) - y[60:]) ** 2, axis=1)
        found = jreg.tune(problem, jreg.L1(0.3), held, solver=solver)
    assert found.converged
    assert found.score <= errors.min() * (1 + 1e-3)
    assert 3 * found.num_steps.sum() <= int(np.sum(grid.num_steps))
    assert found.tols[-1] < found.tols[0]
    coef, intercept = map(np.asarray, found.params)
    best = 0.5 * np.mean((X[60:] @ coef + intercept - y[60:]) ** 2)
    np.testing.assert_allclose(best, found.score, rtol=1e-5)


def test_tune_a_strength_for_each_feature():
    """Features of very different use: one strength for all cannot serve them."""
    X, y = data(740, 30, noise=1.5, useful=10)
    with precision("float64"):
        problem = jreg.LinearProblem(X[:40], y[:40])
        held = jreg.HeldOut(jreg.LinearProblem(X[40:240], y[40:240]))
        one = jreg.tune(problem, jreg.L1(0.3), held)
        start = jreg.L1(one.penalty.lam, weights=np.ones(30))
        each = jreg.tune(problem, start, held, vary=("weights",))
    fresh = []
    for found in (one, each):
        coef, intercept = map(np.asarray, found.params)
        fresh.append(np.mean((X[240:] @ coef + intercept - y[240:]) ** 2))
    assert each.settings["weights"].shape == (len(each.scores), 30)
    assert each.score < 0.9 * one.score
    assert fresh[1] < 0.9 * fresh[0]  # also on rows that neither has seen


def test_tune_two_settings():
    X, y = data(60, 8, noise=2.0)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y)
        start = jreg.ElasticNet(0.3, 0.5)
        found = jreg.tune(problem, start, jreg.KFold.random(60, 3), vary=("lam", "l1_ratio"))
        assert found.score <= value(jreg.KFold.random(60, 3), problem, start)
    assert set(found.settings) == {"lam", "l1_ratio"}
    assert 0 < float(found.penalty.l1_ratio) < 1


def test_rows_of_a_measure_that_are_absent():
    """Weight 0 is an absent row, whatever its y, in `tune` and early stopping; X may be sparse."""
    X, y = data(20, 4)
    s = np.r_[np.zeros(3), np.ones(17)]
    coef, folds = np.arange(4.0), np.arange(20) % 2
    expected = 0.5 * np.mean((y - X @ coef - 1)[3:] ** 2)
    unknown = np.where(s == 0, np.nan, y)
    with precision("float64"):
        params = jreg.Linear(jnp.asarray(coef), jnp.ones(()))
        several = jax.tree.map(lambda a: jnp.stack([a, a]), params)
        for design in (X, sp.csr_array(X)):
            rows = jreg.LinearProblem(design, unknown, sample_weight=s)
            problem = rows.checked()
            for found in (
                jreg.HeldOut(rows).score(problem, None, several),
                jreg.KFold(folds).score(problem, None, several),
                check_watch(jreg.EarlyStopping(), rows, problem, None).value(problem, params),
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_tune_on_sparse_data():
    X, y = data(20, 4)
    problems = (jreg.LinearProblem(A, y) for A in (X, sp.csr_array(X)))
    wanted, found = (
        jreg.tune(p, jreg.Ridge(0.3), jreg.HeldOut(p), max_steps=1, solver=jreg.FISTA())
        for p in problems
    )
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4)


def test_folds_are_counted():
    folds = np.arange(20) % 10
    assert jreg.KFold(folds).k == jreg.KFold(folds.tolist()).k == 10
    with pytest.raises(ValueError, match="folds must be between 0 and 4"):
        jreg.KFold(folds, 5)
    with pytest.raises(ValueError, match="folds must be between 0 and 9"):
        jreg.KFold(folds - 1, 10)
    with pytest.raises(ValueError, match="non-empty vector"):
        jreg.KFold([])
    with pytest.raises(ValueError, match="needs k"):
        jax.jit(lambda folds: jreg.KFold(folds).k)(folds)


def test_leave_one_out_keeps_its_denominator():
    """A row that alone decides its fit, at which the step divides 0 by 0."""
    problem = jreg.LinearProblem(np.eye(3), np.ones(3), fit_intercept=False).checked()
    params = jreg.Linear(jnp.full((1, 3), 0.5), jnp.zeros(1))
    found = jreg.ApproximateLeaveOneOut().score(problem, jreg.Ridge(0.0), params)
    assert np.isfinite(found)


def test_bad_input():
    X, y = data(20, 4)
    problem = jreg.LinearProblem(X, y)
    with pytest.raises(TypeError, match="has no weights to start from"):
        jreg.tune(problem, jreg.L1(0.1), jreg.ApproximateLeaveOneOut(), vary=("weights",))
    with pytest.raises(ValueError, match="as beyond lam_max"):
        jreg.tune(problem, jreg.L1(1e3), jreg.HeldOut(problem))
    with pytest.raises(TypeError, match="separable penalty"):
        jreg.tune(problem, jreg.SLOPE(0.1), jreg.ApproximateLeaveOneOut())
    with pytest.raises(ValueError, match="folds must have shape"):
        jreg.tune(problem, jreg.L1(0.1), jreg.KFold([0, 1, 0]))
    with pytest.raises(ValueError, match="k must be between 2"):
        jreg.KFold.random(5, 1)
    logistic = jreg.LinearProblem(X, (y > 0) * 1.0, jreg.Logistic())
    with pytest.raises(TypeError, match="squared loss"):
        jreg.tune(logistic, jreg.L1(0.1), jreg.SURE(1.0))
    cox = jreg.LinearProblem(X, np.c_[np.abs(y), np.ones(20)], jreg.Cox(), fit_intercept=False)
    with pytest.raises(TypeError, match="a loss of each sample and one output; got Cox"):
        jreg.tune(cox, jreg.L1(0.1), jreg.ApproximateLeaveOneOut())
    with pytest.raises(TypeError, match="inside jit"):
        jax.jit(lambda lam: jreg.tune(problem, jreg.L1(lam), jreg.SURE(1.0)).score)(0.1)
