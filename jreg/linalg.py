"""Products at full precision, norms, column statistics and low-rank approximation.

Every product that a solver or a certificate relies on goes through `dot`: on GPUs and TPUs JAX may
otherwise round its factors to TF32 or bfloat16, and a certificate computed so would be worthless.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg.typing import Array, ArrayLike

LEAF, ALIGNED = 128, 32  # rows of symmetric products made whole, and of which blocks are multiples
ROWS = 64  # of a chunk that stays in the cache


def dot(a: Array, b: Array) -> Array:
    """`a @ b` with `precision=HIGHEST`.

    >>> dot(jnp.ones((2, 3)), jnp.ones(3))
    Array([3., 3.], dtype=float32)
    """
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def column_scale(X: Array, weight: Array, mean: Array) -> Array:
    """Weighted 1/n standard deviation of each column, exactly 0 where the column is constant.

    X (n, p), weight (n,) with sum 1, mean (p,); the result (p,) has the units of X. The deviation
    is taken around the mean in a second pass (no cancellation); one within rounding of the
    column's largest entry counts as 0.
    """
    return deviation(*column_moments(X, weight, mean))


def deviation(variance: Array, largest: Array) -> Array:
    """The root of a variance, 0 where that is within rounding of a column's largest entry."""
    # half an ulp of the mean per row is what rounding alone can leave behind
    rounding = 4 * jnp.finfo(largest.dtype).eps * largest
    scale = jnp.sqrt(variance)
    return jnp.where(scale <= rounding, 0, scale)


def column_moments(X: Array, weight: Array, centre: Array) -> tuple[Array, Array]:
    """`sum_i weight_i (X_ij - centre_j)^2` and `max_i |X_ij|` over rows of positive weight.

    X (n, p), weight (n,), centre (p,); both results (p,). One pass over X.
    """

    def of(X: Array, weight: Array) -> tuple[Array, Array]:
        present = (weight > 0)[:, None]
        largest = jnp.max(jnp.where(present, jnp.abs(X), 0), axis=0, initial=0)
        return dot(weight, _centred(X, weight, centre) ** 2), largest

    return _over_rows(of, lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])), X, weight)


def column_sum(X: Array, weight: Array, centre: Array) -> Array:
    """`sum_i weight_i (X_ij - centre_j)`, without the cancellation of two large sums; (p,)."""
    return _over_rows(lambda X, w: dot(w, _centred(X, w, centre)), jnp.add, X, weight)


def gram(X: Array, weight: Array, centre: Array) -> Array:
    """`sum_i weight_i (X_i - centre)(X_i - centre)'`, (p, p), for weights >= 0.

    X (n, p), weight (n,), centre (p,).
    """

    def of(X: Array, weight: Array) -> Array:
        rows = jnp.sqrt(weight)[:, None] * _centred(X, weight, centre)
        columns = jax.lax.optimization_barrier(rows.T)  # A @ A.T is the fast product on CPUs
        return times_transpose(columns)

    return _over_rows(of, jnp.add, X, weight, 16)


