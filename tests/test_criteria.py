"""Degrees of freedom against derivatives and Monte Carlo; criteria against formulas and peers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from cases import precision
from sklearn.linear_model import LassoLarsIC

import jreg

N, P = 40, 8
GROUPS = jreg.Groups([0, 0, 1, 1, 1, 2, 2, 3])


def data(n=N, p=P, seed=0, loss="squared"):
    """Correlated columns of different size and mean; three of them matter."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1))) * rng.uniform(0.5, 2, p) + 1
    eta = (X[:, :3] - 1) @ [0.8, -0.5, 0.4]
    y = {
        "squared": lambda: eta + rng.normal(size=n),
        "logistic": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(0.4 * eta)).astype(float),
    }[loss]()
    return X, y


def one_lam(problem, penalty, lam):
    """A path of one lambda, very exact."""
    with precision("float64"):
        return jax.tree.map(np.asarray, jreg.sweep(problem, penalty, jnp.array([lam]), tol=1e-12))


def free_columns(p=P):
    return np.r_[0.0, np.inf, np.ones(p - 2)]


# name: penalty, loss, lam, options of the problem
FITS = {
    "lasso": (jreg.L1(), "squared", 0.15, {}),
    "lasso, standardised": (jreg.L1(), "squared", 0.15, {"standardize": True}),
    "lasso, no intercept": (jreg.L1(), "squared", 0.15, {"fit_intercept": False}),
    "weights": (jreg.L1(weights=free_columns()), "squared", 0.15, {"standardize": True}),
    "elastic net": (jreg.ElasticNet(l1_ratio=0.5), "squared", 0.2, {"standardize": True}),
    "ridge": (jreg.Ridge(), "squared", 0.5, {}),
    "limits": (jreg.L1() + jreg.Box(-0.2, 0.3), "squared", 0.05, {}),
    "mcp": (jreg.MCP(gamma=4.0), "squared", 0.15, {"standardize": True}),
    "groups": (jreg.GroupLasso(groups=GROUPS), "squared", 0.1, {}),
    "sparse groups": (jreg.SparseGroupLasso(groups=GROUPS), "squared", 0.1, {"standardize": True}),
    "poisson": (jreg.L1(), "poisson", 0.05, {}),
    "poisson net": (jreg.ElasticNet(l1_ratio=0.5), "poisson", 0.05, {"standardize": True}),
    "poisson groups": (jreg.GroupLasso(groups=GROUPS), "poisson", 0.02, {"fit_intercept": False}),
}
LOSSES = {"squared": jreg.Squared(), "poisson": jreg.Poisson(), "logistic": jreg.Logistic()}


QUICK = ("limits", "sparse groups", "poisson net")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FITS]
)
def test_df_is_the_derivative_of_the_fit(name):
    """The trace of d mean / d y, by the implicit derivative of the solver; weights and offset."""
    penalty, loss, lam, options = FITS[name]
    X, y = data(loss=loss)
    rng = np.random.default_rng(1)
    weight, offset = rng.integers(1, 4, N).astype(float), 0.3 * rng.normal(size=N)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, LOSSES[loss], weight, offset, **options)
        path = one_lam(problem, penalty, lam)

        def mean(y):
            found = jreg.solve(dataclasses.replace(problem, y=y), penalty.at(lam), tol=1e-12)
            eta = X @ found.params.coef + found.params.intercept + offset
            return LOSSES[loss].inverse_link(eta)

        slope = np.asarray(jax.jacfwd(mean)(jnp.asarray(y)))
    found = jreg.criteria(path, X, y, sample_weight=weight, offset=offset)
    assert 1 < found.df[0] < P + 1
    np.testing.assert_allclose(found.df[0], np.trace(slope), rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["lasso", "groups", pytest.param("elastic net", marks=pytest.mark.slow)]
)
def test_df_against_monte_carlo(name):
    """sum_i cov(fit_i, y_i) / sigma^2 over 200 draws, within three standard errors."""
    penalty, _, lam, options = FITS[name]
    X, _ = data()
    signal, sigma = (X[:, :3] - 1) @ [0.8, -0.5, 0.4], 0.7
    noise = sigma * np.random.default_rng(2).normal(size=(200, N))
    with precision("float64"):

        @jax.jit
        @jax.vmap
        def fits(y):
            return jreg.sweep(
                jreg.LinearProblem(X, y, **options), penalty, jnp.array([lam, lam / 4])
            )

        batch = fits(signal + noise)
    difference = []
    for k, e in enumerate(noise):
        path = jax.tree.map(lambda a, k=k: np.asarray(a)[k], batch)
        path = dataclasses.replace(path, penalty=penalty)
        found = jreg.criteria(path, X, signal + e)
        fit = path.predict(X)
        difference.append((fit - signal[None]) @ e / sigma**2 - found.df)
    difference = np.array(difference)
    error = difference.std(axis=0) / np.sqrt(len(difference))
    assert np.all(error < 0.4)
    assert np.all(np.abs(difference.mean(axis=0)) < 3 * error)


