"""Every loss in `solve` and `sweep`: against scikit-learn, with one output and with several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from sklearn import linear_model

import jreg
import jreg.losses as L
from jreg import Status
from jreg.penalties import MCP, Box

N, P, K = 60, 5, 3
TIGHT = 1e-9


def data(seed=0, n=N, p=P):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.5
    eta = X[:, :3] @ [0.4, -0.3, 0.2] + 0.3
    return X, eta, rng


def counts():
    X, eta, rng = data()
    return X, rng.poisson(np.exp(eta)).astype(float)


def times():
    X, eta, rng = data()
    return X, rng.gamma(2.0, np.exp(eta) / 2)


def outliers():
    X, eta, rng = data()
    return X, eta + rng.standard_t(2, N)


def classes():
    X, _, rng = data()
    scores = X @ rng.normal(size=(P, K)) + [0.5, 0, -0.5] + rng.gumbel(size=(N, K))
    return X, scores.argmax(1)


def responses():
    X, eta, rng = data()
    return X, np.stack([eta, -2 * eta, X[:, 3]], 1) + 0.3 * rng.normal(size=(N, K)) + [1, 2, 3]


def signs():
    X, eta, rng = data()
    return X, np.where(eta + rng.normal(size=N) > np.median(eta), 1.0, -1.0)


def survival(strata=False):
    X, eta, rng = data()
    y = [np.ceil(5 * rng.exponential(np.exp(-eta))), rng.random(N) < 0.8]
    return X, np.stack([*y, *([rng.integers(0, 2, N)] if strata else [])], 1).astype(float)


PROBLEMS = {
    "poisson": (counts, L.Poisson()),
    "gamma": (times, L.Gamma()),
    "huber": (outliers, L.Huber(1.0)),
    "smoothed_pinball": (outliers, L.SmoothedPinball(0.3, width=0.5)),
    "squared_hinge": (signs, L.SquaredHinge()),
    "multinomial": (classes, L.Multinomial(K)),
    "squared_multi": (responses, L.Squared()),
}
every_problem = pytest.mark.parametrize("name", PROBLEMS)


def solve(X, y, loss, penalty, dtype="float64", *, tol=TIGHT, solver=None, params=None, **options):
    with precision(dtype):
        options = {
            k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()
        }
        problem = jreg.LinearProblem(X.astype(dtype), y.astype(dtype), loss, **options)
        found = jreg.solve(problem, penalty, params, solver=solver, tol=tol)
        assert found.params.coef.dtype == dtype
    return jax.tree.map(np.asarray, found)


def assert_converged(found, tol=TIGHT):
    assert found.status == Status.CONVERGED, Status(int(found.status)).describe()
    assert found.gap <= tol or (np.isnan(found.gap) and found.residual <= tol)


# --- laws -------------------------------------------------------------------------------------


def objective(X, y, loss, penalty, coef, intercept):
    with precision("float64"):
        eta = X @ coef + intercept
        return float(jnp.mean(loss.pointwise(eta, y)) + penalty.value(coef))


@every_problem
@pytest.mark.parametrize("standardize", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_certified_optimum(name, standardize):
    """No move in a random direction lowers the objective; the gap bounds what is left."""
    make, loss = PROBLEMS[name]
    X, y = make()
    rng = np.random.default_rng(1)
    tight = solve(X, y, loss, jreg.L1(0.03), standardize=standardize)
    assert_converged(tight)
    loose = solve(X, y, loss, jreg.L1(0.03), standardize=standardize, tol=1e-3)
    assert loose.gap <= 1e-3
    weights = X.std(0) if standardize else np.ones(P)
    coef, b = tight.params
    weights = np.broadcast_to(weights if coef.ndim == 1 else weights[:, None], coef.shape)
    penalty = jreg.L1(0.03, weights=weights)
    best = objective(X, y, loss, penalty, coef, b)
    np.testing.assert_allclose(tight.value, best, rtol=1e-12)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(5):
            moved = coef + size * rng.normal(size=coef.shape), b + size * rng.normal(size=b.shape)
            assert objective(X, y, loss, penalty, *moved) > best - 1e-9
    # relative to the null model's objective above the saturated one
    null = objective(
        X, y, loss, penalty, 0 * coef, solve(X, y, loss, jreg.L1(1e3)).params.intercept
    )
    with precision("float64"):
        null -= float(jnp.mean(loss.pointwise(0 * (X @ coef) + b, y)))
        null += float(jnp.mean(loss.deviance(0 * (X @ coef) + b, y))) / 2
    assert loose.value - best <= loose.gap * null * (1 + 1e-6) + 1e-12


@every_problem
def test_all_zero_beyond_lam_max(name):
    """... and the null model there fits the mean; below it something enters."""
    make, loss = PROBLEMS[name]
    X, y = make()
    null = solve(X, y, loss, jreg.L1(1e3))
    assert_converged(null)
    assert (null.params.coef == 0).all()
    with precision("float64"):
        eta = np.broadcast_to(null.params.intercept, (N, *null.params.intercept.shape))
        gradient = np.asarray(loss.gradient(jnp.array(eta), jnp.array(y)))
        lam_max = np.abs((X - X.mean(0)).T @ gradient / N).max()
    np.testing.assert_allclose(gradient.mean(0), 0, atol=1e-7)
    assert (solve(X, y, loss, jreg.L1(1.001 * lam_max)).params.coef == 0).all()
    assert (solve(X, y, loss, jreg.L1(0.98 * lam_max), tol=1e-10).params.coef != 0).any()


@every_problem
def test_weights_are_repeated_rows(name):
    make, loss = PROBLEMS[name]
    X, y = make()
    k = np.random.default_rng(2).permutation(np.resize([0, 1, 2], N))  # N rows again
    rows = np.repeat(np.arange(N), k)
    y_bad = y.astype(float).copy()
    y_bad[k == 0] = np.nan  # an absent row may hold anything
    a = solve(X, y_bad, loss, jreg.L1(0.05), sample_weight=k.astype(float))
    b = solve(X[rows], y[rows], loss, jreg.L1(0.05))
    np.testing.assert_allclose(a.value, b.value, rtol=1e-8)
    np.testing.assert_allclose(a.params.coef, b.params.coef, atol=2e-4)


@pytest.mark.slow
@every_problem
def test_float32(name):
    make, loss = PROBLEMS[name]
    X, y = make()
    found = solve(X, y, loss, jreg.L1(0.03), "float32", tol=None)
    assert found.status in (Status.CONVERGED, Status.AT_PRECISION)
    exact = solve(X, y, loss, jreg.L1(0.03))
    np.testing.assert_allclose(found.value, exact.value, atol=2e-4)
    np.testing.assert_allclose(found.params.coef, exact.params.coef, atol=0.02)


@pytest.mark.slow
@every_problem
def test_units_do_not_matter(name):
    """Columns in units from 1e-4 to 1e4, standardised: the same fit."""
    make, loss = PROBLEMS[name]
    X, y = make()
    units = 10.0 ** np.array([-4, 4, 0, 2, -2])
    a = solve(X, y, loss, jreg.L1(0.03), standardize=True)
    b = solve(X * units, y, loss, jreg.L1(0.03), standardize=True)
    assert_converged(b)
    np.testing.assert_allclose(a.value, b.value, rtol=1e-7)


@pytest.mark.slow
@every_problem
def test_sweep_is_a_loop(name):
    make, loss = PROBLEMS[name]
    X, y = make()
    lams = [0.3, 0.1, 0.03]
    with precision("float64"):
        problem = jreg.LinearProblem(X, y.astype(float), loss)
        path = jax.tree.map(
            np.asarray, jreg.sweep(problem, jreg.L1(), np.array(lams), block=2, tol=TIGHT)
        )
    assert (path.status == Status.CONVERGED).all()
    assert (np.diff(path.deviance_ratio) >= 0).all()
    assert path.deviance_ratio[-1] > 0.01
    assert path.n_nonzero.shape == (3,)
    for lam, coef, b in zip(lams, path.coef, path.intercept, strict=True):
        alone = solve(X, y, loss, jreg.L1(lam)).params
        np.testing.assert_allclose(coef, alone.coef, atol=2e-4)
        np.testing.assert_allclose(b, alone.intercept, atol=2e-3)


@every_problem
def test_offset(name):
    """An offset of the whole fit leaves nothing to fit."""
    make, loss = PROBLEMS[name]
    X, y = make()
    first = solve(X, y, loss, jreg.L1(1e-3)).params
    offset = X @ first.coef + first.intercept
    found = solve(X, y, loss, jreg.L1(0.01), offset=offset)
    assert_converged(found)
    np.testing.assert_allclose(found.params.coef, 0, atol=1e-6)
    shift = found.params.intercept - np.mean(found.params.intercept)
    np.testing.assert_allclose(shift, 0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "multinomial", "squared_multi", "huber"])
def test_free_columns(name):
    """Weight 0 leaves a feature out of the penalty, and out of the null model's residual."""
    make, loss = PROBLEMS[name]
    X, y = make()
    outputs = (K,) if name in ("multinomial", "squared_multi") else ()
    weights = np.ones((P, *outputs))
    weights[1] = 0
    found = solve(X, y, loss, jreg.L1(1e3, weights=weights), tol=1e-7)
    assert_converged(found, 1e-7)
    alone = solve(X[:, 1:2], y, loss, jreg.L1(0.0, weights=np.zeros((1, *outputs))), tol=1e-7)
    np.testing.assert_allclose(found.value, alone.value, rtol=1e-6)
    np.testing.assert_allclose(
        found.params.coef[1] - found.params.coef[1].mean(),
        alone.params.coef[0] - alone.params.coef[0].mean(),
        atol=1e-3,
    )


