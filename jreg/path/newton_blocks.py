"""A path in blocks of lambdas that are solved side by side, by Newton's method on the support.

For penalties of groups, and losses with several outputs. One turn:

1. The candidates are the units (features, or groups) in use, and those whose gradient, predicted
   from its slope along the path, comes near its edge at the block's end. Larsson and Wallin (2022)
   predict so for single features; the strong rules of Tibshirani et al. (2012) are the same with
   the steepest slope there could be.
2. All lambdas of the block are solved on the candidate columns, started from the tangent of the
   path (`SupportNewton`): under `vmap` they share each pass over these columns.
3. One product with the whole of X certifies all of them. The leading rows within tol are accepted;
   units that violate their condition are forced into the next turn. Where nothing is accepted and
   nobody is missing, the plain way of `blocks` solves one lambda.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.certificates import Certificate, NullModel, certify, certify_squares
from jreg.path.blocks import Block, Point, certify_fits, filled_up, solve_block
from jreg.path.compiled import compiled
from jreg.path.frozen import freeze
from jreg.path.gathered import Gathered, Pieces, gather, on_columns
from jreg.path.setup import Data
from jreg.path.support_newton import Seen, SupportNewton
from jreg.path.units import Units, restricted
from jreg.problem import Linear
from jreg.solvers.solve import iterate
from jreg.typing import Array

LAMBDAS = 10  # in a block
MARGIN = 0.1  # a unit whose gradient is predicted this close to its edge is a candidate
INNER = 0.3  # of tol, within which a block is solved on its candidates
FEW = 512  # columns that are candidates in any case
COLUMNS = (8192, 16384, 32768)  # there is room for
FROZEN = 256  # entries of theta for which a second derivative is inverted, at most


class Place(NamedTuple):
    """The last lambda that is done."""

    lam: float
    params: Linear
    gradient: np.ndarray
    entry: np.ndarray  # multiples of lam at which features would enter
    slope: tuple[Linear, np.ndarray] | None  # of params and gradient, per lambda; None at first

    def predicted(self, lams: np.ndarray) -> Linear:
        """Parameters at each of `lams` along the tangent; what is 0 stays 0."""
        coef, intercept = self.params
        if self.slope is None:
            return Linear(_repeated(coef, lams.size), _repeated(intercept, lams.size))
        slope, steps = self.slope[0], lams - self.lam
        moves = np.where(coef == 0, 0, slope.coef)
        return Linear(
            coef + np.multiply.outer(steps, moves),
            intercept + np.multiply.outer(steps, slope.intercept),
        )

    def after(self, lams: np.ndarray, block: Block) -> "Place":
        """The end of a block, with slopes from the row before (or this place)."""
        row = lambda i: (Linear(block.params.coef[i], block.params.intercept[i]), block.gradient[i])  # noqa: E731
        params, gradient = row(-1)
        several = lams.size > 1
        earlier = float(lams[-2]) if several else self.lam
        before, gradient_before = row(-2) if several else (self.params, self.gradient)
        lam = float(lams[-1])
        per = 1 / (lam - earlier) if lam != earlier else 0.0
        slope = Linear(*((new - old) * per for new, old in zip(params, before, strict=True)))
        gradient_slope = (gradient - gradient_before) * per
        return Place(lam, params, gradient, block.entry[-1], (slope, gradient_slope))


def solve_path(
    data: Data, penalty: Any, units: Units, lams: np.ndarray, tol: float
) -> Iterator[Block]:
    """Blocks of rows for all `lams` (falling, positive), in this order."""
    params = jax.tree.map(np.asarray, data.null.params)
    gradient, entry = np.asarray(data.null.gradient), np.asarray(data.entry)
    place = Place(float(data.lam_max), params, gradient, entry, None)
    free = np.asarray(_free(penalty, gradient))
    forced, k = np.zeros(units.table.shape[0], bool), 0
    while k < lams.size:
        ends = lams[k : k + LAMBDAS]
        score = scores(penalty, place, float(ends[-1]))
        used = units.largest((free | (place.params.coef != 0))[None])[0] > 0
        chosen = choose(units, score, used | forced)
        begin = place.predicted(ends)
        block = try_block(data, penalty, units, chosen, score, ends, begin, tol)
        accepted = block.accepted
        missed = np.zeros_like(forced)
        if accepted < ends.size:
            missed = units.largest(block.entry[accepted : accepted + 1])[0] > 1
            missed[chosen] = False
        if accepted:
            block = block.first(accepted)
        elif missed.any():
            forced |= missed
            continue
        else:
            ends = ends[:1]
            block = solve_block(data, penalty, units, ends, Point(place.params, place.entry), tol)
        ends, forced = ends[: block.status.size], missed
        if np.isfinite(block.certificate.value).all():
            place = place.after(ends, block)
        yield block
        k += ends.size


def scores(penalty: Any, place: Place, lam: float) -> np.ndarray:
    """How close entries come to entering by `lam`, 1 for those that do: from the gradient here,
    and as it will be if its slope goes on; like coef."""
    ahead = place.gradient
    if place.slope is not None:
        ahead = ahead + (lam - place.lam) * place.slope[1]
    entry = np.asarray(_entry(penalty, np.stack([place.gradient, ahead])))
    with np.errstate(invalid="ignore"):
        score = np.maximum(entry[0] / max(place.lam, lam), entry[1] / lam)
    return np.where(np.isnan(score), np.inf, score)


def choose(units: Units, score: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The candidates of a block, those that are wanted (n_units,) first: with those that come
    close to entering, and at least as many as make `FEW` columns."""
    score = np.where(wanted, np.inf, units.largest(score[None])[0])
    count, size = units.table.shape
    enough = max(1, FEW // size, int((score >= 1 - MARGIN).sum()))
    if enough >= count:
        return np.arange(count)
    best = np.argpartition(-score, enough - 1)[:enough]
    return best[np.argsort(-score[best], kind="stable")]


def _room(units: Units, count: int) -> int:
    """For how many units there is room if `count` are candidates; one of few numbers."""
    every, size = units.table.shape
    columns = next((c for c in COLUMNS if count * size <= c), every * size)
    return min(every, columns // size)


def try_block(
    data: Data,
    penalty: Any,
    units: Units,
    chosen: np.ndarray,
    score: np.ndarray,
    lams: np.ndarray,
    begin: Linear,
    tol: float,
) -> Block:
    """Solve on the candidates, certify on everything."""
    rest = LAMBDAS - lams.size
    level = filled_up(lams, LAMBDAS)
    begin = jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], rest, axis=0)]), begin)
    p, nobody = data.entry.shape[0], units.table.shape[0]
    none = _room(units, chosen.size) - chosen.size
    ids = np.append(chosen, np.full(none, nobody))
    table = np.append(units.table, np.full_like(units.table[:1], p), axis=0)[ids]
    index = table.ravel()
    present = index < p
    coef = np.take(begin.coef, np.minimum(index, p - 1), axis=1)
    coef[:, ~present] = 0
    solver = SupportNewton(table.shape[1])
    inner_tol = max(INNER * tol, 10 * float(np.finfo(level.dtype).eps))
    few = data._replace(problem=dataclasses.replace(data.problem, X=None))
    found, eta = _solve(
        few,
        penalty,
        ids,
        table,
        gather(data.problem, index, chosen.size * table.shape[1]),
        _likely(coef, score, index),
        level,
        Linear(coef, begin.intercept),
        inner_tol,
        solver.max_steps,
        solver,
    )
    found = jax.device_get(found)
    theta = np.zeros_like(begin.coef)
    theta[:, index[present]] = found.params.coef[:, present]
    params = Linear(theta, found.params.intercept)
    certified = jax.device_get(certify_fits(data, penalty, level, params, eta))
    return Block.of(params, found, certified, lams, tol)


