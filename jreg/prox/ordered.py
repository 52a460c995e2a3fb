"""Proximal operators of norms that order or compare the entries of a vector.

Entries that the penalty ties together come out exactly equal. Each operator finds which those are
by a sort, a search or one pass; the result, and so its derivative, is a mean over each tie.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.linalg import plus_zero
from jreg.projections.order import isotonic
from jreg.projections.search import piece
from jreg.prox.elementwise import keep_where, soft_threshold
from jreg.typing import Array, ArrayLike


def sorted_l1(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `sum_i t_i |z|_(i)`, with |z|_(1) >= |z|_(2) >= ...: the SLOPE or OWL norm.

    Sort |v|, project `|v|_(i) - t_i` on non-increasing vectors, take the positive part, unsort. v
    has any shape; t is a scalar or a vector with v.size thresholds, non-increasing and >= 0.
    Raises ValueError where concrete thresholds increase; traced ones give NaN. Bogdan, van den
    Berg, Sabatti, Su and Candes (2015), section 2; Zeng and Figueiredo (2014).

    >>> sorted_l1(jnp.array([5.0, -4.9, 1.0]), jnp.array([2.0, 1.0, 0.5])).round(2)
    Array([ 3.45, -3.45,  0.5 ], dtype=float32)
    """
    v = tree.floating(v)
    flat = v.ravel()
    t = jnp.broadcast_to(non_increasing("t", t), flat.shape).astype(v.dtype)
    t = jnp.minimum(t, jnp.finfo(v.dtype).max / 4)  # inf would meet -inf in a mean
    size = jnp.sign(flat) * flat
    order = jnp.argsort(-size)
    shrunk = isotonic(size[order] - t, increasing=False)
    shrunk = jnp.zeros_like(shrunk).at[order].set(keep_where(~(shrunk <= 0), shrunk))
    return keep_where(shrunk != 0, jnp.sign(flat) * shrunk).reshape(v.shape)


def non_increasing(name: str, t: ArrayLike) -> Array:
    """t as an array if it is non-increasing and >= 0; else ValueError, or NaN where traced."""
    t = jnp.asarray(t)
    if not checks.is_traced(t):
        host = np.atleast_1d(np.asarray(t))
        if np.any(np.diff(host) > 0) or np.any(host < 0):
            raise ValueError(
                f"{name} must be non-increasing and at least 0; got {host[:5]}"
                + ("..." if host.size > 5 else "")
                + f". Sort it with -jnp.sort(-{name})."
            )
    flat = jnp.atleast_1d(t)
    return jnp.where(jnp.all(flat[1:] <= flat[:-1]) & (flat[-1] >= 0), t, jnp.nan)


