"""`jreg.sklearn`: scikit-learn's own checks, its tools around the estimators, and its solutions."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import ElasticNet, Lasso, LassoCV, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jreg
from jreg.sklearn import Classifier, ClassifierCV, Regressor, RegressorCV

ALL = [Regressor, RegressorCV, Classifier, ClassifierCV]
every_class = pytest.mark.parametrize("cls", ALL)
RAW = {"standardize": False}  # scikit-learn's penalties see the columns as they are

# --- what scikit-learn asks of every estimator --------------------------------------------------

# These compare predictions to 1e-7, and predictions have half the digits of the gap.
TIGHT = {"Classifier": 1e-11, "ClassifierCV": 1e-7}
QUICK = (
    "check_all_zero_sample_weights_error",
    "check_complex_data",
    "check_dont_overwrite_attributes",
    "check_estimators_empty_data_messages",
    "check_estimators_nan_inf",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
)


def all_checks():
    """Every check of every class; those outside QUICK are slow."""
    mark = parametrize_with_checks([cls() for cls in ALL])
    for estimator, check in mark.args[1]:
        name = getattr(check, "func", check).__name__
        marks = [] if name in QUICK else [pytest.mark.slow]
        yield pytest.param(estimator, check, marks=marks, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(all_checks()))
def test_checks_of_scikit_learn(estimator, check):
    if "sample_weight_equivalence" in getattr(check, "func", check).__name__:
        estimator = clone(estimator).set_params(tol=TIGHT.get(type(estimator).__name__))
    check(estimator)


# --- data ---------------------------------------------------------------------------------------


def rows(n=80, p=6, seed=0):
    """X, a response, and labels of two classes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.5, 2, p) + 1
    eta = X[:, :3] @ [1.0, -0.5, 0.3]
    return X, eta + rng.normal(size=n), (eta - eta.mean() + rng.logistic(size=n) > 0) * 1


def data_of(cls):
    X, y, labels = rows()
    return (X, labels) if issubclass(cls, Classifier) else (X, y)


# --- the same solutions as scikit-learn's -------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_lasso_and_elastic_net(weighted):
    X, y, _ = rows()
    weight = np.random.default_rng(1).uniform(0, 2, len(y)) if weighted else None
    peers = [
        (Lasso(0.1, tol=1e-12), jreg.L1()),
        (ElasticNet(0.1, l1_ratio=0.4, tol=1e-12), jreg.ElasticNet(l1_ratio=0.4)),
    ]
    for peer, penalty in peers:
        peer.fit(X, y, sample_weight=weight)
        model = Regressor(penalty, lam=0.1, tol=1e-12, **RAW).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-6)
        np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-6)
        np.testing.assert_allclose(model.predict(X), peer.predict(X), atol=1e-6)
        assert model.coef_.shape == peer.coef_.shape
        assert model.path_.lams[-1] == model.lam_ == 0.1


def l1_logistic(C, **options):
    """LogisticRegression with an L1 penalty, whose name for it changed in scikit-learn 1.8."""
    new = "l1_ratio" in LogisticRegression().get_params() and LogisticRegression().l1_ratio == 0.0
    kind = {"l1_ratio": 1.0} if new else {"penalty": "l1"}
    return LogisticRegression(C=C, solver="saga", tol=1e-9, max_iter=100_000, **kind, **options)


def test_logistic_regression():
    X, _, labels = rows()
    peer = l1_logistic(C=1 / (80 * 0.02)).fit(X, labels)
    model = Classifier(lam=0.02, tol=1e-11, **RAW).fit(X, labels)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-5)
    for ask in ("predict_proba", "decision_function", "predict"):
        found, wanted = getattr(model, ask)(X), getattr(peer, ask)(X)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert found.shape == wanted.shape


@pytest.mark.slow
def test_multinomial_regression():
    iris = load_iris()
    X, y = StandardScaler().fit_transform(iris.data), iris.target_names[iris.target]
    peer = l1_logistic(C=1 / (150 * 0.02)).fit(X, y)
    model = Classifier(lam=0.02, tol=1e-11, **RAW).fit(X, y)
    np.testing.assert_array_equal(model.classes_, peer.classes_)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-3)
    np.testing.assert_allclose(model.intercept_.mean(), 0, atol=1e-12)
    assert (model.predict(X) == peer.predict(X)).all()
    assert model.decision_function(X).shape == (150, 3)


