"""What the tests of `jreg.stochastic` share: draws over many keys, and their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
KEY = jax.random.key(0)


def draws(f, count=4000, seed=0):
    """f(key) for many keys, in float64 of NumPy: (count, ...)."""
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.jit(jax.vmap(f))(keys), float)


def has_mean(sample, mean, std, sigmas=5):
    """The mean of independent draws is within some standard errors of the true one."""
    error = np.abs(sample.mean(axis=0) - mean)
    assert (error <= sigmas * np.asarray(std) / np.sqrt(len(sample)) + 1e-6).all(), error.max()


def input_of(dtype, shape=(4, 5), seed=0):
    """Normal numbers; in the context of float64 where that is asked for."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
