"""`cross_validate`: glmnet's numbers, scikit-learn's, a loop over `path`, and what may not leak."""

import json
from types import SimpleNamespace

import glmnet_references
import jax
import numpy as np
import pytest
from sklearn.linear_model import ElasticNetCV, LassoCV
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

import jreg
from jreg.path import cells
from jreg.path.along import Plan
from jreg.path.drive import checked, fits_of_weights
from jreg.path.inputs import precision, read_problem

TIGHT = {"tol": 1e-10}
REFERENCES = json.loads(glmnet_references.FILE.read_text())
GROUPED = jreg.GroupLasso(weights=np.ones(12), axis=0)

# name: the response, loss, penalty, measure, further options
GLMNET = {
    "gaussian": ("gaussian", jreg.Squared(), jreg.L1(), "mse", {}),
    "weighted": ("gaussian", jreg.Squared(), jreg.L1(), "mse", {"sample_weight": "weight"}),
    "absolute": ("gaussian", jreg.Squared(), jreg.L1(), "mae", {}),
    "binomial": ("binomial", jreg.Logistic(), jreg.L1(), "deviance", {}),
    "class": ("binomial", jreg.Logistic(), jreg.L1(), "misclassification", {}),
    "auc": ("binomial", jreg.Logistic(), jreg.L1(), "auc", {}),
    "poisson": ("poisson", jreg.Poisson(), jreg.L1(), "deviance", {}),
    "multinomial": ("multinomial", jreg.Multinomial(3), jreg.L1(), "deviance", {}),
    "grouped": ("multinomial", jreg.Multinomial(3), GROUPED, "deviance", {}),
    "mgaussian": ("responses", jreg.Squared(), GROUPED, "mse", {}),
    "cox": ("survival", jreg.Cox(), jreg.L1(), "deviance", {"fit_intercept": False}),
    "concordance": ("survival", jreg.Cox(), jreg.L1(), "concordance", {"fit_intercept": False}),
}


@pytest.mark.parametrize("name", GLMNET)
def test_numbers_of_glmnet(name):
    """The same folds and lambdas give cv.glmnet's means, errors and choices."""
    data, wanted = glmnet_references.data(), REFERENCES[name]
    response, loss, penalty, measure, options = GLMNET[name]
    options = {key: data[v] if isinstance(v, str) else v for key, v in options.items()}
    found = jreg.cross_validate(
        data["X"],
        data[response].astype(float),
        penalty,
        loss,
        folds=data["foldid"],
        lams=wanted["lams"],
        measure=measure,
        tol=1e-8,
        **options,
    )
    np.testing.assert_allclose(found.mean, wanted["mean"], rtol=2e-4)
    np.testing.assert_allclose(found.standard_error, wanted["error"], rtol=2e-3)
    np.testing.assert_allclose(found.lam_min, wanted["min"], rtol=1e-6)
    np.testing.assert_allclose(found.lam_1se, wanted["1se"], rtol=1e-6)


def rows(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.3, 3, p) + 1
    eta = X[:, :3] @ [1.0, -0.5, 0.3]
    return X, eta + rng.normal(size=n), (eta - eta.mean() + rng.logistic(size=n) > 0) * 1.0


