"""Inverses of symmetric matrices by sweeps: products and short loops only.

On CPUs a LAPACK call inside a compiled program brings threads of its own, which fight those of XLA;
a sweep (a principal pivot; Goodnight 1979) needs neither pivoting nor triangular solves, and any
order of pivots is right for a definite or quasi-definite matrix.
"""

import jax
import jax.numpy as jnp

from jreg.linalg import dot
from jreg.typing import Array

BLOCK = 128  # rows swept together


def sweep_inverse(T: Array, count: Array | int | None = None) -> Array:
    """The inverse of a symmetric quasi-definite (r, r) matrix, pivot by pivot.

    count: rows and columns that are read; beyond them T must be the identity. Without `count` all.
    """
    r = T.shape[0]
    number = jnp.arange(r)

    def pivot(j: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        updates, factors, diagonal = state
        t = diagonal[j]
        column = T[j] - dot(updates[:, j] * factors, updates)
        v = jnp.where(number == j, t - 1, column)
        diagonal = jnp.where(number == j, -1 / t, diagonal - v * v / t)
        return updates.at[j].set(v), factors.at[j].set(1 / t), diagonal

    state = jnp.zeros_like(T), jnp.zeros_like(T[0]), jnp.diagonal(T)
    updates, factors, diagonal = jax.lax.fori_loop(0, r if count is None else count, pivot, state)
    swept = T - dot(updates.T, factors[:, None] * updates)
    inverse = -jnp.where(jnp.eye(r, dtype=bool), diagonal[None, :], swept)
    if count is None:
        return inverse
    read = number < count
    return jnp.where(read[:, None] & read[None, :], inverse, jnp.eye(r, dtype=T.dtype))


def support_inverse(H: Array, filled: Array) -> Array:
    """The inverse of a positive definite (m, m) matrix on its filled slots, 0 in the others."""
    both = filled[:, None] & filled[None, :]
    count = jnp.max(jnp.where(filled, jnp.arange(filled.size) + 1, 0))
    inverse = block_inverse(jnp.where(both, H, jnp.eye(filled.size, dtype=H.dtype)), count)
    return jnp.where(both, inverse, 0)


def block_inverse(H: Array, count: Array | int | None = None) -> Array:
    """The inverse of a symmetric positive definite (m, m) matrix, `BLOCK` rows at a time.

    m must be at most BLOCK or a multiple of it; count as in `sweep_inverse`. Not definite: the
    result means nothing.
    """
    m = H.shape[0]
    if m <= BLOCK:
        return sweep_inverse(H)
    count = m if count is None else count

    def sweep(k: Array, H: Array) -> Array:
        start = k * BLOCK
        rows = jax.lax.dynamic_slice_in_dim(H, start, BLOCK)
        columns = jax.lax.optimization_barrier(rows.T)  # a plain product is the fast one on CPUs
        inverse = sweep_inverse(jax.lax.dynamic_slice_in_dim(rows, start, BLOCK, axis=1))
        scaled = dot(inverse, rows)
        H = H - dot(columns, scaled)
        H = jax.lax.dynamic_update_slice_in_dim(H, scaled, start, axis=0)
        H = jax.lax.dynamic_update_slice_in_dim(H, scaled.T, start, axis=1)
        return jax.lax.dynamic_update_slice(H, -inverse, (start, start))

    blocks = (count + BLOCK - 1) // BLOCK
    swept = -jax.lax.fori_loop(0, blocks, sweep, H)
    read = jnp.arange(m) < blocks * BLOCK
    return jnp.where(read[:, None] & read[None, :], swept, H)
