"""Laws of losses, each on every row of `loss_cases.LOSSES`. Cox's likelihood: test_cox.py."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import LOSSES
from scipy.optimize import minimize, minimize_scalar
from sklearn import metrics

import jreg
import jreg.losses as L

every_loss = pytest.mark.parametrize("case", rows(LOSSES))
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
TOL = {"float32": 1e-5, "float64": 1e-13}
SMALL = settings(max_examples=15)
N = 6

etas = st.lists(st.floats(-30, 30, width=32, allow_subnormal=False), min_size=N, max_size=N).map(
    np.array
)
seeds = st.integers(0, 1000)


def jit(name):
    """A method of any loss, compiled once for all examples."""
    return jax.jit(lambda loss, *arguments: getattr(loss, name)(*arguments))


pointwise, gradient, curvature = jit("pointwise"), jit("gradient"), jit("curvature")
conjugate, fenchel_young = jit("conjugate"), jit("fenchel_young")
inverse_link, deviance, in_domain = jit("inverse_link"), jit("deviance"), jit("in_domain")
bregman, shift = jit("bregman"), jit("shift")


@jax.jit
def derivatives(loss, eta, y):
    """First derivative and diagonal of the second of each sample's loss, automatically."""

    def one(e, t):
        return loss.pointwise(e[None], t[None])[0]

    def second(e, t):
        h = jax.hessian(one)(e, t)
        return h if e.ndim == 0 else jnp.diagonal(h)

    return jax.vmap(jax.grad(one))(eta, y), jax.vmap(second)(eta, y)


def typical(case, seed):
    rng = np.random.default_rng(seed)
    return case.responses(rng, N), rng


def total(products):
    """Sum over outputs, if there are several."""
    return products if products.ndim == 1 else products.sum(1)


# --- derivatives ------------------------------------------------------------------------------


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_value_is_the_textbook_one(case, eta, seed):
    y, _ = typical(case, seed)
    eta = case.etas(eta)
    with precision("float64"):
        found = np.asarray(pointwise(case.make(), eta, y))
        assert found.shape == (N,)
        np.testing.assert_allclose(found, case.value(eta, y), atol=1e-12, rtol=1e-12)


@every_loss
@every_dtype
@given(eta=etas, seed=seeds)
@SMALL
def test_derivatives(case, dtype, eta, seed):
    """gradient and curvature are the derivatives of pointwise."""
    y, _ = typical(case, seed)
    eta, y = case.etas(eta).astype(dtype), y.astype(dtype)
    with precision(dtype):
        first, second = derivatives(case.make(), eta, y)
        found = gradient(case.make(), eta, y), curvature(case.make(), eta, y)
    for mine, auto in zip(found, (first, second), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, auto, rtol=2 * TOL[dtype], atol=TOL[dtype])


@every_loss
def test_gradient_is_a_difference_quotient(case):
    """... of the textbook value, and finite at kinks too."""
    y, rng = typical(case, 0)
    eta, h = case.etas(rng.normal(size=N)), 1e-6
    with precision("float64"):
        loss = case.make()
        found = np.asarray(gradient(loss, eta, y))
        for j in np.ndindex(eta.shape[1:]):
            step = np.zeros(eta.shape)
            step[(slice(None), *j)] = h
            slope = (case.value(eta + step, y) - case.value(eta - step, y)) / (2 * h)
            np.testing.assert_allclose(found[(slice(None), *j)], slope, atol=1e-8, rtol=1e-8)
        if loss.translates:
            chex_finite = (gradient(loss, y, y), curvature(loss, y, y), *derivatives(loss, y, y))
            assert all(np.isfinite(a).all() for a in chex_finite)


