"""The relaxed and the adaptive lasso."""

import json

import glmnet_references
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import jreg
from jreg.status import Status

DATA = glmnet_references.data()
WANTED = json.loads(glmnet_references.FILE.read_text())["relaxed"]
TIGHT = {"tol": 1e-9}


def test_numbers_of_glmnet():
    """Cross-validation over lam and gamma, and the refit itself."""
    found = jreg.cross_validate(
        DATA["X"],
        DATA["gaussian"],
        folds=DATA["foldid"],
        lams=WANTED["lams"],
        relax=[0, 0.25, 0.5, 0.75],
        **TIGHT,
    )
    results = {one.setting["relax"]: one for one in (found, *found.others)}
    assert set(results) == {0, 0.25, 0.5, 0.75, 1}
    for gamma, one in results.items():
        np.testing.assert_allclose(one.mean, WANTED[f"gamma={gamma:g}"], rtol=2e-5)
    assert [found.lam_min, found.setting["relax"]] == pytest.approx(WANTED["best"])
    path = jreg.path(DATA["X"], DATA["gaussian"], lams=WANTED["lams"], **TIGHT)
    refit = jreg.relax(path, DATA["X"], DATA["gaussian"])
    wanted = WANTED["refit"]
    np.testing.assert_allclose([refit.intercept[7], *refit.coef[7]], wanted, atol=1e-5)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_refits_are_least_squares(fit_intercept):
    """With weights and an offset; blends lie between."""
    X, y, weight = DATA["X"] + 1, DATA["gaussian"], DATA["weight"].astype(float)
    offset = 0.3 * X[:, 0]
    data = {"sample_weight": weight, "offset": offset}
    path = jreg.path(X, y, fit_intercept=fit_intercept, n_lams=12, **data)
    refit = jreg.relax(path, X, y, **data)
    ones = np.ones((len(y), int(fit_intercept)))
    for k, coef in enumerate(path.coef):
        at = np.nonzero(coef)[0]
        A = np.sqrt(weight)[:, None] * np.concatenate([ones, X[:, at]], axis=1)
        wanted = np.linalg.lstsq(A, np.sqrt(weight) * (y - offset), rcond=None)[0]
        found = np.append(refit.intercept[k : k + int(fit_intercept)], refit.coef[k, at])
        np.testing.assert_allclose(found, wanted, atol=1e-10)
        assert (refit.coef[k, coef == 0] == 0).all()
    half = jreg.relax(path, X, y, 0.5, **data)
    np.testing.assert_allclose(half.coef, (path.coef + refit.coef) / 2, atol=1e-12)
    assert (refit.deviance_ratio >= half.deviance_ratio - 1e-12).all()
    assert (half.deviance_ratio >= path.deviance_ratio - 1e-12).all()
    same = jreg.relax(path, X, y, 1.0, **data)
    np.testing.assert_array_equal(same.coef, path.coef)
    np.testing.assert_array_equal(same.gap, path.gap)
    eta = refit.predict(X, offset=offset)
    null = np.average(
        (y - offset - fit_intercept * np.average(y - offset, weights=weight)) ** 2, weights=weight
    )
    ratio = 1 - np.average((eta - y[None]) ** 2, axis=1, weights=weight) / null
    np.testing.assert_allclose(refit.deviance_ratio, ratio, atol=1e-10)


def test_refits_of_counts_and_classes():
    X, y = DATA["X"], DATA["binomial"].astype(float)
    path = jreg.path(X, y, loss=jreg.Logistic(), n_lams=8, lam_min_ratio=0.05)
    refit = jreg.relax(path, X, y)
    for k in range(1, 8):
        at = np.nonzero(path.coef[k])[0]
        twin = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X[:, at], y)
        np.testing.assert_allclose(refit.coef[k, at], twin.coef_[0], atol=1e-4)
        np.testing.assert_allclose(refit.intercept[k], twin.intercept_[0], atol=1e-4)
    counts = DATA["poisson"].astype(float)
    path = jreg.path(X, counts, loss=jreg.Poisson(), n_lams=8)
    refit = jreg.relax(path, X, counts)
    slope = np.exp(refit.predict(X, "link")) - counts[None]
    gradient = slope @ X / len(X)
    assert np.abs(gradient[refit.coef != 0]).max() < 1e-6
    assert np.abs(slope.mean(axis=1)).max() < 1e-6


