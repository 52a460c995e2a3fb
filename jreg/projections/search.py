"""Thresholds of long vectors by search: XLA's sort on the CPU costs as much as 200 passes.

Each search keeps a bracket `[low, high)` of the threshold, tries a point within, and ends when no
entry tells the ends apart. Where nothing better is known that point is `halfway`: half of the
floats of the bracket lie below, so even the whole line closes in as many steps as a float has bits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg.typing import Array, Scalar

NEWTON = 30  # steps, before halving alone; 2 to 20 do
BLOCK = 1024  # terms summed one by one
SAMPLE = 64  # one entry in so many tells where to start
LONG = 8192


def halfway(low: Array, high: Array) -> Array:
    """The float in the middle of those in [low, high), which may be infinite.

    The bits of floats, read as integers, are in their order, in reverse for negative ones.

    >>> halfway(jnp.array(1.0), jnp.array(4.0))
    Array(2., dtype=float32)
    """
    kind = jnp.dtype(f"int{jnp.finfo(low.dtype).bits}")

    def turned(i: Array) -> Array:
        return jnp.where(i < 0, i ^ jnp.iinfo(kind).max, i)

    i, j = (turned(jax.lax.bitcast_convert_type(x, kind)) for x in (low, high))
    return jax.lax.bitcast_convert_type(turned((i & j) + ((i ^ j) >> 1)), low.dtype)


class Piece(NamedTuple):
    """Where `a.clip(v - tau a, lower, upper)` is b; entries (n,)."""

    tau: Array  # the root but for rounding, or in its piece
    free: Array  # which entries are between their bounds in the piece
    past: Array  # which have both of their breakpoints behind them


@jax.jit
def piece(v: Array, lower: Array, upper: Array, a: Array, b: Array) -> Piece:
    """The piece in which `h(tau) = a.clip(v - tau a, lower, upper)` falls through b.

    v (n,); lower, upper and a also scalars. h is linear between neighbouring breakpoints, which are
    `(v_i - lower_i) / a_i` and `(v_i - upper_i) / a_i`. One pass at a tau in the bracket gives h,
    its slope, and `end`, the breakpoint next to tau on the side of the root. If Newton's step stays
    before `end`, the root is in the piece of tau. Else `end` is a new end of the bracket, and the
    next tau is that of Newton if it is in there. A long vector starts from the root of a sample.

    2 to 20 passes of O(n), about 4 for 1e6 entries; memory 2 n. The piece begins at the last
    breakpoint that reaches b; where h is never b it is the first or the last piece of all. Entries
    where a is 0 are never free. Kiwiel (2008), section 3; on simplices Newton's method alone:
    Michelot (1986), Condat (2016).

    >>> v, bounds = jnp.array([1.0, 0.5, -2.0]), (jnp.array(0.0), jnp.array(jnp.inf))
    >>> piece(v, *bounds, jnp.array(1.0), jnp.array(1.0)).tau
    Array(0.25, dtype=float32)
    """
    slope = jnp.where(a == 0, 1, a)
    at_lower, at_upper = (v - lower) / slope, (v - upper) / slope
    first = jnp.where(a == 0, jnp.inf, jnp.minimum(at_lower, at_upper))
    last = jnp.where(a == 0, jnp.inf, jnp.maximum(at_lower, at_upper))

    def unfinished(state: Any) -> Array:
        *_, found, k = state
        return ~found & (k < 4 * NEWTON)

    def advance(state: Any) -> Any:
        tau, _, low, high, _, k = state
        free = (first <= tau) & (tau < last)
        reached, slope = _sums(
            a * jnp.clip(v - tau * a, lower, upper), jnp.where(free, a * a, jnp.zeros_like(v))
        )
        right = reached >= b  # the root is there
        after = jnp.where(tau < first, first, jnp.where(tau < last, last, jnp.inf))
        before = jnp.where(tau >= last, last, jnp.where(tau >= first, first, -jnp.inf))
        end = jnp.min(jnp.where(right, after, -before))
        end = jnp.where(right, end, -end)

        flat = slope == 0
        root = tau + (reached - b) / jnp.where(flat, 1, slope)
        root = jnp.where(flat, jnp.where(right, jnp.inf, -jnp.inf), root)
        found = jnp.where(right, (root < end) | (end >= high), (root >= end) | (end <= low))
        found = found | jnp.isnan(reached - b)
        low, high = jnp.where(right, end, low), jnp.where(right, high, end)
        newton = jnp.isfinite(root) & (low <= root) & (root < high) & (k < NEWTON)
        following = jnp.where(newton, root, halfway(low, high))
        within = jnp.clip(root, jnp.minimum(tau, end), jnp.maximum(tau, end))
        within = jnp.where(jnp.isfinite(within), within, tau)
        return jnp.where(found, tau, following), within, low, high, found, k + 1

    if v.size > LONG:
        some = [x[::SAMPLE] if x.ndim else x for x in (v, lower, upper, a)]
        start = piece(*some, b / SAMPLE).tau
    else:
        usual = jnp.isfinite(v) & (a != 0)
        start = (jnp.sum(jnp.where(usual, a * v, 0)) - b) / jnp.sum(jnp.where(usual, a * a, 0))
        start = jnp.where(jnp.isfinite(start), start, 0)
    edge = jnp.full((), jnp.inf, v.dtype)
    state = (start, start, -edge, edge, jnp.zeros((), bool), jnp.zeros((), int))
    tau, within, *_ = jax.lax.while_loop(unfinished, advance, state)
    return Piece(within, (first <= tau) & (tau < last), last <= tau)


@jax.jit
def largest(size: Array, k: Scalar) -> Array:
    """Which are the k largest of size >= 0, NaN above all; of equal ones those first in size.

    Bisection on the bits of the k-th, which read as an integer are in the order of floats >= 0,
    then on the place of the last of its equals. size (n,); k may be traced. Some 25 passes.

    >>> largest(jnp.array([1.0, 3.0, 1.0]), 2)
    Array([ True,  True, False], dtype=bool)
    """
    bits = jax.lax.bitcast_convert_type(size, f"int{jnp.finfo(size.dtype).bits}")
    place = jnp.arange(size.size)
    least = _last(lambda i: jnp.sum(bits >= i), jnp.max(bits), k)
    above, equal = bits > least, bits == least
    room = k - jnp.sum(above)
    left_out = _last(lambda i: jnp.sum(equal & (place < size.size - i)), jnp.array(size.size), room)
    return above | equal & (place < size.size - left_out)


def _last(count: Callable[[Array], Array], high: Array, k: Scalar) -> Array:
    """The last i in [0, high] with `count(i) >= k`, or one with `count(i) = k`; else 0.

    count falls as i grows.
    """

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        low, high, counted = state
        return (counted != k) & (low < high)

    def halve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, counted = state
        middle = high - (high - low) // 2
        here = count(middle)
        enough = here >= k
        low, high = jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1)
        return low, high, jnp.where(enough, here, counted)

    low = jnp.zeros_like(high)
    return jax.lax.while_loop(unfinished, halve, (low, high, count(low)))[0]


def _sums(*terms: Array) -> list[Array]:
    """The sums of some vectors, in one pass that writes nothing, as `jnp.sum` of each would not do.

    A reduction of several operands adds them one by one: in blocks, or float32 would lose digits.
    """

    def add(x: tuple[Array, ...], y: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(i + j for i, j in zip(x, y, strict=True))

    size = terms[0].size
    block = min(size, BLOCK)
    blocks = tuple(jnp.pad(x, (0, -size % block)).reshape(-1, block) for x in terms)
    zeros = tuple(jnp.zeros((), x.dtype) for x in terms)
    return [jnp.sum(x) for x in jax.lax.reduce(blocks, zeros, add, (1,))]