@every_loss
def test_smoothness(case):
    """The least upper bound of the curvature; None where there is no bound."""
    grid = np.linspace(-40, 40, 8001)  # holds 0
    y = case.responses(np.random.default_rng(0), grid.size)
    with precision("float64"):
        loss = case.make()
        h = np.asarray(curvature(loss, case.etas(grid), y))
        bound = None if loss.smoothness is None else float(loss.smoothness)
    assert (h >= 0).all()
    assert loss.quadratic == (np.ptp(h) == 0 and h.max() > 0)
    assert loss.smooth == (h.max() > 0)
    assert not loss.strictly_convex or (h[np.abs(case.etas(grid)) < 2] > 0).all()
    if loss.strictly_convex is False:
        assert h.min() == 0
    if bound is None:
        assert h.max() > 1e6 or not loss.smooth
    elif case.outputs and not loss.quadratic:  # a matrix: the bound is an eigenvalue
        assert h.max() <= bound
    else:
        assert h.max() <= bound * (1 + 1e-12)
        assert h.max() >= bound * (1 - 1e-6)


def test_multinomial_curvature_bounds():
    """diag(p) - p p' is below Boehning's matrix everywhere, whose norm is the smoothness."""
    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        with precision("float64"):
            loss = L.Multinomial(k)
            bound = np.asarray(loss.curvature_bound())
            np.testing.assert_allclose(np.linalg.norm(bound, 2), loss.smoothness)
            for eta in [*(3 * rng.normal(size=(20, k))), np.zeros(k), np.eye(k)[0] * 5]:
                H = np.asarray(
                    jax.hessian(lambda e, loss=loss: loss.pointwise(e, jnp.zeros(1))[0])(
                        jnp.array(eta)[None]
                    )
                )[0, :, 0, :]
                p = np.exp(eta) / np.exp(eta).sum()
                np.testing.assert_allclose(H, np.diag(p) - np.outer(p, p), atol=1e-14)
                assert np.linalg.eigvalsh(bound - H).min() > -1e-14
    # attained: two equally likely classes
    eta = jnp.array([[0.0, 0.0]])
    H = jax.hessian(lambda e: L.Multinomial(2).pointwise(e, jnp.zeros(1))[0])(eta)[0, :, 0, :]
    np.testing.assert_allclose(np.linalg.norm(H, 2), 0.5, rtol=1e-6)


@every_loss
def test_translates(case):
    """True if, and only if, eta and y may be shifted together."""
    rng = np.random.default_rng(0)
    y, eta = case.responses(rng, N), case.etas(rng.normal(size=N))
    with precision("float64"):
        value, shifted = pointwise(case.make(), eta, y), pointwise(case.make(), eta + 3, y + 3)
    assert case.make().translates == np.allclose(value, shifted, rtol=1e-12)


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_inverse_link(case, eta, seed):
    """The fitted mean, which rises with eta; for a canonical link the gradient is mean - y."""
    y, _ = typical(case, seed)
    eta = case.etas(eta)
    with precision("float64"):
        loss = case.make()
        mean = np.asarray(inverse_link(loss, eta))
        np.testing.assert_allclose(mean, case.mean(eta), rtol=1e-12)
        if case.canonical:
            target = np.eye(case.outputs)[y.astype(int)] if case.outputs and y.ndim == 1 else y
            np.testing.assert_allclose(
                mean - target, gradient(loss, eta, y), atol=1e-13, rtol=1e-12
            )
    if not case.outputs:
        assert (np.diff(mean[np.argsort(eta)]) >= 0).all()


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_deviance(case, eta, seed):
    """Twice the loss above its infimum over eta, so at least 0."""
    y, _ = typical(case, seed)
    eta = case.etas(eta)
    with precision("float64"):
        d = np.asarray(deviance(case.make(), eta, y))
    assert (d >= 0).all()
    expected = 2 * (case.value(eta, y) - case.infimum(y))
    np.testing.assert_allclose(d, expected, atol=1e-12, rtol=1e-12)