def test_saturated_supports_and_duplicates():
    """More features than rows: the shortest refit; twins share."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 60))
    X = np.concatenate([X, X[:, :1]], axis=1)
    y = X[:, 0] + 0.1 * rng.normal(size=20)
    path = jreg.path(X, y, jreg.ElasticNet(1.0, 0.5), n_lams=30, lam_min_ratio=1e-4)
    refit = jreg.relax(path, X, y)
    assert np.isfinite(refit.coef).all()
    np.testing.assert_allclose(refit.coef[5, 0], refit.coef[5, -1], rtol=1e-6)
    assert (refit.deviance_ratio >= path.deviance_ratio - 1e-8).all()


def test_separated_classes_are_flagged():
    X = np.linspace(-1, 1, 40)[:, None] + np.zeros((1, 2))
    X[:, 1] = np.random.default_rng(0).normal(size=40)
    y = (X[:, 0] > 0).astype(float)
    path = jreg.path(X, y, loss=jreg.Logistic(), n_lams=5)
    refit = jreg.relax(path, X, y)
    assert refit.status[0] == Status.CONVERGED  # the null model
    assert (refit.status[1:] == Status.MAX_STEPS).all()


def test_sparse_designs():
    sparse = pytest.importorskip("scipy.sparse")
    X = np.where(DATA["X"] > 0.5, DATA["X"], 0)
    path = jreg.path(X, DATA["gaussian"], n_lams=6)
    dense = jreg.relax(path, X, DATA["gaussian"])
    thin = jreg.relax(path, sparse.csc_array(X), DATA["gaussian"])
    np.testing.assert_allclose(thin.coef, dense.coef, atol=1e-10)


def test_bad_input():
    X, y = DATA["X"], DATA["gaussian"]
    path = jreg.path(X, y, n_lams=3)
    with pytest.raises(ValueError, match="gamma must be between 0 and 1"):
        jreg.relax(path, X, y, 1.5)
    with pytest.raises(ValueError, match="12 columns"):
        jreg.relax(path, X[:, :3], y)
    with pytest.raises(ValueError, match="relax must be between 0 and 1"):
        jreg.cross_validate(X, y, relax=[-1], folds=3, n_lams=3)
    several = jreg.path(X, DATA["responses"], n_lams=3)
    with pytest.raises(ValueError, match="one output"):
        jreg.relax(several, X, DATA["responses"])


def test_weights_of_a_first_fit():
    weights = jreg.selection.adaptive_weights([2.0, 0.0, -0.5], power=2)
    np.testing.assert_allclose(weights, [0.25, np.inf, 4])
    for coef, power, message in (
        ([0.0, 0.0], 1, "every coefficient"),
        ([1.0, np.nan], 1, "finite"),
        ([1.0], 0, "positive"),
    ):
        with pytest.raises(ValueError, match=message):
            jreg.selection.adaptive_weights(coef, power)


@pytest.mark.parametrize("shape", [(120, 12), (60, 90)], ids=["tall", "wide"])
def test_adaptive_lasso_by_hand(shape):
    """Both stages in every fold, with weights of the fold's own rows."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=shape) * rng.uniform(0.5, 2, shape[1])
    y = X[:, :3] @ [1.0, -1.0, 0.5] + rng.normal(size=shape[0])
    folds = np.arange(len(y)) % 4
    first = jreg.cross_validate(X, y, folds=folds, n_lams=20, **TIGHT)
    found = jreg.adaptive_lasso(X, y, folds=folds, n_lams=20, **TIGHT)
    k = first.index_min

    def weights(path):
        size = np.abs(path.coef[k] * path.scale)
        return np.divide(1, size, out=np.full(size.shape, np.inf), where=size > 0)

    np.testing.assert_allclose(found.path.penalty.weights, weights(first.path), rtol=1e-5)
    out = first.path.coef[k] == 0
    assert (found.path.coef[:, out] == 0).all()
    for fold, score in enumerate(found.fold_scores):
        train, test = folds != fold, folds == fold
        pilot = jreg.path(X[train], y[train], lams=first.path.lams, **TIGHT)
        penalty = jreg.L1(weights=weights(pilot))
        second = jreg.path(X[train], y[train], penalty, lams=found.path.lams, **TIGHT)
        wanted = ((second.predict(X[test]) - y[test][None]) ** 2).mean(axis=1)
        np.testing.assert_allclose(score, wanted, rtol=1e-4)


def test_adaptive_lasso_finds_the_support():
    """Large coefficients are shrunk less than by the lasso, small ones go."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 40))
    y = X[:, :3] @ [3.0, -2.0, 1.5] + rng.normal(size=200)
    lasso = jreg.cross_validate(X, y, folds=5)
    found = jreg.adaptive_lasso(X, y, folds=5)
    support = np.nonzero(found.params("1se").coef)[0]
    assert support.tolist() == [0, 1, 2]
    assert (found.params("min").coef != 0).sum() < (lasso.params("min").coef != 0).sum()
    with pytest.raises(TypeError, match="weights"):
        jreg.adaptive_lasso(X, y, jreg.Nuclear())
    for penalty in (jreg.SLOPE(), jreg.GroupLasso(groups=jreg.Groups.of_sizes([2] * 20))):
        with pytest.raises(TypeError, match=r"weights of single features.*got (SLOPE|GroupLasso)"):
            jreg.adaptive_lasso(X, y, penalty, standardize=False)
    with pytest.raises(TypeError, match="relax"):
        jreg.adaptive_lasso(X, y, relax=[0])
    with pytest.raises(ValueError, match='"min" or "1se"'):
        jreg.adaptive_lasso(X, y, first="best")
