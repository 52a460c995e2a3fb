"""Ridge paths of any smooth loss in more features than rows: as many coordinates as rows.

With A = Z V^-1/2, columns over the roots of their strengths, the solution lies in the span of the
rows: V^1/2 theta = A' Q L^-1/2 a, where AA' = Q L Q', and a solves the problem whose design is
Q L^1/2 under a plain ridge (Hastie and Tibshirani 2004, section 3). That one is solved the plain
way, in n coefficients instead of p; its solutions are turned back and certified over all features.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot, safe_reciprocal
from jreg.path.blocks import BLOCK, Block, certify_fits, filled_up, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.ridge import is_ridge, kernel, strengths
from jreg.path.setup import LARGEST_MODEL, Data, setup
from jreg.path.units import Units, units_of
from jreg.penalties import Ridge
from jreg.problem import CentredProblem, Linear
from jreg.typing import Array, has

INNER = 0.5  # of tol, for the turned problem: rounding takes a part


def suits(data: Data, penalty: Any) -> bool:
    """Whether there are more features than rows, not too many rows, a loss of single rows with one
    output, and a ridge that no feature is free of."""
    problem = data.problem
    n, p = problem.X.shape
    single = has(problem.loss, "pointwise") and problem.loss.smooth and problem.outputs == ()
    wide = isinstance(problem.X, jax.Array) and n < p and n <= LARGEST_MODEL
    return wide and single and is_ridge(penalty) and bool(np.all(strengths(data, penalty) > 0))


def solve_wide_ridge(
    data: Data, penalty: Any, units: Units, lams: np.ndarray, tol: float
) -> Iterator[Block]:
    """Blocks of rows for all `lams` (falling, positive), in this order."""
    per = strengths(data, penalty) ** -0.5
    turned, turn = _turned(data.problem, per)
    inner, plain = setup(turned, Ridge()), Ridge()
    own: Any = units_of(plain, turned.mean.size, ())
    there, here, k = first_point(inner), first_point(data), 0
    while k < lams.size:
        ends = lams[k : k + BLOCK]
        found = solve_block(inner, plain, own, ends, there, INNER * tol)
        level = filled_up(ends, BLOCK)
        rows = jax.tree.map(lambda leaf: leaf[np.minimum(np.arange(BLOCK), ends.size - 1)], found)  # noqa: B023
        params, eta = _turned_back(data.problem, turned, turn, per, rows.params)
        certified = jax.device_get(certify_fits(data, penalty, level, params, eta))
        block = Block.of(jax.device_get(params), rows, certified, ends, tol)
        if block.accepted:
            block = block.first(block.accepted)
            there = found.first(block.accepted).last(there)
        else:
            block = solve_block(data, penalty, units, ends[:1], here, tol)
        yield block
        here = block.last(here)
        k += block.status.size


@compiled
def _turned(problem: CentredProblem, per: Array) -> tuple[CentredProblem, Array]:
    """The problem in the coordinates `a`, and Q L^-1/2 (n, n)."""
    n = problem.weight.size
    values, vectors = jnp.linalg.eigh(kernel(problem, per))
    rounding = n * jnp.finfo(values.dtype).eps * values[-1]
    size = jnp.sqrt(jnp.where(values > rounding, values, 0))
    zero, one = jnp.zeros_like(values), jnp.ones_like(values)
    turned = dataclasses.replace(
        problem, X=vectors * size[None, :], mean=zero, scale=one, gram=None
    )
    return turned, vectors * safe_reciprocal(size)[None, :]


@compiled
def _turned_back(
    problem: CentredProblem, turned: CentredProblem, turn: Array, per: Array, params: Linear
) -> tuple[Linear, Array]:
    """Parameters (rows, p) of the problem, and predictors, from those of the turned one."""
    rows = dot(params.coef, turn.T)
    theta = jax.vmap(problem.transposed_times)(rows) * per[None, :] ** 2
    return Linear(theta, params.intercept), jax.vmap(turned.image)(params)