def test_df_of_dependent_columns_is_the_rank():
    X, y = data()
    X = np.c_[X, X[:, 0], X[:, 1] + X[:, 2]]
    path = jreg.path(X, y, jreg.L1() + jreg.Box(-0.35, 0.35), standardize=False, n_lams=20)
    in_use = (np.abs(path.coef) > 0) & (np.abs(path.coef) < 0.35 - 1e-9)
    ranks = [1 + np.linalg.matrix_rank((X - X.mean(axis=0))[:, row]) for row in in_use]
    assert np.any(1 + in_use.sum(axis=1) > ranks)
    np.testing.assert_array_equal(jreg.criteria(path, X, y).df, ranks)


@pytest.mark.parametrize("p", [5, 60])
def test_df_of_ridge(p):
    """Tall and wide, one column without a penalty: the trace formula; leave-one-out exactly."""
    X, y = data(20, p)
    weights = np.r_[0.0, np.ones(p - 1)]
    lam = 0.3
    with precision("float64"):
        problem = jreg.LinearProblem(X, y)
        path = one_lam(problem, jreg.Ridge(weights=weights), lam)
    Z = np.c_[np.ones(20), X]
    ridge = 20 * lam * np.diag(np.r_[0, weights])
    hat = Z @ np.linalg.solve(Z.T @ Z + ridge, Z.T)
    found = jreg.criteria(path, X, y, loo=True)
    np.testing.assert_allclose(found.df[0], np.trace(hat), rtol=1e-8)
    left_out = (y - hat @ y) / (1 - np.diag(hat))
    np.testing.assert_allclose(found.loo[0], 0.5 * np.mean(left_out**2), rtol=1e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("penalty", [jreg.L1(), jreg.ElasticNet(l1_ratio=0.3)], ids=["l1", "net"])
def test_leave_one_out_is_that_of_tuning(loss, penalty):
    X, y = data(loss=loss)
    weight = np.random.default_rng(3).uniform(0.5, 2, N)
    path = jreg.path(X, y, penalty, LOSSES[loss], sample_weight=weight, n_lams=5, tol=1e-10)
    found = jreg.criteria(path, X, y, sample_weight=weight, loo=True)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, LOSSES[loss], weight, standardize=True).checked()
        for k, lam in enumerate(path.lams):
            params = jreg.Linear(path.coef[k][None], path.intercept[k][None])
            params = jax.tree.map(jnp.asarray, params)
            expected = jreg.ApproximateLeaveOneOut().score(problem, penalty.at(lam), params)
            np.testing.assert_allclose(found.loo[k], expected, rtol=1e-6)
    assert found.best("loo") == np.argmin(found.loo)


