"""Least squares in few features: the homotopy on the whole Gram matrix, nobody left out.

Where the products of all features with each other are known, nobody needs to be guessed,
eliminated or bordered: all are members of one small program, and its tableau goes on from block to
block. Every block is certified over the full problem. Rounding adds up from pivot to pivot; at the
first row that is not exact `walk` takes over, which computes its inverse afresh.
"""

from collections.abc import Callable, Generator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot
from jreg.path import squares
from jreg.path.compiled import compiled
from jreg.path.condense import Edges
from jreg.path.homotopy import Followed, Knots, follow
from jreg.path.place import Place
from jreg.path.squared_model import SquaredModel
from jreg.path.walk import Outcome, arrive, leading, start
from jreg.typing import Array

LARGEST = 1024  # features: a pivot costs their square
ROWS = 50  # lambdas in a block that is watched
MOST = 100  # lambdas in another


def suits(model: SquaredModel) -> bool:
    """Whether all products are known, few, and the path is linear between knots."""
    low, high = model.pool.low[:-1], model.pool.high[:-1]
    known = model.data.problem.gram is not None and low.size <= LARGEST
    return known and model.linear and not np.any((low == 0) & (high == 0))


def walk_whole(
    model: SquaredModel,
    lams: np.ndarray,
    accept: Callable[[int, int, Outcome], None],
    watched: bool,
) -> Generator[int, None, tuple[int, Place]]:
    """Solve `lams` (falling, positive) as long as they are exact, with `accept` as in `walk`;
    yields how many are done, and returns that with the place from which the walk may go on."""
    pool, place, k = model.pool, start(model), 0
    enters, edges, target = pool.of_rows(pool.may_enter), pool.edges(), pool.of_rows(pool.target)
    tableau, diagonal = pool.known.gram, jnp.diagonal(pool.known.gram)
    lam, active, edge = place.lam, np.zeros(enters.size, bool), np.zeros_like(target)
    most = ROWS if watched or lams.size <= ROWS else MOST
    while k < lams.size:
        ends = lams[k : k + most]
        rows = ends.size
        level = np.concatenate([[lam], ends, np.full(most + 1 - rows, ends[-1])])
        level = level.astype(target.dtype)
        found, coef, tableau = _block(
            tableau,
            diagonal,
            target,
            edges,
            enters,
            active,
            edge,
            level,
            rows,
            model.rank,
            keep=k + rows < lams.size,
        )
        checked = squares.certify_gram(
            model.penalty,
            model.data.null,
            pool.known,
            target,
            model.square,
            pool.features,
            pool.norm,
            coef,
            level[1:],
        )
        outcome = Outcome.of(*jax.device_get((coef, found, checked)))
        exact = leading(outcome.error[: min(rows, outcome.reached)] <= model.exact)
        if exact:
            accept(k, exact, outcome)
            k += exact
            yield k
            lam, active, edge = ends[exact - 1], outcome.active[exact], outcome.edge[exact]
            here = np.append(outcome.coef[exact, : pool.n_features], 0)
            last = lam, here.astype(target.dtype), outcome.correlation[exact - 1]
        if exact < rows:
            return k, arrive(model, *last) if k else place
    return k, place


@partial(compiled, static_argnames="keep")
def _block(
    tableau: Array,
    diagonal: Array,
    target: Array,
    edges: Edges,
    enters: Array,
    active: Array,
    edge: Array,
    level: Array,
    rows: Array,
    room: Array,
    *,
    keep: bool,
) -> tuple[Followed, Array, Array | None]:
    """The path from a solution with these `active` features, on whose rows and columns `tableau` is
    pivoted; its coefficients (rows, q); and, to `keep`, the tableau at its end.

    diagonal: (q,) of the Gram matrix. target: (q,) correlations with the response.
    """
    low, high = (jnp.where(enters, kink, 0) for kink in (edges.low, edges.high))
    course, of_level, wanted = squares.line(level, target)
    held = wanted - of_level[:, None] * edge[None, :]
    pull = dot(jnp.where(active[None, :], held, 0), tableau)
    value = jnp.where(active[None, :], -pull, wanted - pull)
    size = jnp.where(enters, diagonal, jnp.inf)
    free = room - jnp.sum(active)
    begin = Knots(tableau, course, value, of_level, low, high, size, edge, active)
    found, tableau = follow(begin, rows, free, ahead=squares.AHEAD, keep=keep)
    return found, jnp.where(found.active, found.value, 0), tableau