def test_deviance_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    eta = rng.normal(size=40)
    mean, rate = np.exp(eta), rng.uniform(0.1, 3, 40)
    counts, classes = rng.poisson(1.0, 40).astype(float), rng.integers(0, 3, 40)
    scores = rng.normal(size=(40, 3))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    with precision("float64"):
        for found, expected in (
            (L.Poisson().deviance(eta, counts), metrics.mean_poisson_deviance(counts, mean)),
            (L.Gamma().deviance(eta, rate), metrics.mean_gamma_deviance(rate, mean)),
            (L.Squared().deviance(eta, rate), metrics.mean_squared_error(rate, eta)),
            (L.Pinball(0.3).pointwise(eta, rate), metrics.mean_pinball_loss(rate, eta, alpha=0.3)),
            (
                L.Multinomial(3).deviance(scores, jnp.array(classes * 1.0)),
                2 * metrics.log_loss(classes, p),
            ),
        ):
            np.testing.assert_allclose(jnp.mean(found), expected, rtol=1e-12)


# --- duality ----------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("seed", [0, 1])
def test_conjugate_is_the_supremum(case, seed):
    y, rng = typical(case, seed)
    u = case.dual(rng, y)
    with precision("float64"):
        found = np.asarray(conjugate(case.make(), u, y))
    for j in range(N):

        def negative(eta, j=j):
            return -(np.sum(u[j] * eta) - case.value(np.atleast_1d(eta)[None], y[j : j + 1])[0])

        if case.outputs:
            best = minimize(negative, np.zeros(case.outputs), tol=1e-10)
        else:
            best = minimize_scalar(
                lambda e, j=j: -(u[j] * e - case.value(np.array([e]), y[j : j + 1])[0]),
                bounds=(-40, 40),
                options={"xatol": 1e-10},
            )
        np.testing.assert_allclose(found[j], -best.fun, atol=1e-8)


@every_loss
@every_dtype
@given(eta=etas, seed=seeds)
@SMALL
def test_fenchel_young(case, dtype, eta, seed):
    """pointwise + conjugate - u eta: at least 0, and 0 at the gradient."""
    y, rng = typical(case, seed)
    u = case.dual(rng, y)
    eta, y, u = case.etas(eta).astype(dtype), y.astype(dtype), u.astype(dtype)
    with precision(dtype):
        loss = case.make()
        term = np.asarray(fenchel_young(loss, eta, y, u))
        value = np.asarray(pointwise(loss, eta, y))
        whole = value + np.asarray(conjugate(loss, u, y)) - total(u * eta)
        at_gradient = np.asarray(fenchel_young(loss, eta, y, gradient(loss, eta, y)))
    assert term.dtype == dtype
    assert (term >= 0).all()
    np.testing.assert_allclose(term, whole, atol=100 * TOL[dtype], rtol=TOL[dtype])
    assert (at_gradient >= 0).all()
    np.testing.assert_allclose(at_gradient / (1 + np.abs(value)), 0, atol=TOL[dtype])


@every_loss
def test_fenchel_young_keeps_its_digits(case):
    """In float32, close to the gradient, where the three terms cancel."""
    y, rng = typical(case, 3)
    eta = case.etas(rng.normal(size=N))
    with precision("float64"):
        u = 0.99 * np.asarray(gradient(case.make(), eta, y))
    eta, y, u = eta.astype("float32"), y.astype("float32"), u.astype("float32")
    if case.outputs and y.ndim == 1:  # on the simplex to rounding
        u = u - u.mean(1, keepdims=True)
    found = np.asarray(fenchel_young(case.make(), eta, y, u))
    with precision("float64"):
        wide = (a.astype(float) for a in (eta, y, u))
        if case.outputs and y.ndim == 1:
            eta, y, u = wide
            wide = eta, y, u - u.mean(1, keepdims=True)
        exact = np.asarray(fenchel_young(case.make(), *wide))
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=1e-12)


