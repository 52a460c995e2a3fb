"""Fractional pooling: pooling by a factor between 1 and 2, with regions drawn at random.

Along an axis the boundaries are integers `0 = a_0 < a_1 < ... < a_n_out = n_in` whose steps
`a_i - a_(i-1)` are 1 or 2; output i pools the inputs `a_(i-1), ..., a_i - 1`, and where regions
overlap the input `a_i` as well. Output sizes are Python numbers, so that all shapes are static.
Graham (2014), "Fractional max-pooling", section 2.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np

from jreg.stochastic import doors
from jreg.typing import Array, ArrayLike

Boundaries = Callable[[Array, int, int], Array]  # (key, n_in, n_out) -> (n_out + 1,)


def pooled_size(n_in: int, ratio: float) -> int:
    """The smallest n_out with `n_in <= ratio n_out`, so that the real ratio is at most `ratio`.

    n_in: >= 1. ratio: in (1, 2], taken as the decimal number that it prints as. Raises ValueError
    for others.

    >>> pooled_size(25, 2**0.5)
    18
    """
    if n_in < 1:
        raise ValueError(f"n_in must be at least 1; got {n_in}")
    if not 1 < ratio <= 2:
        raise ValueError(f"ratio must be in (1, 2]; got {ratio}. For more, pool twice")
    return ceil(n_in / Fraction(str(float(ratio))))  # in floats 7 / 1.4 might be 5.000000000000001


def random_boundaries(key: Array, n_in: int, n_out: int) -> Array:
    """Boundaries whose n_in - n_out steps of 2 and 2 n_out - n_in steps of 1 are shuffled.

    Every order has the same probability. Integers (n_out + 1,), from 0 to n_in. Raises ValueError
    unless n_out <= n_in <= 2 n_out. Graham (2014), section 2, "random".

    >>> random_boundaries(jax.random.key(0), 8, 5)
    Array([0, 2, 4, 5, 6, 8], dtype=int32)
    """
    _check_sizes(n_in, n_out)
    steps = jnp.where(jnp.arange(n_out) < n_in - n_out, 2, 1)
    steps = jax.random.permutation(doors.key(key), steps)
    return jnp.pad(jnp.cumsum(steps), (1, 0)).astype(jnp.int32)


def pseudo_random_boundaries(key: Array, n_in: int, n_out: int) -> Array:
    """`a_i = ceil(alpha (i + u)) - ceil(alpha u)`, alpha = n_in / n_out, u uniform in (0, 1).

    Steps of 2 are spread evenly: any k regions hold floor(alpha k) or ceil(alpha k) inputs.
    Integers (n_out + 1,), from 0 to n_in, without rounding at any size. Raises ValueError unless
    n_out <= n_in <= 2 n_out. Graham (2014), section 2, "pseudorandom".

    >>> pseudo_random_boundaries(jax.random.key(0), 8, 5)
    Array([0, 1, 3, 4, 6, 8], dtype=int32)
    """
    _check_sizes(n_in, n_out)
    # For integers i, ceil(alpha (i + u)) depends on u by t = ceil(n_in u) alone.
    return _spread(n_in, n_out, jax.random.randint(doors.key(key), (), 1, n_in + 1))


def fractional_max_pool(
    key: Array | None,
    x: ArrayLike,
    sizes: int | Sequence[int],
    *,
    axes: int | Sequence[int] | None = None,
    overlapping: bool = False,
    boundaries: Boundaries = random_boundaries,
    deterministic: bool = False,
) -> Array:
    """The maximum over each region; in two dimensions regions are products of intervals.

    Args:
      key: one random key, from which each axis draws its own boundaries; None if deterministic.
      x: floating; (..., length, channels) for one size, (..., height, width, channels) for two.
        All leading axes share the regions; for regions of each example, jax.vmap over keys.
      sizes: n_out of each pooled axis, with n_out <= n_in <= 2 n_out: see `pooled_size`.
      axes: the pooled axes, as many as sizes; by default those before the last one.
      overlapping: whether a region takes in the first input of the next one too.
      boundaries: `random_boundaries`, `pseudo_random_boundaries`, or a function like them.
      deterministic: True for evenly spread regions that need no key, a Python bool.

    The result is like x with the sizes `sizes`, in its dtype and units; NaN in a region gives NaN.
    Equal maxima share the derivative. Raises ValueError for sizes or axes that do not fit or a key
    that is missing, TypeError for integers.

    Graham (2014), section 2, whose boundaries end at the last input for both kinds of regions;
    here, as in TensorFlow, they end after it: disjoint regions cover the input, and of overlapping
    ones the last alone has nothing more to take in.

    >>> x = jnp.array([[3.0], [1.0], [4.0], [1.0], [5.0]])
    >>> fractional_max_pool(None, x, 3, deterministic=True)[:, 0]
    Array([3., 4., 5.], dtype=float32)
    """
    x = doors.floats("x", x)
    return _pool(_max, x, _cuts(key, x.shape, sizes, axes, boundaries, deterministic), overlapping)


def fractional_avg_pool(
    key: Array | None,
    x: ArrayLike,
    sizes: int | Sequence[int],
    *,
    axes: int | Sequence[int] | None = None,
    overlapping: bool = False,
    boundaries: Boundaries = random_boundaries,
    deterministic: bool = False,
) -> Array:
    """The mean over each region: as `fractional_max_pool`, with its arguments and errors.

    Where regions are disjoint and `n_in = 2 n_out` this is ordinary average pooling. Half precision
    is averaged in float32. Graham (2014), section 2, with means instead of maxima.

    >>> x = jnp.array([[3.0], [1.0], [4.0], [1.0], [5.0]])
    >>> fractional_avg_pool(None, x, 3, deterministic=True)[:, 0]
    Array([2., 4., 3.], dtype=float32)
    """
    x = doors.floats("x", x)
    cuts = _cuts(key, x.shape, sizes, axes, boundaries, deterministic)
    return _pool(_mean, x.astype(doors.wide(x.dtype)), cuts, overlapping).astype(x.dtype)


def _cuts(
    key: Array | None,
    shape: tuple[int, ...],
    sizes: int | Sequence[int],
    axes: int | Sequence[int] | None,
    boundaries: Boundaries,
    deterministic: bool,
) -> list[tuple[int, Array]]:
    """The pooled axes, each with its boundaries."""
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    if axes is None and len(shape) <= len(sizes):
        raise ValueError(
            f"x must have the {len(sizes)} pooled axes and one of channels; got shape {shape}. "
            "Use x[..., None], or name the axes"
        )
    before_last = tuple(range(-1 - len(sizes), -1))
    pooled = doors.axes("axes", before_last if axes is None else axes, len(shape))
    if len(pooled) != len(sizes):
        raise ValueError(f"sizes and axes must be as many; got {sizes} and {axes}")
    lengths = [(shape[axis], n_out) for axis, n_out in zip(pooled, sizes, strict=True)]
    if deterministic:
        cuts = [_evenly(*length) for length in lengths]
    else:
        keys = jax.random.split(doors.key(key), len(sizes))
        cuts = [boundaries(k, *length) for k, length in zip(keys, lengths, strict=True)]
    return list(zip(pooled, cuts, strict=True))


def _pool(
    reduce: Callable[[Array, Array], Array],
    x: Array,
    cuts: list[tuple[int, Array]],
    overlapping: bool,
) -> Array:
    """One axis after the other: maxima and means over products of intervals are nested ones."""
    for axis, cut in cuts:
        x = _along(reduce, x, axis, cut, overlapping)
    return x


def _along(
    reduce: Callable[[Array, Array], Array], x: Array, axis: int, cut: Array, overlapping: bool
) -> Array:
    """Pool one axis by its boundaries."""
    x = jnp.moveaxis(x, axis, -1)
    end = jnp.minimum(cut[1:] + overlapping, x.shape[-1])
    member = cut[:-1, None] + jnp.arange(2 + overlapping)[None]
    inside = member < end[:, None]
    regions = x[..., jnp.where(inside, member, 0)]  # (..., n_out, 2 or 3)
    pooled = reduce(regions, jnp.broadcast_to(inside, regions.shape))
    return jnp.moveaxis(pooled, -1, axis)


def _max(regions: Array, inside: Array) -> Array:
    return jnp.max(regions, axis=-1, where=inside, initial=-jnp.inf)


def _mean(regions: Array, inside: Array) -> Array:
    return jnp.mean(regions, axis=-1, where=inside)


def _evenly(n_in: int, n_out: int) -> Array:
    """The pseudo-random boundaries of u = 1."""
    _check_sizes(n_in, n_out)
    return _spread(n_in, n_out, jnp.asarray(n_in))


def _spread(n_in: int, n_out: int, t: Array) -> Array:
    """`ceil((n_in i + t) / n_out) - ceil(t / n_out)` for i = 0, ..., n_out.

    n_in i is divided beforehand, where integers have 64 bits.
    """
    whole, rest = np.divmod(np.arange(n_out + 1, dtype=np.int64) * n_in, n_out)
    a = jnp.asarray(whole, jnp.int32) - (-(jnp.asarray(rest, jnp.int32) + t) // n_out)
    return (a - a[0]).astype(jnp.int32)


def _check_sizes(n_in: int, n_out: int) -> None:
    if not 1 <= n_out <= n_in <= 2 * n_out:
        raise ValueError(
            f"a size must be between n_in / 2 and n_in = {n_in}; got {n_out}. "
            "pooled_size gives that of a ratio in (1, 2]; for a larger one, pool twice"
        )