def times_transpose(A: Array, splits: int = 2) -> Array:
    """`A A'`, which is symmetric: half of its blocks off the diagonal are the others transposed."""
    m = A.shape[0]
    if m <= LEAF or splits == 0:
        return dot(A, A.T)
    h = -(-m // (2 * ALIGNED)) * ALIGNED
    low = dot(A[h:], A[:h].T)
    upper, lower = (times_transpose(part, splits - 1) for part in (A[:h], A[h:]))
    return jnp.block([[upper, low.T], [low, lower]])


def _centred(X: Array, weight: Array, centre: Array) -> Array:
    """X - centre, absent rows 0."""
    return jnp.where(weight[:, None] > 0, X - centre[None, :], 0)


def _over_rows(of: Any, add: Any, X: Array, weight: Array, chunks: int = 1) -> Any:
    """`of(X, weight)`, on CPUs added up over chunks of rows that stay in the cache: no copy of X,
    and XLA's reductions down the columns are twenty times slower."""
    size = chunks * ROWS
    count = X.shape[0] // size
    rest = count * size

    def in_chunks(X: Array, weight: Array) -> Any:
        def step(i: Array, total: Any) -> Any:
            rows = jax.lax.dynamic_slice_in_dim(X, i * size, size)
            return add(total, of(rows, jax.lax.dynamic_slice_in_dim(weight, i * size, size)))

        return jax.lax.fori_loop(0, count, step, of(X[rest:], weight[rest:]))

    if count == 0:
        return of(X, weight)
    return jax.lax.platform_dependent(X, weight, cpu=in_chunks, default=of)


def difference(a: Array, b: Array) -> Array:
    """`a - b`, and exactly 0 where it is within rounding of a and b."""
    size = jnp.maximum(jnp.abs(a), jnp.abs(b))
    rounding = 8 * jnp.finfo(a.dtype).eps * size
    return jnp.where((jnp.abs(a - b) <= rounding) & jnp.isfinite(size), 0, a - b)


def safe_reciprocal(a: Array) -> Array:
    """`1 / a`, and 0 where a is 0."""
    return jnp.where(a == 0, 0, 1 / jnp.where(a == 0, 1, a))


def plus_zero(z: Array) -> Array:
    """z with +0 for -0, and the derivative of z: `-0 + 0 = +0`."""
    return z + jax.lax.stop_gradient(jnp.where(z == 0, jnp.abs(z), 0))


def norm_l2(x: Array, axis: int | None, keepdims: bool = False) -> Array:
    """`sqrt(sum x^2)` without overflow; the derivative at 0 is 0.

    The unit is the largest entry, not one of a few constants: XLA makes `c^2 x^2` of `(c x)^2`.

    >>> norm_l2(jnp.array([3e30, 4e30]), None)
    Array(5.e+30, dtype=float32)
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0))
    usable = (largest > 0) & jnp.isfinite(largest)
    unit = jnp.where(usable, largest, 1)
    total = jnp.sum(jnp.where(usable, x / unit, 0) ** 2, axis=axis, keepdims=True)
    norm = jnp.where(usable, jnp.sqrt(jnp.where(usable, total, 1)) * unit, largest)
    return norm if keepdims else jnp.squeeze(norm, axis)


class LowRank(NamedTuple):
    """`X` is about `u diag(s) vt`; norms of the difference."""

    u: Array  # (m, rank), orthonormal columns
    s: Array  # (rank,), decreasing
    vt: Array  # (rank, n), orthonormal rows
    frobenius_error: Array  # of the approximation
    spectral_error: Array  # exact, or with method="randomized" a bound


def low_rank(
    X: ArrayLike,
    rank: int,
    *,
    method: str = "exact",
    key: Array | None = None,
    oversampling: int = 10,
    power_iterations: int = 2,
) -> LowRank:
    """The best approximation of X (m, n) by a matrix of `rank`: `u diag(s) vt`.

    "exact" takes the leading singular triplets (Eckart and Young 1936); the errors are the norms of
    the singular values left out. "randomized" finds the range of X from products with
    `rank + oversampling` random vectors, after some power iterations (Halko, Martinsson and Tropp
    2011, algorithms 4.4 and 5.1), needs a `key`, and reads X a few times only. Its Frobenius error
    is that of the result, computed; its spectral error a bound that fails once in 1e10 (section
    4.3). Singular vectors have no derivative where singular values are equal. Raises ValueError for
    a rank outside [1, min(m, n)], an unknown method, or no key.

    >>> low_rank(jnp.diag(jnp.array([3.0, 2.0, 1.0])), 2).spectral_error.round(4)
    Array(1., dtype=float32)
    """
    X = jnp.asarray(X)
    if not jnp.issubdtype(X.dtype, jnp.floating):
        X = X.astype(jnp.result_type(float))
    if X.ndim != 2 or not 1 <= rank <= min(X.shape):
        raise ValueError(f"X must be a matrix and rank within its size; got {X.shape}, {rank}")
    if method == "exact":
        u, s, vt = jnp.linalg.svd(X, full_matrices=False)
        rest = s[rank:]
        spectral = rest[0] if rest.size else jnp.zeros((), X.dtype)
        return LowRank(u[:, :rank], s[:rank], vt[:rank], norm_l2(rest, None), spectral)
    if method != "randomized":
        raise ValueError(f'method must be "exact" or "randomized"; got {method!r}')
    if key is None:
        raise ValueError("method='randomized' needs a key, such as jax.random.key(0)")
    return _randomized(X, rank, key, min(rank + oversampling, *X.shape), power_iterations)


def _randomized(X: Array, rank: int, key: Array, width: int, power_iterations: int) -> LowRank:
    start, probe = jax.random.split(key)
    Q = _orthonormal(dot(X, jax.random.normal(start, (X.shape[1], width), X.dtype)))
    for _ in range(power_iterations):
        Q = _orthonormal(dot(X, _orthonormal(dot(X.T, Q))))
    u, s, vt = jnp.linalg.svd(dot(Q.T, X), full_matrices=False)
    u, s, vt = dot(Q, u[:, :rank]), s[:rank], vt[:rank]
    rest = X - dot(u * s[None, :], vt)
    frobenius = norm_l2(rest, None)
    # |rest| <= 10 sqrt(2 / pi) max |rest w_i| with probability 1 - 10^-10 over ten normal w_i
    images = dot(rest, jax.random.normal(probe, (X.shape[1], 10), X.dtype))
    bound = 10 * jnp.sqrt(2 / jnp.pi) * jnp.max(norm_l2(images, 0))
    return LowRank(u, s, vt, frobenius, jnp.minimum(bound.astype(X.dtype), frobenius))


def _orthonormal(Y: Array) -> Array:
    return jnp.linalg.qr(Y)[0]


def solve_psd(
    A: Callable[[Array], Array], b: Array, tol: float, max_steps: int, scale: Array | float = 1.0
) -> Array:
    """x, (n,), with `A x = b`, A symmetric and positive semidefinite and b in its range.

    Conjugate gradients, preconditioned by the positive diagonal 1 / scale, to `|b - A x| <= tol
    |b|`. They end early where only rounding is left: a direction whose curvature is within rounding
    of 0 leads out of the range. NaN if the residual is then, or after `max_steps`, above 1000 tol.
    Has derivatives in b and in what A captures, forward and reverse. Hestenes and Stiefel (1952).

    >>> A = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    >>> solve_psd(lambda x: A @ x, jnp.array([2.0, 2.0]), 1e-5, 10)
    Array([1., 1.], dtype=float32)
    """

    def run(A: Callable[[Array], Array], b: Array) -> Array:
        eps, size = jnp.finfo(b.dtype).eps, jnp.sum(b**2)

        def step(carry: tuple) -> tuple:
            x, r, p, rho, steepest, k, _ = carry
            Ap = A(p)
            bend, length = jnp.sum(p * Ap), jnp.sum(scale * p**2)
            steepest = jnp.maximum(steepest, bend / length)
            flat = ~(bend > 16 * eps * steepest * length)
            t = jnp.where(flat, 0, rho / jnp.where(flat, 1, bend))
            r = r - t * Ap
            z = r / scale
            new = jnp.sum(r * z)
            return x + t * p, r, z + new / rho * p, new, steepest, k + 1, flat

        def unfinished(carry: tuple) -> Array:
            _, r, _, _, _, k, flat = carry
            return (jnp.sum(r**2) > tol**2 * size) & (k < max_steps) & ~flat

        z = b / scale
        zero = jnp.zeros((), b.dtype)
        start = (jnp.zeros_like(b), b, z, jnp.sum(b * z), zero, 0, jnp.asarray(False))
        x, r, *_ = jax.lax.while_loop(unfinished, step, start)
        return jnp.where(jnp.sum(r**2) <= (1e3 * tol) ** 2 * size, x, jnp.nan)

    return jax.lax.custom_linear_solve(A, b, run, symmetric=True)


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
