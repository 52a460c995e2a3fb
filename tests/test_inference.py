"""The debiased lasso: what its theory asks of the nodewise lassos, least squares, coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from sklearn.linear_model import Lasso

import jreg
from jreg.selection.nodewise import nodewise_lassos
from jreg.selection.scaled_lasso import unit_strength


def design(n, p, rho=0.5, seed=0):
    """Rows of an autoregression: the inverse covariance has three diagonals."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    return X, rng


def data(n=80, p=120, loss="squared", scale=1.0, seed=0):
    """Three columns matter; columns of different size and mean."""
    X, rng = design(n, p, seed=seed)
    truth = np.zeros(p)
    truth[[0, p // 3, 2 * p // 3]] = [1.5, -1.0, 1.0]
    eta = scale * X @ truth
    size = rng.uniform(0.2, 5, p)
    y = {
        "squared": lambda: eta + rng.normal(size=n),
        "logistic": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
    }[loss]()
    return size * X + 3, y, truth / size


def correlations(X, h=None):
    h = np.full(len(X), 1 / len(X)) if h is None else h / h.sum()
    Z = X - h @ X
    Z = Z / np.sqrt(h @ Z**2)
    return Z, Z.T @ (h[:, None] * Z)


@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_nodewise_lassos_are_lassos(factor):
    """Their certificates, their optimality conditions, and scikit-learn's solutions."""
    X, _ = design(60, 40, rho=0.7)
    Z, S = correlations(X)
    lam = factor * np.sqrt(2 * np.log(40) / 60) * np.linspace(0.8, 1.2, 40)
    with precision("float64"):
        found = nodewise_lassos(S, np.arange(40), lam)
    assert found.residual.max() <= 1e-8
    assert np.all(np.diag(found.coef) == 0)
    assert (found.coef != 0).any(axis=1).mean() > 0.5
    left = Z - Z @ found.coef.T
    products = np.abs(Z.T @ left) / 60
    np.fill_diagonal(products, 0)
    assert np.all(products <= lam[None, :] * (1 + 1e-7))
    for j in (0, 7, 39):
        others = np.delete(np.arange(40), j)
        model = Lasso(lam[j], fit_intercept=False, tol=1e-12, max_iter=100_000)
        expected = model.fit(Z[:, others], Z[:, j]).coef_
        np.testing.assert_allclose(found.coef[j, others], expected, atol=1e-7)


def test_nodewise_lassos_of_some_columns_and_in_small_chunks(monkeypatch):
    X, _ = design(50, 30, rho=0.9)
    S = correlations(X)[1]
    lam = np.full(30, 0.05)
    with precision("float64"):
        whole = nodewise_lassos(S, np.arange(30), lam)
        some = nodewise_lassos(S, np.array([4, 29]), lam[:2])
        monkeypatch.setattr("jreg.selection.nodewise.LANES", 2**11)
        chunked = nodewise_lassos(S, np.arange(30), lam)
    np.testing.assert_allclose(some.coef, whole.coef[[4, 29]], atol=1e-7)
    np.testing.assert_allclose(chunked.coef, whole.coef, atol=1e-7)


@pytest.mark.parametrize(
    "loss",
    [jreg.Squared(), pytest.param(jreg.Logistic(), marks=pytest.mark.slow)],
    ids=["squared", "logistic"],
)
def test_against_its_formula(loss):
    """b and se written out with NumPy from jreg's lasso, with weights and an offset."""
    X, y, _ = data(loss="logistic" if isinstance(loss, jreg.Logistic) else "squared")
    rng = np.random.default_rng(1)
    s, offset = rng.integers(1, 4, 80).astype(float), 0.3 * rng.normal(size=80)
    options = {"sample_weight": s, "offset": offset}
    found = jreg.debias(X, y, loss, columns=[0, 5, 40], lam=0.1, lam_nodewise=0.2, **options)
    path = jreg.path(X, y, jreg.L1(), loss, lams=[0.1], tol=1e-10, **options)
    eta, n = path.predict(X, "link", offset)[0], s.sum()
    with precision("float64"):
        slope = np.asarray(loss.gradient(jnp.asarray(eta), jnp.asarray(y)))
        bend = np.asarray(loss.curvature(jnp.asarray(eta), jnp.asarray(y)))
    sigma = 1.0
    if loss.quadratic:
        sigma = np.sqrt(s @ (y - eta) ** 2 / (n - 1 - path.n_nonzero[0]))
    np.testing.assert_allclose(found.sigma, sigma, rtol=1e-6)
    h = s * bend / n
    Z = X - h @ X / h.sum()
    size = np.sqrt(h @ Z**2)
    for k, j in enumerate([0, 5, 40]):
        others = np.delete(np.arange(X.shape[1]), j)
        A, b = np.sqrt(h * 80)[:, None] * Z / size, np.sqrt(h * 80) * Z[:, j] / size[j]
        model = Lasso(0.2, fit_intercept=False, tol=1e-13, max_iter=100_000)
        z = Z[:, j] / size[j] - (Z / size)[:, others] @ model.fit(A[:, others], b).coef_
        per = z @ (h * Z[:, j])
        expected = path.coef[0, j] - z @ (s / n * slope) / per
        np.testing.assert_allclose(found.coef[k], expected, rtol=1e-4)
        np.testing.assert_allclose(found.se[k], sigma * np.sqrt(h @ z**2 / n) / abs(per), rtol=1e-5)
        np.testing.assert_allclose(found.lasso[k], path.coef[0, j], rtol=1e-5, atol=1e-9)


def test_few_columns_give_least_squares():
    """With tiny strengths it is least squares; at its own it is close, with its intervals."""
    X, y, _ = data(n=2000, p=24)
    A = np.c_[np.ones(2000), X]
    inverse = np.linalg.inv(A.T @ A)
    coef = inverse @ A.T @ y
    sigma = np.sqrt(np.sum((y - A @ coef) ** 2) / (2000 - 25))
    se = sigma * np.sqrt(np.diag(inverse))[1:]
    exact = jreg.debias(X, y, lam=1e-5, lam_nodewise=1e-6, level=0.9)
    np.testing.assert_allclose(exact.coef, coef[1:], rtol=1e-3, atol=1e-4 * se.max())
    np.testing.assert_allclose(exact.se, se, rtol=1e-3)
    np.testing.assert_allclose(exact.high - exact.low, 2 * 1.6448536 * se, rtol=1e-3)
    found = jreg.debias(X, y)
    assert np.all(np.abs(found.coef - coef[1:]) < 0.5 * se)
    np.testing.assert_allclose(found.se, se, rtol=0.1)
    np.testing.assert_allclose(found.sigma, sigma, rtol=0.02)


def test_intervals_and_p_values_agree():
    X, y, truth = data()
    found = jreg.debias(X, y)
    outside = (found.low > 0) | (found.high < 0)
    np.testing.assert_array_equal(outside, found.p_value < 0.05)
    assert np.all(found.p_value[truth != 0] < 1e-3)
    assert np.all(np.abs(found.lasso[truth != 0]) < np.abs(found.coef[truth != 0]))  # the bias
    assert np.mean(found.p_value[truth == 0] < 0.05) < 0.15
    np.testing.assert_allclose(found.coef, (found.low + found.high) / 2, rtol=1e-12)
    some = jreg.debias(X, y, columns=[20, 3])
    np.testing.assert_allclose(some.coef, found.coef[[20, 3]], rtol=1e-6)
    np.testing.assert_allclose(some.se, found.se[[20, 3]], rtol=1e-6)


def test_units_and_weights():
    """Columns and response in other units; weight k is the row k times."""
    X, y, _ = data(n=60, p=20)
    columns = [0, 4, 6]
    base = jreg.debias(X, y, columns=columns)
    size = np.geomspace(1e-3, 1e3, 20)
    scaled = jreg.debias(X * size + 7, 100 * y - 5, columns=columns)
    np.testing.assert_allclose(scaled.coef * size[columns], 100 * base.coef, rtol=1e-4)
    np.testing.assert_allclose(scaled.se * size[columns], 100 * base.se, rtol=1e-4)
    np.testing.assert_allclose(scaled.sigma, 100 * base.sigma, rtol=1e-5)
    s = np.random.default_rng(2).integers(0, 4, 60)
    weighted = jreg.debias(X, y, columns=columns, sample_weight=s)
    repeated = jreg.debias(np.repeat(X, s, axis=0), np.repeat(y, s), columns=columns)
    np.testing.assert_allclose(weighted.coef, repeated.coef, rtol=1e-5)
    np.testing.assert_allclose(weighted.se, repeated.se, rtol=1e-5)


def test_scaled_lasso_is_at_its_fixed_point():
    X, y, _ = data()
    found = jreg.debias(X, y, columns=[0])
    path = jreg.path(X, y, lams=[found.lam], tol=1e-10)
    sigma = np.sqrt(np.mean((y - path.predict(X)[0]) ** 2))
    np.testing.assert_allclose(found.sigma, sigma, rtol=1e-5)
    np.testing.assert_allclose(found.lam, sigma * unit_strength(80, 120), rtol=1e-5)
    given = jreg.debias(X, y, columns=[0], sigma=2.0)
    assert given.sigma == 2.0
    np.testing.assert_allclose(given.lam, 2.0 * unit_strength(80, 120))


def test_constant_columns_and_names():
    pandas = pytest.importorskip("pandas")
    X, y, _ = data(n=60, p=10)
    X[:, 2] = 4.0
    frame = pandas.DataFrame(X, columns=[f"gene{j}" for j in range(10)])
    found = jreg.debias(frame, y, columns=["gene0", "gene2"])
    assert found.names == ("gene0", "gene2")
    assert list(found.columns) == [0, 2]
    assert (found.coef[1], found.p_value[1]) == (0, 1)
    assert (found.low[1], found.high[1]) == (-np.inf, np.inf)
    assert np.isfinite([found.coef[0], found.se[0]]).all()
    table = found.to_dataframe()
    assert list(table.columns) == ["coef", "se", "low", "high", "p_value", "lasso"]
    assert list(table.index) == ["gene0", "gene2"]
    assert "gene0" in repr(found)
    assert "95 % intervals" in repr(found)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(level=1.0), ValueError, "level must be between 0 and 1; got 1.0"),
        (dict(sigma=-1.0), ValueError, "sigma must be positive and finite; got -1.0"),
        (dict(lam=0.0), ValueError, "lam must be positive and finite; got 0.0"),
        (dict(columns=[30]), ValueError, "numbers from 0 to 9; got 30"),
        (dict(columns="age"), ValueError, "numbers from 0 to 9; got 'age'"),
        (dict(columns=[]), ValueError, "at least one column"),
        (dict(lam_nodewise=[0.1, 0.2]), ValueError, "one for each of 10 columns"),
        (dict(lam_nodewise=0.0), ValueError, "lam_nodewise must be positive and finite"),
        (dict(loss=jreg.losses.Huber()), TypeError, "debias knows Squared, Logistic and Poisson"),
        (dict(loss=jreg.Poisson(), sigma=1.0), ValueError, "sigma belongs to the squared loss"),
        (dict(y=np.ones(60)), ValueError, "shows no noise level; give sigma"),
        (dict(y=np.arange(60.0), X=np.arange(60.0)[:, None]), ValueError, "without an error"),
        (dict(y=np.ones(3)), ValueError, r"y must have shape \(n_samples,\) = \(60,\)"),
        (dict(X=np.full((60, 10), np.nan)), ValueError, "X must be finite"),
    ],
)
def test_bad_input(options, error, message):
    X, y, _ = data(n=60, p=10)
    with pytest.raises(error, match=message):
        jreg.debias(**{"X": X, "y": y, **options})


