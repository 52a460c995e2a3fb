"""`jreg.path` against scikit-learn, published numbers and closed forms; all in float64."""

import numpy as np
import pytest
import scipy.optimize
from cases import mixing
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import (
    ElasticNet,
    LogisticRegression,
    enet_path,
    lasso_path,
)
from sklearn.metrics import log_loss, r2_score
from sklearn.preprocessing import PolynomialFeatures

import jreg

TIGHT = {"tol": 1e-12}
UNSCALED = {"tol": 1e-12, "standardize": False}


def diabetes():
    """442 patients, 10 centred columns of norm 1: age sex bmi bp s1 s2 s3 s4 s5 s6."""
    return load_diabetes(return_X_y=True)


def cancer():
    """569 tumours, 30 columns of mean 0 and deviation 1; 1 is benign."""
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def expansion(degree):
    """All monomials of the diabetes columns up to a degree, with mean 0 and deviation 1."""
    X, y = diabetes()
    X = PolynomialFeatures(degree, include_bias=False).fit_transform(X / X.std(axis=0))
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def random_problem():
    """Correlated columns of different size, response, labels, weights and offset.

    The shape is that of the diabetes data, so that nothing is compiled twice.
    """
    n, p = 442, 10
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1)) + 1
    eta = X @ rng.normal(size=p) / 2
    y = eta + rng.normal(size=n)
    labels = (eta - eta.mean() + rng.logistic(size=n) > 0).astype(float)
    weight = rng.uniform(0.5, 3, n)
    return X * rng.uniform(0.3, 3, p), y, labels, weight, rng.normal(size=n)


def weighted_scale(X, weight):
    mean = np.average(X, axis=0, weights=weight)
    return np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))