@every_loss
@given(seed=seeds)
@SMALL
def test_domain_of_the_conjugate(case, seed):
    """Finite inside and on the border, infinite outside, never NaN."""
    y, rng = typical(case, seed)
    eta = case.etas(rng.normal(size=N))
    size = 30 if case.make().smoothness is None else 1e4
    with precision("float64"):
        loss = case.make()
        limits = [np.asarray(gradient(loss, case.far(e, N), y)) for e in (-size, size)]
        for u in (case.dual(rng, y), *limits):
            assert np.isfinite(conjugate(loss, u, y)).all()
            assert np.isfinite(fenchel_young(loss, eta, y, u)).all()
        if case.outside is not None:
            u = case.outside(y)
            assert (np.asarray(conjugate(loss, u, y)) == np.inf).all()
            assert (np.asarray(fenchel_young(loss, eta, y, u)) == np.inf).all()


# --- optional pieces --------------------------------------------------------------------------


def having(piece):
    found = {k: c for k, c in LOSSES.items() if jreg.typing.has(c.make(), piece)}
    return pytest.mark.parametrize("case", rows(found))


@having("prox")
@every_dtype
@pytest.mark.parametrize("t", [0.1, 1.0, 7.0])
def test_prox_is_the_minimiser(case, dtype, t):
    """argmin_z t loss(z, y) + 1/2 |z - v|^2, by a search on the textbook value."""
    rng = np.random.default_rng(0)
    y = case.responses(rng, 20).astype(dtype)
    v = case.etas(4 * rng.normal(size=20)).astype(dtype)
    with precision(dtype):
        z = np.asarray(jax.jit(lambda loss, *a: loss.prox(*a))(case.make(), v, y, t))
    assert z.dtype == dtype
    if case.outputs:
        np.testing.assert_allclose((z - v) + t * (z - y), 0, atol=1e3 * TOL[dtype])
        return
    for j in range(20):

        def objective(e, j=j):
            return t * case.value(np.array([e]), y[j : j + 1])[0] + (e - v[j]) ** 2 / 2

        best = minimize_scalar(objective, bounds=(-30, 30), options={"xatol": 1e-11})
        np.testing.assert_allclose(z[j], best.x, atol=1e-5 if dtype == "float32" else 3e-7)


def test_pinball_prox_sticks():
    """Within reach of y the prox is y exactly: quantile fits interpolate."""
    v, y = jnp.array([1.1, 0.3, 5.0, -5.0]), jnp.full(4, 0.7)
    found = L.Pinball(0.25).prox(v, y, 2.0)
    np.testing.assert_array_equal(found, np.float32([0.7, 0.7, 3.5, -4.5]))


@having("bregman")
def test_bregman(case):
    """The loss above its tangent: exact for small moves too, no NaN for large ones."""
    y, rng = typical(case, 0)
    old, step = rng.normal(size=N), rng.normal(size=N)
    with precision("float64"):
        loss = case.make()
        for size in (1.0, 3.0):
            new = old + size * step
            naive = case.value(new, y) - case.value(old, y)
            naive = naive - np.asarray(gradient(loss, old, y)) * (new - old)
            np.testing.assert_allclose(bregman(loss, new, old, y), naive, rtol=1e-11)
        small = 1e-7 * step
        second = np.asarray(curvature(loss, old, y)) * small**2 / 2
        np.testing.assert_allclose(bregman(loss, old + small, old, y), second, rtol=1e-5)
    far = np.float32([-1000, 1000, -1000, 1000, 0, 500])
    found = np.asarray(bregman(case.make(), far, far[::-1].copy(), y.astype("float32")))
    assert not np.isnan(found).any()
    assert (found >= 0).all()


@having("shift")
def test_shift_is_the_best_constant(case):
    y, rng = typical(case, 0)
    s = rng.dirichlet(np.ones(N))
    eta = np.zeros((N, case.outputs)) if case.outputs else rng.normal(size=N)
    with precision("float64"):
        loss = case.make()
        b = shift(loss, eta, y, s)
        np.testing.assert_allclose(L.mean_gradient(loss, eta + b[None], y, s).sum(0), 0, atol=1e-14)


# --- edges ------------------------------------------------------------------------------------


