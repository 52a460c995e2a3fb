"""Dropout and stochastic depth: expectation, variance, who shares a draw, flax, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from stochastic_cases import DTYPES, KEY, draws, has_mean, input_of

from jreg import checks
from jreg.stochastic import dropout, linear_decay, spatial_dropout, stochastic_depth

FUNCTIONS = pytest.mark.parametrize("f", [dropout, spatial_dropout, stochastic_depth])
X = input_of("float32", (3, 4, 5, 2))
KEYS = jax.random.split(KEY, 8)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_expectation_and_variance(rate):
    """Mean x and variance x^2 rate / (1 - rate), to five standard errors."""
    x = np.array([-2.0, 0.5, 1.0, 3.0, 0.0], np.float32)
    sample = draws(lambda key: dropout(key, x, rate))
    has_mean(sample, x, np.abs(x) * np.sqrt(rate / (1 - rate)))
    variance = x**2 * rate / (1 - rate)
    fourth = x**4 * (rate + (1 - rate) * (rate / (1 - rate)) ** 4)
    has_mean((sample - x) ** 2, variance, np.sqrt(np.maximum(fourth - variance**2, 0)))


def test_entries_are_independent():
    kept = draws(lambda key: dropout(key, jnp.ones(6), 0.3) > 0)
    correlation = np.corrcoef(kept.T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(kept))


def test_values_are_zero_or_scaled():
    """Every entry is 0 or x / (1 - rate), infinite ones too."""
    x = X.at[0, 0, 0, 0].set(jnp.inf)
    y = dropout(KEY, x, 0.25)
    assert ((y == 0) | (y == x / 0.75)).all()
    assert not jnp.isnan(draws(lambda key: dropout(key, jnp.array([jnp.inf]), 0.5), 50)).any()


@pytest.mark.parametrize(
    ("f", "dims", "shared"),
    [
        (dropout, {"broadcast_dims": (0, -1)}, (0, 3)),
        (dropout, {"broadcast_dims": 1}, (1,)),
        (spatial_dropout, {}, (1, 2)),
        (spatial_dropout, {"spatial_dims": (-2, -1)}, (2, 3)),
        (stochastic_depth, {}, (1, 2, 3)),
        (stochastic_depth, {"sample_dims": ()}, (0, 1, 2, 3)),
        (stochastic_depth, {"sample_dims": (0, 1)}, (2, 3)),
    ],
)
def test_who_shares_a_draw(f, dims, shared):
    """One draw along the shared axes, different draws along the others."""
    kept = draws(lambda key: f(key, jnp.ones(X.shape), 0.5, **dims) > 0, 40)
    for axis in range(4):
        constant = (kept == np.take(kept, [0], axis=axis + 1)).all()
        assert constant == (axis in shared)
    assert 0.3 < kept.mean() < 0.7


@FUNCTIONS
def test_deterministic(f):
    """x itself, without a key; the rate is looked at all the same."""
    assert f(None, X, 0.5, deterministic=True) is X
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        f(None, X, 1.0, deterministic=True)


@FUNCTIONS
@DTYPES
def test_dtype_is_kept(f, dtype):
    with precision(dtype):
        x = input_of(dtype, X.shape)
        y, pullback = jax.vjp(lambda x: f(KEY, x, 0.3), x)
        assert y.dtype == dtype
        assert pullback(y)[0].dtype == dtype
        kept = np.asarray(y, float) != 0
        close = np.asarray(x, float) / 0.7
        eps = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(y, float)[kept], close[kept], rtol=2 * eps)


@FUNCTIONS
def test_compiled_and_mapped(f):
    """jit with a traced rate, and vmap over keys, arrays and rates, are the same function."""
    np.testing.assert_allclose(jax.jit(f)(KEY, X, 0.3), f(KEY, X, 0.3), rtol=1e-6)
    xs, rates = jnp.stack([X] * 8), jnp.linspace(0, 0.9, 8)
    lanes = jax.jit(jax.vmap(f))(KEYS, xs, rates)
    for i in range(8):
        np.testing.assert_allclose(lanes[i], f(KEYS[i], X, rates[i]), rtol=1e-6)


@FUNCTIONS
def test_derivatives(f):
    """In x the mask itself; none in the rate."""
    ones = jnp.ones(X.shape)
    slope = jax.grad(lambda x: f(KEY, x, 0.3).sum())(X)
    np.testing.assert_allclose(slope, f(KEY, ones, 0.3), rtol=1e-6)
    assert jax.grad(lambda rate: f(KEY, X, rate).sum())(0.3) == 0


@FUNCTIONS
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, np.nan, 1 - 1e-9])
def test_rate_out_of_range(f, rate):
    """Raises, or if traced gives NaN: in its own lane alone."""
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\); got"):
        f(KEY, X, rate)
    rates = jnp.array([0.3, rate, 0.3])
    lanes = jax.jit(jax.vmap(lambda rate: f(KEY, X, rate)))(rates)
    nans = np.isnan(lanes).reshape(3, -1)
    np.testing.assert_array_equal(nans, np.array([[False], [True], [False]]).repeat(X.size, 1))


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "a key is needed", (None, X, 0.5)),
        (TypeError, "key must be a random key.*got 0", (0, X, 0.5)),
        (ValueError, r"array of keys of shape \(8,\).*jax.vmap", (KEYS, X, 0.5)),
        (TypeError, "x must hold floating-point numbers; got dtype int32", (KEY, [1, 2], 0.5)),
        (ValueError, r"rate must be one number; got shape \(2,\)", (KEY, X, jnp.array([0.1, 0.2]))),
    ],
)
def test_messages(error, message, arguments):
    with pytest.raises(error, match=message):
        dropout(*arguments)


@pytest.mark.parametrize(
    ("f", "dims", "message"),
    [
        (dropout, {"broadcast_dims": (4,)}, "broadcast_dims must be axes of an array of rank 4"),
        (dropout, {"broadcast_dims": (1, -3)}, "broadcast_dims must be distinct axes"),
        (stochastic_depth, {"sample_dims": (-5,)}, "sample_dims must be axes"),
    ],
)
def test_axes_that_x_does_not_have(f, dims, message):
    with pytest.raises(ValueError, match=message):
        f(KEY, X, 0.5, **dims)


def test_old_keys_work():
    assert dropout(jax.random.PRNGKey(0), X, 0.5).shape == X.shape
    with pytest.raises(ValueError, match="array of keys"):
        dropout(jax.random.split(jax.random.PRNGKey(0)), X, 0.5)


@pytest.mark.parametrize("dims", [(), (1,), (1, 2)])
def test_agrees_with_flax(dims):
    linen = pytest.importorskip("flax.linen")
    theirs = linen.Dropout(0.3, broadcast_dims=dims).apply({}, X, deterministic=False, rng=KEY)
    np.testing.assert_allclose(dropout(KEY, X, 0.3, broadcast_dims=dims), theirs, rtol=1e-6)


def test_residual_block_in_expectation():
    """x + b f(x) / (1 - rate): the mean is the network in use, each sample has its own b."""
    x, f = jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [-1.0]])
    sample = draws(lambda key: x + stochastic_depth(key, f, 0.4))
    has_mean(sample, x + f, np.abs(f) * np.sqrt(0.4 / 0.6))
    assert abs(np.corrcoef(sample[:, 0, 0], sample[:, 1, 0])[0, 1]) < 5 / np.sqrt(len(sample))


def test_linear_decay():
    """Equation 4: survival 1 - l/L (1 - p_L); the paper's 54 blocks leave out a quarter."""
    survival = 1 - np.arange(1, 55) / 54 * (1 - 0.5)
    np.testing.assert_allclose(1 - linear_decay(54, 0.5), survival, rtol=1e-6)
    assert abs(float(linear_decay(54, 0.5).sum()) - 13.75) < 1e-4
    assert jnp.isnan(jax.jit(lambda r: linear_decay(3, r))(1.0)).all()
    assert not checks.is_traced(linear_decay(3, 0.2))
    for arguments, message in [((0, 0.5), "n_blocks must be at least 1"), ((3, 1.0), "last_rate")]:
        with pytest.raises(ValueError, match=message):
            linear_decay(*arguments)
