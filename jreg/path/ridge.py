"""Ridge paths of least squares in closed form: one eigendecomposition for all lambdas.

With A = S^1/2 Z V^-1/2, rows weighted and columns over the roots of their strengths,

    theta(lam) = V^-1/2 (A'A + lam I)^-1 A' S^1/2 y = V^-1/2 A' (AA' + lam I)^-1 S^1/2 y,

so that the eigenvectors of the smaller of A'A and AA' serve every lambda (Hoerl and Kennard 1970;
Hastie and Tibshirani 2004, section 3). What comes out is certified as any other solution is, by a
product of its residuals with X; where rounding has spoilt it, the plain way of `blocks` goes on.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot, safe_reciprocal
from jreg.path.blocks import Block, certify_fits, filled_up, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.setup import LARGEST_MODEL, Data
from jreg.path.units import Units
from jreg.penalties import ElasticNet, Ridge
from jreg.problem import CentredProblem, Linear
from jreg.sparse import Sparse
from jreg.status import Status
from jreg.typing import Array

LAMBDAS = 25  # certified by one product
COLUMNS = 512  # of X multiplied together: no scaled copy of X as a whole


class Decomposed(NamedTuple):
    """Eigenvectors of A'A (p, p) or AA' (n, n), its eigenvalues, and A' S^1/2 y or S^1/2 y seen in
    the basis that they are."""

    vectors: Array
    values: Array
    target: Array


def suits(data: Data, penalty: Any) -> bool:
    """Whether the loss is the squared one with one output, X dense and not large both ways, and the
    penalty a ridge that no feature is free of."""
    problem = data.problem
    least_squares = problem.loss.quadratic and problem.outputs == ()
    small = min(problem.X.shape) <= LARGEST_MODEL and not isinstance(problem.X, Sparse)
    chosen = is_ridge(penalty) and least_squares and small
    return chosen and bool(np.all(strengths(data, penalty) > 0))


def is_ridge(penalty: Any) -> bool:
    """Whether it is the square alone."""
    if isinstance(penalty, ElasticNet):
        return bool(np.all(np.asarray(penalty.l1_ratio) == 0))
    return isinstance(penalty, Ridge)


def solve_ridge(
    data: Data, penalty: Any, units: Units, lams: np.ndarray, tol: float
) -> Iterator[Block]:
    """Blocks of rows for all `lams` (falling, positive), in this order."""
    per = strengths(data, penalty) ** -0.5
    known = (_of_features if data.problem.gram is not None else _of_samples)(data, per)
    point, k = first_point(data), 0
    while k < lams.size:
        ends = lams[k : k + LAMBDAS]
        level = filled_up(ends, LAMBDAS)
        params, eta = _solutions(data.problem, known, per, level)
        certified = jax.device_get(certify_fits(data, penalty, level, params, eta))
        told = SimpleNamespace(
            status=np.full(LAMBDAS, Status.CONVERGED), num_steps=np.ones(LAMBDAS, int)
        )
        block = Block.of(jax.device_get(params), told, certified, ends, tol)
        if block.accepted:
            block = block.first(block.accepted)
        else:
            block = solve_block(data, penalty, units, ends[:1], point, tol)
        yield block
        point = block.last(point)
        k += block.status.size


def strengths(data: Data, penalty: Any) -> np.ndarray:
    """Of the features at lam 1; inf for one that is excluded."""
    found = np.asarray(penalty.strengths(np.zeros_like(data.entry)))
    return np.broadcast_to(found, data.entry.shape).astype(data.entry.dtype)


@compiled
def _of_features(data: Data, per: Array) -> Decomposed:
    assert data.problem.gram is not None
    values, vectors = jnp.linalg.eigh(data.problem.gram * per[:, None] * per[None, :])
    return Decomposed(vectors, jnp.maximum(values, 0), dot(data.cross * per, vectors))


@compiled
def _of_samples(data: Data, per: Array) -> Decomposed:
    problem, root = data.problem, jnp.sqrt(data.problem.weight)
    values, vectors = jnp.linalg.eigh(kernel(problem, per) * root[:, None] * root[None, :])
    return Decomposed(vectors, jnp.maximum(values, 0), dot(root * problem.y, vectors))


def kernel(problem: CentredProblem, per: Array) -> Array:
    """`Z V^-1 Z'`, from some columns of X at a time."""
    n, p = problem.X.shape
    width = min(COLUMNS, p)
    factor = per * safe_reciprocal(problem.scale)
    present = (problem.weight > 0)[:, None]

    def add(i: Array, K: Array) -> Array:
        start = jnp.minimum(i * width, p - width)  # the last ones overlap those before
        new = jnp.arange(width) + start >= i * width
        cut = lambda a: jax.lax.dynamic_slice_in_dim(a, start, width, axis=-1)  # noqa: E731
        centred = jnp.where(present, cut(problem.X) - cut(problem.mean)[None, :], 0)
        columns = centred * jnp.where(new, cut(factor), 0)[None, :]
        return K + dot(columns, columns.T)

    zero = jnp.zeros((n, n), problem.mean.dtype)
    return jax.lax.fori_loop(0, (p + width - 1) // width, add, zero)


@compiled
def _solutions(
    problem: CentredProblem, known: Decomposed, per: Array, lams: Array
) -> tuple[Linear, Array]:
    """Parameters and predictors at each lam."""
    share = known.target[None, :] / (known.values[None, :] + lams[:, None])
    inner = dot(share, known.vectors.T)
    if problem.gram is not None:
        theta = inner * per[None, :]
    else:
        rows = inner * jnp.sqrt(problem.weight)[None, :]
        theta = jax.vmap(problem.transposed_times)(rows) * per[None, :] ** 2
    params = Linear(theta, jnp.zeros_like(lams))
    return params, jax.vmap(problem.image)(params)
