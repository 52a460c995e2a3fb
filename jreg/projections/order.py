"""Projection on ordered vectors: isotonic regression."""

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.typing import Array, ArrayLike


def isotonic(
    v: ArrayLike,
    weights: ArrayLike | None = None,
    increasing: bool = True,
    runs: ArrayLike | None = None,
) -> Array:
    """Isotonic regression: `argmin_z sum_i weights_i (z_i - v_i)^2 / 2` over z_1 <= ... <= z_n.

    v (n,); weights (n,), positive, None for ones; `increasing=False` is z_1 >= ... >= z_n. runs
    (n,): only neighbours with equal numbers are ordered, None for all. Pool adjacent violators on a
    stack, O(n); blocks come out exactly equal, and in exact order. The derivative is the weighted
    mean over each block. Raises ValueError unless v is a vector and concrete weights are positive.
    Barlow, Bartholomew, Bremner and Brunk (1972), chapter 1; Best and Chakravarti (1990).

    >>> isotonic(jnp.array([1.0, 3.0, 2.0, 4.0]))
    Array([1. , 2.5, 2.5, 4. ], dtype=float32)
    """
    v = tree.floating(v)
    if v.ndim != 1:
        raise ValueError(f"v must be a vector; got shape {v.shape}")
    if weights is not None:
        checks.concrete_number("weights", weights, low=float(jnp.finfo(v.dtype).tiny))
    if v.size <= 1:
        return v
    mass = jnp.ones_like(v) if weights is None else jnp.asarray(weights, v.dtype)
    label = jnp.zeros(v.shape, int) if runs is None else jnp.asarray(runs)
    if not increasing:
        v, mass, label = v[::-1], mass[::-1], label[::-1]
    z = _isotonic(v, mass, label)
    if runs is None:
        z = _ordered(z)
    return z if increasing else z[::-1]


@jax.custom_jvp
def _isotonic(v: Array, weights: Array, runs: Array) -> Array:
    """Increasing isotonic regression within runs."""
    return _pool(v, weights, runs)[0]


@_isotonic.defjvp
def _isotonic_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """z is `sum(weights v) / sum(weights)` over each block."""
    v, weights, runs = primals
    dv, dweights, _ = tangents
    z, block = _pool(v, weights, runs)
    mass = _sum(weights, block)
    moved = _sum(weights * dv + dweights * (v - z), block)
    return z, (moved / mass)[block]


@jax.custom_jvp
def _ordered(z: Array) -> Array:
    """The running maximum, which moves entries by rounding only; the derivative is the identity."""
    return jax.lax.cummax(z)


@_ordered.defjvp
def _ordered_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _ordered(*primals), tangents[0]


@jax.jit
def _pool(v: Array, weights: Array, runs: Array) -> tuple[Array, Array]:
    """Pool adjacent violators: (the mean of each entry's block, the number of its block).

    One block is pushed or two are merged per step, so `2 n - 1` steps do; that the count is fixed
    spares `vmap` a copy of the stack per step. Means are updated, not sums: no digits are lost to
    a common offset; at last one pass over v removes what rounding has gathered.
    """
    n = v.size
    tied = jnp.append(False, runs[1:] == runs[:-1])  # to the entry below; a block is in one run

    def advance(_: int, state: tuple) -> tuple:
        # The two top blocks are scalars (mean, mass, start), and the stack is written from scalars
        # only, never from what the same step reads of it: so XLA updates it in place.
        i, top, here, below, stack = state
        (m1, w1, s1), (m0, w0, s0) = here, below
        merges = (top > 0) & (m0 > m1) & tied[s1]
        pushes = ~merges & (i < n)

        slot = jnp.where(top < 0, n, top)  # n is spare
        stack = tuple(x.at[slot].set(entry) for x, entry in zip(stack, here, strict=True))
        third = tuple(x[jnp.maximum(top - 2, 0)] for x in stack)

        j = jnp.minimum(i, n - 1)
        pushed = (v[j], weights[j], j)
        merged = (m0 + (m1 - m0) * (w1 / (w0 + w1)), w0 + w1, s0)
        case = jnp.where(merges, 0, jnp.where(pushes, 1, 2))
        return (
            i + pushes,
            top + pushes - merges,
            _choose(case, merged, pushed, here),
            _choose(case, third, here, below),
            stack,
        )

    zero = jnp.int32(0)  # a step that moves few bytes is compiled as a whole
    blank = (jnp.zeros_like(v[0]), jnp.ones_like(v[0]), zero)
    stack = tuple(jnp.broadcast_to(x, n + 1) for x in blank)
    empty = (zero, zero - 1, blank, blank, stack)
    _, top, here, _, stack = jax.lax.fori_loop(0, 2 * n - 1, advance, empty)
    mean, _, start = (x.at[top].set(entry) for x, entry in zip(stack, here, strict=True))
    first = jnp.where(jnp.arange(n + 1) <= top, start, n)
    block = jnp.cumsum(jnp.zeros(n, int).at[first].set(1, mode="drop")) - 1
    z = mean[block]
    rest = (_sum(weights * (v - z), block) / _sum(weights, block))[block]
    return jnp.where(jnp.isfinite(rest), z + rest, z), block


def _choose(case: Array, *options: tuple) -> tuple:
    """The option of number `case`, entry by entry."""
    return tuple(jax.lax.select_n(case, *entries) for entries in zip(*options, strict=True))


def _sum(x: Array, block: Array) -> Array:
    """Sums over blocks; 1 for a number that no block has would do as well as 0."""
    return jax.ops.segment_sum(x, block, num_segments=x.size, indices_are_sorted=True)
