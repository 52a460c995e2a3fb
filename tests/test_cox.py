"""Cox's partial likelihood against a naive twin, event by event and sample by sample."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision

import jreg
from jreg.losses import Cox

N = 14
TIES = ("breslow", "efron")
every_ties = pytest.mark.parametrize("ties", TIES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

log_likelihood = jax.jit(lambda loss, *a: loss.log_likelihood(*a))
mean = jax.jit(lambda loss, *a: loss.mean(*a))
mean_gradient = jax.jit(lambda loss, *a: loss.mean_gradient(*a))
mean_curvature = jax.jit(lambda loss, *a: loss.mean_curvature(*a))
derivative = jax.jit(lambda loss, eta, y, s: jax.grad(loss.mean)(eta, y, s))
hessian = jax.jit(lambda loss, eta, y, s: jax.jacfwd(loss.mean_gradient)(eta, y, s))


def data(seed=0, n=N, strata=False):
    """Many ties, censored times among them, in no order."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(1, 6, n), rng.integers(0, 3, n) > 0]
    if strata:
        columns.append(rng.integers(0, 3, n))
    return np.stack(columns, 1).astype(float), rng.normal(size=n), rng


def naive(eta, y, weight, ties):
    """(log partial likelihood, its saturated value), in O(n^2) and from the definition."""
    stratum = y[:, 2] if y.shape[1] == 3 else np.zeros(len(y))
    r, value, best = weight * np.exp(eta), 0.0, 0.0
    for k in np.unique(stratum):
        here = stratum == k
        for t in np.unique(y[here & (y[:, 1] == 1), 0]):
            dead = here & (y[:, 0] == t) & (y[:, 1] == 1) & (weight > 0)
            risk = here & (y[:, 0] >= t)
            d, m = weight[dead].sum(), dead.sum()
            value += (weight * eta)[dead].sum()
            for left in range(m):
                share = left / m if ties == "efron" else 0
                value -= d / m * np.log(r[risk].sum() - share * r[dead].sum())
                best -= d / m * np.log(d * (1 - share))
    return value, best


@every_ties
@every_dtype
@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("weights", ["equal", "random", "absent"])
def test_naive_twin(ties, dtype, strata, weights):
    for seed in range(4):
        y, eta, rng = data(seed, strata=strata)
        s = np.ones(N) if weights == "equal" else rng.uniform(0.2, 3, N)
        if weights == "absent":
            s[::3] = 0
        value, best = naive(eta, y, s, ties)
        with precision(dtype):
            loss = Cox(ties)
            arrays = [a.astype(dtype) for a in (eta, y, s)]
            found = log_likelihood(loss, *arrays)
            above = mean(loss, *arrays[:2], (s / s.sum()).astype(dtype))
        assert found.dtype == above.dtype == dtype
        tol = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(found, value, rtol=tol)
        np.testing.assert_allclose(above, (best - value) / s.sum(), rtol=tol, atol=tol)


@every_ties
@pytest.mark.parametrize("strata", [False, True])
def test_gradient(ties, strata):
    """... is the difference quotient of the twin, and the derivative of `mean`."""
    y, eta, rng = data(1, strata=strata)
    s, h = rng.dirichlet(np.ones(N)), 1e-6
    s[3] = 0
    s /= s.sum()
    with precision("float64"):
        loss = Cox(ties)
        found = np.asarray(mean_gradient(loss, eta, y, s))
        auto = np.asarray(derivative(loss, eta, y, s))
    slopes = [
        (naive(eta - h * e, y, s, ties)[0] - naive(eta + h * e, y, s, ties)[0]) / (2 * h)
        for e in np.eye(N)
    ]
    np.testing.assert_allclose(found, slopes, atol=1e-9)
    np.testing.assert_allclose(found, auto, atol=1e-14)
    np.testing.assert_allclose(found.sum(), 0, atol=1e-14)  # a constant changes nothing


@every_ties
@pytest.mark.parametrize("strata", [False, True])
def test_curvature_is_a_bound(ties, strata):
    """diag(mean_curvature) minus the second derivative is positive semidefinite."""
    for seed in range(3):
        y, eta, rng = data(seed, strata=strata)
        s = rng.dirichlet(np.ones(N))
        with precision("float64"):
            loss = Cox(ties)
            H = np.asarray(hessian(loss, eta, y, s))
            bound = np.asarray(mean_curvature(loss, eta, y, s))
        np.testing.assert_allclose(H, H.T, atol=1e-14)
        assert np.linalg.eigvalsh(H).min() > -1e-12
        assert np.linalg.eigvalsh(np.diag(bound) - H).min() > -1e-12


@pytest.mark.parametrize("strata", [False, True])
def test_weights_are_repeated_rows(strata):
    """Breslow, and Efron where no event is repeated."""
    y, eta, rng = data(2, strata=strata)
    counts = rng.integers(0, 4, N)
    rows = np.repeat(np.arange(N), counts)
    censored = np.where(y[:, 1] == 1, counts > 0, counts)
    for ties, k in (("breslow", counts), ("efron", censored)):
        rows = np.repeat(np.arange(N), k)
        with precision("float64"):
            loss = Cox(ties)
            whole = mean(loss, eta, y, k / k.sum())
            g = mean_gradient(loss, eta, y, k / k.sum())
            one = np.full(rows.size, 1 / rows.size)
            again = mean(loss, eta[rows], y[rows], one)
            g_again = mean_gradient(loss, eta[rows], y[rows], one)
        np.testing.assert_allclose(whole, again, rtol=1e-12)
        np.testing.assert_allclose(g, np.bincount(rows, np.asarray(g_again), N), atol=1e-14)