# --- scikit-learn -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "loss", "model"),
    [
        (counts, L.Poisson(), linear_model.PoissonRegressor),
        (times, L.Gamma(), linear_model.GammaRegressor),
    ],
)
@pytest.mark.parametrize(
    "solver", [jreg.ProxNewton(), pytest.param(jreg.FISTA(), marks=pytest.mark.slow)]
)
def test_scikit_learn_glm(make, loss, model, solver):
    X, y = make()
    theirs = model(alpha=0.05, tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(X, y)
    mine = solve(X, y, loss, jreg.Ridge(0.05), solver=solver, tol=1e-12).params
    np.testing.assert_allclose(mine.coef, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(mine.intercept, theirs.intercept_, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_counts_in_any_units(scale):
    """Means far from exp(0), where a naive first step overflows."""
    X, y = times()
    for loss in (L.Gamma(), L.Poisson()):
        for solver in (jreg.ProxNewton(), jreg.FISTA()):
            found = solve(X, scale * y, loss, jreg.L1(1e-3 * scale), solver=solver, tol=1e-7)
            assert_converged(found, 1e-7)


@pytest.mark.slow
def test_scikit_learn_huber():
    X, y = outliers()
    # with its scale fixed at its own estimate, theirs is Huber's loss with delta = epsilon * scale
    theirs = linear_model.HuberRegressor(epsilon=1.35, alpha=0, tol=1e-10, max_iter=10_000)
    theirs.fit(X, y)
    mine = solve(X, y, L.Huber(1.35 * theirs.scale_), jreg.Ridge(0.0), tol=1e-12).params
    np.testing.assert_allclose(mine.coef, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(mine.intercept, theirs.intercept_, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("quantile", [0.25, 0.5])
def test_scikit_learn_quantile(quantile):
    """Optimal for the pinball loss within the smoothing error, width/2 max(q, 1 - q)^2."""
    X, y = outliers()
    theirs = linear_model.QuantileRegressor(quantile=quantile, alpha=0.02).fit(X, y)
    width = 0.01
    found = solve(X, y, L.SmoothedPinball(quantile, width), jreg.L1(0.02), tol=1e-5).params
    penalty = jreg.L1(0.02)
    a = objective(X, y, L.Pinball(quantile), penalty, *found)
    b = objective(X, y, L.Pinball(quantile), penalty, theirs.coef_, theirs.intercept_)
    assert -1e-9 < a - b < width / 2 * max(quantile, 1 - quantile) ** 2 + 1e-5


@pytest.mark.slow
def test_scikit_learn_squared_hinge():
    from sklearn.svm import LinearSVC

    X, y = signs()
    theirs = LinearSVC(C=0.1, tol=1e-10, max_iter=100_000, fit_intercept=False).fit(X, y)
    mine = solve(
        X, y, L.SquaredHinge(), jreg.Ridge(1 / (0.1 * N)), tol=1e-12, fit_intercept=False
    ).params
    np.testing.assert_allclose(mine.coef, theirs.coef_[0], atol=1e-5)


def test_scikit_learn_multinomial():
    X, y = classes()
    theirs = linear_model.LogisticRegression(C=1 / (0.05 * N), tol=1e-10, max_iter=10_000).fit(X, y)
    mine = solve(X, y, L.Multinomial(K), jreg.Ridge(0.05), tol=1e-11).params
    assert mine.coef.shape == (P, K)
    np.testing.assert_allclose(mine.coef, theirs.coef_.T, atol=1e-4)
    shift = theirs.intercept_ - mine.intercept  # a common constant means nothing
    np.testing.assert_allclose(shift - shift.mean(), 0, atol=1e-4)


@pytest.mark.slow
def test_scikit_learn_ridge_with_several_responses():
    X, Y = responses()
    theirs = linear_model.Ridge(alpha=0.1 * N).fit(X, Y)
    mine = solve(X, Y, L.Squared(), jreg.Ridge(0.1), tol=1e-13).params
    np.testing.assert_allclose(mine.coef, theirs.coef_.T, atol=1e-6)
    np.testing.assert_allclose(mine.intercept, theirs.intercept_, atol=1e-6)


def test_several_responses_are_single_ones():
    """Under a separable penalty the outputs do not touch one another."""
    X, Y = responses()
    both = solve(X, Y, L.Squared(), jreg.L1(0.1)).params
    for j in range(K):
        alone = solve(X, Y[:, j], L.Squared(), jreg.L1(0.1)).params
        np.testing.assert_allclose(both.coef[:, j], alone.coef, atol=1e-4)
        np.testing.assert_allclose(both.intercept[j], alone.intercept, atol=1e-4)


# --- Cox --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ties", "strata"),
    [
        ("efron", True),
        pytest.param("efron", False, marks=pytest.mark.slow),
        pytest.param("breslow", False, marks=pytest.mark.slow),
    ],
)
def test_cox(ties, strata):
    """The KKT conditions by the gradient of the likelihood itself; no dual is known."""
    X, y = survival(strata)
    loss = L.Cox(ties)
    s = np.random.default_rng(3).integers(0, 3, N).astype(float)
    found = solve(X, y, loss, jreg.L1(0.02), fit_intercept=False, sample_weight=s, tol=1e-8)
    assert found.status == Status.CONVERGED
    assert np.isnan(found.gap)
    assert found.params.intercept == 0
    w = found.params.coef
    assert (w != 0).sum() > 0
    with precision("float64"):
        eta = jnp.array(X @ w)
        g = X.T @ np.asarray(loss.mean_gradient(eta, jnp.array(y), s / s.sum()))
        value = loss.mean(eta, jnp.array(y), s / s.sum()) + 0.02 * np.abs(w).sum()
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(g[w != 0], -0.02 * np.sign(w[w != 0]), atol=1e-8)
    assert (np.abs(g[w == 0]) <= 0.02 * (1 + 1e-6)).all()


@pytest.mark.slow
def test_cox_in_sweep():
    X, y = survival()
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, L.Cox(), fit_intercept=False, standardize=True)
        path = jreg.sweep(problem, jreg.L1(), np.array([0.1, 0.03, 0.01]), tol=1e-7)
        path = jax.tree.map(np.asarray, path)
    assert (path.status == Status.CONVERGED).all()
    assert (np.diff(path.deviance_ratio) > 0).all()
    assert path.coef.shape == (3, P)


# --- penalties without a dual, constraints -----------------------------------------------------


def test_path_of_several_outputs():
    """predict, to_dataframe, plot and repr of a path with a column of coefficients per class."""
    X, y = classes()
    loss = jreg.Multinomial(3)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, loss)
        path = jreg.sweep(problem, jreg.L1(), np.array([0.1, 0.05]))
    path = jax.tree.map(np.asarray, path)
    n, p = X.shape
    eta = path.predict(X, kind="link")
    expected = np.stack([X @ w + b for w, b in zip(path.coef, path.intercept, strict=True)])
    np.testing.assert_allclose(eta, expected, rtol=1e-12)
    np.testing.assert_allclose(path.predict(X).sum(axis=-1), 1, rtol=1e-12)
    assert path.predict(X, kind="class").shape == (2, n)
    with pytest.raises(ValueError, match=rf"offset must have shape \({n}, 3\); got \({n},\)"):
        path.predict(X, offset=np.zeros(n))
    frame = path.to_dataframe()
    np.testing.assert_array_equal(frame["x1[2]"], path.coef[:, 1, 2])
    np.testing.assert_array_equal(frame["intercept[0]"], path.intercept[:, 0])
    assert f"2 lams x {p} features" in repr(path)
    axes = path.plot(output=1)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), path.coef[:, 0, 1])
    with pytest.raises(ValueError, match=r"3 outputs: choose one, plot\(output=0\)"):
        path.plot()


