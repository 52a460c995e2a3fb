"""Products at full precision and column statistics.

Every product that a solver or a certificate relies on goes through `dot`: on GPUs and TPUs JAX may
otherwise round its factors to TF32 or bfloat16, and a certificate computed so would be worthless.
"""

import jax
import jax.numpy as jnp

from jreg.typing import Array


def dot(a: Array, b: Array) -> Array:
    """`a @ b` with `precision=HIGHEST`.

    >>> dot(jnp.ones((2, 3)), jnp.ones(3))
    Array([3., 3.], dtype=float32)
    """
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def column_mean(X: Array, weight: Array) -> Array:
    """Weighted mean of each column; X (n, p), weight (n,) with sum 1, result (p,)."""
    return dot(weight, X)


def column_scale(X: Array, weight: Array, mean: Array) -> Array:
    """Weighted 1/n standard deviation of each column, exactly 0 where the column is constant.

    X (n, p), weight (n,) with sum 1, mean (p,); the result (p,) has the units of X. The deviation
    is taken around the mean in a second pass (no cancellation); one within rounding of the
    column's largest entry counts as 0.
    """
    present = (weight > 0)[:, None]
    variance = jnp.sum(weight[:, None] * jnp.where(present, X - mean[None, :], 0) ** 2, axis=0)
    # half an ulp of the mean per row is what rounding alone can leave behind
    rounding = 4 * jnp.finfo(X.dtype).eps * jnp.max(jnp.abs(X), axis=0, where=present, initial=0)
    scale = jnp.sqrt(variance)
    return jnp.where(scale <= rounding, 0, scale)


def difference(a: Array, b: Array) -> Array:
    """`a - b`, and exactly 0 where it is within rounding of a and b."""
    size = jnp.maximum(jnp.abs(a), jnp.abs(b))
    rounding = 8 * jnp.finfo(a.dtype).eps * size
    return jnp.where((jnp.abs(a - b) <= rounding) & jnp.isfinite(size), 0, a - b)


def safe_reciprocal(a: Array) -> Array:
    """`1 / a`, and 0 where a is 0."""
    return jnp.where(a == 0, 0, 1 / jnp.where(a == 0, 1, a))


def solve_positive_definite(A: Array, b: Array, count: Array) -> Array:
    """The x with `A x = b` for a symmetric positive definite A (m, m) and b (m,).

    Only the first `count` rows and columns of A are read; x is b beyond them.

    Blocked Cholesky in products and short loops only. On CPUs a LAPACK call inside a compiled loop
    brings threads of its own, which fight those of XLA: on a busy machine that costs a hundred
    times the factorisation. NaN where A is not positive definite. Golub and Van Loan (2013),
    section 4.2.6.

    >>> solve_positive_definite(jnp.diag(jnp.array([2.0, 4.0])), jnp.ones(2), 2).round(2)
    Array([0.5 , 0.25], dtype=float32)
    """
    m, size = b.size, min(32, b.size)
    padding = -m % size
    rows = jnp.arange(m + padding)
    read = rows < count
    A = jnp.where(read[:, None] & read[None, :], jnp.pad(A, (0, padding)), 0)
    A = A + jnp.diag(jnp.where(read, 0, jnp.ones(m + padding, A.dtype)))
    b = jnp.pad(b, (0, padding))
    blocks = (count + size - 1) // size

    def eliminate(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Turn block column k of A into L, and block k of b into L^-1 b."""
        A, b, inverses = state
        start = k * size
        columns = jax.lax.dynamic_slice_in_dim(A, start, size, axis=1)
        inverse = _inverse_factor(jax.lax.dynamic_slice_in_dim(columns, start, size, axis=0))
        below = jnp.where((rows >= start + size)[:, None], dot(columns, inverse.T), 0)
        solved = dot(inverse, jax.lax.dynamic_slice_in_dim(b, start, size))
        b = jax.lax.dynamic_update_slice_in_dim(b - dot(below, solved), solved, start, axis=0)
        A = jax.lax.dynamic_update_slice_in_dim(A - dot(below, below.T), below, start, axis=1)
        return A, b, inverses.at[k].set(inverse)

    def substitute(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Block k of x = L'^-1 (b - what the blocks after it contribute)."""
        L, x, inverses = state
        k = blocks - 1 - i
        start = k * size
        below = jax.lax.dynamic_slice_in_dim(L, start, size, axis=1)
        later = jnp.where(rows >= start + size, x, 0)
        here = jax.lax.dynamic_slice_in_dim(x, start, size) - dot(later, below)
        x = jax.lax.dynamic_update_slice_in_dim(x, dot(here, inverses[k]), start, axis=0)
        return L, x, inverses

    state = (A, b, jnp.zeros(((m + padding) // size, size, size), A.dtype))
    state = jax.lax.fori_loop(0, blocks, eliminate, state)
    return jax.lax.fori_loop(0, blocks, substitute, state)[1][:m]


def _inverse_factor(A: Array) -> Array:
    """L^-1 of a small A = L L', by elimination on [A, I]."""
    size = A.shape[0]
    rows = jnp.arange(size)

    def eliminate(j: Array, M: Array) -> Array:
        pivot = M[j] / jnp.sqrt(M[j, j])
        factors = jnp.where(rows > j, pivot[:size], 0)  # symmetric: row j is column j
        return (M - factors[:, None] * pivot[None, :]).at[j].set(pivot)

    M = jax.lax.fori_loop(0, size, eliminate, jnp.concatenate([A, jnp.eye(size, dtype=A.dtype)], 1))
    return M[:, size:]
