"""Norms against NumPy, normalisation against scikit-learn."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import preprocessing

from jreg import norms

POWERS = [1.0, 1.5, 2.0, 3.0, 40.0, np.inf]
X = np.array([[-1.0, 0, 1], [0, 1, 2], [0, 0, 0], [5, 5, 5]])


def sample(shape=(4, 3)):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_norms_are_numpys(dtype):
    x = sample()
    with cases.precision(dtype):
        f = jax.jit(jax.vmap(norms.norm, in_axes=(None, 0)))
        rows = jax.jit(jax.vmap(lambda x, p: norms.norm(x, p, 1), in_axes=(None, 0)))
        found, by_row = (g(jnp.asarray(x, dtype), jnp.asarray(POWERS, dtype)) for g in (f, rows))
        assert found.dtype == dtype
    rtol = 1e-12 if dtype == "float64" else 1e-5
    for i, p in enumerate(POWERS):
        np.testing.assert_allclose(found[i], np.linalg.norm(x.ravel(), p), rtol=rtol)
        np.testing.assert_allclose(by_row[i], np.linalg.norm(x, p, axis=1), rtol=rtol)


@pytest.mark.parametrize("p", POWERS)
def test_dual_norm_is_the_largest_product(p):
    u = sample(3)
    x = np.random.default_rng(1).normal(size=(200_000, 3))
    x /= np.linalg.norm(x, p, axis=1)[:, None]
    best = (x @ u).max()
    with cases.precision("float64"):
        dual = float(norms.dual_norm(jnp.asarray(u), p))
    assert best <= dual + 1e-12
    assert best > 0.99 * dual


@pytest.mark.parametrize("p", POWERS)
def test_gradients(p):
    x = jnp.asarray([0.5, -2.0, 0.0])
    assert np.all(np.asarray(jax.grad(norms.norm)(jnp.zeros(3), p)) == 0)
    np.testing.assert_allclose(jax.jacfwd(norms.norm)(x, p), jax.jacrev(norms.norm)(x, p))
    assert np.isfinite(jax.grad(norms.norm, 1)(x, p))
    with cases.precision("float64"):
        x, h = jnp.asarray([0.5, -2.0, 0.1]), 1e-6
        by_p = jax.grad(norms.norm, 1)(x, p)
        if np.isfinite(p):
            slope = (norms.norm(x, p + 2 * h) - norms.norm(x, p + h)) / h
            np.testing.assert_allclose(by_p, slope, atol=1e-4)
        gradient = jax.grad(norms.norm)(x, p)
        for i in range(3):
            d = h * jnp.eye(3)[i]
            slope = (norms.norm(x + d, p) - norms.norm(x - d, p)) / (2 * h)
            np.testing.assert_allclose(gradient[i], slope, atol=1e-7)


def test_no_overflow():
    x = jnp.full(4, 1e30, jnp.float32)
    for p in POWERS:
        np.testing.assert_allclose(norms.norm(x, p), 1e30 * 4.0 ** (1 / p), rtol=1e-5)
    assert norms.norm(jnp.array([jnp.inf, 1.0]), 2.0) == jnp.inf
    assert np.isnan(norms.norm(jnp.array([jnp.nan, 1.0]), 2.0))


def test_distance():
    x, y = sample(), sample()[::-1]
    np.testing.assert_allclose(norms.distance(x, y, 1.0), np.abs(x - y).sum(), rtol=1e-5)


def test_rows_by_hand():
    l1, _ = norms.normalize(X[:2], "l1")
    l2, _ = norms.normalize(X[:2], "l2")
    np.testing.assert_allclose(l1, [[-0.5, 0, 0.5], [0, 1 / 3, 2 / 3]], rtol=1e-6)
    r = 0.70710678
    np.testing.assert_allclose(l2, [[-r, 0, r], [0, 0.4472136, 0.89442719]], rtol=1e-6)


SKLEARN = {
    "l1": lambda X: preprocessing.normalize(X, "l1"),
    "l2": lambda X: preprocessing.normalize(X, "l2"),
    "max": lambda X: preprocessing.normalize(X, "max"),
    "minmax": lambda X: preprocessing.MinMaxScaler().fit_transform(X.T).T,
    "standard": lambda X: preprocessing.StandardScaler().fit_transform(X.T).T,
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("how", norms.HOW)
@pytest.mark.parametrize("axis", [0, 1])
def test_normalisation_is_scikit_learns_and_has_an_inverse(how, axis, dtype):
    x = X if axis == 1 else X.T
    expected = SKLEARN[how](X)
    atol = 1e-14 if dtype == "float64" else 1e-6
    with cases.precision(dtype):
        f = jax.jit(lambda x: norms.normalize(x, how, axis))
        Z, scaling = f(jnp.asarray(x, dtype))
        back = scaling.inverse(Z)
        assert Z.dtype == dtype
        J = jax.jacrev(lambda x: f(x)[0])(jnp.asarray(x, dtype))
    np.testing.assert_allclose(Z if axis == 1 else Z.T, expected, atol=atol)
    np.testing.assert_allclose(back, x, atol=10 * atol)
    assert np.all(np.isfinite(J))
    row = Z if axis == 1 else Z.T
    assert np.all(np.asarray(row[2]) == 0)
    if how in ("minmax", "standard"):
        assert np.all(np.asarray(row[3]) == 0)


def test_bad_input():
    for call in (
        lambda: norms.norm(jnp.ones(2), 0.5),
        lambda: norms.dual_norm(jnp.ones(2), 0),
        lambda: norms.normalize(X, "l3"),
        lambda: norms.normalize(X, "l1", 2),
        lambda: norms.normalize(X[0], "l1"),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
