"""Ridge paths: scikit-learn's answers, the plain way's, and what may go wrong."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge

import jreg
from jreg.path import along, ridge, wide_ridge
from jreg.status import Status

SHAPES = {"tall": (60, 12), "wide": (25, 70), "many columns": (8, 1300), "one row": (1, 5)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def rows(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.2, 5, p) + rng.normal(size=p)
    return X, X[:, : min(4, p)].sum(axis=1) + rng.normal(size=n)


@pytest.fixture
def closed(monkeypatch):
    """How many paths went the closed way; it fails if one needed another."""
    used, original = [], along.solve_ridge

    def noted(*args):
        used.append(1)
        return original(*args)

    monkeypatch.setattr(along, "solve_ridge", noted)
    monkeypatch.setattr(ridge, "solve_block", lambda *_: pytest.fail("not solved in closed form"))
    return used


@every_shape
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_numbers_of_scikit_learn(closed, shape, fit_intercept, weighted):
    X, y = rows(*shape)
    weight = np.random.default_rng(1).integers(0, 3, len(y)) + (np.arange(len(y)) == 0.0)
    weight = weight if weighted else np.ones(len(y))
    path = jreg.path(
        X, y, jreg.Ridge(), lam_min_ratio=1e-4, n_lams=60, sample_weight=weight,
        fit_intercept=fit_intercept, standardize=False,
    )  # fmt: skip
    assert (path.status == Status.CONVERGED).all()
    assert path.gap.max() <= 1e-6
    for k in (0, 24, 25, 59):
        there = Ridge(path.lams[k] * weight.sum(), fit_intercept=fit_intercept, solver="svd")
        there.fit(X, y, sample_weight=weight)
        size = max(np.abs(there.coef_).max(), 1e-10)
        np.testing.assert_allclose(path.coef[k], there.coef_, atol=1e-8 * size)
        np.testing.assert_allclose(path.intercept[k], there.intercept_, rtol=1e-7, atol=1e-9)
    assert len(closed) == 1


@pytest.mark.parametrize("shape", [(60, 12), (25, 70)], ids=["tall", "wide"])
@pytest.mark.parametrize("standardize", [True, False])
def test_is_what_the_plain_way_finds(monkeypatch, closed, shape, standardize):
    """Also with strengths of single features, excluded ones, and columns that are constant."""
    X, y = rows(*shape)
    X[:, 5] = 3.0
    weights = np.random.default_rng(2).uniform(0.5, 2, shape[1])
    weights[3] = np.inf
    options = {"standardize": standardize, "lams": [3.0, 0.5, 0.01], "tol": 1e-9}
    found = jreg.path(X, y, jreg.Ridge(weights=weights), **options)
    assert len(closed) == 1
    monkeypatch.setattr(along, "suits_ridge", lambda *_: False)
    plain = jreg.path(X, y, jreg.Ridge(weights=weights), **options)
    np.testing.assert_allclose(found.coef, plain.coef, atol=1e-5)
    assert (found.coef[:, [3, 5]] == 0).all()
    assert found.gap.max() <= 1e-9


def test_elastic_net_without_lasso(closed):
    X, y = rows(25, 70)
    path = jreg.path(X, y, jreg.ElasticNet(2.0, l1_ratio=0.0), lams=[0.5, 0.1])
    same = jreg.path(X, y, jreg.Ridge(), lams=[1.0, 0.2])
    np.testing.assert_allclose(path.coef, same.coef, rtol=1e-9)
    assert len(closed) == 2


def test_lam_0_and_any_order(closed):
    """0 goes another way: for it there may be no single answer."""
    X, y = rows(60, 12)
    path = jreg.path(X, y, jreg.Ridge(), lams=[0.1, 0.0, 2.0])
    there = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), y, rcond=None)[0]
    np.testing.assert_allclose(path.coef[1], there[:-1], atol=1e-5)
    assert (path.status == Status.CONVERGED).all()


def test_features_without_a_penalty_go_another_way(monkeypatch):
    X, y = rows(60, 12)
    monkeypatch.setattr(along, "solve_ridge", lambda *_: pytest.fail("the closed form has none"))
    path = jreg.path(X, y, jreg.Ridge(weights=np.arange(12.0)), lams=[1e6])
    assert np.abs(path.coef[0, 0]) > 0.1 > np.abs(path.coef[0, 1:]).max()


def test_one_precision_and_sparse_rows():
    X, y = rows(25, 70)
    wanted = jreg.path(X, y, jreg.Ridge(), lams=[1.0, 0.1])
    single = jreg.path(X.astype("float32"), y.astype("float32"), jreg.Ridge(), lams=[1.0, 0.1])
    assert single.coef.dtype == np.float32
    assert (single.status == Status.CONVERGED).all()
    np.testing.assert_allclose(single.coef, wanted.coef, atol=1e-3)
    sparse = jreg.path(sp.csr_array(X), y, jreg.Ridge(), lams=[1.0, 0.1])
    np.testing.assert_allclose(sparse.coef, wanted.coef, atol=1e-4)


def test_what_rounding_spoils_goes_the_plain_way(monkeypatch):
    """Nothing is believed that the certificate does not say."""
    X, y = rows(25, 70)
    wanted = jreg.path(X, y, jreg.Ridge(), lams=[1.0, 0.3, 0.1])
    original = ridge._solutions

    def spoilt(*args):
        params, eta = original(*args)
        return params._replace(coef=params.coef.at[0].multiply(1.2)), eta

    monkeypatch.setattr(ridge, "_solutions", spoilt)
    taken, plain = [], ridge.solve_block
    monkeypatch.setattr(ridge, "solve_block", lambda *a: taken.append(1) or plain(*a))
    path = jreg.path(X, y, jreg.Ridge(), lams=[1.0, 0.3, 0.1])
    assert len(taken) == 3
    assert (path.status == Status.CONVERGED).all()
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-3)


def test_folds():
    X, y = rows(40, 90)
    found = jreg.cross_validate(X, y, jreg.Ridge(), folds=4, n_lams=15)
    fold = jreg.path(X[found.folds.train[1]], y[found.folds.train[1]], jreg.Ridge(),
                     lams=found.path.lams)  # fmt: skip
    test = found.folds.test[1]
    wanted = ((fold.predict(X[test]) - y[test][None]) ** 2).mean(axis=1)
    np.testing.assert_allclose(found.fold_scores[1], wanted, rtol=1e-5)


# --- other losses, more features than rows ----------------------------------------------------

LOSSES = {"logistic": jreg.Logistic(), "poisson": jreg.Poisson(), "gamma": jreg.losses.Gamma()}


def response(kind, eta):
    rng = np.random.default_rng(4)
    eta = 1.5 * (eta - eta.mean()) / eta.std()
    if kind == "logistic":
        return (eta + rng.logistic(size=eta.size) > 0).astype(float)
    return (
        rng.poisson(np.exp(eta)).astype(float) if kind == "poisson" else rng.gamma(3, np.exp(eta))
    )


@pytest.fixture
def turned(monkeypatch):
    """How many blocks were solved by the rows; it fails if one is solved in all features."""
    used, plain = [], wide_ridge.solve_block

    def checked(data, *args):
        n = data.problem.weight.size
        assert data.entry.size == n, "needed the plain way for all features"
        used.append(1)
        return plain(data, *args)

    monkeypatch.setattr(wide_ridge, "solve_block", checked)
    return used


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_as_many_coordinates_as_rows(monkeypatch, turned, kind, fit_intercept):
    """With weights of rows and features, a row and a feature left out, and a constant column."""
    X, eta = rows(30, 80)
    X[:, 5] = 3.0
    y, weight = response(kind, eta), np.random.default_rng(1).uniform(0.5, 2, 30)
    weight[3] = 0
    strengths = np.random.default_rng(2).uniform(0.5, 2, 80)
    strengths[7] = np.inf
    lams = [2.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    options = {"lams": lams, "tol": 1e-9, "sample_weight": weight, "fit_intercept": fit_intercept}
    found = jreg.path(X, y, jreg.Ridge(2.0, weights=strengths), LOSSES[kind], **options)
    assert len(turned) == 2
    assert (found.status == Status.CONVERGED).all()
    assert found.gap.max() <= 1e-9
    assert (found.coef[:, 7] == 0).all()
    monkeypatch.setattr(along, "suits_wide_ridge", lambda *_: False)
    plain = jreg.path(X, y, jreg.Ridge(2.0, weights=strengths), LOSSES[kind], **options)
    size = np.abs(plain.coef).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found.coef / size, plain.coef / size, atol=2e-4)


def test_logistic_ridge_of_scikit_learn(turned):
    X, eta = rows(30, 80)
    y = response("logistic", eta)
    path = jreg.path(X, y, jreg.Ridge(), jreg.Logistic(), standardize=False, tol=1e-10, n_lams=12)
    assert len(turned) == 3
    for k in (0, 5, 11):
        there = LogisticRegression(C=1 / (30 * path.lams[k]), tol=1e-10, max_iter=10000)
        there.fit(X, y)
        size = np.abs(there.coef_).max()
        np.testing.assert_allclose(path.coef[k], there.coef_[0], atol=1e-4 * size)


def test_what_rounding_spoils_is_solved_in_all_features(monkeypatch):
    X, eta = rows(30, 80)
    y = response("logistic", eta)
    original = wide_ridge._turned_back

    def spoilt(*args):
        params, eta = original(*args)
        return params._replace(coef=params.coef.at[0].multiply(1.2)), eta

    monkeypatch.setattr(wide_ridge, "_turned_back", spoilt)
    path = jreg.path(X, y, jreg.Ridge(), jreg.Logistic(), lams=[1.0, 0.3, 0.1])
    assert (path.status == Status.CONVERGED).all()
