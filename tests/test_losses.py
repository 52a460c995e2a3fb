"""Laws of losses, each on every row of `cases.LOSSES`."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, LOSSES, precision, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import jreg

every_loss = pytest.mark.parametrize("case", rows(LOSSES))
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
TOL = {"float32": 1e-5, "float64": 1e-13}
SMALL = settings(max_examples=25)
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


@jax.jit
def derivatives(loss, eta, y):
    """First and second derivative of each sample's loss by automatic differentiation."""

    def one(e, t):
        return loss.pointwise(e[None], t[None])[0]

    return jax.vmap(jax.grad(one))(eta, y), jax.vmap(jax.grad(jax.grad(one)))(eta, y)


def typical(case, seed):
    rng = np.random.default_rng(seed)
    return case.responses(rng, N), rng


# --- derivatives ------------------------------------------------------------------------------


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_value_is_the_textbook_one(case, eta, seed):
    y, _ = typical(case, seed)
    with precision("float64"):
        np.testing.assert_allclose(
            pointwise(case.make(), eta, y), case.value(eta, y), atol=1e-12, rtol=1e-12
        )


@every_loss
@every_dtype
@given(eta=etas, seed=seeds)
@SMALL
def test_derivatives(case, dtype, eta, seed):
    """gradient and curvature are the derivatives of pointwise."""
    y, _ = typical(case, seed)
    eta, y = eta.astype(dtype), y.astype(dtype)
    with precision(dtype):
        first, second = derivatives(case.make(), eta, y)
        found = gradient(case.make(), eta, y), curvature(case.make(), eta, y)
    for mine, auto in zip(found, (first, second), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, auto, rtol=TOL[dtype], atol=TOL[dtype])


@every_loss
def test_smoothness(case):
    """The least upper bound of the curvature; None where there is no bound."""
    grid = np.linspace(-40, 40, 8001)  # holds 0
    y = case.responses(np.random.default_rng(0), grid.size)
    with precision("float64"):
        h = np.asarray(curvature(case.make(), grid, y))
    assert (h >= 0).all()
    assert case.make().quadratic == (np.ptp(h) == 0)
    if case.make().smoothness is None:
        assert h.max() > 1e6
    else:
        assert h.max() <= case.make().smoothness * (1 + 1e-12)
        assert h.max() >= case.make().smoothness * (1 - 1e-6)


@every_loss
def test_translates(case):
    """True if, and only if, eta and y may be shifted together."""
    rng = np.random.default_rng(0)
    eta, y = rng.normal(size=N), case.responses(rng, N)
    with precision("float64"):
        value, shifted = pointwise(case.make(), eta, y), pointwise(case.make(), eta + 3, y + 3)
    assert case.make().translates == np.allclose(value, shifted, rtol=1e-12)


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_inverse_link(case, eta, seed):
    """The gradient is the fitted mean minus the response: zero where the mean is right."""
    y, _ = typical(case, seed)
    with precision("float64"):
        mean = np.asarray(inverse_link(case.make(), eta))
        np.testing.assert_allclose(
            mean - case.target(y), gradient(case.make(), eta, y), atol=1e-13, rtol=1e-13
        )
    assert (np.diff(mean[np.argsort(eta)]) >= 0).all()


@every_loss
@given(eta=etas, seed=seeds)
@SMALL
def test_deviance(case, eta, seed):
    """Twice the loss above its infimum over eta, so at least 0."""
    y, _ = typical(case, seed)
    with precision("float64"):
        loss = case.make()
        d = np.asarray(deviance(loss, eta, y))
        wide = np.linspace(-40, 40, 101)
        infimum = [np.min(pointwise(loss, np.append(wide, t), np.full(102, t))) for t in y]
        expected = 2 * (np.asarray(pointwise(loss, eta, y)) - infimum)
    assert (d >= 0).all()
    np.testing.assert_allclose(d, expected, atol=1e-12, rtol=1e-12)


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
            return -(u[j] * eta - case.value(eta, y[j : j + 1])[0])

        best = minimize_scalar(negative, bounds=(-40, 40), options={"xatol": 1e-10})
        np.testing.assert_allclose(found[j], -best.fun, atol=1e-8)


