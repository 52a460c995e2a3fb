"""The plain way along a path: candidates, a solver, and a product with X that certifies.

Lambdas fall in blocks. For each block a few candidate units (features, or groups of them) are
chosen, those of the last solution and those closest to entering (Massias, Gramfort and Salmon 2018,
section 3); the block is solved on their columns alone with warm starts; and one product with the
whole of X certifies every lambda of the block: units that violate their optimality condition join
the candidates and the block is solved again. A wrong guess costs time, never correctness. The
number of candidates is a power of two, so few programs are compiled.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.certificates import Certificate, certify, certify_squares
from jreg.path.compiled import compiled
from jreg.path.setup import LARGEST_MODEL, Data
from jreg.path.sweep import solve_blocks, weighted_deviance
from jreg.path.units import Units, restrict
from jreg.path.walk import leading
from jreg.problem import Linear
from jreg.solvers import FISTA, ProxNewton
from jreg.sparse import Sparse
from jreg.status import Status
from jreg.typing import Array, ArrayLike

BLOCK = 5  # lambdas solved between two products with X
SMALL = 256  # up to this many features all are candidates
LARGEST_HESSIAN = 1024  # coefficients of several outputs up to which a matrix of them is formed


class Point(NamedTuple):
    """Where a block starts."""

    params: Linear
    entry: np.ndarray  # like coef: multiples of the strength at which features would enter


class Block(NamedTuple):
    """A solved block, certified on all features; NumPy arrays with a row for each lambda."""

    params: Linear
    certificate: Certificate  # without the gradient
    deviance: ArrayLike
    num_steps: ArrayLike
    status: ArrayLike
    entry: ArrayLike  # (rows, p[, k])
    gradient: ArrayLike  # (rows, p[, k])

    @classmethod
    def of(
        cls, params: Linear, found: Any, certified: tuple, lams: np.ndarray, tol: float
    ) -> "Block":
        """The first rows, those of `lams`, of what a solver found and of their certificates over
        the full problem: (certificates, deviances, entries), in NumPy."""
        checked, deviance, entry = certified
        error = np.where(np.isnan(checked.gap), checked.residual, checked.gap)
        inner = np.where(found.status == Status.CONVERGED, Status.AT_PRECISION, found.status)
        block = cls(
            params=params,
            certificate=checked._replace(gradient=()),
            deviance=deviance,
            num_steps=found.num_steps,
            status=np.where(error <= tol, Status.CONVERGED, inner),
            entry=entry,
            gradient=checked.gradient,
        )
        return block.first(lams.size)

    @property
    def accepted(self) -> int:
        """How many leading lambdas are within tol."""
        return leading(np.asarray(self.status) == Status.CONVERGED)

    def first(self, rows: int) -> "Block":
        """Its first lambdas."""
        return jax.tree.map(lambda leaf: leaf[:rows], self)

    def last(self, before: Point) -> Point:
        """Where the next block starts."""
        if not np.isfinite(self.certificate.value[-1]):
            return before
        return Point(jax.tree.map(lambda leaf: leaf[-1], self.params), self.entry[-1])


def filled_up(lams: np.ndarray, size: int) -> np.ndarray:
    """A short block with its last lambda repeated, to keep the shape."""
    return np.append(lams, np.repeat(lams[-1:], size - lams.size))


def first_point(data: Data) -> Point:
    """The null model."""
    return Point(jax.tree.map(np.asarray, data.null.params), np.asarray(data.entry))


def solve_block(
    data: Data, penalty: Any, units: Units, lams: np.ndarray, start: Point, tol: float
) -> Block:
    """Solve up to `BLOCK` lambdas, enlarging the candidates until all are certified."""
    free = penalty.unpenalized(data.null.gradient)
    used = start.params.coef != 0
    wanted = _any(units, used[None] if free is None else (used | np.asarray(free))[None])
    entry = units.largest(start.entry[None])[0]
    while True:
        chosen = _choose(units, wanted, entry)
        found = _try_block(data, penalty, units, chosen, lams, start.params, tol)
        outside = ~np.isin(np.arange(wanted.size), chosen)
        missed = _any(units, found.entry > 1) & outside
        if (found.certificate.error <= tol).all() or not missed.any():
            return found
        wanted = wanted | missed | _any(units, found.params.coef != 0)


def _any(units: Units, flags: np.ndarray) -> np.ndarray:
    """The units in which a flag (rows, p[, k]) is up in any row."""
    return np.asarray(units.largest(flags).any(axis=0))


def _choose(units: Units, wanted: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """The candidates: the units that are wanted, and those closest to entering until twice as many
    are there; the number of their features is about a power of two, or all are."""
    count, size = units.table.shape
    target = size * (2 * int(wanted.sum()) + 1) + 32
    room = max(SMALL, 1 << math.ceil(math.log2(target))) // size
    if room >= count:
        return np.arange(count)
    score = np.where(wanted, np.inf, np.nan_to_num(entry))
    return np.sort(np.argpartition(-score, room - 1)[:room])


def _try_block(
    data: Data,
    penalty: Any,
    units: Units,
    chosen: np.ndarray,
    lams: np.ndarray,
    start: Linear,
    tol: float,
) -> Block:
    """Solve a block on the candidate columns and certify it on all."""
    block = filled_up(lams, BLOCK)
    table = units.table[chosen] if chosen.size < units.table.shape[0] else None
    p = data.entry.shape[0]
    index = np.arange(p) if table is None else table.ravel()
    coef = start.coef[np.minimum(index, p - 1)]
    coef[index == p] = 0
    columns, outputs = index.size, math.prod(start.intercept.shape)
    few = columns <= LARGEST_MODEL and (outputs == 1 or columns * outputs <= LARGEST_HESSIAN)
    if table is None and outputs > 1 and isinstance(data.problem.X, Sparse):
        few = False  # a Hessian of several outputs wants the entries of X
    solver = ProxNewton() if penalty.convex and few else FISTA()
    inner_tol = max(0.5 * tol, 10 * float(np.finfo(lams.dtype).eps))
    where = (chosen, table, block, Linear(coef, start.intercept))
    found = _solve_block(data, penalty, *where, inner_tol, solver.max_steps, solver)
    found = jax.device_get(found)
    theta = np.zeros((BLOCK, *start.coef.shape), lams.dtype)
    theta[:, index[index < p]] = found.params.coef[:, index < p]
    params = Linear(theta, found.params.intercept)
    certified = jax.device_get(_certify_block(data, penalty, block, params))
    return Block.of(params, found, certified, lams, tol)


@compiled
def _solve_block(
    data: Data,
    penalty: Any,
    chosen: Array,
    table: Array | None,
    lams: Array,
    start: Linear,
    tol: Array,
    limit: Array,
    solver: Any,
) -> Any:
    """The block on the features `table` of the units `chosen` (None: on all), lambda after
    lambda."""
    problem, null = data.problem, data.null
    if table is not None:
        problem, penalty, null = restrict(problem, penalty, null, chosen, table)
    tol = jnp.asarray(tol, lams.dtype)
    return solve_blocks(solver, problem, penalty, null, lams[:, None], start, tol, limit)


@compiled
def certify_fits(
    data: Data, penalty: Any, lams: Array, params: Linear, eta: Array
) -> tuple[Certificate, Array, Array]:
    """Certificates over the full problem by one product of X with what the fits leave, deviances,
    and the multiples of the lambdas at which features would enter."""
    problem, null = data.problem, data.null
    squares = problem.loss.quadratic and problem.outputs == ()

    def one(lam: Array, params: Linear, eta: Array) -> tuple[Certificate, Array, Array]:
        strong, coef = penalty.at(lam), params.coef
        if squares and penalty.unpenalized(coef) is None:
            gradient = problem.transposed_times(problem.residual(eta))
            found = certify_squares(strong, coef, gradient, problem.value(eta), null)
        else:
            found = certify(problem, strong, params, null, eta)
        return found, weighted_deviance(problem, eta), strong.entry(found.gradient)

    return jax.vmap(one)(lams, params, eta)


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