def test_no_dual_no_gap():
    """A penalty that is not convex: the residual decides, and the point is stationary."""
    X, y = outliers()
    for solver in (None, jreg.FISTA(), jreg.CoordinateDescent()):
        found = solve(X, y, L.Squared(), MCP(0.1), solver=solver, tol=1e-8)
        assert found.status == Status.CONVERGED
        assert np.isnan(found.gap)
        assert found.residual <= 1e-8
    with pytest.raises(TypeError, match=r"ProxNewton needs a convex penalty; .* FISTA or Coord"):
        solve(X, y, L.Squared(), MCP(0.1), solver=jreg.ProxNewton())


@pytest.mark.parametrize(
    ("loss", "solver"),
    [
        (L.Huber(1.0), jreg.FISTA()),
        (L.Squared(), jreg.ProxNewton()),
        pytest.param(L.Squared(), jreg.FISTA(), marks=pytest.mark.slow),
        pytest.param(L.Squared(), jreg.CoordinateDescent(), marks=pytest.mark.slow),
        pytest.param(L.Huber(1.0), jreg.CoordinateDescent(), marks=pytest.mark.slow),
    ],
)
def test_box(loss, solver):
    """Some coefficients on the border, some inside; 0 itself is outside the box."""
    from scipy.optimize import minimize

    X, y = outliers()
    low, high = 0.1, 0.3
    found = solve(X, y, loss, Box(low, high), solver=solver, tol=1e-9)
    assert_converged(found, 1e-9)
    w, b = found.params
    assert ((w >= low) & (w <= high)).all()

    def f(v):
        e = X @ v[:-1] + v[-1] - y
        small = np.abs(e) <= 1
        huber = np.where(small, e**2 / 2, np.abs(e) - 0.5)
        return np.mean(huber if isinstance(loss, L.Huber) else e**2 / 2)

    best = minimize(f, np.full(P + 1, 0.2), bounds=[(low, high)] * P + [(None, None)], tol=1e-14)
    np.testing.assert_allclose(f(np.append(w, b)), best.fun, rtol=1e-7)


