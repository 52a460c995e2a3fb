"""Proximal operators as plain functions: `prox(v, t) = argmin_z t f(z) + 1/2 (z - v)^2`.

`v` has any shape; the threshold `t >= 0` is a scalar or like `v` (a diagonal metric, or a strength
per feature). An infinite threshold means the limit.
"""

import jax.numpy as jnp

from jreg.typing import Array, ArrayLike


def soft_threshold(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t |z|`: `sign(v) max(|v| - t, 0)`.

    Written as `v` minus its projection on [-t, t] (Moreau), which gives +0 for every thresholded
    entry. Donoho and Johnstone (1994); Beck (2017), section 6.3.

    >>> soft_threshold(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.,  0.,  1.], dtype=float32)
    """
    v = jnp.asarray(v)
    t = jnp.asarray(t, v.dtype)
    return v - jnp.clip(v, -t, t)


def ridge(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t/2 z^2`: `v / (1 + t)`; 0 for t = inf. Beck (2017), section 6.2.

    >>> ridge(jnp.array([2.0]), 1.0)
    Array([1.], dtype=float32)
    """
    v = jnp.asarray(v)
    shrunk = v / (1 + jnp.asarray(t, v.dtype))
    return jnp.where(shrunk == 0, 0, shrunk)  # never -0


def elastic_net(v: ArrayLike, t1: ArrayLike, t2: ArrayLike) -> Array:
    """Prox of `t1 |z| + t2/2 z^2`: `soft(v, t1) / (1 + t2)`. Zou and Hastie (2005).

    >>> elastic_net(jnp.array([3.0]), 1.0, 1.0)
    Array([1.], dtype=float32)
    """
    return ridge(soft_threshold(v, t1), t2)
