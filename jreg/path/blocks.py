"""The plain way along a path: candidate features, a solver, and a product with X that certifies.

Lambdas fall in blocks. For each block a few candidate features are chosen, those of the last
solution and those closest to entering (Massias, Gramfort and Salmon 2018, section 3); the block is
solved on those columns alone with warm starts; and one product with the whole of X certifies every
lambda of the block: features that violate their optimality condition join the candidates and the
block is solved again. A wrong guess costs time, never correctness. The number of candidates is a
power of two, so few programs are compiled.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.certificates import Certificate, certify
from jreg.path.compiled import compiled
from jreg.path.setup import LARGEST_MODEL, Data
from jreg.path.sweep import solve_blocks, weighted_deviance
from jreg.problem import Linear
from jreg.solvers import FISTA, ProxNewton
from jreg.status import Status
from jreg.typing import Array, ArrayLike

BLOCK = 5  # lambdas solved between two products with X
SMALL = 256  # up to this many features all are candidates


class Point(NamedTuple):
    """Where a block starts."""

    params: Linear
    entry: np.ndarray  # (p,) multiples of the strength at which features would enter


class Block(NamedTuple):
    """A solved block, certified on all features; NumPy arrays with a row for each lambda."""

    params: Linear
    certificate: Certificate  # without the gradient
    deviance: ArrayLike
    num_steps: ArrayLike
    status: ArrayLike
    entry: ArrayLike  # (rows, p)
    gradient: ArrayLike  # (rows, p)

    def last(self, before: Point) -> Point:
        """Where the next block starts."""
        if not np.isfinite(self.certificate.value[-1]):
            return before
        return Point(jax.tree.map(lambda leaf: leaf[-1], self.params), self.entry[-1])


def first_point(data: Data) -> Point:
    """The null model."""
    return Point(jax.tree.map(np.asarray, data.null.params), np.asarray(data.entry))


def solve_block(data: Data, penalty: Any, lams: np.ndarray, start: Point, tol: float) -> Block:
    """Solve up to `BLOCK` lambdas, enlarging the candidates until all are certified."""
    free = penalty.unpenalized(data.null.gradient)
    nonzero = start.params.coef != 0
    wanted = nonzero if free is None else nonzero | np.asarray(free)
    while True:
        candidates = _choose(wanted, start.entry)
        found = _try_block(data, penalty, lams, candidates, start.params, tol)
        outside = ~np.isin(np.arange(start.entry.size), candidates)
        missed = (found.entry > 1).any(axis=0) & outside
        if (found.certificate.error <= tol).all() or not missed.any():
            return found
        wanted = wanted | missed | (found.params.coef != 0).any(axis=0)


def _choose(wanted: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Indices of the candidate features: the wanted ones, and those closest to entering until twice
    as many are there; their number is a power of two, or all."""
    target = 2 * int(wanted.sum()) + 32
    size = max(SMALL, 1 << int(np.ceil(np.log2(target))))
    if size >= entry.size:
        return np.arange(entry.size)
    score = np.where(wanted, np.inf, np.nan_to_num(entry))
    return np.sort(np.argpartition(-score, size - 1)[:size])


def _try_block(
    data: Data, penalty: Any, lams: np.ndarray, candidates: np.ndarray, start: Linear, tol: float
) -> Block:
    """Solve a block on the candidate columns and certify it on all."""
    # a short block is filled up with its last lambda, to keep the shape
    block = np.concatenate([lams, np.full(BLOCK - lams.size, lams[-1])])
    newton = penalty.convex and candidates.size <= LARGEST_MODEL
    solver = ProxNewton() if newton else FISTA()
    begin = Linear(start.coef[candidates], start.intercept)
    inner_tol = max(0.5 * tol, 10 * float(np.finfo(lams.dtype).eps))
    found = _solve_block(
        data, penalty, block, candidates, begin, inner_tol, solver.max_steps, solver
    )
    theta = np.zeros((BLOCK, data.entry.size), lams.dtype)
    theta[:, candidates] = found.params.coef
    params = Linear(theta, found.params.intercept)
    checked, deviance, entry = _certify_block(data, penalty, block, params)
    reached = checked.error <= tol
    inner = jnp.where(found.status == Status.CONVERGED, Status.AT_PRECISION, found.status)
    status = jnp.where(reached, Status.CONVERGED, inner)
    result = Block(
        params=params,
        certificate=checked._replace(gradient=()),
        deviance=deviance,
        num_steps=found.num_steps,
        status=status,
        entry=entry,
        gradient=checked.gradient,
    )
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: lams.size], result)


@compiled
def _solve_block(
    data: Data,
    penalty: Any,
    lams: Array,
    index: Array,
    start: Linear,
    tol: Array,
    limit: Array,
    solver: Any,
) -> Any:
    """The block on the columns `index`, lambda after lambda."""
    problem, null = data.problem, data.null
    if index.size < problem.mean.size:
        problem = problem.restrict(index)
        penalty = penalty.restrict(index)
        null = null._replace(gradient=null.gradient[index], curvature=null.curvature[index])
    tol = jnp.asarray(tol, lams.dtype)
    return solve_blocks(solver, problem, penalty, null, lams[:, None], start, tol, limit)


@compiled
def _certify_block(
    data: Data, penalty: Any, lams: Array, params: Linear
) -> tuple[Certificate, Array, Array]:
    """Certificates over the full problem, deviances, and per lambda and feature the multiple of the
    lambda at which the feature would enter (above 1 for a violation)."""

    def one(lam: Array, params: Linear) -> tuple[Certificate, Array, Array]:
        strong = penalty.at(lam)
        eta = data.problem.image(params)
        found = certify(data.problem, strong, params, data.null, eta)
        deviance = weighted_deviance(data.problem, eta)
        return found, deviance, strong.entry(found.gradient)

    return jax.vmap(one)(lams, params)