def assert_close(actual, expected, rtol=1e-6):
    """Equal up to `rtol` of the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_whole_path(l1_ratio):
    X, y = diabetes()
    if l1_ratio == 1:
        options, penalty = {}, jreg.L1()
        reference = lasso_path
    else:
        options, penalty = {"l1_ratio": l1_ratio}, jreg.ElasticNet(l1_ratio=l1_ratio)
        reference = enet_path
    lams, coef, _ = reference(X, y - y.mean(), tol=1e-14, max_iter=10**6, **options)
    path = jreg.path(X, y, penalty, lams=lams, **UNSCALED)
    assert_close(path.coef, coef.T)
    assert_close(path.intercept, np.full(lams.size, y.mean()))
    assert (path.status == jreg.Status.CONVERGED).all()


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_weighted_squared_loss(l1_ratio, fit_intercept, standardize):
    X, y, _, weight, _ = random_problem()
    lams, penalty = [0.5, 0.1, 0.02], jreg.ElasticNet(l1_ratio=l1_ratio)
    options = {"fit_intercept": fit_intercept, "standardize": standardize, **TIGHT}
    path = jreg.path(X, y, penalty, lams=lams, sample_weight=weight, **options)
    scale = weighted_scale(X, weight) if standardize else np.ones(X.shape[1])
    assert_close(path.scale, scale, 1e-12)
    for k, lam in enumerate(lams):
        model = ElasticNet(
            lam, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-14, max_iter=10**6
        ).fit(X / scale, y, sample_weight=weight)
        assert_close(path.coef[k], model.coef_ / scale)
        np.testing.assert_allclose(path.intercept[k], model.intercept_, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_logistic_with_intercept(l1_ratio, weighted):
    X, _, labels, weight, _ = random_problem()
    X = (X - X.mean(axis=0)) / X.std(axis=0)  # for saga's sake
    weight = weight if weighted else np.ones_like(weight)
    lam = 0.05
    model = LogisticRegression(
        C=1 / (lam * weight.sum()), solver="saga", tol=1e-12, max_iter=10**5, random_state=0,
        **mixing(l1_ratio),
    ).fit(X, labels, sample_weight=weight)  # fmt: skip
    path = logistic_path(X, labels, l1_ratio, lam, sample_weight=weight)
    assert_close(path.coef, model.coef_)
    np.testing.assert_allclose(path.intercept, model.intercept_, atol=1e-6)
    np.testing.assert_allclose(path.predict(X)[0], model.predict_proba(X)[:, 1], atol=1e-6)
    assert (path.predict(X, "class")[0] == model.predict(X)).all()


@pytest.mark.parametrize("lam", [0.1, 0.01])
def test_logistic_without_intercept(lam):  # liblinear would penalise it
    X, _, labels, _, _ = random_problem()
    model = LogisticRegression(
        C=1 / (lam * labels.size), solver="liblinear", fit_intercept=False, tol=1e-12,
        max_iter=10**5, random_state=0, **mixing(1.0),
    ).fit(X, labels)  # fmt: skip
    path = logistic_path(X, labels, 1.0, lam, fit_intercept=False)
    assert_close(path.coef, model.coef_)


def test_logistic_ridge():
    X, _, labels, weight, _ = random_problem()
    lam = 0.05
    model = LogisticRegression(
        C=1 / (lam * weight.sum()), solver="newton-cholesky", tol=1e-12
    ).fit(X, labels, sample_weight=weight)  # fmt: skip
    path = logistic_path(X, labels, 0.0, lam, sample_weight=weight)
    assert_close(path.coef, model.coef_)
    np.testing.assert_allclose(path.intercept, model.intercept_, atol=1e-6)


def logistic_path(X, labels, l1_ratio, lam, **options):
    penalty = jreg.ElasticNet(l1_ratio=l1_ratio)
    return jreg.path(X, labels, penalty, jreg.Logistic(), lams=lam, **options, **UNSCALED)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic()], ids=["squared", "logistic"])
def test_offset_and_everything_at_once(loss, l1_ratio, fit_intercept):
    """No scikit-learn model has offsets: the optimality conditions, written anew."""
    X, y, labels, weight, offset = random_problem()
    lams = np.array([0.2, 0.05, 0.01])
    squared = isinstance(loss, jreg.Squared)
    y = y if squared else labels
    options = {"sample_weight": weight, "offset": offset, "fit_intercept": fit_intercept, **TIGHT}
    path = jreg.path(X, y, jreg.ElasticNet(l1_ratio=l1_ratio), loss, lams=lams, **options)
    eta = path.coef @ X.T + path.intercept[:, None] + offset
    mean = eta if squared else 1 / (1 + np.exp(-eta))
    residual = (mean - y) * weight / weight.sum()
    scale = weighted_scale(X, weight)
    gradient, w = residual @ X / scale, path.coef * scale
    limit = lams[:, None] * l1_ratio
    slope = gradient + lams[:, None] * (1 - l1_ratio) * w
    distance = np.where(w == 0, np.maximum(np.abs(slope) - limit, 0), slope + limit * np.sign(w))
    np.testing.assert_allclose(distance, 0, atol=1e-7)
    np.testing.assert_allclose(
        residual.sum(axis=1) if fit_intercept else path.intercept, 0, atol=1e-7
    )


# scikit-learn 1.9.1, tolerance 1e-14; the order of the features is age sex bmi bp s1 ... s6.
DIABETES = {
    "lasso, alpha 1": (1.0, 1.0, [0, 0, 367.70162582, 6.30970264, 0, 0, 0, 0, 307.60214746, 0]),
    "lasso, alpha 0.1": (
        1.0, 0.1,
        [0, -155.34311062, 517.2162412, 275.08722293, -52.55203581, 0, -210.13950904, 0,
         483.91717457, 33.66219214],
    ),
    "elastic net": (
        0.5, 0.01,
        [33.14952988, -35.24297257, 211.02747457, 144.55976802, 21.93070297, 0, -115.61921078,
         100.65756804, 185.32517348, 96.25698663],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIABETES)
def test_diabetes_table(case):
    l1_ratio, lam, coef = DIABETES[case]
    X, y = diabetes()
    path = jreg.path(X, y, jreg.ElasticNet(l1_ratio=l1_ratio), lams=lam, **UNSCALED)
    np.testing.assert_allclose(path.coef[0], coef, rtol=0, atol=1e-6)
    np.testing.assert_allclose(path.intercept, 152.13348416, atol=1e-8)


# Efron, Hastie, Johnstone, Tibshirani (2004), lasso path of the diabetes data: the knots as
# recomputed by R's lars and by scikit-learn (n * alpha), and the feature that changes there.
KNOTS = {
    949.4353: "bmi", 889.3138: "s5", 452.8957: "bp", 316.0734: "s3", 130.1295: "sex",
    88.7843: "s6", 68.9648: "s1", 19.9812: "s4", 5.4775: "s2", 5.0882: "age",
    2.1823: "s3", 1.3104: "s3",  # leaves, and returns
}  # fmt: skip


def test_knots_of_the_lasso_path():
    X, y = diabetes()
    names = np.array(load_diabetes().feature_names)
    knots = np.array(list(KNOTS)) / y.size
    lams = np.ravel([knots * (1 + 1e-3), knots * (1 - 1e-3)], order="F")
    path = jreg.path(X, y, lams=lams, feature_names=names, **UNSCALED)
    inside = path.coef != 0
    changed = inside[::2] != inside[1::2]
    assert [tuple(names[row]) for row in changed] == [(name,) for name in KNOTS.values()]
    assert (inside[1:-1:2] == inside[2::2]).all()  # nothing happens between two knots


def test_start_of_the_grid_and_the_end_of_the_path():
    X, y = diabetes()
    path = jreg.path(X, y, n_lams=3, **UNSCALED)
    np.testing.assert_allclose(path.lams[0], 2.14804357553, rtol=1e-11)  # LassoCV's largest alpha
    end = jreg.path(X, y, lams=0.0, **UNSCALED)
    np.testing.assert_allclose(np.abs(end.coef).sum(), 3459.9776, atol=1e-3)  # R's lars


# Breast cancer, columns standardised, free intercept; a proximal Newton run to KKT 6e-10.
CANCER_LAM_MAX = 0.3836832445
CANCER = {
    0.5: (0.5727416353, 3),
    0.2: (0.3997739636, 4),
    0.1: (0.2925840936, 5),
    0.05: (0.2129852326, 8),
}
CANCER_COEF = {7: -0.403934, 20: -1.496053, 21: -0.43793, 27: -1.130177, 28: -0.020326}  # at 0.1


def test_cancer_table():
    X, labels = cancer()
    lams = CANCER_LAM_MAX * np.array(list(CANCER))
    path = jreg.path(X, labels, jreg.L1(), jreg.Logistic(), lams=lams, **TIGHT)
    loss = [log_loss(labels, probability) for probability in path.predict(X)]
    objective = loss + lams * np.abs(path.coef).sum(axis=1)
    np.testing.assert_allclose(objective, [value for value, _ in CANCER.values()], atol=1e-9)
    assert path.n_nonzero.tolist() == [count for _, count in CANCER.values()]
    expected = np.zeros(X.shape[1])
    expected[list(CANCER_COEF)] = list(CANCER_COEF.values())
    np.testing.assert_allclose(path.coef[2], expected, atol=1e-6)
    np.testing.assert_allclose(path.intercept[2], 0.729084, atol=1e-6)
    grid = jreg.path(X, labels, jreg.L1(), jreg.Logistic(), n_lams=1)
    np.testing.assert_allclose(grid.lams, CANCER_LAM_MAX, atol=1e-10)


@pytest.mark.parametrize(
    ("lam", "l1_ratio", "coef"),
    [(0.1, 1, 0.85), (0.5, 1, 0.25), (1, 1, 0), (0.5, 0.3, 0.50820), (0.5, 0.5, 0.45454)],
)
def test_three_rows(lam, l1_ratio, coef):
    """X = y = (-1, 0, 1), as in scikit-learn's tests; repeated, next to columns of zeros."""
    X = np.zeros((442, 10))
    X[:, 0] = np.resize([-1.0, 0.0, 1.0], 442)
    weight = 1 / np.resize([148, 147, 147], 442)
    path = jreg.path(
        X, X[:, 0], jreg.ElasticNet(l1_ratio=l1_ratio), lams=lam, sample_weight=weight, **UNSCALED
    )
    assert (path.coef[0, 1:] == 0).all()
    np.testing.assert_allclose(path.coef[0, 0], coef, atol=1e-5)
    exact = max(2 / 3 - lam * l1_ratio, 0) / (2 / 3 + lam * (1 - l1_ratio))
    np.testing.assert_allclose(path.coef[0, 0], exact, atol=1e-7)
    np.testing.assert_allclose(path.intercept, 0, atol=1e-12)


