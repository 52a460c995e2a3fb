"""Low-rank approximation and safe norms."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jreg import linalg


def decaying(m=30, n=20):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(k, n)))[0] for k in (m, n))
    s = 2.0 ** -np.arange(n)
    return (U * s) @ V.T, s


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("method", ["exact", "randomized"])
@pytest.mark.parametrize("wide", [False, True])
def test_low_rank(dtype, method, wide):
    X, s = decaying()
    X = X.T if wide else X
    k = 4
    with cases.precision(dtype):
        f = jax.jit(lambda X, key: linalg.low_rank(X, k, method=method, key=key))
        found = f(jnp.asarray(X, dtype), jax.random.key(0))
    assert found.s.dtype == dtype
    atol = 1e-12 if dtype == "float64" else 2e-6
    u, vt = (np.asarray(a, float) for a in (found.u, found.vt))
    rest = X - (u * np.asarray(found.s, float)) @ vt
    np.testing.assert_allclose(u.T @ u, np.eye(k), atol=10 * atol)
    np.testing.assert_allclose(vt @ vt.T, np.eye(k), atol=10 * atol)
    np.testing.assert_allclose(found.s, s[:k], atol=max(atol, 1e-9))
    np.testing.assert_allclose(found.frobenius_error, np.linalg.norm(rest), atol=atol)
    np.testing.assert_allclose(np.linalg.norm(rest), np.linalg.norm(s[k:]), atol=max(atol, 1e-9))
    spectral = np.linalg.norm(rest, 2)
    if method == "exact":
        np.testing.assert_allclose(found.spectral_error, spectral, atol=atol)
    else:  # a bound, and never more than the Frobenius norm
        assert spectral - atol <= float(found.spectral_error) <= np.linalg.norm(rest) + atol


def test_full_rank_leaves_nothing():
    X = jnp.asarray(decaying(5, 3)[0], jnp.float32)
    found = linalg.low_rank(X, 3)
    assert found.frobenius_error == 0
    assert found.spectral_error == 0


def test_low_rank_bad_input():
    X = jnp.ones((3, 2))
    for call in (
        lambda: linalg.low_rank(X, 3),
        lambda: linalg.low_rank(X, 0),
        lambda: linalg.low_rank(X[0], 1),
        lambda: linalg.low_rank(X, 1, method="fast"),
        lambda: linalg.low_rank(X, 1, method="randomized"),
    ):
        with pytest.raises(ValueError, match=r"must|needs a key"):
            call()


def test_norm_l2():
    x = jnp.array([[3e30, 4e30], [0.0, 0.0], [3e-30, 4e-30]])
    np.testing.assert_allclose(linalg.norm_l2(x, 1), [5e30, 0, 5e-30], rtol=1e-6)
    assert np.isnan(linalg.norm_l2(jnp.array([jnp.nan, 1.0]), None))
    np.testing.assert_array_equal(jax.grad(linalg.norm_l2)(jnp.zeros(3), None), np.zeros(3))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_norms_of_entries_of_any_size(dtype):
    """Exponents all over the range of the type, against exact scaling by hand."""
    rng = np.random.default_rng(0)
    norm = jax.jit(lambda x: linalg.norm_l2(x, None))  # XLA may not join constants to overflow
    gradient = jax.jit(jax.grad(norm))
    info = jnp.finfo(dtype)
    low, high = info.minexp + 2, info.maxexp - 4
    for top in np.linspace(low, high, 60).astype(int):
        for spread in (1, (high - low) // 12, high - low):
            exponents = np.maximum(top - rng.integers(0, spread, 7), low)
            x = jnp.ldexp(jnp.asarray(rng.uniform(0.5, 1, 7), dtype), jnp.asarray(exponents))
            scaled = np.ldexp(np.asarray(x, np.longdouble), -int(top))
            expected = np.sqrt((scaled**2).sum())
            got = norm(x)
            assert got.dtype == dtype
            got = np.ldexp(np.asarray(got, np.longdouble), -int(top))
            np.testing.assert_allclose(got, expected, rtol=8 * float(info.eps))
            if exponents.min() < info.minexp + 8:  # XLA rounds parts of the derivative to 0
                continue
            slope = np.asarray(gradient(x), np.longdouble)
            np.testing.assert_allclose(slope, scaled / expected, rtol=0, atol=8 * float(info.eps))


def test_norms_of_groups_of_different_sizes():
    """Each group in its own unit: forward, backward, and the second derivative."""
    scale = jnp.array([1e36, 1e19, 1.0, 1e-15, 1e-25, 1e-36, 0.0])[:, None]
    x = scale * jnp.array([[3.0, -4.0]])
    norms = lambda x: linalg.norm_l2(x, 1)  # noqa: E731
    np.testing.assert_allclose(norms(x), 5 * scale[:, 0], rtol=1e-6)
    direction = np.where(scale > 0, [[0.6, -0.8]], 0)
    np.testing.assert_allclose(jax.grad(lambda x: norms(x).sum())(x), direction, rtol=1e-6)
    _, along = jax.jvp(norms, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(along, direction.sum(1), rtol=1e-5)
    H = jax.hessian(lambda x: linalg.norm_l2(x, None))(x[2])
    np.testing.assert_allclose(H, np.array([[16, 12], [12, 9]]) / 125, rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 0])
def test_norms_of_what_is_no_number(axis):
    for entries, expected in (
        ([jnp.inf, 1.0], jnp.inf),
        ([-jnp.inf, 1e-30], jnp.inf),
        ([jnp.nan, 1e30], jnp.nan),
        ([jnp.nan, 1e-30], jnp.nan),
        ([jnp.inf, jnp.nan], jnp.nan),
    ):
        np.testing.assert_array_equal(linalg.norm_l2(jnp.array(entries), axis), expected)
    assert linalg.norm_l2(jnp.zeros((0,)), axis) == 0