@every_loss
@every_dtype
def test_no_overflow(case, dtype):
    """At eta = -1000 and 1000: exact, infinite only where the loss itself is, never NaN."""
    y = case.responses(np.random.default_rng(0), N).astype(dtype)
    with precision(dtype):
        loss = case.make()
        for eta in (-1000.0, 1000.0):
            far = case.far(eta, N).astype(dtype)
            expected = case.value(far, y) if case.extreme is None else case.extreme(eta, y)
            np.testing.assert_allclose(pointwise(loss, far, y), expected, rtol=1e-6)
            first, second = derivatives(loss, far, y)
            np.testing.assert_allclose(gradient(loss, far, y), first, rtol=1e-6)
            np.testing.assert_allclose(curvature(loss, far, y), second, rtol=1e-6)
            for value in (
                deviance(loss, far, y),
                inverse_link(loss, far),
                fenchel_young(loss, far, y, 0.5 * np.asarray(gradient(loss, 0 * far, y))),
                conjugate(loss, gradient(loss, far, y), y),
            ):
                assert not np.isnan(value).any()
                assert np.isfinite(value).all() or loss.smoothness is None


@pytest.mark.parametrize("labels", [(0.0, 1.0), (-1.0, 1.0)])
def test_logistic_tails_in_float32(labels):
    """Small losses, gradients and probabilities keep their digits, where log(1 + p) loses them."""
    eta = np.array([-60.0, -30.0, 30.0, 60.0], "float32")
    for t, y in zip((0, 1), labels, strict=True):
        exact = (-1) ** t * eta.astype(float)
        label = np.full(4, y, "float32")
        loss = jreg.Logistic()
        np.testing.assert_allclose(
            pointwise(loss, eta, label), np.logaddexp(0, exact), rtol=1e-6, atol=0
        )
        np.testing.assert_allclose(
            gradient(loss, eta, label), (-1) ** t / (1 + np.exp(-exact)), rtol=1e-6, atol=0
        )


def test_multinomial_is_logistic_for_two_classes():
    """... also in the tails in float32."""
    eta = np.array([-60.0, -30.0, -1.0, 0.0, 2.0, 30.0, 60.0], "float32")
    y = np.float32([0, 1, 0, 1, 1, 1, 0])
    both = np.stack([0 * eta, eta], 1)
    two, one = L.Multinomial(2), L.Logistic()
    np.testing.assert_allclose(two.pointwise(both, y), one.pointwise(eta, y), rtol=1e-6)
    np.testing.assert_allclose(two.gradient(both, y)[:, 1], one.gradient(eta, y), rtol=1e-6)
    u = 0.7 * np.asarray(one.gradient(eta, y))
    np.testing.assert_allclose(
        two.fenchel_young(both, y, jnp.stack([-u, u], 1)), one.fenchel_young(eta, y, u), rtol=1e-4
    )


@pytest.mark.parametrize("name", ["Logistic", "SquaredHinge"])
def test_label_conventions(name):
    """{0, 1} and {-1, 1} are the same labels to every method."""
    rng = np.random.default_rng(0)
    eta, zeros = rng.normal(size=N).astype("float32"), np.resize([0, 1], N).astype("float32")
    signs, loss = 2 * zeros - 1, getattr(L, name)()
    u = (0.5 * np.asarray(gradient(loss, eta, zeros))).astype("float32")
    for method in (pointwise, gradient, curvature, deviance):
        np.testing.assert_array_equal(method(loss, eta, zeros), method(loss, eta, signs))
    np.testing.assert_array_equal(conjugate(loss, u, zeros), conjugate(loss, u, signs))
    np.testing.assert_array_equal(
        fenchel_young(loss, eta, zeros, u), fenchel_young(loss, eta, signs, u)
    )
    np.testing.assert_array_equal(loss.classify(eta), eta > 0)