# tall: folds are moments of least squares; wide: weights on one X
SHAPES = {"tall": (120, 12), "wide": (60, 90)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@every_shape
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic()], ids=["squared", "logistic"])
def test_is_a_loop_over_path(shape, standardize, fit_intercept, loss):
    """Folds of any weights and offsets, as anyone would write them by hand."""
    X, y, labels = rows(*shape)
    y = labels if isinstance(loss, jreg.Logistic) else y
    rng = np.random.default_rng(1)
    weight, offset = rng.integers(0, 4, len(y)).astype(float), 0.1 * rng.normal(size=len(y))
    options = {"standardize": standardize, "fit_intercept": fit_intercept, "tol": 1e-9}
    found = jreg.cross_validate(
        X, y, loss=loss, folds=4, n_lams=20, sample_weight=weight, offset=offset, **options
    )
    whole = jreg.path(X, y, loss=loss, n_lams=20, sample_weight=weight, offset=offset, **options)
    np.testing.assert_allclose(found.path.coef, whole.coef, atol=1e-10)
    for k, (train, test) in enumerate(zip(*found.folds, strict=True)):
        fold = jreg.path(
            X[train],
            y[train],
            loss=loss,
            lams=whole.lams,
            sample_weight=weight[train],
            offset=offset[train],
            **options,
        )
        eta = fold.predict(X[test], "link", offset[test])
        if isinstance(loss, jreg.Logistic):
            error = 2 * (np.logaddexp(0, eta) - y[test][None] * eta)
        else:
            error = (eta - y[test][None]) ** 2
        wanted = np.average(error, axis=1, weights=weight[test])
        np.testing.assert_allclose(found.fold_scores[k], wanted, rtol=1e-4)
    assert found.lam_1se >= found.lam_min


def fold_paths(X, y, train, lams, **options):
    problem, _ = read_problem(X, y, jreg.Squared(), None, None, None, True, True)
    with precision(np.float64):
        problem, penalty = checked(problem, jreg.L1())
        plan = Plan(tol=1e-10, lams=lams, **options)
        weights = np.where(train, 1.0, 0.0)
        return [fit.path for fit in fits_of_weights(problem, penalty, plan, weights)]


@every_shape
def test_nothing_leaks(shape):
    """Rows that a fold scores may hold anything: its coefficients stay what they are."""
    X, y, _ = rows(*shape)
    train = np.arange(len(y)) % 5 != np.arange(5)[:, None]
    lams = jreg.path(X, y, n_lams=15).lams
    before = fold_paths(X, y, train, lams)
    for k, held in enumerate(~train):
        noisy_X, noisy_y = X.copy(), y.copy()
        noise = np.random.default_rng(k)
        noisy_X[held] = 10 * X.std() * noise.normal(size=(held.sum(), X.shape[1]))
        noisy_y[held] = 10 * y.std() * noise.normal(size=held.sum())
        after = fold_paths(noisy_X, noisy_y, train, lams)[k]
        size = np.abs(before[k].coef).max()
        np.testing.assert_allclose(after.coef, before[k].coef, atol=1e-9 * size)
        np.testing.assert_allclose(after.intercept, before[k].intercept, rtol=1e-9)


@every_shape
def test_weights_are_repeated_rows(shape):
    X, y, _ = rows(*shape)
    times = np.arange(len(y)) % 3
    folds, again = np.arange(len(y)) % 4, np.repeat(np.arange(len(y)), times)
    weighted = jreg.cross_validate(X, y, folds=folds, sample_weight=times, n_lams=20, **TIGHT)
    repeated = jreg.cross_validate(X[again], y[again], folds=folds[again], n_lams=20, **TIGHT)
    ratio = (weighted.path.lams[-1] / repeated.path.lams[-1], 1)
    if shape[0] > shape[1]:
        np.testing.assert_allclose(*ratio, rtol=1e-12)
    options = {"lams": weighted.path.lams, **TIGHT}
    repeated = jreg.cross_validate(X[again], y[again], folds=folds[again], **options)
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-6)
    np.testing.assert_allclose(weighted.standard_error, repeated.standard_error, rtol=1e-5)