@every_loss
@every_dtype
@given(eta=etas, seed=seeds)
@SMALL
def test_fenchel_young(case, dtype, eta, seed):
    """pointwise + conjugate - u eta: at least 0, and 0 at the gradient."""
    y, rng = typical(case, seed)
    u = case.dual(rng, y)
    eta, y, u = eta.astype(dtype), y.astype(dtype), u.astype(dtype)
    with precision(dtype):
        loss = case.make()
        term = np.asarray(fenchel_young(loss, eta, y, u))
        whole = pointwise(loss, eta, y) + conjugate(loss, u, y) - u * eta
        at_gradient = np.asarray(fenchel_young(loss, eta, y, gradient(loss, eta, y)))
    assert term.dtype == dtype
    assert (term >= 0).all()
    np.testing.assert_allclose(term, whole, atol=40 * TOL[dtype], rtol=TOL[dtype])
    assert (at_gradient >= 0).all()
    np.testing.assert_allclose(at_gradient, 0, atol=TOL[dtype])


@every_loss
@given(seed=seeds)
@SMALL
def test_domain_of_the_conjugate(case, seed):
    """Finite inside and on the border, infinite outside, never NaN."""
    y, rng = typical(case, seed)
    eta = rng.normal(size=N)
    with precision("float64"):
        loss = case.make()
        limits = [np.asarray(gradient(loss, np.full(N, e), y)) for e in (-1e4, 1e4)]
        for u in (case.dual(rng, y), *limits):
            assert np.isfinite(conjugate(loss, u, y)).all()
            assert np.isfinite(fenchel_young(loss, eta, y, u)).all()
        if case.outside is not None:
            u = case.outside(y)
            assert (np.asarray(conjugate(loss, u, y)) == np.inf).all()
            assert (np.asarray(fenchel_young(loss, eta, y, u)) == np.inf).all()


# --- edges ------------------------------------------------------------------------------------


@every_loss
@every_dtype
def test_no_overflow(case, dtype):
    y = case.responses(np.random.default_rng(0), N).astype(dtype)
    with precision(dtype):
        loss = case.make()
        for eta in (-1000.0, 1000.0):
            far = np.full(N, eta, dtype)
            np.testing.assert_allclose(pointwise(loss, far, y), case.extreme(eta, y), rtol=1e-6)
            first, second = derivatives(loss, far, y)
            np.testing.assert_allclose(gradient(loss, far, y), first, rtol=1e-6)
            np.testing.assert_allclose(curvature(loss, far, y), second, rtol=1e-6)
            for value in (
                deviance(loss, far, y),
                inverse_link(loss, far),
                fenchel_young(loss, far, y, 0.5 * np.asarray(gradient(loss, 0 * far, y))),
                conjugate(loss, gradient(loss, far, y), y),
            ):
                assert np.isfinite(value).all()


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


def test_label_conventions():
    """{0, 1} and {-1, 1} are the same labels to every method."""
    rng = np.random.default_rng(0)
    eta, zeros = rng.normal(size=N).astype("float32"), np.resize([0, 1], N).astype("float32")
    signs, loss = 2 * zeros - 1, jreg.Logistic()
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


def test_single_label_is_in_the_domain():
    for y in (0.0, 1.0, -1.0):
        jreg.Logistic().check(np.full(3, y))
        assert in_domain(jreg.Logistic(), np.full(3, y, "float32")).all()


@every_loss
def test_nan_is_not_hidden(case):
    loss, bad = case.make(), np.full(N, np.nan, "float32")
    good = case.responses(np.random.default_rng(0), N).astype("float32")
    zero = np.zeros(N, "float32")
    for eta, y in ((bad, good), (zero, bad)):
        for method in (pointwise, gradient, deviance):
            assert np.isnan(method(loss, eta, y)).all(), method
        assert np.isnan(fenchel_young(loss, eta, y, zero)).all()
    assert np.isnan(curvature(loss, bad, zero)).all() or loss.quadratic
    assert not in_domain(loss, bad).any()


@every_loss
def test_equal_by_value(case):
    assert case.make() == case.make()
    assert hash(case.make()) == hash(case.make())
    assert jax.tree.structure(case.make()) == jax.tree.structure(case.make())
    assert isinstance(case.make(), jreg.typing.Loss)
    assert case.make() != jreg.L1()


# --- published cases --------------------------------------------------------------------------

CASES = json.loads((Path(__file__).parent / "prox_cases.json").read_text())


def published(op):
    (found,) = [case for case in CASES if case["op"] == op]
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
