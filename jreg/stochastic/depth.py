"""Stochastic depth: residual branches that are left out at random while a network learns."""

from collections.abc import Sequence

import jax.numpy as jnp

from jreg.stochastic import doors
from jreg.stochastic.dropout import dropout
from jreg.typing import Array, ArrayLike, Scalar


def stochastic_depth(
    key: Array | None,
    branch: ArrayLike,
    rate: Scalar,
    *,
    sample_dims: int | Sequence[int] = (0,),
    deterministic: bool = False,
) -> Array:
    """`b branch / (1 - rate)`, b one draw per sample: 0 with probability `rate` and else 1.

    A residual block is then `x + stochastic_depth(key, f(x), rate)`. The paper scales the branch
    by 1 - rate at test time; scaling while training is the same with another scale of the branch,
    and needs nothing at test time: deterministic=True returns the branch.

    Args:
      key: one random key; None if deterministic.
      branch: f(x), floating, of rank 1 or more; the result has its shape, dtype and units.
      rate: the probability that the branch is left out, in [0, 1); see `linear_decay`.
      sample_dims: the axes that number the samples; () for one draw for all, as in the paper, or
        for one sample without such an axis.
      deterministic: True for the network in use, a Python bool.

    Raises as `dropout` does. Huang, Sun, Liu, Sedra and Weinberger (2016), section 3.

    >>> import jax
    >>> stochastic_depth(jax.random.key(1), jnp.ones((3, 2)), 0.5)
    Array([[2., 2.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """
    branch = doors.floats("branch", branch)
    samples = doors.axes("sample_dims", sample_dims, branch.ndim)
    rest = tuple(axis for axis in range(branch.ndim) if axis not in samples)
    return dropout(key, branch, rate, broadcast_dims=rest, deterministic=deterministic)


def linear_decay(n_blocks: int, last_rate: Scalar) -> Array:
    """`rate_l = (l / n_blocks) last_rate` for l = 1, ..., n_blocks: survival decays linearly.

    Early blocks make the features that all later ones use, so they are left out least.

    Args:
      n_blocks: the number of residual blocks, a Python int >= 1.
      last_rate: that of the last block, in [0, 1); 0.5 in the paper.

    Returns an array (n_blocks,). Raises ValueError for numbers outside; a traced one gives NaN.
    Huang, Sun, Liu, Sedra and Weinberger (2016), equation 4.

    >>> linear_decay(4, 0.5)
    Array([0.125, 0.25 , 0.375, 0.5  ], dtype=float32)
    """
    if n_blocks < 1:
        raise ValueError(f"n_blocks must be at least 1; got {n_blocks}")
    last = doors.rate("last_rate", last_rate)
    return jnp.arange(1, n_blocks + 1).astype(last.dtype) * last / n_blocks
