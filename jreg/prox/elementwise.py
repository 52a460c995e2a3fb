"""Proximal operators as plain functions: `prox(v, t) = argmin_z t f(z) + 1/2 (z - v)^2`.

`v` has any shape; the threshold `t >= 0` is a scalar or like `v` (a diagonal metric, or a strength
per feature). An infinite threshold means the limit.
"""

import jax
import jax.numpy as jnp

from jreg.linalg import plus_zero
from jreg.typing import Array, ArrayLike


def soft_threshold(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t |z|`: `sign(v) max(|v| - t, 0)`.

    The identity for t = 0, at v = 0 too (where the derivative is 1). Donoho and Johnstone (1994);
    Beck (2017), section 6.3.

    >>> soft_threshold(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.,  0.,  1.], dtype=float32)
    """
    v = jnp.asarray(v)
    t = jnp.asarray(t, v.dtype)
    zero = jnp.where(t == 0, v - jax.lax.stop_gradient(v), 0)  # with the identity's derivative
    return jnp.where(jnp.abs(v) <= t, zero, jnp.where(v > 0, v - t, v + t))


def ridge(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t/2 z^2`: `v / (1 + t)`; 0 for t = inf. Beck (2017), section 6.2.

    >>> ridge(jnp.array([2.0]), 1.0)
    Array([1.], dtype=float32)
    """
    v = jnp.asarray(v)
    return plus_zero(v / (1 + jnp.asarray(t, v.dtype)))


def elastic_net(v: ArrayLike, t1: ArrayLike, t2: ArrayLike) -> Array:
    """Prox of `t1 |z| + t2/2 z^2`: `soft(v, t1) / (1 + t2)`. Zou and Hastie (2005).

    >>> elastic_net(jnp.array([3.0]), 1.0, 1.0)
    Array([1.], dtype=float32)
    """
    return ridge(soft_threshold(v, t1), t2)


def nonnegative_soft_threshold(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t z` on z >= 0: `max(v - t, 0)`. Beck (2017), example 6.8.

    >>> nonnegative_soft_threshold(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([0., 0., 1.], dtype=float32)
    """
    v = jnp.asarray(v)
    moved = v - jnp.asarray(t, v.dtype)
    return keep_where(~(moved <= 0), moved)


def asymmetric_soft_threshold(v: ArrayLike, below: ArrayLike, above: ArrayLike) -> Array:
    """Prox of `max(above z, -below z)` for below, above >= 0: `v - clip(v, -below, above)`.

    Combettes and Pesquet (2007), example 2.

    >>> asymmetric_soft_threshold(jnp.array([-3.0, 1.0, 6.0]), 1.0, 2.0)
    Array([-2.,  0.,  4.], dtype=float32)
    """
    v = jnp.asarray(v)
    below, above = jnp.asarray(below, v.dtype), jnp.asarray(above, v.dtype)
    moved = v - jnp.clip(v, -below, above)
    return plus_zero(jnp.where((below == 0) & (above == 0), v, moved))


def huber(v: ArrayLike, t: ArrayLike, delta: ArrayLike) -> Array:
    """Prox of t times `z^2/2` for |z| <= delta, `delta (|z| - delta/2)` beyond.

    `v / (1 + t)` while that is within delta, else `v - t delta sign(v)`. Beck (2017), section 6.7.

    >>> huber(jnp.array([1.5, 4.0]), 2.0, 1.0)
    Array([0.5, 2. ], dtype=float32)
    """
    v = jnp.asarray(v)
    t, delta = jnp.asarray(t, v.dtype), jnp.asarray(delta, v.dtype)
    inner = jnp.abs(v) <= delta * (1 + t)
    return jnp.where(inner, ridge(v, t), soft_threshold(v, t * delta))


def keep_where(kept: Array, v: Array) -> Array:
    """v where `kept`, +0 elsewhere; NaN stays."""
    return jnp.where(kept | jnp.isnan(v), v, 0)
