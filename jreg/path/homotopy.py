"""The exact path of a small quadratic program with kinks, by pivoting.

    minimise over z   1/2 z'Hz - c(t)'z + l(t) sum_j [high_j max(z_j, 0) - low_j min(z_j, 0)]

with c and l linear in t. Between knots the solution is linear in t; at a knot one coordinate joins
the support or drops from it, and one symmetric pivot (a principal pivot transform of H) turns what
is known about the one solution into what is known about the next. So the path costs one pivot per
knot and no factorisation (Osborne, Presnell and Turlach 2000; Efron et al. 2004).

Every coordinate has a `value`: its coefficient if it is active, else its correlation c - Hz, which
is held at `l * edge` while it is active. Values are kept for all rows (nodes of t) at once, as
combinations of k functions of t: 1 and l where c does not change, else one hat for each row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jreg.linalg import dot
from jreg.path.compiled import compiled
from jreg.typing import Array

PIVOTS = 64  # pivots between two updates of the whole tableau


class Knots(NamedTuple):
    """The program, pivoted at the start of the path; q coordinates, rows of t."""

    tableau: Array  # (q, q) symmetric: H pivoted on the coordinates that are active at the start
    basis: Array  # (rows, k) functions of t at the rows
    value: Array  # (k, q): basis @ value is that of the rows, if nothing joined or dropped
    level: Array  # (k,): basis @ level is l at each row, falling or not
    low: Array  # (q,) edge of negative coefficients, -inf where there are none
    high: Array  # (q,) edge of positive ones
    size: Array  # (q,) diagonal of H; inf for a coordinate that may never join
    edge: Array  # (q,) the edge at which an active coordinate starts, 0 for others
    active: Array  # (q,) bool at the start


class Followed(NamedTuple):
    """The path at the rows."""

    value: Array  # (rows, q) as in `Knots`, each row at its own place of the path
    edge: Array  # (rows, q)
    active: Array  # (rows, q)
    reached: Array  # rows that were reached; later ones mean nothing
    knots: Array  # pivots made


class _State(NamedTuple):
    row: Array  # the last row reached
    t: Array  # share of the way to the next
    value: Array
    edge: Array
    active: Array
    diagonal: Array  # of the pivoted tableau
    last: Array  # the coordinate pivoted last: it sits on its kink
    updates: Array  # (PIVOTS, q): the tableau is `tableau - updates' diag(factors) updates`
    factors: Array
    pending: Array  # pivots since the last flush
    knots: Array
    out: Followed


@compiled
def follow(start: Knots, rows: Array, room: Array) -> tuple[Followed, Array]:
    """Values at rows 0, 1, ..., `rows`, following every knot on the way; at the row after these,
    what they were if nothing changed any more. It gives up after 2 q knots.

    The second result is the tableau at the end: pivoted on the coordinates that are active there.

    room: how many coordinates more than at the start may be active (the rank that is left). The
    tableau is updated lazily: only the pivot column is formed at each knot, and
    all of it every `PIVOTS` knots.
    """
    q, dtype = start.low.size, start.value.dtype
    number = jnp.arange(q, dtype=jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    may_fall = jnp.isfinite(start.low)
    low, high = jnp.where(may_fall, start.low, 0), start.high
    tiny = 10 * jnp.sqrt(jnp.finfo(dtype).eps) * start.size
    n_start = jnp.sum(start.active)

    def knot(tableau: Array, s: _State) -> _State:
        step = start.basis[s.row + 1] - start.basis[s.row]
        here = start.basis[s.row] + s.t * step
        x, dx = dot(here, s.value), dot(step, s.value)
        level, d_level = dot(here, start.level), dot(step, start.level)

        # time to each event: a coefficient reaches 0, a correlation reaches one of its edges
        sign = jnp.where(s.edge == high, 1, -1)
        drop = _time(sign * x, -sign * dx)
        up = _time(level * high - x, dx - d_level * high)
        down = jnp.where(may_fall, _time(x - level * low, d_level * low - dx), jnp.inf)
        full = jnp.sum(s.active) - n_start >= room
        join = jnp.where((s.diagonal > tiny) & ~full, jnp.minimum(up, down), jnp.inf)
        time = jnp.where(number == s.last, jnp.inf, jnp.where(s.active, drop, join))
        j = jnp.argmin(time).astype(jnp.int32)
        at_row = 1 - s.t <= time[j]

        # one pivot on j, or none where a row comes first
        active, pivot = s.active[j], s.diagonal[j]
        edge = jnp.where(active, s.edge[j], jnp.where(up[j] <= down[j], high[j], low[j]))
        at_j = number == j
        column = tableau[j] - dot(s.updates[:, j] * s.factors, s.updates)
        column = jnp.where(at_j, pivot, column)
        v = jnp.where(at_j, pivot - jnp.where(active, -1, 1), column)
        factor = jnp.where(at_row, 0, 1 / pivot)
        excess = s.value[:, j] - jnp.where(active, 0, edge * start.level)
        own = jnp.where(active, edge * start.level, 0) + jnp.where(active, -1, 1) * excess / pivot
        value = s.value - (excess * factor)[:, None] * column[None, :]
        moved = at_j & ~at_row
        return _State(
            row=s.row + at_row,
            t=jnp.where(at_row, 0, s.t + time[j]),
            value=jnp.where(moved[None, :], own[:, None], value),
            edge=jnp.where(moved, jnp.where(active, 0, edge), s.edge),
            active=s.active ^ moved,
            diagonal=jnp.where(moved, -1 / pivot, s.diagonal - factor * v**2),
            last=jnp.where(at_row, -1, j),
            updates=s.updates.at[s.pending].set(v),
            factors=s.factors.at[s.pending].set(factor),
            pending=s.pending + ~at_row,
            knots=s.knots + ~at_row,
            out=_record(start.basis, s),
        )

    def unfinished(s: _State) -> Array:
        return (s.row < rows) & (s.knots < 2 * q)

    def round_(carry: tuple[Array, _State]) -> tuple[Array, _State]:
        tableau, s = carry
        s = jax.lax.while_loop(
            lambda s: unfinished(s) & (s.pending < PIVOTS), lambda s: knot(tableau, s), s
        )
        tableau = tableau - dot(s.updates.T, s.factors[:, None] * s.updates)
        tableau = jnp.where(jnp.eye(q, dtype=bool), s.diagonal[None, :], tableau)
        clean = jnp.zeros_like(s.updates), jnp.zeros_like(s.factors)
        return tableau, s._replace(updates=clean[0], factors=clean[1], pending=zero)

    n_rows = start.basis.shape[0]
    state = _State(
        row=zero,
        t=jnp.zeros((), dtype),
        value=start.value,
        edge=start.edge,
        active=start.active,
        diagonal=jnp.diagonal(start.tableau),
        last=zero - 1,
        updates=jnp.zeros((PIVOTS, q), dtype),
        factors=jnp.zeros(PIVOTS, dtype),
        pending=zero,
        knots=zero,
        out=Followed(
            value=dot(start.basis, start.value),
            edge=jnp.broadcast_to(start.edge, (n_rows, q)),
            active=jnp.broadcast_to(start.active, (n_rows, q)),
            reached=zero,
            knots=zero,
        ),
    )
    tableau, state = jax.lax.while_loop(lambda c: unfinished(c[1]), round_, (start.tableau, state))
    found = _record(start.basis, state)
    return found._replace(reached=state.row, knots=state.knots), tableau


def _record(basis: Array, s: _State) -> Followed:
    """The next row, as it is if nothing changes on the way there."""
    return s.out._replace(
        value=s.out.value.at[s.row + 1].set(dot(basis[s.row + 1], s.value)),
        edge=s.out.edge.at[s.row + 1].set(s.edge),
        active=s.out.active.at[s.row + 1].set(s.active),
    )


def _time(distance: Array, speed: Array) -> Array:
    """When a distance that shrinks at `speed` is used up; inf where it does not shrink."""
    return jnp.where(speed > 0, jnp.maximum(distance, 0) / jnp.where(speed > 0, speed, 1), jnp.inf)