@every_loss
def test_domain(case):
    """`check` raises, with a reason, exactly where `in_domain` says no."""
    loss = case.make()
    good = case.responses(np.random.default_rng(0), N).astype("float32")
    loss.check(good)
    assert in_domain(loss, good).all()
    for y, message in case.wrong:
        with pytest.raises(ValueError, match=message):
            loss.check(np.array(y))
        assert not in_domain(loss, np.array(y, "float32")).all()


@pytest.mark.parametrize("loss", [L.Logistic(), L.SquaredHinge()])
def test_single_label_is_in_the_domain(loss):
    for y in (0.0, 1.0, -1.0):
        loss.check(np.full(3, y))
        assert in_domain(loss, np.full(3, y, "float32")).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Huber(0.0), "delta must be positive and finite; got 0.0"),
        (lambda: L.Huber(np.inf), "delta must be positive"),
        (lambda: L.Pinball(1.0), r"quantile must be between 0 and 1 \(exclusive\); got 1.0"),
        (lambda: L.Pinball(np.float64(-0.1)), "quantile"),
        (lambda: L.SmoothedPinball(0.5, width=-1), "width must be positive"),
        (lambda: L.SmoothedPinball(2), "quantile"),
        (lambda: L.Multinomial(1), "n_classes must be a whole number >= 2; got 1"),
        (lambda: L.Multinomial(3.0), "n_classes"),
        (lambda: L.Cox("exact"), 'ties must be "breslow" or "efron"; got .exact'),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_traced_bad_parameters_give_nan():
    y = jnp.ones(2)
    assert np.isnan(jax.jit(lambda d: L.Huber(d).pointwise(0 * y, y))(-1.0)).all()
    assert np.isnan(jax.jit(lambda q: L.Pinball(q).gradient(0 * y, y))(1.5)).all()


def test_parameters_batch_and_differentiate():
    """delta, quantile and width are leaves: vmap and grad go through them."""
    eta, y = jnp.zeros(3), jnp.array([0.5, 2.0, -3.0])
    deltas = jnp.array([0.5, 1.0, 4.0])
    batch = jax.vmap(lambda loss: loss.pointwise(eta, y))(jax.vmap(L.Huber)(deltas))
    np.testing.assert_allclose(batch, [L.Huber(float(d)).pointwise(eta, y) for d in deltas])
    slope = jax.grad(lambda d: jnp.sum(L.Huber(d).pointwise(eta, y)))(1.0)
    np.testing.assert_allclose(slope, (2 - 1) + (3 - 1))  # |r| - delta beyond delta


def test_smoothed_pinball_is_close_to_pinball():
    r = np.linspace(-3, 3, 601).astype("float32")
    for q, width in ((0.2, 0.5), (0.9, 0.1)):
        gap = np.asarray(L.Pinball(q).pointwise(0 * r, r))
        gap = gap - np.asarray(L.SmoothedPinball(q, width).pointwise(0 * r, r))
        assert gap.min() > -1e-6
        np.testing.assert_allclose(gap.max(), width / 2 * max(q, 1 - q) ** 2, rtol=1e-4)


@every_loss
def test_nan_is_not_hidden(case):
    loss = case.make()
    good = case.responses(np.random.default_rng(0), N).astype("float32")
    zero = case.far(0.0, N).astype("float32")
    bad, bad_y = zero + np.float32(np.nan), good + np.float32(np.nan)
    for eta, y in ((bad, good), (zero, bad_y)):
        for method in (pointwise, gradient, deviance):
            assert np.isnan(method(loss, eta, y)).all(), method
        assert np.isnan(fenchel_young(loss, eta, y, zero)).all()
    if not loss.quadratic and loss.smooth:
        assert np.isnan(np.asarray(curvature(loss, bad, good))).any() or not loss.strictly_convex
    assert not in_domain(loss, bad_y).any()