def _likely(coef: np.ndarray, score: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.int32]:
    """The entries of theta likely to be in use, at most `FROZEN`, and their number."""
    present = index < score.shape[0]
    near = np.zeros(coef.shape[1:], score.dtype)
    near[present] = score[index[present]]
    near = np.where(coef[0] != 0, np.inf, near).ravel()
    likely = np.nonzero(near >= 1)[0]
    likely = likely[np.argsort(-near[likely], kind="stable")][:FROZEN]
    rest = FROZEN - likely.size
    return np.append(likely, np.zeros(rest, int)).astype(np.int32), np.int32(likely.size)


@compiled
def _solve(
    data: Data,
    penalty: Any,
    ids: Array,
    table: Array,
    pieces: tuple[Pieces, Pieces],
    likely: tuple[Array, Array],
    lams: Array,
    starts: Linear,
    tol: Array,
    limit: Array,
    solver: Any,
) -> tuple[Any, Array]:
    """Every lambda on the units `ids`, whose features are `table` and whose columns are `pieces`;
    and the fits."""
    problem, null = on_columns(data.problem, data.null, pieces, table.ravel())
    penalty = restricted(penalty, data.null, ids, table)
    tol = jnp.asarray(tol, lams.dtype)
    if penalty.separable:
        middle = lams.size // 2
        start = jax.tree.map(lambda a: a[middle], starts)
        problem = freeze(problem, penalty.at(lams[middle]), start, *likely)

    def one(lam: Array, start: Linear) -> tuple[Any, Array]:
        found = iterate(
            solver,
            problem,
            penalty.at(lam),
            start,
            lambda w, seen: estimate(problem, seen, w, null),
            tol,
            limit,
        )
        return found, problem.image(found.params)

    return jax.vmap(one)(lams, starts)


def estimate(problem: Gathered, seen: Seen, params: Linear, null: NullModel) -> Certificate:
    """What `certify` finds, or nearly so where the loss is not quadratic: scaling a dual point by c
    then costs about (1 - c)^2 times the loss, as of squares."""
    penalty, eta, gradient = seen
    if penalty.unpenalized(params.coef) is not None:
        return certify(problem, penalty, params, null, eta)
    return certify_squares(penalty, params.coef, gradient.coef, problem.value(eta), null)


@compiled
def _entry(penalty: Any, gradient: Array) -> Array:
    return jax.vmap(penalty.entry)(gradient)


@compiled
def _free(penalty: Any, gradient: Array) -> Array:
    free = penalty.unpenalized(gradient)
    return jnp.zeros(gradient.shape, bool) if free is None else free


def _repeated(a: np.ndarray, times: int) -> np.ndarray:
    return np.repeat(a[None], times, axis=0)