def linf(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t max_i |z_i|`: v clipped at the level r with `sum_i (|v_i| - r)_+ = t`, or 0.

    It is v minus its projection on the L1 ball of radius t (Moreau). v has any shape, t >= 0 is a
    scalar. Beck (2017), example 6.48.

    >>> linf(jnp.array([3.0, -1.0, 0.5, 2.0]), 1.5)
    Array([ 1.75, -1.  ,  0.5 ,  1.75], dtype=float32)
    """
    v = tree.floating(v)
    size = jnp.sign(v) * v
    top = water_level(size, t)
    sunk = jnp.sum(size) <= t
    clipped = jnp.where(size <= top, v, jnp.sign(v) * top)
    return plus_zero(jnp.where(sunk, 0, clipped))


def water_level(v: ArrayLike, t: ArrayLike, where: ArrayLike = True) -> Array:
    """The r with `sum_i (v_i - r)_+ = t` over the entries in `where`; `min(v, r)` is the prox of
    `t max_i z_i`.

    v and `where` have any shape; t >= 0 is a scalar, finite. The derivative is
    `(sum of dv over v > r, minus dt) / count`. Held, Wolfe and Crowder (1974).

    >>> water_level(jnp.array([3.0, 1.0, 2.0]), 1.5)
    Array(1.75, dtype=float32)
    """
    v = tree.floating(v)
    t = jnp.minimum(jnp.asarray(t, v.dtype), jnp.finfo(v.dtype).max / (4 * v.size))
    fixed, target = jax.lax.stop_gradient((jnp.where(where, v, -jnp.inf).ravel(), t))
    zero = jnp.zeros((), v.dtype)
    level = piece(fixed, zero, zero + jnp.inf, zero + 1, target).tau
    top = jnp.max(fixed)  # sums relative to it keep their digits
    active = ((fixed > level) | (fixed == top)).reshape(v.shape)
    return top + (jnp.sum(jnp.where(active, v - top, 0)) - t) / jnp.sum(active)


def fused_lasso(v: ArrayLike, t1: ArrayLike, t2: ArrayLike) -> Array:
    """Prox of `t1 sum |z_i| + t2 sum |z_{i+1} - z_i|`: total variation first, then soft.

    v (n,); t1 a scalar; t2 a scalar or (n - 1,). Friedman, Hastie, Hofling and Tibshirani (2007),
    section 3.

    >>> fused_lasso(jnp.array([4.0, 4.2, 0.1]), 0.5, 0.3)
    Array([3.45, 3.45, 0.  ], dtype=float32)
    """
    return soft_threshold(total_variation(v, t2), t1)


def total_variation(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `sum_i t_i |z_{i+1} - z_i|`, one-dimensional total variation.

    v (n,); t a scalar or one threshold per edge (n - 1,), all >= 0; inf ties the two ends. Exact,
    in O(n), by dynamic programming. On a stretch of equal z, with the signs s of the jumps at its
    ends,

        z = mean(v) + (t_right s_right - t_left s_left) / length.

    Raises ValueError unless v is a vector and t fits it. Johnson (2013).

    >>> total_variation(jnp.array([1.0, 2.0, -1.0, 3.0]), 0.5).round(3)
    Array([1.25, 1.25, 0.  , 2.5 ], dtype=float32)
    """
    v = tree.floating(v)
    if v.ndim != 1:
        raise ValueError(f"v must be a vector; got shape {v.shape}")
    n = v.size
    if jnp.shape(t) not in ((), (n - 1,)) and n > 0:
        raise ValueError(f"t must be a scalar or have shape ({n - 1},); got {jnp.shape(t)}")
    if n <= 1:
        return v
    t = jnp.broadcast_to(jnp.asarray(t, v.dtype), (n - 1,))
    t = jnp.where(t >= 0, t, jnp.nan)

    z = _taut(*jax.lax.stop_gradient((v, t)))
    sign = jnp.sign(z[1:] - z[:-1])
    block = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(sign != 0)])
    pull = jnp.where(sign == 0, 0, t) * sign
    edge = jnp.zeros(1, v.dtype)
    force = v - z + (jnp.concatenate([pull, edge]) - jnp.concatenate([edge, pull]))
    sums = jax.ops.segment_sum(
        jnp.stack([force, jnp.ones_like(v)], 1), block, num_segments=n, indices_are_sorted=True
    )
    move = sums[:, 0] / jnp.maximum(sums[:, 1], 1)  # of the solution: rounding; of tangents: all
    return z + move[block]


@jax.jit
def _taut(v: Array, t: Array) -> Array:
    """The minimiser by dynamic programming over the derivative of the cost so far.

    g_k(z) = z - v_k + clip(g_{k-1}(z), -t_{k-1}, t_{k-1}) is piecewise linear and increasing; lo_k
    and hi_k are where it is -t_k and t_k. Backwards z_k = clip(z_{k+1}, lo_k, hi_k). The knots of g
    are a queue with two ends: each step drops at most one knot at both, or, where none is left to
    drop, closes the stage k. Three n steps do; a fixed count spares `vmap` copies of the queue.
    """
    n = v.size
    centre = jnp.mean(v)
    v = v - centre
    enough = 2 * n * jnp.max(jnp.abs(v))  # any larger threshold ties too
    t = jnp.append(jnp.minimum(t, enough), 0)  # the last stage looks for the root

    def advance(_: int, state: tuple) -> tuple:
        # g is left[0] z + left[1] before the first knot and right[0] z + right[1] after the last.
        # Both these knots, head and tail, are in the state as well, and the queue is written from
        # them only, never from what the same step reads of it: so XLA updates it in place.
        k, first, last, left, right, head, tail, knots, span = state
        knots = knots.at[first].set(head).at[last].set(tail)  # spare slots, if there is no knot
        second, second_last = knots[first + 1], knots[last - 1]

        t_k = t[jnp.minimum(k, n - 1)]
        drop = (first <= last) & (left[0] * head[0] + left[1] <= -t_k)
        left = left + jnp.where(drop, head[1:], 0)
        first = first + drop
        drops = (first <= last) & (right[0] * tail[0] + right[1] >= t_k)
        right = right - jnp.where(drops, tail[1:], 0)
        last = last - drops

        closes = ~drop & ~drops & (k < n)
        lo = (-t_k - left[1]) / left[0]
        hi = jnp.maximum((t_k - right[1]) / right[0], lo)
        span = span.at[k].set(jnp.stack([lo, hi]))  # what the last step of the stage writes stays
        new_head = jnp.stack([lo, left[0], left[1] + t_k])
        new_tail = jnp.stack([hi, -right[0], t_k - right[1]])
        head = jnp.where(closes, new_head, jnp.where(drop, second, head))
        tail = jnp.where(closes, new_tail, jnp.where(drops, second_last, tail))
        v_next = v[jnp.minimum(k + 1, n - 1)]
        left = jnp.where(closes, jnp.stack([jnp.ones_like(t_k), -t_k - v_next]), left)
        right = jnp.where(closes, jnp.stack([jnp.ones_like(t_k), t_k - v_next]), right)
        return k + closes, first - closes, last + closes, left, right, head, tail, knots, span

    start = jnp.stack([jnp.ones_like(v[0]), -v[0]])
    knots, span = jnp.zeros((2 * n + 4, 3), v.dtype), jnp.zeros((n + 1, 2), v.dtype)
    state = (0, n + 2, n + 1, start, start, knots[0], knots[0], knots, span)
    state = jax.lax.fori_loop(0, 3 * n, advance, jax.tree.map(jnp.asarray, state))
    span = state[-1][:n]

    def back(z: Array, ends: Array) -> tuple[Array, Array]:
        z = jnp.clip(z, ends[0], ends[1])
        return z, z

    _, z = jax.lax.scan(back, span[-1, 0], span, reverse=True)
    return z + centre