def test_lasso_cv():
    X, y, _ = rows()
    lams = np.geomspace(1, 0.01, 20)
    try:
        peer = LassoCV(alphas=lams, cv=KFold(5), tol=1e-10).fit(X, y)
    except TypeError:
        pytest.skip("this LassoCV takes no alphas")
    model = RegressorCV(cv=KFold(5), lams=lams, measure="mse", tol=1e-10, **RAW).fit(X, y)
    np.testing.assert_allclose(model.cv_path_.fold_scores, peer.mse_path_.T, rtol=1e-5)
    assert model.lam_ == peer.alpha_
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    simpler = clone(model).set_params(select="1se").fit(X, y)
    assert simpler.lam_ == model.cv_path_.lam_1se > model.lam_


# --- any penalty, any loss ----------------------------------------------------------------------


def test_groups_come_whole():
    X, y, labels = rows()
    penalty = jreg.GroupLasso(groups=jreg.Groups([0, 0, 0, 1, 1, 1]))
    for model in (
        Regressor(penalty, lam=0.5).fit(X, y),
        Classifier(penalty, lam=0.1).fit(X, labels),
        RegressorCV(penalty, cv=3, n_lams=10, select="1se").fit(X, y),
    ):
        nonzero = model.coef_.ravel() != 0
        assert nonzero[:3].all()
        assert not nonzero[3:].any()


def test_mcp_is_the_point_on_the_path_from_zero():
    X, y, _ = rows()
    model = Regressor(jreg.MCP(gamma=3.0), lam=0.2, tol=1e-10).fit(X, y)
    path = jreg.path(X, y, jreg.MCP(gamma=3.0), lams=model.path_.lams, tol=1e-10)
    np.testing.assert_allclose(model.coef_, path.coef[-1], atol=1e-8)
    assert model.path_.n_nonzero[0] == 0
    ratios = RegressorCV(jreg.MCP(), gammas=[2.0, 4.0], cv=3, n_lams=10).fit(X, y)
    assert ratios.cv_path_.setting["gamma"] in (2.0, 4.0)


@pytest.mark.parametrize("cross_validated", [False, True])
def test_poisson_predicts_means(cross_validated):
    X, y, _ = rows()
    counts = np.random.default_rng(2).poisson(np.exp(0.3 * y))
    options = {"cv": 3, "n_lams": 10} if cross_validated else {"lam": 0.02}
    cls = RegressorCV if cross_validated else Regressor
    model = cls(loss=jreg.Poisson(), **options).fit(X, counts)
    eta = X @ model.coef_ + model.intercept_
    np.testing.assert_allclose(model.predict(X), np.exp(eta), rtol=1e-12)
    np.testing.assert_allclose(model.predict(X).mean(), counts.mean(), rtol=1e-3)
    with pytest.raises(ValueError, match="y must"):
        model.fit(X, y)


@pytest.mark.slow
def test_losses_that_only_sweep_takes():
    X, y, labels = rows()
    robust = Regressor(loss=jreg.losses.Huber(), lam=0.05).fit(X, y)
    assert robust.score(X, y) > 0.3
    hinge = Classifier(loss=jreg.losses.SquaredHinge(), lam=0.05).fit(X, labels)
    assert hinge.score(X, labels) > 0.6
    assert not hasattr(hinge, "predict_proba")


@pytest.mark.slow
def test_several_responses():
    X, y, _ = rows()
    Y = np.stack([y, 2 * y + X[:, 5], X[:, 0]], axis=1)
    model = Regressor(jreg.GroupLasso(weights=np.ones(6), axis=0), lam=0.1).fit(X, Y)
    assert model.coef_.shape == (3, 6)
    assert model.intercept_.shape == (3,)
    np.testing.assert_allclose(model.predict(X), X @ model.coef_.T + model.intercept_)


@pytest.mark.slow
def test_two_classes_of_multinomial_look_like_two_classes():
    X, _, labels = rows()
    model = Classifier(loss=jreg.Multinomial(2), lam=0.02).fit(X, labels)
    probability = model.predict_proba(X)
    score = model.decision_function(X)
    np.testing.assert_allclose(np.log(probability[:, 1] / probability[:, 0]), score, atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), probability.argmax(axis=1))


# --- scikit-learn around them -------------------------------------------------------------------


@every_class
def test_clone_and_pickle(cls):
    X, y = data_of(cls)
    model = cls(jreg.ElasticNet(l1_ratio=0.5), tol=1e-7)
    copy = clone(model).fit(X, y)
    assert not hasattr(model, "coef_")
    assert copy.tol == 1e-7
    assert copy.penalty.l1_ratio == 0.5
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again.predict(X), copy.predict(X))
    assert "ElasticNet" in repr(model)


