"""Generalised linear models along a path: prox-Newton for a block of lambdas with one Hessian.

The Hessian is frozen at a predicted point, as a rule in the middle of the block, H = Z' S W0 Z;
that of a large support is kept for several blocks if its weights move little. Given fits of
all rows, each row's own gradient and a scalar g_i = sum W_i / sum W0 (its Hessian is about g_i H)
make a quadratic model with the linear term c_i = Z' (S W0 eta_i - S l'(eta_i) / g_i) and threshold
lam_i / g_i. Between rows both are interpolated, so one exact path (`homotopy`) solves all rows; new
fits give new models, until they agree. Newton's method along a path: Park and Hastie (2007);
Friedman, Hastie and Tibshirani (2010).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg.certificates import NullModel, certify_products, to_multiply
from jreg.linalg import dot, safe_reciprocal
from jreg.losses import means
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
from jreg.path.homotopy import Course, Followed, Knots, follow
from jreg.path.inverse import support_inverse
from jreg.path.meeting import Multiply
from jreg.path.squares import Checked, Solved, smooth_slope
from jreg.path.sweep import weighted_deviance
from jreg.problem import CentredProblem, Linear
from jreg.typing import Array

REPETITIONS = 60


class Frozen(NamedTuple):
    """What the repetitions of a block share."""

    support: Array  # (m, n) columns of A over their norms
    quick: Array  # (q, n) columns of Q
    weight: Array  # (n,) S W0
    condensed: Condensed


def solve_rows(
    frozen: Frozen,
    fits: Any,
    problem: CentredProblem,
    edges: Edges,
    members: Members,
    coef: Any,
    level: Any,
    rows: Any,
    room: Any,
    penalty: Any,
    unit: Any,
    tol: float,
) -> tuple[Solved, Array]:
    """All rows of a block, and their fits Z theta + b.

    coef, fits: a guess, as in `freeze`. penalty: restricted to the candidates. unit: (capacity,)
    coefficients per coefficient of unit columns. tol: change of the fits, root mean square in the
    frozen weights, at which they agree.
    """
    for _ in range(REPETITIONS):
        still, start = _model(frozen, problem, members, edges, level, penalty, unit, coef, fits)
        found, _ = follow(start, rows, room)
        coef, fits, change = _move(frozen, members, still, start, found, coef, fits, rows)
        if not float(change) > tol:
            break
    return Solved(coef, frozen.condensed, found), fits


@compiled
def freeze(
    known: Candidates,
    problem: CentredProblem,
    edges: Edges,
    members: Members,
    coef: Array,
    rows: Array,
) -> tuple[Frozen, Array]:
    """The Hessian in the middle of the block, condensed; and the fits of a guess (rows, capacity),
    of which row 0 is exact."""
    support, fits = jnp.maximum(members.support, 0), dot(coef, known.rows)
    weight = _curvature(problem, fits[(rows + 1) // 2])
    XAw = known.rows[support] * jnp.sqrt(weight)[None, :]
    H = dot(XAw, XAw.T) + jnp.diag(edges.ridge[support])
    inverse = support_inverse(H, members.support >= 0)
    return _frozen(known, edges, weight, inverse, members), fits


@compiled
def freeze_again(
    known: Candidates,
    edges: Edges,
    weight: Array,
    inverse: Array,
    members: Members,
    coef: Array,
) -> tuple[Frozen, Array]:
    """The same with weights S W0 that are kept, and the inverse of their Hessian."""
    return _frozen(known, edges, weight, inverse, members), dot(coef, known.rows)


def _frozen(
    known: Candidates, edges: Edges, weight: Array, inverse: Array, members: Members
) -> Frozen:
    support, quick = jnp.maximum(members.support, 0), jnp.maximum(members.quick, 0)
    XA = jnp.where((members.support >= 0)[:, None], known.rows[support], 0)
    XQ = jnp.where((members.quick >= 0)[:, None], known.rows[quick], 0)
    XQw = XQ * weight[None, :]
    inner = dot(XQw, XQ.T) + jnp.diag(edges.ridge[quick])
    return Frozen(XA, XQ, weight, condense(inverse, dot(XQw, XA.T), inner, members))


@compiled
def moved(known: Candidates, problem: CentredProblem, coef: Array, before: Array) -> Array:
    """How far weights are from those at coefficients (capacity,), up to a factor: root mean square
    of the relative difference."""
    weight = _curvature(problem, dot(coef, known.rows))
    mean = jnp.sum(weight) * safe_reciprocal(jnp.sum(before))
    off = weight * safe_reciprocal(mean * before) - 1
    return jnp.sqrt(dot(before, off**2) * safe_reciprocal(jnp.sum(before)))


@compiled
def _model(
    frozen: Frozen,
    problem: CentredProblem,
    members: Members,
    edges: Edges,
    level: Array,
    penalty: Any,
    unit: Array,
    coef: Array,
    fits: Array,
) -> tuple[Array, Knots]:
    """The program on Q of the quadratic models of all rows at their fits."""
    curvature = jax.vmap(lambda eta: _curvature(problem, eta))(fits)
    g = jnp.sum(curvature, axis=1) / jnp.sum(frozen.weight)
    g = jnp.where(g > 0, g, 1)[:, None]
    slopes = jax.vmap(lambda eta: problem.residual(eta + problem.offset))(fits)
    response = frozen.weight[None, :] * fits - slopes / g
    parts = [dot(response, columns.T) for columns in (frozen.support, frozen.quick)]
    slope = jax.vmap(lambda lam, w: smooth_slope(penalty.at(lam), lam, unit, edges, w))
    bend = at(members, edges.ridge[None, :] * coef - slope(level, coef) / g)
    wanted = jnp.concatenate(parts, axis=1) + bend
    course = Course.by_row(level.size, wanted.dtype)
    return knots(frozen.condensed, members, wanted, edges, level / g[:, 0], course)


@compiled
def _move(
    frozen: Frozen,
    members: Members,
    still: Array,
    start: Knots,
    found: Followed,
    coef: Array,
    fits: Array,
    rows: Array,
) -> tuple[Array, Array, Array]:
    """New coefficients and fits of all rows that were reached, and the largest change of fits."""
    number = jnp.arange(coef.shape[0])
    parts = expand(frozen.condensed, members, still, start, found)
    new = dot(parts[0], frozen.support) + dot(parts[1], frozen.quick)
    moves = ((number >= 1) & (number <= found.reached + 1))[:, None]
    coef = jnp.where(moves, of_candidates(members, parts), coef)
    new = jnp.where(moves, new, fits)
    change = jnp.sqrt(dot((new - fits) ** 2, frozen.weight) / jnp.sum(frozen.weight))
    counted = (number <= rows) & (number <= found.reached)
    return coef, new, jnp.max(jnp.where(counted, change, 0))


def certify_rows(
    multiply: Multiply,
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    index: Array,
    norm: Array,
    coef: Array,
    fits: Array,
    lams: Array,
) -> Checked:
    """Certificates of all rows but the first, over all features, by one product with X.

    index: (capacity,) features of the candidates; p stands for the intercept, p + 1 for nothing.
    lams: (rows - 1,)
    """
    params, dual, residuals = _residuals(problem, penalty, null, index, norm, coef, fits, lams)
    products = multiply(residuals)
    return _certify(problem, penalty, null, norm, params, fits, lams, dual, residuals, products)


@compiled
def _residuals(
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    index: Array,
    norm: Array,
    coef: Array,
    fits: Array,
    lams: Array,
) -> tuple[Linear, Array | None, Array]:
    """Of all rows but the first the parameters, dual points, and what is to be multiplied."""
    p = norm.size
    found = jnp.zeros((lams.size, p + 1), coef.dtype).at[:, index].set(coef[1:], mode="drop")
    params = Linear(found[:, :p] * safe_reciprocal(norm)[None, :], found[:, p])

    def one(lam: Array, params: Linear, fit: Array) -> tuple[Array | None, Array]:
        return to_multiply(problem, penalty.at(lam), params, null, fit + problem.offset)

    return params, *jax.vmap(one)(lams, params, fits[1:])


@compiled
def _certify(
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    norm: Array,
    params: Linear,
    fits: Array,
    lams: Array,
    dual: Array | None,
    residuals: Array,
    products: Array,
) -> Checked:
    def one(
        lam: Array,
        params: Linear,
        fit: Array,
        dual: Array | None,
        residuals: Array,
        products: Array,
    ) -> tuple[Any, Array]:
        eta, strong = fit + problem.offset, penalty.at(lam)
        products = jax.vmap(problem.standardized)(products, residuals)
        found = certify_products(problem, strong, params, null, eta, dual, residuals, products)
        return found, weighted_deviance(problem, eta)

    found, deviance = jax.vmap(one)(lams, params, fits[1:], dual, residuals, products)
    correlation = -found.gradient * safe_reciprocal(norm)[None, :]
    correlation = jnp.pad(correlation, ((0, 0), (0, 1)))
    return Checked(params.intercept, deviance, found.gap, found.residual, found.error, correlation)


def _curvature(problem: CentredProblem, fit: Array) -> Array:
    """Second derivative of each sample's part of the mean loss at a fit without offset."""
    return means.mean_curvature(problem.loss, fit + problem.offset, problem.y, problem.weight)
