"""Least squares on many rows as least squares on few: all that the data say is in their moments.

With v = [x, y], the sums over rows of `s`, `s (v - o)` and `s (v - o)(v - o)'` about any origin o
give means, scales and the Gram matrix of any union of disjoint sets of rows, by addition alone. So
a path on n rows costs one pass over X for the Gram matrix, and so do the paths of all folds of a
cross-validation together. A factor of the Gram matrix is a data set of p + k rows with the same
losses, gradients and gaps. Golub and Van Loan (2013), section 5.3; Higham (2002), section 10.3.
"""

import dataclasses
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import linalg
from jreg.linalg import safe_reciprocal
from jreg.path.compiled import compiled
from jreg.path.inputs import aligned_memory
from jreg.path.setup import LARGEST_MODEL
from jreg.problem import CentredProblem, LinearProblem
from jreg.sparse import is_scipy
from jreg.typing import Array

TALL = 2  # rows for each row that is left, at least
CHUNK = 2048  # rows multiplied at a time
BUFFERS = 3  # chunks that are filled while others are multiplied


class Moments(NamedTuple):
    """Sums over a set of rows v - origin; v = [x, y - offset] has q = n_features + n_outputs."""

    weight: Array  # sum of s
    first: Array  # (q,)
    second: Array  # (q, q)


def reducible(problem: LinearProblem) -> bool:
    """Whether the moments say all, and are fewer numbers than the data: a quadratic loss, and a
    dense X with at least twice as many rows as there are columns and outputs."""
    n, p = problem.X.shape
    q = p + math.prod(problem.outputs(n))
    tall = p <= LARGEST_MODEL and n >= TALL * q
    return problem.loss.quadratic and tall and not is_scipy(problem.X)


def moments(problem: LinearProblem, sets: Iterable[np.ndarray]) -> tuple[np.ndarray, list[Moments]]:
    """The origin, which is the mean of all rows, and the moments of each set of rows (indices).

    X is read from the host chunk by chunk, so that no copy of it is made.
    """
    X, weight = problem.X, np.asarray(problem.sample_weight)
    y = np.asarray(problem.y) - np.asarray(problem.offset)
    y = y.reshape(len(y), -1)
    share = weight / weight.sum()
    origin = np.concatenate([share @ X, share @ y])
    buffers = [aligned_memory((CHUNK, origin.size), X.dtype) for _ in range(BUFFERS)]
    done: list[Any] = [()] * BUFFERS
    found, turn = [], 0
    for rows in sets:
        total = _nothing(origin.size, X.dtype)
        for start in range(0, rows.size, CHUNK):
            some, turn = rows[start : start + CHUNK], (turn + 1) % BUFFERS
            jax.block_until_ready(done[turn])  # or its buffer is still being read
            _copy_rows(X, some, buffers[turn][: some.size, : X.shape[1]])
            buffers[turn][: some.size, X.shape[1] :] = y[some]
            present = np.pad(weight[some], (0, CHUNK - some.size))
            total, done[turn] = _with_rows(total, buffers[turn], present, origin)
        found.append(total)
    return origin, found