# --- the criteria -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["aic", "bic"])
def test_against_lasso_lars_ic(name):
    """scikit-learn's, which does not count the intercept, at its own alphas and noise level."""
    X, y = data(n=80)
    model = LassoLarsIC(criterion=name).fit(X, y)
    # just above each knot, where the coefficient that enters there is 0, as it is for scikit-learn
    lams = model.alphas_[:-1] * (1 + 1e-7)
    path = jreg.path(X, y, lams=lams, standardize=False, tol=1e-10)
    found = jreg.criteria(path, X, y)
    np.testing.assert_allclose(found.sigma**2, model.noise_variance_, rtol=1e-8)
    known = jreg.criteria(path, X, y, sigma=found.sigma)
    factor = 2 if name == "aic" else np.log(80)
    expected = model.criterion_[:-1] + factor
    np.testing.assert_allclose(getattr(known, name), expected, rtol=1e-7)
    np.testing.assert_allclose(found.lam(name), model.alpha_, rtol=1e-6)


def test_formulas():
    """Every criterion by hand, on weighted data with an unpenalised column."""
    X, y = data(n=60)
    weights = np.r_[0.0, np.ones(P - 1)]
    s = np.random.default_rng(4).integers(1, 4, 60)
    path = jreg.path(X, y, jreg.L1(weights=weights), sample_weight=s, n_lams=12)
    c = jreg.criteria(path, X, y, sample_weight=s, gamma=0.7)
    n, df = s.sum(), 1.0 + path.n_nonzero
    rss = (y[None] - path.predict(X)) ** 2 @ s
    like = n * np.log(2 * np.pi * rss / n) + n
    k = path.n_nonzero - 1
    choose = np.array([np.log(float(_binomial(P - 1, int(j)))) for j in k])
    sigma = np.sqrt(_least_squares(X, y, s) / (n - P - 1))
    for name, expected in {
        "df": df,
        "deviance": rss,
        "aic": like + 2 * df,
        "aicc": like + 2 * df * n / (n - df - 1),
        "bic": like + np.log(n) * df,
        "ebic": like + np.log(n) * df + 2 * 0.7 * choose,
        "cp": rss / n + 2 * df * sigma**2 / n,
        "gcv": n * rss / (n - df) ** 2,
    }.items():
        np.testing.assert_allclose(getattr(c, name), expected, rtol=1e-9, err_msg=name)
        if name not in ("df", "deviance"):
            assert c.best(name) == np.argmin(expected)
            assert c.lam(name) == path.lams[np.argmin(expected)]
    assert c.n_samples == n
    np.testing.assert_allclose(c.sigma, sigma, rtol=1e-9)


def _binomial(n, k):
    return np.prod([(n - i) / (i + 1) for i in range(k)]) if k else 1.0


def _least_squares(X, y, s):
    root = np.sqrt(s)
    Z = root[:, None] * np.c_[np.ones(len(y)), X]
    return np.sum((root * y - Z @ np.linalg.lstsq(Z, root * y, rcond=None)[0]) ** 2)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_glm_formulas_and_glmnets_convention(loss):
    """Deviance + 2 df; what users of glmnet write, -(nulldev - dev) + 2 k, up to a constant."""
    X, y = data(n=60, loss=loss)
    path = jreg.path(X, y, jreg.L1(), LOSSES[loss], n_lams=10, lam_min_ratio=0.05)
    c = jreg.criteria(path, X, y)
    np.testing.assert_allclose(c.df, path.n_nonzero + 1)
    mean = path.predict(X)
    if loss == "logistic":
        deviance = -2 * np.sum(np.log(np.where(y == 1, mean, 1 - mean)), axis=1)
    else:
        log_ratio = np.log(np.where(y > 0, y, 1) / mean)
        deviance = 2 * np.sum(y * log_ratio - y + mean, axis=1)
    np.testing.assert_allclose(c.aic, deviance + 2 * c.df, rtol=1e-9)
    null = deviance[0]  # the first lambda has no coefficients
    glmnet = -null * path.deviance_ratio + 2 * path.n_nonzero
    np.testing.assert_allclose(c.aic - c.aic[0], glmnet - glmnet[0], atol=1e-8)
    assert c.cp is None
    assert c.sigma is None
    with pytest.raises(ValueError, match="cp was not computed: it needs the squared loss"):
        c.lam("cp")


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_weight_k_is_the_row_k_times(loss):
    X, y = data(loss=loss)
    s = np.random.default_rng(5).integers(0, 4, N)
    penalty = jreg.ElasticNet(l1_ratio=0.7)
    X_long, y_long = np.repeat(X, s, axis=0), np.repeat(y, s)
    lams = [0.3, 0.1, 0.03]
    path = jreg.path(X, y, penalty, LOSSES[loss], sample_weight=s, lams=lams, tol=1e-11)
    weighted = jreg.criteria(path, X, y, sample_weight=s)
    repeated = jreg.criteria(path, X_long, y_long)
    for name in ("df", "deviance", "aic", "aicc", "bic", "ebic", "gcv"):
        a, b = getattr(weighted, name), getattr(repeated, name)
        np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=name)
    assert weighted.n_samples == s.sum()


