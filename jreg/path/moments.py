"""Least squares on many rows as least squares on few: all that the data say is in their moments.

With v = [x, y], the sums over rows of `s`, `s (v - o)` and `s (v - o)(v - o)'` about any origin o
give means, scales and the Gram matrix of any union of disjoint sets of rows, by addition alone. So
a path on n rows costs one pass over X for the Gram matrix, and so do the paths of all folds of a
cross-validation together. A factor of the Gram matrix is a data set of p + k rows with the same
losses, gradients and gaps. Golub and Van Loan (2013), section 5.3; Higham (2002), section 10.3.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import linalg
from jreg.path.compiled import compiled
from jreg.path.inputs import aligned_memory
from jreg.path.setup import LARGEST_MODEL
from jreg.path.threads import in_threads, one_core_each
from jreg.problem import CentredProblem, LinearProblem
from jreg.sparse import is_scipy
from jreg.typing import Array

TALL = 2  # rows for each row that is left, at least
CHUNK = 1024  # rows multiplied at a time
SAMPLE = 256  # rows whose mean is the origin
NEAR = 3  # deviations between the mean and an origin of 0


def reducible(problem: LinearProblem) -> bool:
    """Whether the moments say all, and are fewer numbers than the data: a quadratic loss, and a
    dense X with at least twice as many rows as there are columns and outputs."""
    n, p = problem.X.shape
    q = p + math.prod(problem.outputs(n))
    tall = p <= LARGEST_MODEL and n >= TALL * q
    return problem.loss.quadratic and tall and not is_scipy(problem.X)


def moments(problem: LinearProblem, sets: Sequence[np.ndarray]) -> tuple[np.ndarray, Array]:
    """The origin (q,), near the mean of all rows, and the moments of each set of rows (indices).

    Moments (n_sets, q + 1, q + 1) are sums of s u u' over rows u = [v - origin, 1], v = [x, y -
    offset] of length q = n_features + n_outputs: in the last column are the first moments and the
    sum of s. Those of disjoint sets add up to those of their union.

    The origin is 0 where means are within a few deviations of it: rows of equal weight then need no
    copy. Other rows are centred chunk by chunk; X is never copied whole.
    """
    X, weight = problem.X, np.asarray(problem.sample_weight)
    y = np.asarray(problem.y) - np.asarray(problem.offset)
    y = y.reshape(len(y), -1)
    present = np.nonzero(weight > 0)[0]
    some = present[:: -(-present.size // SAMPLE)]
    origin = np.concatenate([_origin(X[some]), np.mean(y[some], axis=0)])
    data, p, q = _Rows(X, y, weight, origin, np.ptp(weight) == 0), X.shape[1], origin.size
    with one_core_each() as threads:
        # of each set, so that there is work for all: the same for each, or not too little
        pieces = min(threads // math.gcd(threads, len(sets)), -(-2 * threads // len(sets)))
        found = aligned_memory((len(sets), pieces, q + 1, q + 1), X.dtype)
        split = [piece for rows in sets for piece in np.array_split(rows, pieces)]
        spaces: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            spaces.put((np.empty((CHUNK, p), X.dtype), np.empty((p, p), X.dtype)))
        work = zip(split, found.reshape(-1, q + 1, q + 1), strict=True)
        list(in_threads(work, partial(_add_up, data, spaces), X.dtype, threads))
    return origin, jax.device_put(found[:, 0] if pieces == 1 else found.sum(axis=1))


class _Rows(NamedTuple):
    X: np.ndarray  # (n, p)
    y: np.ndarray  # (n, k) less the offset
    weight: np.ndarray  # (n,)
    origin: np.ndarray  # (p + k,)
    equal: bool  # whether all weights are


def _add_up(data: _Rows, spaces: SimpleQueue[Any], piece: tuple[np.ndarray, np.ndarray]) -> None:
    """Put the moments of some rows into an array, a chunk at a time.

    spaces: memory (CHUNK, p) and (p, p) for each thread; new memory would come page by page.
    """
    X, y, weight, origin, equal = data
    rows, total = piece
    p = X.shape[1]
    as_it_is = equal and X.flags.c_contiguous and not origin[:p].any()
    buffer, square = space = spaces.get()
    total[:] = 0
    for start in range(0, rows.size, CHUNK):
        some = rows[start : start + CHUNK]
        consecutive = some[-1] - some[0] == some.size - 1
        of_y = np.append(y[some] - origin[p:], np.ones((some.size, 1), y.dtype), axis=1)
        if as_it_is and consecutive:
            of_X = X[some[0] : some[-1] + 1]
        else:
            of_X = np.take(X, some, axis=0, out=buffer[: some.size], mode="clip")
            if origin[:p].any():
                of_X -= origin[:p]
        if not equal:
            root = np.sqrt(weight[some])[:, None]
            of_y *= root
            of_X *= root
        total[:p, :p] += np.matmul(of_X.T, of_X, out=square)  # of which BLAS makes half
        total[p:, :p] += of_y.T @ of_X
        total[p:, p:] += of_y.T @ of_y
    total[:p, p:] = total[p:, :p].T
    if equal:
        total *= weight[0]
    spaces.put(space)


def _origin(X: np.ndarray) -> np.ndarray:
    """The means of the columns, or 0 if all are within `NEAR` deviations of it: the variance then
    keeps all but one of its digits."""
    mean = np.mean(X, axis=0)
    return mean if (np.abs(mean) > NEAR * np.std(X, axis=0)).any() else np.zeros_like(mean)


class Centred(NamedTuple):
    """What a least squares problem is made of: moments about the means (about 0 without an
    intercept)."""

    mean: Array  # (q,) of columns and responses
    second: Array  # (q, q) in the units of the data
    scale: Array  # (p,) of columns, 0 where they take no part
    gram: Array  # (p, p) of scaled columns
    cross: Array  # (p,) of scaled columns with the first response
    square: Array  # of the first response


@partial(compiled, static_argnames=("p", "fit_intercept", "standardize"))
def centred(
    sums: Array, origin: Array, p: int, *, fit_intercept: bool, standardize: bool
) -> Centred:
    """From the moments of a set of rows; columns (and y) that are constant on it count as 0."""
    eps = jnp.finfo(origin.dtype).eps
    sums = sums / sums[-1, -1]
    shift, second = sums[:-1, -1], sums[:-1, :-1]
    mean, before = origin + shift, jnp.diagonal(second)
    about_mean = second - shift[:, None] * shift[None, :]
    variance = jnp.diagonal(about_mean)
    # a column that is constant on these rows only is so to rounding of its distance from the origin
    variance = jnp.where(variance <= 64 * eps * before, 0, variance)
    deviation = linalg.deviation(variance, jnp.abs(mean))
    scale = jnp.ones_like(mean)
    if fit_intercept:
        varies = deviation > 0
        second = jnp.where(varies[:, None] & varies[None, :], about_mean, 0)
        scale = jnp.where(varies, scale, 0)
    else:
        second = about_mean + mean[:, None] * mean[None, :]
    scale = (deviation if standardize else scale)[:p]
    per = linalg.safe_reciprocal(scale)
    gram = second[:p, :p] * per[:, None] * per[None, :]
    return Centred(mean, second, scale, gram, second[:p, p] * per, second[p, p])


@partial(compiled, static_argnames=("outputs", "fit_intercept"))
def frame(
    found: Centred, loss: Any, *, outputs: tuple[int, ...], fit_intercept: bool
) -> CentredProblem:
    """The `CentredProblem` without data: it knows the Gram matrix and the original units."""
    p, q = found.scale.size, found.mean.size
    zeros = jnp.zeros((q, *outputs), found.mean.dtype)
    mean = found.mean[:p]
    return CentredProblem(
        X=None,
        y=zeros,
        weight=jnp.full(q, 1 / q, zeros.dtype),
        offset=zeros,
        level=found.mean[p:].reshape(outputs),
        mean=mean if fit_intercept else jnp.zeros_like(mean),
        scale=found.scale,
        loss=loss,
        gram=found.gram,
        fit_intercept=fit_intercept,
    )


def reduced(whole: CentredProblem, found: Centred) -> CentredProblem:
    """A problem on q rows with the same losses, whose means and intercept are 0.

    Columns q^(1/2) R of weight 1/q, R'R the matrix of second moments: R is its Cholesky factor, of
    unit diagonal since units may differ by much, with pivots where columns are collinear.
    """
    second = np.asarray(found.second)
    q, p, size = len(second), found.scale.size, np.sqrt(np.diag(second))
    one = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    root = math.sqrt(q) * _factor(second * one[:, None] * one[None, :]) * size[None, :]
    rows = aligned_memory((q, p), second.dtype)
    rows[:] = root[:, :p]
    return dataclasses.replace(
        whole,
        X=jax.device_put(rows),
        y=jnp.asarray(root[:, p:].reshape(whole.y.shape), second.dtype),
        level=jnp.zeros_like(whole.level),
        mean=jnp.zeros_like(whole.mean),
        fit_intercept=False,
    )


def _factor(A: np.ndarray) -> np.ndarray:
    """R (q, q) with R'R = A to rounding, for A (q, q) positive semidefinite, diagonal 1 or 0."""
    from scipy.linalg import lapack

    q, rounding = len(A), 4 * float(np.finfo(A.dtype).eps)
    tol = max(rounding, q * float(np.finfo(float).eps))
    upper, failed = lapack.dpotrf(A.astype(float), clean=1)
    if not failed and np.diag(upper).min() ** 2 > tol:  # pivots take ten times as long
        return upper
    upper, pivots, rank, _ = lapack.dpstrf(A.astype(float), tol=tol)
    R = np.zeros((q, q))
    R[:rank, pivots - 1] = np.triu(upper)[:rank]
    return R