def test_quadratic_expansion():
    X, y = expansion(2)
    correlation = np.triu(np.corrcoef(X.T), 1)
    X = X[:, np.abs(correlation).max(axis=0) < 1 - 1e-9]  # sex has two values: sex^2 goes
    assert X.shape == (442, 64)
    lams = np.geomspace(45, 0.05, 30)
    _, coef, _ = lasso_path(X, y - y.mean(), alphas=lams, tol=1e-15, max_iter=10**6)
    path = jreg.path(X, y, lams=lams, **TIGHT)
    assert_close(path.coef, coef.T)


def test_quartic_expansion():
    """More columns than rows, four of them equal, and far more of them dependent."""
    X, y = expansion(4)
    assert X.shape == (442, 1000)
    lams = np.abs(X.T @ (y - y.mean())).max() / y.size * np.array([0.3, 0.03])
    _, coef, _ = lasso_path(X, y - y.mean(), alphas=lams, tol=1e-12, max_iter=10**6)
    path = jreg.path(X, y, lams=lams, **TIGHT)
    assert (path.status == jreg.Status.CONVERGED).all()
    fitted = X @ coef + y.mean()
    assert_close(path.predict(X), fitted.T)
    loss = ((y - path.predict(X)) ** 2).mean(axis=1) / 2
    objective = loss + lams * np.abs(path.coef).sum(axis=1)
    expected = ((y - fitted.T) ** 2).mean(axis=1) / 2 + lams * np.abs(coef).sum(axis=0)
    np.testing.assert_allclose(objective, expected, rtol=1e-11)


