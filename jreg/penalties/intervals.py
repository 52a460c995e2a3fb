"""The subdifferential of a penalty of single entries, an interval at each."""

from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties.box import Box
from jreg.penalties.calculus import Fixed, Scaled, Tilted, Translated
from jreg.penalties.separable import Separable
from jreg.penalties.wrapper import like, positive
from jreg.typing import Array, PyTree

Interval = tuple[PyTree, PyTree]


def has_interval(penalty: Any) -> bool:
    """Whether `interval` has a rule for a penalty."""
    while isinstance(penalty, Scaled | Fixed | Translated | Tilted):
        penalty = penalty.penalty
    return isinstance(penalty, Separable | Box)


@singledispatch
def interval(penalty: Any, w: PyTree) -> Interval | None:
    """(low, high) like w with the subdifferential at w; (inf, inf) or (-inf, -inf) where that is
    empty; None for a penalty that has no such rule."""
    del penalty, w
    return None


@interval.register
def _(penalty: Separable, w: PyTree) -> Interval:
    def side(w: Array, s: Array, end: int) -> Array:
        slope = penalty._slope(jnp.where(w == 0, 1, w), s)
        return jnp.where(w == 0, penalty._kink(s)[end], slope)

    def excluded(w: Array, at_zero: float) -> Array:
        return jnp.where(w == 0, at_zero, jnp.inf).astype(w.dtype)

    return (
        penalty._each(lambda w, s: side(w, s, 0), lambda w: excluded(w, -jnp.inf), w),
        penalty._each(lambda w, s: side(w, s, 1), lambda w: excluded(w, jnp.inf), w),
    )


@interval.register
def _(penalty: Box, w: PyTree) -> Interval:
    w = tree.floating(w)
    low, high = like(penalty.lower, w), like(penalty.upper, w)

    def ends(w: Array, a: Array, b: Array) -> tuple[Array, Array]:
        outside, inside = (w < a) | (w > b), jnp.where(jnp.isnan(w), w, 0)
        down = jnp.where(outside, jnp.inf, jnp.where(w == a, -jnp.inf, inside))
        return down, jnp.where(outside | (w == b), jnp.inf, inside)

    return (
        jax.tree.map(lambda *x: ends(*x)[0], w, low, high),
        jax.tree.map(lambda *x: ends(*x)[1], w, low, high),
    )


@interval.register
def _(penalty: Scaled, w: PyTree) -> Interval | None:
    found = interval(penalty.penalty, w)
    c = positive(penalty.c, tree.dtype(tree.floating(w)))
    return None if found is None else jax.tree.map(lambda end: c * end, found)


@interval.register
def _(penalty: Fixed, w: PyTree) -> Interval | None:
    return interval(penalty.penalty, w)


@interval.register
def _(penalty: Translated, w: PyTree) -> Interval | None:
    w = tree.floating(w)
    return interval(penalty.penalty, tree.subtract(w, like(penalty.b, w)))


@interval.register
def _(penalty: Tilted, w: PyTree) -> Interval | None:
    w = tree.floating(w)
    found = interval(penalty.penalty, w)
    if found is None:
        return None
    low, high = (jax.tree.map(jnp.add, end, like(penalty.c, w)) for end in found)
    return low, high


def total(intervals: list[Interval]) -> Interval:
    """The sum of intervals; empty where one is."""

    def add(*ends: Array) -> tuple[Array, Array]:
        lows, highs = ends[0::2], ends[1::2]
        pairs = list(zip(lows, highs, strict=True))
        empty = sum(((a == b) & jnp.isinf(a) for a, b in pairs), jnp.zeros(lows[0].shape, bool))
        low = sum((jnp.where(empty, 0, a) for a in lows[1:]), jnp.where(empty, jnp.inf, lows[0]))
        high = sum((jnp.where(empty, 0, b) for b in highs[1:]), jnp.where(empty, jnp.inf, highs[0]))
        return low, high

    first = intervals[0][0]
    sums = [
        add(*ends)
        for ends in zip(*(jax.tree.leaves(end) for pair in intervals for end in pair), strict=True)
    ]
    structure = jax.tree.structure(first)
    return structure.unflatten([a for a, _ in sums]), structure.unflatten([b for _, b in sums])


def distance(u: Array, low: Array, high: Array) -> Array:
    """Of u from [low, high]; inf where the interval is empty."""
    empty = (low == high) & jnp.isinf(low)
    return jnp.where(empty, jnp.inf, jnp.maximum(jnp.maximum(low - u, u - high), 0))