def test_lasso_cv_of_scikit_learn():
    X, y, _ = rows(*SHAPES["tall"])
    folds = KFold(5, shuffle=True, random_state=0)
    options = {"standardize": False, "tol": 1e-10, "folds": folds}
    found = jreg.cross_validate(X, y, n_lams=30, lam_min_ratio=1e-3, **options)
    twin = LassoCV(alphas=found.path.lams, cv=folds, tol=1e-10, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(found.fold_scores, twin.mse_path_.T, rtol=1e-6)
    np.testing.assert_allclose(found.lam_min, twin.alpha_, rtol=1e-12)
    np.testing.assert_allclose(found.params("min").coef, twin.coef_, atol=1e-6)


def test_elastic_net_cv_of_scikit_learn():
    """A grid of l1_ratio and lam; every ratio has lambdas of its own."""
    X, y, _ = rows(*SHAPES["tall"])
    folds, ratios = KFold(4), [0.2, 0.5, 0.9]
    options = {"standardize": False, "tol": 1e-10, "folds": folds, "l1_ratios": ratios}
    net = jreg.ElasticNet()
    found = jreg.cross_validate(X, y, net, n_lams=20, lam_min_ratio=1e-3, **options)
    twin = ElasticNetCV(
        l1_ratio=ratios, alphas=20, eps=1e-3, cv=folds, tol=1e-10, max_iter=100_000
    ).fit(X, y)
    assert found.setting == {"l1_ratio": twin.l1_ratio_}
    np.testing.assert_allclose(found.lam_min, twin.alpha_, rtol=1e-9)
    np.testing.assert_allclose(found.params("min").coef, twin.coef_, atol=1e-6)
    tried = {found.setting["l1_ratio"], *(other.setting["l1_ratio"] for other in found.others)}
    assert tried == set(ratios)
    assert all(other.mean.min() >= found.mean.min() for other in found.others)


def test_grid_of_gammas():
    X, y, _ = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, y, jreg.MCP(), folds=3, n_lams=15, gammas=[1.5, 3.0, 1e4])
    gammas = [found.setting["gamma"], *(other.setting["gamma"] for other in found.others)]
    assert sorted(gammas) == [1.5, 3.0, 1e4]
    lasso = jreg.cross_validate(X, y, folds=3, lams=found.path.lams)
    flat = next(r for r in (found, *found.others) if r.setting["gamma"] == 1e4)
    np.testing.assert_allclose(flat.mean, lasso.mean, rtol=1e-3)


@pytest.mark.parametrize(
    "penalty",
    [jreg.L1() + jreg.Box(-0.2, 0.4), jreg.L1(weights=np.r_[0, np.inf, np.ones(10)])],
    ids=["limits", "weights"],
)
def test_limits_and_weights_of_features(penalty):
    X, y, _ = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, y, penalty, folds=3, n_lams=10)
    coef = found.path.coef * found.path.scale
    if isinstance(penalty, jreg.L1):
        assert (coef[:, 0] != 0).all()
        assert (coef[:, 1] == 0).all()
    else:
        assert coef.min() >= -0.2 - 1e-12
        assert coef.max() <= 0.4 + 1e-12
    assert np.isfinite(found.mean).all()


def test_reproducible_from_a_key():
    X, y, _ = rows(*SHAPES["tall"])
    masks = [
        jreg.cross_validate(X, y, folds=3, n_lams=2, key=key).folds.test
        for key in (None, 0, 1, jax.random.key(5), jax.random.PRNGKey(5))
    ]
    assert (masks[0] == masks[1]).all()
    assert (masks[3] == masks[4]).all()
    assert (masks[1] != masks[2]).any()
    assert (masks[2] != masks[3]).any()


def test_repeats_and_overlapping_splits():
    """Repeated folds are many folds; splits that overlap are no sum of parts, and agree too."""
    X, y, _ = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, y, folds=3, repeats=2, n_lams=5)
    assert found.fold_scores.shape == (6, 5)
    assert (found.folds.test.sum(axis=0) == 2).all()
    splits = ShuffleSplit(4, test_size=0.3, random_state=0)
    found = jreg.cross_validate(X, y, folds=splits, n_lams=5, **TIGHT)
    for k, (train, test) in enumerate(splits.split(X)):
        fold = jreg.path(X[train], y[train], lams=found.path.lams, **TIGHT)
        wanted = ((fold.predict(X[test]) - y[test][None]) ** 2).mean(axis=1)
        np.testing.assert_allclose(found.fold_scores[k], wanted, rtol=1e-7)


