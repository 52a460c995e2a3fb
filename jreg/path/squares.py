"""The squared loss along a path: a block of lambdas solved on the candidates, certified on all.

Between knots the path is linear in lambda, so a block is one exact path of a small program
(`homotopy`), and the product that certifies all its lambdas is the only one with X. Penalties
`kinks + smooth remainder` (elastic net, MCP) put the remainder's slope into the linear term and its
curvature, frozen, into the Hessian, and repeat until the block's rows agree with their own terms.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.certificates import NullModel, certify_squares
from jreg.linalg import dot, safe_reciprocal
from jreg.path.candidates import Candidates
from jreg.path.compiled import compiled
from jreg.path.condense import (
    Condensed,
    Edges,
    Members,
    at,
    condense,
    expand,
    knots,
    of_candidates,
)
from jreg.path.extrapolate import MEMORY, extrapolate
from jreg.path.homotopy import Course, Followed, Knots, follow
from jreg.path.inverse import support_inverse
from jreg.path.meeting import Multiply
from jreg.problem import CentredProblem
from jreg.typing import Array

REPETITIONS = 100
AHEAD = 4  # rows passed in one step, on a path that is linear in lambda between its knots


class Solved(NamedTuple):
    """A block on the candidates."""

    coef: Array  # (rows, capacity), of unit columns
    condensed: Condensed
    found: Followed  # the states of Q


class Checked(NamedTuple):
    """A block on all features."""

    intercept: Array
    deviance: Array
    gap: Array
    residual: Array
    error: Array
    correlation: Array  # (rows, p + 1), of unit columns


def solve_rows(
    known: Candidates,
    target: Array,
    edges: Edges,
    inverse: Array,
    members: Members,
    level: Array,
    rows: Array,
    room: Array,
) -> Solved:
    """The exact path over rows 0 to `rows` of `level`, from the solution at row 0.

    target: (capacity,) correlations with the response. room: how far the support may grow. Three
    programs, so that the longest is compiled once for each size of Q.
    """
    condensed, still, start = _prepare(known, target, edges, inverse, members, level)
    found, _ = follow(start, rows, room, ahead=AHEAD)
    return Solved(_finish(condensed, members, still, start, found), condensed, found)


@compiled
def _prepare(
    known: Candidates,
    target: Array,
    edges: Edges,
    inverse: Array,
    members: Members,
    level: Array,
) -> tuple[Condensed, Array, Knots]:
    condensed = _condense(known, edges, inverse, members)
    course, of_level, wanted = line(level, target)
    return condensed, *knots(condensed, members, at(members, wanted), edges, of_level, course)


def line(level: Array, target: Array) -> tuple[Course, Array, Array]:
    """For a path that is linear in lambda between its knots: the functions 1 and lam, with -lam as
    the time, and lam (2,) and `target` (2, ...) as combinations of them."""
    one = jnp.ones_like(level)
    of_level = jnp.array([0, 1], level.dtype)
    course = Course(-level, jnp.stack([one, level], axis=1))
    return course, of_level, jnp.stack([target, 0 * target])


@compiled
def _finish(
    condensed: Condensed, members: Members, still: Array, start: Knots, found: Followed
) -> Array:
    return of_candidates(members, expand(condensed, members, still, start, found))


def solve_rows_repeatedly(
    known: Candidates,
    target: Array,
    edges: Edges,
    inverse: Array,
    members: Members,
    level: Array,
    rows: Array,
    room: Array,
    *,
    penalty: Any,
    unit: Any,
    coef: Any,
    tol: float,
) -> Solved:
    """The same for a penalty with a smooth remainder, restricted to the candidates.

    unit: (capacity,) coefficients per coefficient of unit columns. coef: (rows, capacity), a guess.
    """
    condensed = _condense_alone(known, edges, inverse, members)
    starts: list[Any] = [coef]
    ends: list[Any] = []
    last = np.inf
    for _ in range(REPETITIONS):
        still, start = _model(condensed, members, target, edges, level, penalty, unit, starts[-1])
        found, _ = follow(start, rows, room)
        coef, moves = _move(condensed, members, still, start, found, starts[-1], rows)
        change = float(moves)
        if not change > tol:
            break
        if change > last:  # another support: what is remembered is of another map
            starts, ends = starts[-1:], []
        ends.append(np.asarray(coef))
        starts.append(extrapolate(starts, ends))
        starts, ends, last = starts[-MEMORY:], ends[1 - MEMORY :], change
    return Solved(coef, condensed, found)


@compiled
def _model(
    condensed: Condensed,
    members: Members,
    target: Array,
    edges: Edges,
    level: Array,
    penalty: Any,
    unit: Array,
    coef: Array,
) -> tuple[Array, Knots]:
    """The program on Q with the remainder's slope and curvature at `coef`."""

    def remainder(lam: Array, w: Array) -> Array:
        return smooth_slope(penalty.at(lam), lam, unit, edges, w)

    wanted = target[None, :] + edges.ridge[None, :] * coef - jax.vmap(remainder)(level, coef)
    course = Course.by_row(level.size, level.dtype)
    return knots(condensed, members, at(members, wanted), edges, level, course)


