"""Kullback-Leibler terms of positive numbers, from logarithms and without cancellation."""

import math

import jax.numpy as jnp

from jreg.typing import Array

_SERIES = 0.5  # below this |x|, e^x - 1 - x is summed as a power series
_COEFFICIENTS = [1 / math.factorial(k) for k in range(15, 1, -1)]


def exp_remainder(x: Array) -> Array:
    """`e^x - 1 - x`, at least 0, to full relative accuracy near 0.

    x an array of any shape. Taylor's series where |x| < 1/2, else `expm1`.

    >>> exp_remainder(jnp.array([1e-4, 0.0]))
    Array([5.0e-09, 0.0e+00], dtype=float32)
    """
    near = jnp.abs(x) < _SERIES
    small, large = jnp.where(near, x, 0), jnp.where(near, 1, x)
    total = jnp.zeros_like(small)
    for coefficient in _COEFFICIENTS:
        total = total * small + coefficient
    return jnp.where(near, total * small * small, jnp.expm1(large) - large)


def divergence(q: Array, log_q: Array, log_m: Array) -> Array:
    """`m - q - q log(m / q)`, the Kullback-Leibler divergence of positive numbers q and m.

    q >= 0 with its logarithm (any number where q = 0), and log m; arrays of one shape. At least 0;
    `inf` where m overflows.

    >>> divergence(jnp.array([0.0, 2.0]), jnp.array([-jnp.inf, jnp.log(2.0)]), jnp.zeros(2))
    Array([1.       , 0.3862944], dtype=float32)
    """
    some = q > 0
    x = jnp.where(some, log_m - jnp.where(some, log_q, 0), 0)
    far = x > 1
    close = q * exp_remainder(jnp.where(far, 0, x))
    m = jnp.exp(jnp.where(far | ~some, log_m, 0))
    distant = m - q * (1 + jnp.where(far, x, 0))
    return jnp.where(some & ~far, close, distant)