@pytest.mark.parametrize("repeats", [1, 2])
def test_folds_of_tall_data_read_it_once(monkeypatch, repeats):
    """The moments of all folds of one drawing are made together."""
    calls, original = [], cells.moments
    monkeypatch.setattr(cells, "moments", lambda *a: calls.append(1) or original(*a))
    X, y, _ = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, y, folds=4, repeats=repeats, n_lams=6, **TIGHT)
    assert len(calls) == repeats
    for k, (train, test) in enumerate(zip(*found.folds, strict=True)):
        fold = jreg.path(X[train], y[train], lams=found.path.lams, **TIGHT)
        wanted = ((fold.predict(X[test]) - y[test][None]) ** 2).mean(axis=1)
        np.testing.assert_allclose(found.fold_scores[k], wanted, rtol=1e-7)


def test_groups_never_mix():
    X, y, _ = rows(*SHAPES["tall"])
    groups = np.arange(len(y)) // 7
    for folds in (4, GroupKFold(4)):
        found = jreg.cross_validate(X, y, folds=folds, groups=groups, n_lams=2)
        for train, test in zip(*found.folds, strict=True):
            assert not set(groups[train]) & set(groups[test])
    pairs = [(np.arange(50), np.arange(50, 120))]  # 49 to 55 are one group
    splitter = SimpleNamespace(split=lambda X, y, groups: pairs)
    for folds in (np.arange(120) % 4, pairs, splitter):
        with pytest.raises(ValueError, match=r"fold 0 both fits and scores rows of group \d+"):
            jreg.cross_validate(X, y, folds=folds, groups=groups, n_lams=2)
    whole = jreg.cross_validate(X, y, folds=groups % 4, groups=groups, n_lams=2)
    np.testing.assert_array_equal(whole.folds.test[1], groups % 4 == 1)


def test_sparse_float32_and_frames():
    sparse = pytest.importorskip("scipy.sparse")
    pandas = pytest.importorskip("pandas")
    X, y, _ = rows(*SHAPES["wide"])
    X = np.where(X > 1.5, X, 0)
    options = {"folds": 3, "n_lams": 8}
    dense = jreg.cross_validate(X, y, **options)
    thin = jreg.cross_validate(sparse.csr_array(X), y, **options)
    np.testing.assert_allclose(thin.mean, dense.mean, rtol=1e-5)
    names = [f"column {j}" for j in range(X.shape[1])]
    frame = jreg.cross_validate(pandas.DataFrame(X, columns=names), pandas.Series(y), **options)
    np.testing.assert_array_equal(frame.mean, dense.mean)
    assert frame.path.feature_names == tuple(names)
    single = jreg.cross_validate(X.astype(np.float32), y, **options)
    assert single.path.coef.dtype == np.float32
    np.testing.assert_allclose(single.mean, dense.mean, rtol=1e-3)


def test_predictions_and_choices():
    X, _, labels = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, labels, loss=jreg.Logistic(), folds=4, n_lams=20)
    for lam, k in (("min", found.index_min), ("1se", found.index_1se), (found.path.lams[7], 7)):
        np.testing.assert_allclose(found.predict(X, lam), found.path.predict(X)[k], rtol=1e-12)
        np.testing.assert_array_equal(found.params(lam).coef, found.path.coef[k])
    assert set(found.predict(X, kind="class")) <= {0, 1}
    better = found.mean[found.path.lams > found.lam_1se]
    assert (better > found.mean[found.index_min] + found.standard_error[found.index_min]).all()
    with pytest.raises(ValueError, match="not on the path"):
        found.params(found.path.lams[0] * 2)
    with pytest.raises(ValueError, match='"min", "1se"'):
        found.params("best")
    frame = found.to_dataframe()
    assert list(frame.columns[:4]) == ["lam", "mean", "standard_error", "n_nonzero"]
    assert "lam_1se" in repr(found)