# --- the door ---------------------------------------------------------------------------------


def test_pinball_is_refused():
    X, y = outliers()
    with pytest.raises(TypeError, match=r"needs a smooth loss, and Pinball has a kink.*Smoothed"):
        solve(X, y, L.Pinball(0.5), jreg.L1(0.1))


@pytest.mark.parametrize(
    ("loss", "solver", "message"),
    [
        (L.Poisson(), jreg.CoordinateDescent(), "gradient is Lipschitz; .* ProxNewton or FISTA"),
        (L.Huber(), jreg.ProxNewton(), "positive curvature; .* FISTA or CoordinateDescent"),
    ],
)
def test_solvers_name_others(loss, solver, message):
    X, y = counts()
    with pytest.raises(TypeError, match=message):
        solve(X, y, loss, jreg.L1(0.1), solver=solver)


@pytest.mark.parametrize(
    ("y", "loss", "options", "message"),
    [
        (np.zeros((N, 2)), L.Logistic(), {}, r"y must have shape \(n_samples,\) = \(60,\)"),
        (np.zeros((N, 1)), L.Squared(), {}, "y.ravel"),
        (np.zeros((N - 1, 2)), L.Squared(), {}, r"y must have shape .*\(60,\); got \(59, 2\)"),
        (np.zeros((N, K)), L.Multinomial(K), {}, r"y must have shape \(n_samples,\)"),
        (np.resize([0, 1], N), L.Multinomial(K), {}, "lacks the class 2"),
        (np.zeros(N), L.Poisson(), {}, "y is 0 everywhere"),
        (np.full(N, -1.0), L.Poisson(), {}, "at least 0"),
        (np.zeros(N), L.Gamma(), {}, "must be positive for Gamma"),
        (np.zeros(N), L.Cox(), {}, r"rows of shape \(\)"),
        (np.ones((N, 2)), L.Cox(), {}, "Cox has no intercept.*fit_intercept=False"),
        (np.zeros((N, 2)), L.Cox(), {"fit_intercept": False}, "no event"),
        (
            np.zeros((N, 2)),
            L.Squared(),
            {"offset": np.zeros(N)},
            r"offset must have shape \(n_samples, n_outputs\) = \(60, 2\); got \(60,\)",
        ),
    ],
)
def test_bad_responses(y, loss, options, message):
    with pytest.raises(ValueError, match=message):
        solve(data()[0], y, loss, jreg.L1(0.1), **options)