def test_efron_is_breslow_without_ties():
    y, eta, _ = data()
    y[:, 0] = np.arange(N)[::-1]
    with precision("float64"):
        a, b = (log_likelihood(Cox(ties), eta, y) for ties in TIES)
    np.testing.assert_allclose(a, b, rtol=1e-14)


def test_strata_are_separate_data_sets():
    y, eta, _ = data(strata=True)
    with precision("float64"):
        whole = log_likelihood(Cox(), eta, y)
        parts = [
            Cox().log_likelihood(jnp.array(eta[y[:, 2] == k]), y[y[:, 2] == k, :2])
            for k in np.unique(y[:, 2])
        ]
        np.testing.assert_allclose(whole, sum(parts), rtol=1e-13)


def test_published_values():
    cases = json.loads((Path(__file__).parent / "prox_cases_losses.json").read_text())
    (case,) = [c for c in cases if c["op"] == "loglik_cox_partial"]
    y = np.stack([case["params"]["time"], case["params"]["event"]], 1).astype(float)
    eta = np.array(case["input"])
    with precision("float64"):
        np.testing.assert_allclose(
            Cox(case["params"]["ties"]).log_likelihood(eta, y), case["output"], rtol=1e-14
        )
        np.testing.assert_allclose(Cox().log_likelihood(eta, y), -6.727079927670099, rtol=1e-14)


@every_ties
@every_dtype
def test_no_overflow(ties, dtype):
    """Log-hazards of 1000 and -1000, together and alone: finite, with finite derivatives."""
    y, eta, _ = data()
    y = y.astype(dtype)
    s = np.full(N, 1 / N, dtype)
    with precision(dtype):
        loss = Cox(ties)
        near = mean(loss, eta.astype(dtype), y, s)
        for far in (1000 * np.sign(eta), np.full(N, 1000.0), np.full(N, -1000.0), 1000 + eta):
            far = far.astype(dtype)
            g = mean_gradient(loss, far, y, s)
            auto = derivative(loss, far, y, s)
            H = hessian(loss, far, y, s)
            for value in (mean(loss, far, y, s), g, mean_curvature(loss, far, y, s), auto, H):
                assert np.isfinite(value).all()
            np.testing.assert_allclose(g, auto, atol=1e-5 if dtype == "float32" else 1e-12)
        np.testing.assert_allclose(mean(loss, (1000 + eta).astype(dtype), y, s), near, rtol=1e-3)


@every_ties
def test_absent_rows(ties):
    """A row of weight 0 may hold anything finite, in no risk set and no tie."""
    y, eta, rng = data(3)
    s = rng.uniform(0.5, 2, N)
    s[[1, 5]] = 0
    kept = s > 0
    wild = eta.copy()
    wild[~kept] = 1e30
    with precision("float64"):
        loss = Cox(ties)
        whole = mean(loss, wild, y, s / s.sum())
        rest = mean(loss, eta[kept], y[kept], s[kept] / s.sum())
        g = np.asarray(mean_gradient(loss, wild, y, s / s.sum()))
        g_rest = mean_gradient(loss, eta[kept], y[kept], s[kept] / s.sum())
    np.testing.assert_allclose(whole, rest, rtol=1e-13)
    np.testing.assert_allclose(g[kept], g_rest, atol=1e-14)
    np.testing.assert_array_equal(g[~kept], 0)


def test_nan_is_not_hidden():
    y, eta, _ = data()
    s = np.full(N, 1 / N, "float32")
    for bad_eta, bad_y in ((np.nan, 0), (0, np.nan)):
        e, t = eta.astype("float32"), y.astype("float32")
        e[4] += bad_eta
        t[4, 0] += bad_y
        t[4, 1] = 1
        assert np.isnan(mean(Cox(), e, t, s))
        assert np.isnan(mean_gradient(Cox(), e, t, s)).any()


def test_vmap_over_predictors():
    y, _, rng = data()
    etas, s = rng.normal(size=(5, N)), np.full(N, 1 / N)
    with precision("float64"):
        loss = Cox("efron")
        sets = loss.prepare(jnp.array(y))
        batch = jax.vmap(lambda e: loss.mean(e, sets, s))(etas)
        np.testing.assert_allclose(batch, [mean(loss, e, y, s) for e in etas], rtol=1e-14)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[1.0, 2.0]], r"y\[:, 1\] must be 1 for an event.*got 2.0"),
        ([[np.nan, 1.0], [1.0, 1.0]], "finite times for Cox; 1 value is NaN"),
        ([[1.0, 0.0], [2.0, 0.0]], "no event"),
        ([[1.0, 1.0, np.inf]], "finite stratum"),
    ],
)
def test_check(y, message):
    with pytest.raises(ValueError, match=message):
        Cox().check(np.array(y))
    if "no event" not in message:
        assert not np.asarray(Cox().in_domain(jnp.array(y))).all()


def test_contract():
    assert isinstance(Cox(), jreg.typing.MeanLoss)
    assert not isinstance(Cox(), jreg.typing.Loss)
    assert Cox() == Cox("breslow") != Cox("efron")
    assert jax.tree.structure(Cox()) != jax.tree.structure(Cox("efron"))
    Cox().check(data()[0])
    assert np.asarray(Cox().in_domain(jnp.array(data(strata=True)[0]))).all()