def test_figure():
    X, y, _ = rows(*SHAPES["tall"])
    found = jreg.cross_validate(X, y, folds=4, n_lams=20)
    ax = found.plot()
    assert ax.get_ylabel() == "deviance"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["best", "within one standard error"]
    (points,) = [line for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(points.get_ydata(), found.mean)


def test_measure_of_ones_own():
    X, y, _ = rows(*SHAPES["tall"])

    def largest_error(loss, y, eta, weight):
        return np.abs(eta - y[None]).max(axis=1)

    found = jreg.cross_validate(X, y, folds=3, n_lams=5, measure=largest_error)
    assert found.measure == "largest_error"
    with pytest.raises(ValueError, match=r"must give shape \(5,\)"):
        jreg.cross_validate(X, y, folds=3, n_lams=5, measure=lambda *_: 1.0)


def test_a_measure_that_is_never_a_number_is_named():
    """One row has no pairs; a measure without a number at some lams still chooses."""
    X, y, labels = rows(*SHAPES["tall"])
    with pytest.raises(ValueError, match=r"auc of fold 0 is NaN.* Use fewer folds"):
        jreg.cross_validate(
            X[:12], labels[:12], loss=jreg.Logistic(), folds=12, n_lams=2, measure="auc"
        )

    def but_at_the_first(loss, y, eta, weight):
        error = np.square(eta - y[None]).mean(axis=1)
        error[0] = np.nan
        return error

    found = jreg.cross_validate(X, y, folds=3, n_lams=5, measure=but_at_the_first)
    assert found.index_min == np.nanargmin(found.mean) > 0


def test_a_second_data_set_compiles_nothing(caplog):
    X, y, _ = rows(*SHAPES["tall"])
    jreg.cross_validate(X, y, folds=4, n_lams=10)
    X, y, _ = rows(*SHAPES["tall"], seed=5)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        jreg.cross_validate(X, y, folds=4, n_lams=10, key=3)
    compiled = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
    assert compiled == []


BAD = {
    "one fold": ({"folds": 1}, "between 2 and"),
    "many folds": ({"folds": 1000}, "between 2 and"),
    "a fraction": ({"folds": 2.5}, "whole number"),
    "ids of another length": ({"folds": np.arange(5)}, "shape"),
    "one id": ({"folds": np.zeros(120, int)}, "two folds"),
    "ids as floats": ({"folds": np.linspace(0, 1, 120)}, "integers"),
    "row that is not there": ({"folds": [([0, 1], [500])]}, "row 500"),
    "overlap": ({"folds": [([0, 1, 2], [2, 3])]}, "row 2"),
    "nothing scored": ({"folds": [([0, 1], np.array([], int))]}, "no row"),
    "no folds": ({"folds": iter([])}, "empty"),
    "no pairs": ({"folds": [(1, 2, 3)]}, "integers|pairs|shape"),
    "groups": ({"groups": [1, 2]}, "groups"),
    "repeats": ({"folds": KFold(3), "repeats": 2}, "repeats"),
    "part of a repeat": ({"repeats": 2.7}, "repeats must be a whole number; got 2.7"),
    "measure": ({"measure": "auc"}, "mse"),
    "field": ({"l1_ratios": [0.5]}, "no l1_ratio"),
    "weights": (
        {"sample_weight": np.r_[np.ones(30), np.zeros(90)], "folds": np.arange(120) // 30},
        "fold 0",
    ),
    "lams": ({"lams": [-1.0]}, "at least 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    X, y, _ = rows(*SHAPES["tall"])
    options, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message):
        jreg.cross_validate(X, y, **options)


def test_missing_class_is_named():
    X, _, labels = rows(*SHAPES["tall"])
    with pytest.raises(ValueError, match=r"fold 0 cannot be fitted.*single class"):
        jreg.cross_validate(X, labels, loss=jreg.Logistic(), folds=(labels == 1).astype(int))
    found = jreg.cross_validate(X, labels, loss=jreg.Logistic(), folds=10, n_lams=2)
    share = [labels[test].mean() for test in found.folds.test]
    assert np.ptp(share) < 0.2


def test_traced_data_are_refused():
    X, y, _ = rows(*SHAPES["tall"])
    with pytest.raises(TypeError, match="host"):
        jax.jit(lambda y: jreg.cross_validate(X, y).mean)(y)
