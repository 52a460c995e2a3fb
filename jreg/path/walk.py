"""Walking down a lambda path in blocks: who may change, what is accepted, what happens if not.

The host chooses, compiled programs compute. A block of lambdas is solved on a guess of who may join
(J) and who may drop (D), then certified over the full problem. Leading rows within tol are
*accepted*; the walk itself moves on to the last row that is also *exact*, since a row within tol
may still lack a feature, and no exact path starts there. What a rejected row violated is forced
into the next guess, and the block shrinks. So a wrong guess costs time, never correctness; and a
lambda at which the walk stands still is handed to a plain solver, which needs no luck.

Guesses come from the slope of the path: Larsson and Wallin (2022), "The Hessian screening rule".
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jreg.path.condense import Members
from jreg.path.place import Place
from jreg.path.pool import Pool
from jreg.path.sizes import QUICK, SUPPORTS, bucket

ROWS = 10  # lambdas in a full block
ROWS_ELSEWHERE = 20  # where more right-hand sides take the same time: accelerators, small data
SMALL = 128  # rank of data that are small
START = 256  # slots of the support, unless the rank is less: fewer sizes are compiled
FORESEEN = 2 / 3  # of the places for those who join, at most
MARGIN = 0.1  # a correlation this close to its edge makes a candidate
LARGE = 400  # rank from which blocks are wide
SATURATED = 512  # the largest support of which every member may drop in a block
GIVE_UP = 6  # blocks without one exact row, before the plain solver takes over
BLURRED = 0.03  # of the error of exact rows, from which the inverse is computed again
LOOSEST = 1e-5  # error of accepted rows: to go on from a far place takes longer than to be right


class Outcome(NamedTuple):
    """A block as the host sees it; row 0 is the start, then its lambdas, then a look ahead."""

    coef: np.ndarray  # (rows, capacity)
    active: np.ndarray  # (rows, q) the states of Q
    edge: np.ndarray  # (rows, q)
    reached: int
    knots: int
    intercept: np.ndarray  # (rows - 1,) from here on without row 0
    deviance: np.ndarray
    gap: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    correlation: np.ndarray  # (rows - 1, p + 1)

    @classmethod
    def of(cls, coef: np.ndarray, found: Any, checked: Any) -> "Outcome":
        """From the arrays of a solved and a certified block."""
        reached, knots = int(found.reached), int(found.knots)
        return cls(coef, found.active, found.edge, reached, knots, *checked)


class Model(Protocol):
    """What is walked."""

    pool: Pool
    rank: int  # the largest support that can be independent
    linear: bool  # in lambda between knots, so that a block is followed once
    exact: float  # error up to which a row counts as exact
    drift: float  # error of held correlations, relative, from which the inverse is computed again

    def try_block(self, members: Members, place: Place, level: np.ndarray, rows: int) -> Outcome:
        """Solve on a guess, certify on everything."""

    def update(self, changed: np.ndarray, slots: np.ndarray, size: int) -> None:
        """Make ready for the support after members `changed` of Q, in `slots`, changed state."""

    def restart(self, support: np.ndarray) -> None:
        """Make ready for any support."""


class Guess(NamedTuple):
    """Who may change in a block."""

    joins: np.ndarray  # features
    drops: np.ndarray  # slots

    @classmethod
    def nothing(cls) -> "Guess":
        """Nobody is forced."""
        return cls(np.zeros(0, int), np.zeros(0, int))


Accept = Callable[[int, int, Outcome], None]
Plain = Callable[[int], tuple[np.ndarray, np.ndarray]]


def walk(
    model: Model,
    lams: np.ndarray,
    tol: float,
    accept: Accept,
    plain: Plain,
    done: int = 0,
    place: Place | None = None,
) -> Iterator[int]:
    """Solve all `lams` (falling, positive); yields how many are done.

    accept(k, count, outcome): rows 1 to `count` of the outcome are lams[k], lams[k + 1], ...
    plain(k): solve lams[k] by other means; its coefficients and correlations (p,), unit columns.
    done, place: how many are solved already, and where that ended; None: at the null model.
    """
    full = full_block(model)
    place = start(model) if place is None else place
    forced, size, failures, k = Guess.nothing(), full, 0, done
    while k < lams.size:
        ends = within_sight(model, place, lams[k : k + size])
        guess = choose(model, place, ends[-1], forced)
        model.pool.add(guess.joins)
        members = enlist(model, place, guess)
        ahead = lams[min(k + 2 * ends.size, lams.size) - 1]
        level = np.concatenate([[place.lam], ends, np.full(full + 1 - ends.size, ahead)])
        found = model.try_block(members, place, level, ends.size)
        accepted, exact = judge(model, place, members, found, ends.size, tol)
        if accepted:
            accept(k, accepted, found)
            k += accepted
            yield k
        size = min(full, 2 * ends.size) if exact == ends.size else max(1, accepted)
        if exact:
            failures, forced = 0, violators(model, place, found, level, exact + 1)
            place = advance(model, place, members, found, level, exact, ends.size)
            continue
        failures += 1
        more = violators(model, place, found, level, 1)
        grown = Guess(np.union1d(forced.joins, more.joins), np.union1d(forced.drops, more.drops))
        stuck = ends.size == 1 and sum(map(len, grown)) == sum(map(len, forced)) and not accepted
        forced = grown
        sound = np.isfinite(found.error[: ends.size]).all()
        nobody = not any(map(len, more))  # is to blame: the inverse is off
        if sound and (failures == GIVE_UP // 2 or (failures == 1 and nobody)):
            model.restart(place.support)
        elif (stuck or failures >= GIVE_UP) and k < lams.size:
            coef, correlation = plain(k)
            place = arrive(model, lams[k], coef, correlation)
            forced, size, failures, k = Guess.nothing(), 1, 0, k + 1
            yield k


def full_block(model: Model) -> int:
    """The lambdas of a block where nothing went wrong."""
    large = jax.default_backend() == "cpu" and model.rank > SMALL
    return ROWS if large else ROWS_ELSEWHERE


def start(model: Model) -> Place:
    """The null model: all zero, but for the features without a penalty."""
    pool = model.pool
    lam = closeness(model, pool.correlation, 1.0).max(initial=0)
    return arrive(model, float(lam), pool.first, pool.correlation)


def within_sight(model: Model, place: Place, lams: np.ndarray) -> np.ndarray:
    """The first of the next lambdas: down to where `FORESEEN` of those for whom there is room are
    predicted to join. The other places are for those who join unforeseen."""
    while lams.size > 1:
        joins = closeness(model, predicted(place, lams[-1]), lams[-1]) >= 1
        joins[model.pool.index[place.support[place.support >= 0]]] = False
        if np.count_nonzero(joins) <= FORESEEN * _widest(model):
            break
        lams = lams[:-1]
    return lams


def predicted(place: Place, lam: float) -> np.ndarray:
    """Correlations (p + 1,) at lam if those of a place went on as they do."""
    return place.correlation + (lam - place.lam) * place.correlation_rate


def choose(model: Model, place: Place, lam: float, forced: Guess) -> Guess:
    """Who may change down to `lam`: correlations near an edge, here or there, and coefficients that
    come near 0 on the way."""
    here = closeness(model, place.correlation, place.lam)
    score = np.maximum(here, closeness(model, predicted(place, lam), lam))
    held = place.support[place.support >= 0]
    score[model.pool.index[held]] = 0
    score[forced.joins] = np.inf
    most = max(_widest(model), forced.joins.size + 16)
    joins = _largest(score, np.nonzero(score >= 1 - MARGIN)[0], most)

    sign = np.sign(place.edge)
    change = (lam - place.lam) * place.coef_rate * sign
    left = place.coef * sign + change
    sizes = np.abs(place.coef[sign != 0])
    near = 0.1 * np.median(sizes) if sizes.size else 0
    falls = (sign != 0) & ((left < 0.5 * np.abs(change)) | (left < near))
    if held.size > 0.85 * model.rank and held.size <= SATURATED:
        falls = sign != 0  # near saturation every coefficient may drop
    else:
        falls[_largest(left, np.nonzero(falls)[0], falls.sum() - _widest(model))] = False
    falls[forced.drops] = True
    # places that would be empty cost as much
    empty = _bucket(model, joins.size + falls.sum()) - joins.size - falls.sum()
    falls[_largest(-left, np.nonzero((sign != 0) & ~falls)[0], empty)] = True
    return Guess(joins, np.nonzero(falls)[0])


def enlist(model: Model, place: Place, guess: Guess) -> Members:
    """The guess as rows of candidates and slots of the support."""
    count = guess.joins.size + guess.drops.size
    quick = np.full(_bucket(model, count), -1, np.int32)
    slot = quick.copy()
    quick[: guess.joins.size] = model.pool.position[guess.joins]
    quick[guess.joins.size : count] = place.support[guess.drops]
    slot[guess.joins.size : count] = guess.drops
    return Members.of(place.support, place.edge, quick, slot, model.pool.capacity)


def judge(
    model: Model, place: Place, members: Members, found: Outcome, rows: int, tol: float
) -> tuple[int, int]:
    """How many leading rows are within tol (and `LOOSEST`), and how many of these are exact."""
    done = min(rows, found.reached)
    error = found.error[:done]
    core = np.ones(place.support.size, bool)
    core[members.slot[members.slot >= 0]] = False
    core &= place.support >= 0
    coef = found.coef[1 : done + 1, place.support[core]]
    kept = ~(coef * np.sign(place.edge[core])[None] < 0).any(axis=1)
    enough = min(tol, max(model.exact, LOOSEST))
    accepted = leading((error <= enough) & kept)
    return accepted, leading((error <= model.exact) & kept)


def violators(model: Model, place: Place, found: Outcome, level: np.ndarray, row: int) -> Guess:
    """Who broke the optimality conditions at a row: features outside, slots with a wrong sign."""
    if row >= level.size:
        return Guess.nothing()
    broken = closeness(model, found.correlation[row - 1], level[row])
    broken = np.where(np.isfinite(broken), broken, 0)
    broken[model.pool.index[found.coef[row, : model.pool.index.size] != 0]] = 0
    joins = _largest(broken, np.nonzero(broken > 1 + 1e-9)[0], _widest(model))
    filled = place.support >= 0
    coef = np.where(filled, found.coef[row, place.support], 0)
    return Guess(joins, np.nonzero(filled & (coef * np.sign(place.edge) < 0))[0])


def advance(
    model: Model,
    place: Place,
    members: Members,
    found: Outcome,
    level: np.ndarray,
    row: int,
    rows: int,
) -> Place:
    """Move to an exact row: its support, in the same slots where it can be, and its slopes."""
    active, drops = found.active[row], members.slot >= 0
    joined = np.nonzero(active & ~drops & (members.quick >= 0))[0]
    dropped = np.nonzero(~active & drops)[0]
    support, edge = place.support.copy(), place.edge.copy()
    kept = np.nonzero(active & drops)[0]
    edge[members.slot[kept]] = found.edge[row, kept]
    support[members.slot[dropped]], edge[members.slot[dropped]] = -1, 0
    # slots that were in use at the start are not used again before the next block
    free = np.nonzero(place.support < 0)[0]
    size = support.size
    if free.size < joined.size:
        size = bucket(size - free.size + joined.size, SUPPORTS)
        free = np.concatenate([free, np.arange(support.size, size)])
        support = _padded(support, size, -1)
        edge = _padded(edge, size, 0)
    slots = free[: joined.size]
    support[slots], edge[slots] = members.quick[joined], found.edge[row, joined]
    # drops first: near saturation the joins alone would be more than there is rank for
    changed = np.concatenate([dropped, joined])
    model.update(changed, np.concatenate([members.slot[dropped], slots]), size)

    # along the last segment, which the look ahead prolongs where the whole block was walked
    other = row + 1 if row == rows else max(row - 1, 0)
    if row < rows and found.reached > row:
        other = row + 1
    span = level[other] - level[row]
    per = 1 / span if span != 0 else 0.0
    correlation = found.correlation[row - 1]
    rate = (found.correlation[other - 1] - correlation) * per if other else 0 * correlation
    at = np.where(support >= 0, support, 0)
    coef = np.where(support >= 0, found.coef[row, at], 0)
    coef_rate = np.where(support >= 0, found.coef[other, at], 0) - coef
    place = Place(level[row], support, edge, coef, coef_rate * per, correlation, rate)
    held = support >= 0
    off = np.abs(correlation[model.pool.index[support[held]]] - place.lam * edge[held])
    size = place.lam * np.abs(edge).max()
    blurred = model.linear and found.error[:row].max() > BLURRED * model.exact
    if blurred or (size > 0 and off.max() > model.drift * size):
        model.restart(support)
    return place


def arrive(model: Model, lam: float, coef: np.ndarray, correlation: np.ndarray) -> Place:
    """A place at any solution (p,), with no idea of slopes."""
    low, high = model.pool.low, model.pool.high
    free = (low == 0) & (high == 0)
    features = np.nonzero(((coef != 0) & np.isfinite(high)) | free)[0]
    model.pool.add(features)
    size = bucket(max(features.size, min(model.rank, START)), SUPPORTS)
    support = _padded(model.pool.position[features].astype(np.int32), size, -1)
    sign = coef[features]
    edge = np.where(sign > 0, high[features], np.where(sign < 0, low[features], 0))
    zeros = np.zeros(size, coef.dtype)
    model.restart(support)
    return Place(
        lam=lam,
        support=support,
        edge=_padded(edge, size, 0),
        coef=_padded(coef[features], size, 0),
        coef_rate=zeros,
        correlation=correlation,
        correlation_rate=0 * correlation,
    )


def closeness(model: Model, correlation: np.ndarray, lam: float) -> np.ndarray:
    """Correlations over their edges: 1 at the kink; 0 where a feature cannot enter."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.maximum(
            correlation / (lam * model.pool.high), correlation / (lam * model.pool.low)
        )
    return np.where(model.pool.may_enter, ratio, 0)


def _widest(model: Model) -> int:
    """How many may join, or drop, in one block; of thousands, hundreds change from one lambda to
    the next."""
    if model.rank < LARGE:
        return 128
    return max(256, model.rank // 16) if model.linear else max(192, model.rank // 25)


def _bucket(model: Model, count: int) -> int:
    """Places of Q: at least those of most blocks, so that little is compiled."""
    usual = QUICK[2] if model.linear and model.rank >= LARGE else QUICK[1]
    return bucket(max(count, min(model.pool.n_features, usual)), QUICK)


def _largest(score: np.ndarray, among: np.ndarray, most: int) -> np.ndarray:
    """The `most` of the indices `among` with the largest score."""
    if most <= 0:
        return among[:0]
    if among.size <= most:
        return among
    return among[np.argpartition(-score[among], most)[:most]]


def leading(flags: np.ndarray) -> int:
    """How many are true before the first that is not."""
    return flags.size if flags.all() else int(np.argmin(flags))


def _padded(a: np.ndarray, size: int, fill: float) -> np.ndarray:
    return np.concatenate([a, np.full(size - a.size, fill, a.dtype)])