def test_sparse_and_single_precision():
    """The same for a SciPy matrix; float32 paths to their precision."""
    X, y = data()
    X = np.where(np.abs(X) > 1, X, 0)
    lams = [0.4, 0.2, 0.1]
    dense = jreg.criteria(jreg.path(X, y, lams=lams), X, y, loo=True)
    sparse_X = scipy.sparse.csr_array(X)
    sparse = jreg.criteria(jreg.path(sparse_X, y, lams=lams), sparse_X, y, loo=True)
    single = X.astype(np.float32)
    half = jreg.criteria(jreg.path(single, y.astype(np.float32), lams=lams), single, y, loo=True)
    for name in ("df", "aic", "bic", "gcv", "loo"):
        np.testing.assert_allclose(getattr(sparse, name), getattr(dense, name), rtol=1e-4)
        np.testing.assert_allclose(getattr(half, name), getattr(dense, name), rtol=1e-3)


def test_more_features_than_samples():
    """The noise level comes from the path, and saturated fits are not preferred."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(60, 150))
    y = X[:, :3] @ [3.0, -2.0, 2.0] + rng.normal(size=60)
    path = jreg.path(X, y, lam_min_ratio=1e-4)
    c = jreg.criteria(path, X, y)
    assert 0.7 < c.sigma < 1.4
    assert c.df.max() > 58.5
    assert np.all(np.isinf(c.aicc[c.df > 58.5]))
    known = jreg.criteria(path, X, y, sigma=c.sigma)
    for name in ("aic", "aicc", "bic", "ebic", "cp"):
        np.testing.assert_allclose(getattr(known, name), getattr(c, name), rtol=1e-12)
        chosen = path.coef[c.best(name)] != 0
        assert chosen[:3].all()
        assert chosen.sum() < 30
    assert (path.coef[c.best("ebic")] != 0).sum() <= (path.coef[c.best("bic")] != 0).sum()


def test_lambdas_that_were_not_solved():
    X, y = data()
    path = jreg.path(X, y, n_lams=6)
    status = np.where(np.arange(6) == 3, int(jreg.Status.NOT_RUN), path.status)
    coef = np.where((np.arange(6) == 3)[:, None], np.nan, path.coef)
    whole = jreg.criteria(path, X, y)
    part = jreg.criteria(dataclasses.replace(path, status=status, coef=coef), X, y)
    kept = np.arange(6) != 3
    assert np.isnan([part.df[3], part.aic[3], part.aicc[3], part.ebic[3], part.gcv[3]]).all()
    np.testing.assert_allclose(part.bic[kept], whole.bic[kept], rtol=1e-12)
    none = dataclasses.replace(path, status=np.full(6, int(jreg.Status.NOT_RUN)))
    with pytest.raises(ValueError, match="bic is not finite at any lambda"):
        jreg.criteria(none, X, y).lam("bic")


def test_order_of_lambdas_and_ties():
    X, y = data()
    path = jreg.path(X, y, lams=[0.1, 0.4, 0.2])
    falling = jreg.criteria(jreg.path(X, y, lams=[0.4, 0.2, 0.1]), X, y)
    c = jreg.criteria(path, X, y)
    np.testing.assert_allclose(c.bic, falling.bic[[2, 0, 1]], rtol=1e-8)
    assert c.lam("aic") == falling.lam("aic")
    huge = jreg.criteria(jreg.path(X, y, lams=[50.0, 90.0, 70.0]), X, y)
    assert huge.lam("bic") == 90.0


def test_table_text_and_figure():
    X, y = data()
    c = jreg.criteria(jreg.path(X, y, n_lams=10), X, y, loo=True)
    table = c.to_dataframe()
    assert list(table.columns[:4]) == ["lam", "n_nonzero", "df", "deviance"]
    assert set(table.columns[4:]) == {"aic", "aicc", "bic", "ebic", "cp", "gcv", "loo"}
    assert table.shape == (10, 11)
    text = repr(c)
    assert f"bic   smallest at lam {c.lam('bic'):.4g} (row {c.best('bic')})" in text
    ax = c.plot("bic")
    assert ax.get_ylabel() == "BIC above its smallest"
    drawn = ax.lines[0].get_ydata()
    np.testing.assert_allclose(drawn, c.bic - c.bic.min())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(X=np.ones((N, 3))), ValueError, "X must have the 8 columns of the path; got 3"),
        (dict(y=np.ones(N - 1)), ValueError, r"y must have shape \(n_samples,\) = \(40,\)"),
        (dict(y=np.full(N, np.nan)), ValueError, "y must be finite"),
        (dict(sigma=0.0), ValueError, "sigma must be positive and finite; got 0.0"),
        (dict(gamma=2.0), ValueError, "gamma must be between 0 and 1; got 2.0"),
        (dict(sample_weight=np.zeros(N)), ValueError, "must have a positive entry"),
        (dict(path=3), TypeError, "path must be a jreg.Path; got int"),
    ],
)
def test_bad_input(change, error, message):
    X, y = data()
    given = {"path": jreg.path(X, y, lams=[0.3]), "X": X, "y": y}
    with pytest.raises(error, match=message):
        jreg.criteria(**{**given, **change})


def test_what_has_no_criteria():
    X, y = data()
    several = jreg.path(X, np.c_[y, y], lams=[0.3])
    with pytest.raises(TypeError, match="one path with one output"):
        jreg.criteria(several, X, y)
    path = jreg.path(X, y, lams=[0.3])
    with pytest.raises(TypeError, match="Squared, Logistic or Poisson; this path has Huber"):
        jreg.criteria(dataclasses.replace(path, loss=jreg.losses.Huber()), X, y)
    with pytest.raises(TypeError, match=r"separable penalties and for groups.*FusedLasso"):
        jreg.criteria(dataclasses.replace(path, penalty=jreg.FusedLasso()), X, y)
    logistic = jreg.path(X, (y > 0) * 1.0, loss=jreg.Logistic(), lams=[0.1])
    with pytest.raises(ValueError, match="sigma is of the squared loss; this path has Logistic"):
        jreg.criteria(logistic, X, (y > 0) * 1.0, sigma=3.0)
    with pytest.raises(ValueError, match=r"the criteria are aic, .*; got 'AIC'"):
        jreg.criteria(path, X, y).lam("AIC")
    with pytest.raises(ValueError, match="ask for it with loo=True"):
        jreg.criteria(path, X, y).best("loo")
    with pytest.raises(TypeError, match="criteria run on the host"):
        jax.jit(lambda y: jreg.criteria(path, X, y).bic)(y)
