"""Dropout: entries, or whole channels, that are 0 at random while a network learns."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jreg.stochastic import doors
from jreg.typing import Array, ArrayLike, Scalar


def dropout(
    key: Array | None,
    x: ArrayLike,
    rate: Scalar,
    *,
    broadcast_dims: int | Sequence[int] = (),
    deterministic: bool = False,
) -> Array:
    """`m x / (1 - rate)`, m independently 0 with probability `rate` and else 1.

    The expectation is x and the variance of an entry `x^2 rate / (1 - rate)`, so nothing need be
    rescaled at test time: deterministic=True returns x.

    Args:
      key: one random key; None if deterministic.
      x: floating, any shape; the result has its shape, dtype and units.
      rate: the probability of 0, in [0, 1). It has no derivative.
      broadcast_dims: axes along which one draw is shared.
      deterministic: True for the network in use, a Python bool.

    Raises ValueError for a concrete rate outside [0, 1), a key that is missing or no single one,
    axes that x does not have; TypeError for integers. A traced rate outside gives NaN.

    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), section 4; scaled while
    training ("inverted") as in their section 10. A key gives the mask that flax draws from it.

    >>> dropout(jax.random.key(0), jnp.ones(6), 0.5)
    Array([0., 0., 2., 2., 0., 2.], dtype=float32)
    """
    x = doors.floats("x", x)
    shared = doors.axes("broadcast_dims", broadcast_dims, x.ndim)
    keep = 1 - doors.rate("rate", rate)
    if deterministic:
        return x
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(x.shape))
    m = jnp.broadcast_to(jax.random.bernoulli(doors.key(key), keep, shape), x.shape)
    keep = keep.astype(doors.wide(x.dtype))
    # 0 * keep is 0, or the NaN of a rate that is none; x itself may be infinite
    return jnp.where(m, x / keep, 0 * keep).astype(x.dtype)


def spatial_dropout(
    key: Array | None,
    x: ArrayLike,
    rate: Scalar,
    *,
    spatial_dims: int | Sequence[int] = (-3, -2),
    deterministic: bool = False,
) -> Array:
    """Dropout of whole channels: one draw for all positions of a channel of an example.

    Neighbouring positions of a feature map are alike, so that dropout of single entries takes
    nothing away. It is `dropout` with `broadcast_dims=spatial_dims`.

    Args:
      x: (..., height, width, channels), one image or a batch.
      spatial_dims: the axes of positions: (-2,) for series (..., length, channels), (-2, -1) where
        channels come first.
      key, rate, deterministic: as for `dropout`, with the same errors.

    Tompson, Goroshin, Jain, LeCun and Bregler (2015), section 3.2.

    >>> spatial_dropout(jax.random.key(0), jnp.ones((2, 1, 3)), 0.5)
    Array([[[0., 0., 2.]],
           [[0., 0., 2.]]], dtype=float32)
    """
    return dropout(key, x, rate, broadcast_dims=spatial_dims, deterministic=deterministic)