@every_class
def test_pipeline(cls):
    """`standardize` is scaling ahead: the pipeline predicts what the model alone does."""
    X, y = data_of(cls)
    raw = {} if cls in (RegressorCV, ClassifierCV) else RAW  # folds have scales of their own
    alone, piped = cls(tol=1e-9), make_pipeline(StandardScaler(), cls(tol=1e-9, **raw))
    ask = "predict_proba" if issubclass(cls, Classifier) else "predict"
    found = getattr(piped.fit(X, y), ask)(X)
    np.testing.assert_allclose(found, getattr(alone.fit(X, y), ask)(X), atol=1e-4)


def test_grid_search():
    X, y, _ = rows()
    grid = {"lam": [10.0, 0.1], "penalty": [jreg.L1(), jreg.ElasticNet(l1_ratio=0.5)]}
    search = GridSearchCV(Regressor(), grid, cv=3).fit(X, y)
    assert search.best_params_["lam"] == 0.1
    assert search.best_estimator_.predict(X).shape == (80,)


@every_class
def test_names_of_a_data_frame(cls):
    pd = pytest.importorskip("pandas")
    X, y = data_of(cls)
    frame = pd.DataFrame(X, columns=[f"column {j}" for j in range(6)])
    model = cls().fit(frame, y)
    assert list(model.feature_names_in_) == list(frame.columns) == list(model.path_.names())
    assert model.n_features_in_ == 6
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@every_class
def test_sparse_designs(cls):
    X, y = data_of(cls)
    X = np.where(X > 1, X, 0)
    dense = cls(tol=1e-9).fit(X, y)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
        model = cls(tol=1e-9).fit(kind(X), y)
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-4)
        np.testing.assert_allclose(model.predict(kind(X)), model.predict(X), atol=1e-12)


@pytest.mark.parametrize("cls", [Regressor, Classifier])
def test_weights_are_repeated_rows(cls):
    X, y = data_of(cls)
    weight = np.random.default_rng(3).integers(0, 4, len(y))
    weighted = cls(tol=1e-11).fit(X, y, sample_weight=weight)
    repeated = cls(tol=1e-11).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, atol=1e-6)


def test_a_class_of_absent_rows_is_absent():
    X, _, labels = rows()
    names = np.array(["a", "b"], dtype=object)[labels]
    three = np.append(names, ["c"])
    model = Classifier().fit(np.vstack([X, X[:1]]), three, sample_weight=np.append(labels + 1, 0))
    assert list(model.classes_) == ["a", "b"]
    assert set(model.predict(X)) == {"a", "b"}


# --- errors and warnings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (Regressor(lam=-1.0), ValueError, "at least 0"),
        (Regressor(lam=[1.0, 0.1]), ValueError, "lam must be one number"),
        (Regressor(tol=1e-20), ValueError, "tol must be at least"),
        (Regressor(jreg.L1), TypeError, "penalty"),
        (RegressorCV(select="best"), ValueError, 'select must be "min" or "1se"'),
        (RegressorCV(cv=1), ValueError, "folds must be a whole number"),
        (RegressorCV(measure="auc"), ValueError, "measure must be one of"),
        (Classifier(loss=jreg.Squared()), TypeError, "loss must be one of classes"),
    ],
)
def test_bad_parameters(model, error, message):
    X, y, labels = rows()
    with pytest.raises(error, match=message):
        model.fit(X, labels if isinstance(model, Classifier) else y)


def test_bad_data():
    X, y, _ = rows()
    with pytest.raises(ValueError, match="y has one class"):
        Classifier().fit(X, np.zeros(80))
    with pytest.raises(ValueError, match="3 classes need Multinomial"):
        Classifier(loss=jreg.Logistic()).fit(X, np.arange(80) % 3)
    with pytest.raises(ValueError, match="sample_weight must be at least 0"):
        Regressor().fit(X, y, sample_weight=-np.ones(80))
    with pytest.raises(NotFittedError):
        Classifier().predict(X)
    with pytest.raises(ValueError, match="Unknown label type"):
        Classifier().fit(X, y)


@pytest.mark.parametrize("cls", [Regressor, RegressorCV])
def test_a_fit_without_certificate_warns(cls, monkeypatch):
    """One lam of its own, or all that were to choose from."""
    count = {Regressor: 1, RegressorCV: 5}[cls]
    options = {RegressorCV: {"lams": np.geomspace(1, 0.1, 5)}}.get(cls, {})
    monkeypatch.setattr("jreg.sklearn.linear_model.is_solved", lambda status: status < 0)
    X, y = data_of(cls)
    with pytest.warns(ConvergenceWarning, match=f"{count} of {count} lambdas are not certified"):
        cls(**options).fit(X, y)


def test_without_scikit_learn_the_message_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import jreg; import jreg.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert 'jreg.sklearn needs scikit-learn: pip install "jreg[sklearn]"' in run.stderr