@compiled
def _move(
    condensed: Condensed,
    members: Members,
    still: Array,
    start: Knots,
    found: Followed,
    coef: Array,
    rows: Array,
) -> tuple[Array, Array]:
    """New coefficients of all rows that were reached, and the largest change of a row."""
    number = jnp.arange(coef.shape[0])
    parts = expand(condensed, members, still, start, found)
    moves = (number >= 1) & (number <= found.reached + 1)
    new = jnp.where(moves[:, None], of_candidates(members, parts), coef)
    change = jnp.sqrt(jnp.sum((new - coef) ** 2, axis=1))
    return new, jnp.max(jnp.where(number <= rows, change, 0))


def smooth_slope(penalty: Any, lam: Array, unit: Array, edges: Edges, w: Array) -> Array:
    """The slope of a penalty at w, in unit columns, beyond that of its kinks; 0 for the intercept
    and others without a penalty."""
    free = (edges.low == 0) & (edges.high == 0)
    slope = jnp.where(free, 0, unit * penalty.slope(unit * w))
    return slope - lam * jnp.where(w > 0, edges.high, jnp.where(w < 0, edges.low, 0))


def _condense(known: Candidates, edges: Edges, inverse: Array, members: Members) -> Condensed:
    rows, columns = jnp.maximum(members.support, 0), jnp.maximum(members.quick, 0)
    inner = known.gram[columns[:, None], columns[None, :]] + jnp.diag(edges.ridge[columns])
    return condense(inverse, known.gram[columns[:, None], rows[None, :]], inner, members)


_condense_alone = compiled(_condense)


def certify_columns(
    multiply: Multiply,
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    known: Candidates,
    index: Array,
    norm: Array,
    coef: Array,
    lams: Array,
) -> Checked:
    """Certificates of all rows but the first, by one product of their residuals with X.

    index: (capacity,) features of the candidates, p + 1 for an empty row. lams: (rows - 1,)
    """
    residual, loss = _residuals(problem, known, index, norm, coef)
    products = multiply(residual)
    where = index, norm, coef, lams
    return _certify_columns(problem, penalty, null, *where, residual, products, loss)


@compiled
def _residuals(
    problem: CentredProblem, known: Candidates, index: Array, norm: Array, coef: Array
) -> tuple[Array, Array]:
    """The weighted residuals of all rows but the first, and their losses."""
    if known.rows.size:
        fits = dot(coef[1:], known.rows)
    else:
        fits = jax.vmap(problem.times)(_theta(index, norm, coef[1:]))
    residual = fits - problem.y[None, :]
    weighted = residual * problem.weight[None, :]
    return weighted, 0.5 * jnp.sum(weighted * residual, axis=1)


@compiled
def _certify_columns(
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    index: Array,
    norm: Array,
    coef: Array,
    lams: Array,
    residual: Array,
    products: Array,
    loss: Array,
) -> Checked:
    gradient = jax.vmap(problem.standardized)(products, residual)
    return _certify(penalty, null, index, norm, coef[1:], lams, gradient, loss)


@compiled
def certify_gram(
    penalty: Any,
    null: NullModel,
    known: Candidates,
    target: Array,
    square: Array,
    index: Array,
    norm: Array,
    coef: Array,
    lams: Array,
) -> Checked:
    """The same where every feature is a candidate, from the Gram matrix: no product with X.

    square: y' S y.
    """
    coef = coef[1:]
    products = dot(coef, known.gram)
    loss = 0.5 * square - dot(coef, target) + 0.5 * jnp.sum(coef * products, axis=1)
    gradient = (products - target[None, :])[:, : norm.size] * norm[None, :]
    return _certify(penalty, null, index, norm, coef, lams, gradient, jnp.maximum(loss, 0))


def _certify(
    penalty: Any,
    null: NullModel,
    index: Array,
    norm: Array,
    coef: Array,
    lams: Array,
    gradient: Array,
    loss: Array,
) -> Checked:
    theta = _theta(index, norm, coef)

    def one(lam: Array, theta: Array, gradient: Array, loss: Array) -> Any:
        return certify_squares(penalty.at(lam), theta, gradient, loss, null)

    found = jax.vmap(one)(lams, theta, gradient, loss)
    correlation = jnp.pad(-gradient * safe_reciprocal(norm)[None, :], ((0, 0), (0, 1)))
    return Checked(
        jnp.zeros_like(loss), 2 * loss, found.gap, found.residual, found.error, correlation
    )


def _theta(index: Array, norm: Array, coef: Array) -> Array:
    """Coefficients (rows, p) of coefficients (rows, capacity) of unit columns."""
    theta = jnp.zeros((coef.shape[0], norm.size), coef.dtype)
    return theta.at[:, index].set(coef, mode="drop") * safe_reciprocal(norm)[None, :]


@compiled
def fresh_inverse(known: Candidates, edges: Edges, support: Array) -> Array:
    """M = inv(H_AA), empty slots zero."""
    at = jnp.maximum(support, 0)
    H = known.gram[at[:, None], at[None, :]] + jnp.diag(edges.ridge[at])
    return support_inverse(H, support >= 0)