@every_loss
def test_absent_rows_add_nothing(case):
    """Weight 0, whatever eta: to the mean, its gradient, curvature and deviance."""
    y, rng = typical(case, 0)
    eta = case.etas(rng.normal(size=N)).astype("float32")
    y = y.astype("float32")
    s = np.append(np.full(N - 1, 1 / (N - 1)), 0).astype("float32")
    eta[-1] = 1e30
    loss = case.make()
    for f in (L.mean, L.mean_deviance):
        np.testing.assert_allclose(f(loss, eta, y, s), f(loss, eta[:-1], y[:-1], s[:-1]), rtol=1e-6)
    for f in (L.mean_gradient, L.mean_curvature):
        found = np.asarray(f(loss, eta, y, s))
        np.testing.assert_allclose(found[:-1], f(loss, eta[:-1], y[:-1], s[:-1]), rtol=1e-6)
        np.testing.assert_array_equal(found[-1], 0)


@every_loss
def test_equal_by_value(case):
    assert case.make() == case.make()
    assert hash(case.make()) == hash(case.make())
    assert jax.tree.structure(case.make()) == jax.tree.structure(case.make())
    assert isinstance(case.make(), jreg.typing.Loss)
    assert not isinstance(case.make(), jreg.typing.MeanLoss)
    assert case.make() != jreg.L1()


# --- mistakes of other libraries ---------------------------------------------------------------


def test_defect_11_poisson_gradient():
    """exp(eta) - y, not exp(eta - y) (a sparse code path elsewhere)."""
    found = L.Poisson().gradient(jnp.array([0.5, -1.0]), jnp.array([2.0, 3.0]))
    np.testing.assert_allclose(found, np.exp([0.5, -1.0]) - [2, 3], rtol=1e-6)


def test_defect_13_weighted_smoothness():
    """Column bounds are valid, and tight, for every weight; elsewhere 1.749 is below 1.792."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)), rng.normal(size=20)
    for s in (np.ones(20), rng.uniform(0, 3, 20)):
        with precision("float64"):
            problem = jreg.LinearProblem(X, y, sample_weight=s, fit_intercept=False)
            bounds = problem.checked().centred().column_curvature()
        np.testing.assert_allclose(bounds, (s / s.sum()) @ X**2, rtol=1e-12)


def test_defect_14_logistic_overflow():
    """log(1 + exp(1000)) is 1000, not inf."""
    far = jnp.array([1000.0, -1000.0])
    np.testing.assert_array_equal(L.Logistic().pointwise(far, jnp.array([0.0, 1.0])), [1000, 1000])
    np.testing.assert_array_equal(L.Logistic().pointwise(far, jnp.array([1.0, 0.0])), [0, 0])


# --- published cases --------------------------------------------------------------------------

CASES = [
    case
    for name in ("prox_cases.json", "prox_cases_losses.json")
    for case in json.loads((Path(__file__).parent / name).read_text())
]


def published(op):
    found = next(case for case in CASES if case["op"] == op)
    return found["params"], np.array(found["input"]), np.array(found["output"])


def test_published_logistic_gradient():
    params, eta, expected = published("grad_logistic_pm1")
    with precision("float64"):
        found = params["scale"] * jreg.Logistic().gradient(eta, jnp.array(params["y"]))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_published_least_squares_gradient():
    params, w, expected = published("grad_least_squares")
    A, b = np.array(params["A"]), np.array(params["b"])
    with precision("float64"):
        found = params["scale"] * A.T @ np.asarray(jreg.Squared().gradient(A @ w, b))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("op", "loss", "y"),
    [
        ("prox_squared_hinge", L.SquaredHinge(), 1.0),
        ("prox_huber_separable", L.Huber(1.0), 0.0),
    ],
)
def test_published_prox(op, loss, y):
    params, v, expected = published(op)
    with precision("float64"):
        found = loss.prox(v, np.full(v.shape, y), params["step"])
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_published_poisson_deviance():
    params, y, expected = published("deviance_poisson")
    with precision("float64"):
        found = jnp.sum(L.Poisson().deviance(jnp.log(jnp.array(params["mu"])), y))
    np.testing.assert_allclose(found, expected, rtol=1e-14)