@pytest.mark.parametrize("standardize", [False, True])
def test_ridge_closed_form(standardize):
    X, y, _, weight, offset = random_problem()
    lams = np.array([10.0, 0.1, 1e-3])
    options = {"sample_weight": weight, "offset": offset, "standardize": standardize, **TIGHT}
    path = jreg.path(X, y, jreg.Ridge(), lams=lams, **options)
    scale = weighted_scale(X, weight) if standardize else np.ones(X.shape[1])
    Z = np.column_stack([X / scale, np.ones(y.size)])
    penalised = np.diag(np.append(np.ones(X.shape[1]), 0))
    S = weight / weight.sum()
    for k, lam in enumerate(lams):
        solution = np.linalg.solve(
            Z.T @ (S[:, None] * Z) + lam * penalised, Z.T @ (S * (y - offset))
        )
        assert_close(path.coef[k], solution[:-1] / scale)
        np.testing.assert_allclose(path.intercept[k], solution[-1], atol=1e-7)


@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic()], ids=["squared", "logistic"])
def test_deviance_ratio(loss):
    X, y, labels, weight, _ = random_problem()
    squared = isinstance(loss, jreg.Squared)
    y = y if squared else labels
    path = jreg.path(X, y, jreg.ElasticNet(), loss, lams=[0.1, 0.01], sample_weight=weight)
    mean = np.average(y, weights=weight)
    for ratio, fitted in zip(path.deviance_ratio, path.predict(X), strict=True):
        if squared:
            expected = r2_score(y, fitted, sample_weight=weight)
        else:
            null = log_loss(y, np.full(y.size, mean), sample_weight=weight)
            expected = 1 - log_loss(y, fitted, sample_weight=weight) / null
        np.testing.assert_allclose(ratio, expected, rtol=1e-10)


def test_deviance_ratio_with_offset():
    """The null model has the offset: 1 - RSS / RSS of the best intercept next to the offset."""
    X, y, _, weight, offset = random_problem()
    path = jreg.path(X, y, jreg.ElasticNet(), lams=0.1, sample_weight=weight, offset=offset)
    null = np.average(y - offset, weights=weight) + offset
    rss = np.average((y - path.predict(X, offset=offset)[0]) ** 2, weights=weight)
    expected = 1 - rss / np.average((y - null) ** 2, weights=weight)
    np.testing.assert_allclose(path.deviance_ratio, expected, rtol=1e-10)


def test_limits_of_coefficients_against_bounded_optimisation():
    """w = u - v with 0 <= u <= upper and 0 <= v <= -lower, by SciPy's L-BFGS-B."""
    rng = np.random.default_rng(5)
    n, p = 60, 12
    X = rng.normal(size=(n, p))
    y = X[:, 0] * 2 - X[:, 1] - 0.2 * X[:, 2] + 0.3 * rng.normal(size=n)
    lower, upper = np.full(p, -0.5), np.full(p, 1.0)
    lower[3:6], upper[6:9], lower[2], upper[2] = 0, 0, -np.inf, np.inf
    penalty = jreg.L1() + jreg.Box(lower, upper)
    found = jreg.path(X, y, penalty, n_lams=6, fit_intercept=False, standardize=False, tol=1e-10)
    assert (found.status == jreg.Status.CONVERGED).all()

    def objective(uv, lam):
        w = uv[:p] - uv[p:]
        residual = X @ w - y
        slope = X.T @ residual / n
        value = residual @ residual / (2 * n) + lam * uv.sum()
        return value, np.concatenate([slope, -slope]) + lam

    bounds = [*zip(np.zeros(p), upper, strict=True), *zip(np.zeros(p), -lower, strict=True)]
    for lam, coef in zip(found.lams, found.coef, strict=True):
        best = scipy.optimize.minimize(
            objective,
            np.zeros(2 * p),
            (lam,),
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        np.testing.assert_allclose(coef, best.x[:p] - best.x[p:], atol=1e-5)
        assert (coef >= lower).all()
        assert (coef <= upper).all()
    assert found.n_nonzero[0] == 0  # the grid starts where nothing but the free side could enter
    assert found.coef[-1].max() == 1