def test_inside_jit():
    X, y, _ = data(n=60, p=10)
    with pytest.raises(TypeError, match="debias runs on the host"):
        jax.jit(lambda y: jreg.debias(X, y).coef)(y)


def simulate(count, n, p, rho, fit, respond):
    """The shares of intervals that hold their coefficient, where it is not 0 and where it is."""
    truth = np.zeros(p)
    truth[[0, p // 3, 2 * p // 3]] = 1.0
    held = []
    for seed in range(1000, 1000 + count):  # the defaults were chosen on others
        X, rng = design(n, p, rho, seed)
        found = fit(X, respond(X @ truth, rng))
        held.append((found.low <= truth) & (truth <= found.high))
    held = np.array(held)
    active, null = held[:, truth != 0].mean(), held[:, truth == 0].mean()
    print(f"n {n}, p {p}, {count} data sets, rho {rho}: {active:.3f} not 0, {null:.3f} at 0")
    return active, null


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_coverage(rho):
    """n = 100, p = 200, 100 data sets: 95 % intervals hold 90 to 99 % of the three coefficients
    that are not 0 (standard error 1.3 %; it was 92 and 91 %) and 93 to 97 % of the others."""
    active, null = simulate(
        100, 100, 200, rho, jreg.debias, lambda eta, rng: eta + rng.normal(size=eta.size)
    )
    assert 0.90 <= active <= 0.99
    assert 0.93 <= null <= 0.97


@pytest.mark.slow
def test_coverage_of_logistic_regression():
    """n = 300, p = 100, 60 data sets: 95 % intervals hold 92 to 98 % of the coefficients at 0, but
    fewer of the three others, 88 % when this was written (standard error 2.4 %): a bias that
    `debias` warns of."""

    def respond(eta, rng):
        return (rng.random(eta.size) < 1 / (1 + np.exp(-eta))).astype(float)

    def fit(X, y):
        return jreg.debias(X, y, jreg.Logistic())

    active, null = simulate(60, 300, 100, 0.3, fit, respond)
    assert 0.84 <= active <= 0.99
    assert 0.92 <= null <= 0.98