def _copy_rows(X: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    if rows[-1] - rows[0] == rows.size - 1 and np.all(np.diff(rows) == 1):
        out[:] = X[rows[0] : rows[-1] + 1]
    elif X.flags.c_contiguous:  # of another X it would make a copy whole
        np.take(X, rows, axis=0, out=out, mode="clip")
    else:
        out[:] = X[rows]


@partial(compiled, static_argnames=("size", "dtype"))
def _nothing(size: int, dtype: Any) -> Moments:
    return Moments(*(jnp.zeros(shape, dtype) for shape in ((), (size,), (size, size))))


@partial(compiled, donate_argnums=0)
def _with_rows(total: Moments, rows: Array, weight: Array, origin: Array) -> tuple[Moments, Array]:
    """The sums with more rows, and a sign that these have been read."""
    number = jnp.sum(weight)
    new = Moments(
        total.weight + number,
        total.first + linalg.column_sum(rows, weight, origin),
        total.second + linalg.gram(rows, weight, origin),
    )
    return new, number


@compiled
def added(some: Moments, others: Moments) -> Moments:
    """The moments of both sets of rows."""
    return Moments(*(a + b for a, b in zip(some, others, strict=True)))


def reduced(
    problem: LinearProblem, origin: np.ndarray, sums: Moments
) -> tuple[CentredProblem, CentredProblem]:
    """The problem on q rows, whose intercept is 0; and, without data, the one that knows how its
    parameters look in original units.

    Columns q^(1/2) R of weight 1/q, R'R the matrix of second moments: R is its Cholesky factor,
    pivoted since columns may be collinear, of unit diagonal since their units may differ by much.
    """
    p, outputs = problem.X.shape[1], problem.outputs(len(problem.y))
    mean, second, size, scale, gram = _centre(
        sums, origin, p, fit_intercept=problem.fit_intercept, standardize=problem.standardize
    )
    q, dtype = origin.size, problem.X.dtype
    root = math.sqrt(q) * _factor(np.asarray(second)) * np.asarray(size)[None, :]
    rows = aligned_memory((q, p), dtype)
    rows[:] = root[:, :p]
    y = np.ascontiguousarray(root[:, p:]).astype(dtype).reshape(q, *outputs)
    level = mean[p:].reshape(outputs)
    small = CentredProblem(
        X=jax.device_put(rows),
        y=y,
        weight=jnp.full(q, 1 / q, dtype),
        offset=jnp.zeros_like(y),
        level=jnp.zeros_like(level),
        mean=jnp.zeros_like(scale),
        scale=scale,
        loss=problem.loss,
        gram=gram,
        fit_intercept=False,
    )
    whole = dataclasses.replace(
        small, X=None, gram=None, mean=mean[:p], level=level, fit_intercept=problem.fit_intercept
    )
    return small, whole


@partial(compiled, static_argnames=("p", "fit_intercept", "standardize"))
def _centre(
    sums: Moments, origin: Array, p: int, *, fit_intercept: bool, standardize: bool
) -> tuple[Array, ...]:
    """Means (q,); second moments (q, q) with unit diagonal, and the roots of it that were; the
    scale of each column; and the Gram matrix of scaled columns."""
    shift, second = sums.first / sums.weight, sums.second / sums.weight
    mean = origin + shift
    about_mean = second - shift[:, None] * shift[None, :]
    variance, before = jnp.diagonal(about_mean), jnp.diagonal(second)
    # a column that is constant on these rows only is so to rounding of its distance from the origin
    variance = jnp.where(variance <= 64 * jnp.finfo(mean.dtype).eps * before, 0, variance)
    deviation = linalg.deviation(variance, jnp.abs(mean))
    varies = deviation > 0
    if fit_intercept:
        second = jnp.where(varies[:, None] & varies[None, :], about_mean, 0)
        scale = jnp.where(varies, 1.0, 0.0)[:p]
    else:
        second = about_mean + mean[:, None] * mean[None, :]
        scale = jnp.ones_like(mean)[:p]
    scale = deviation[:p] if standardize else scale
    size, per = jnp.sqrt(jnp.diagonal(second)), safe_reciprocal(scale)
    one = safe_reciprocal(size)
    gram = second[:p, :p] * per[:, None] * per[None, :]
    return mean, second * one[:, None] * one[None, :], size, scale, gram


def _factor(A: np.ndarray) -> np.ndarray:
    """R (q, q) with R'R = A to rounding, for A (q, q) positive semidefinite, diagonal 1 or 0."""
    from scipy.linalg import lapack

    q, rounding = len(A), 4 * float(np.finfo(A.dtype).eps)
    tol = max(rounding, q * float(np.finfo(float).eps))
    upper, pivots, rank, _ = lapack.dpstrf(A.astype(float), tol=tol)
    R = np.zeros((q, q))
    R[:rank, pivots - 1] = np.triu(upper)[:rank]
    return R