def test_start_of_several_outputs():
    X, y = responses()
    with pytest.raises(ValueError, match=r"Linear\(coef \(5, 3\), intercept \(3,\)\); got shapes"):
        solve(X, y, L.Squared(), jreg.L1(0.1), params=jreg.Linear(np.zeros(P), 0.0))
    start = jreg.Linear(np.ones((P, K)), np.ones(K))
    found = solve(X, y, L.Squared(), jreg.L1(0.1), params=start)
    assert_converged(found)


def test_absent_class_without_intercept():
    X, _ = classes()
    y = np.resize([0, 1], N)
    assert_converged(solve(X, y, L.Multinomial(K), jreg.L1(0.05), fit_intercept=False))


@pytest.mark.parametrize("loss", [L.Huber(), L.Pinball(0.5), L.SquaredHinge(), L.Cox()])
def test_path_names_sweep(loss):
    with pytest.raises(TypeError, match=rf"path needs .* {type(loss).__name__} .*jreg.sweep"):
        jreg.path(np.ones((4, 2)), np.ones(4), loss=loss)


def test_path_names_sweep_for_penalties():
    with pytest.raises(TypeError, match=r"path needs a separable penalty .*SLOPE.* jreg.sweep"):
        jreg.path(*outliers(), jreg.SLOPE(), standardize=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_path_takes_counts(name):
    make, loss = PROBLEMS[name]
    X, y = make()
    path = jreg.path(X, y, jreg.L1(), loss, n_lams=10, tol=1e-7)
    assert (path.status == Status.CONVERGED).all()
    assert path.n_nonzero[0] == 0
    alone = solve(X, y, loss, jreg.L1(path.lams[-1]), standardize=True).params
    np.testing.assert_allclose(path.coef[-1], alone.coef, atol=1e-4)
