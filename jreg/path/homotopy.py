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

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg.linalg import dot
from jreg.path.compiled import compiled
from jreg.typing import Array

PIVOTS = 64  # pivots between two updates of the whole tableau


class Course(NamedTuple):
    """The rows of a path."""

    time: Array  # (rows,) t, not falling
    basis: Array  # (rows, k) functions of t, linear between rows

    @classmethod
    def by_row(cls, rows: int, dtype: Any) -> "Course":
        """A hat for each row, so that the program may be another at each."""
        return cls(jnp.arange(rows, dtype=dtype), jnp.eye(rows, dtype=dtype))


class Knots(NamedTuple):
    """The program, pivoted at the start of the path; q coordinates, rows of t."""

    tableau: Array  # (q, q) symmetric: H pivoted on the coordinates that are active at the start
    course: Course
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
    time: Array  # t
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


@partial(compiled, static_argnames=("ahead", "keep"))
def follow(
    start: Knots, rows: Array, room: Array, *, ahead: int = 1, keep: bool = False
) -> tuple[Followed, Array | None]:
    """Values at rows 0, 1, ..., `rows`, following every knot on the way; at the row after these,
    what they were if nothing changed any more. It gives up after 2 q knots.

    room: how many coordinates more than at the start may be active (the rank that is left). ahead:
    rows that may be passed in one step, more than 1 only where the functions are linear over all
    rows. keep: whether the second result is wanted, the tableau at the end: pivoted on the
    coordinates that are active there. The tableau is updated lazily: only the pivot column is
    formed at each knot, and all of it every `PIVOTS` knots.
    """
    q, dtype = start.low.size, start.value.dtype
    times, basis = start.course
    number = jnp.arange(q, dtype=jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    may_fall = jnp.isfinite(start.low)
    low, high = jnp.where(may_fall, start.low, 0), start.high
    tiny = 10 * jnp.sqrt(jnp.finfo(dtype).eps) * start.size
    n_start = jnp.sum(start.active)

    def knot(tableau: Array, s: _State) -> _State:
        end = jnp.minimum(s.row + ahead, rows)
        span = times[end] - times[s.row]
        per = jnp.where(span > 0, 1 / jnp.where(span > 0, span, 1), 0)
        step = (basis[end] - basis[s.row]) * per
        here = basis[s.row] + (s.time - times[s.row]) * step
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
        at_row = times[end] - s.time <= time[j]
        now = jnp.where(at_row, times[end], s.time + time[j])

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
            row=jnp.where(at_row, end, s.row + passed(s.row, end, now)),
            time=now,
            value=jnp.where(moved[None, :], own[:, None], value),
            edge=jnp.where(moved, jnp.where(active, 0, edge), s.edge),
            active=s.active ^ moved,
            diagonal=jnp.where(moved, -1 / pivot, s.diagonal - factor * v**2),
            last=jnp.where(at_row, -1, j),
            updates=s.updates.at[s.pending].set(v),
            factors=s.factors.at[s.pending].set(factor),
            pending=s.pending + ~at_row,
            knots=s.knots + ~at_row,
            out=record(s),
        )

    def passed(row: Array, end: Array, now: Array) -> Array:
        """How many of the rows between these are reached."""
        between = row + 1 + jnp.arange(ahead - 1, dtype=jnp.int32)
        reached = times[jnp.minimum(between, rows)] <= now
        return jnp.sum((between < end) & reached, dtype=jnp.int32)

    def record(s: _State) -> Followed:
        """The next rows, as they are if nothing changes on the way there."""
        following = s.row + 1 + jnp.arange(ahead, dtype=jnp.int32)
        value = dot(basis[jnp.minimum(following, n_rows - 1)], s.value)
        new = (value, *(jnp.broadcast_to(of, value.shape) for of in (s.edge, s.active)))
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=s.row + 1, axis=0)
        value, edge, active = (put(old, of) for old, of in zip(s.out[:3], new, strict=True))
        return s.out._replace(value=value, edge=edge, active=active)

    def unfinished(s: _State) -> Array:
        return (s.row < rows) & (s.knots < 2 * q)

    def round_(carry: tuple[Array, _State]) -> tuple[Array, _State]:
        tableau, s = carry
        s = jax.lax.while_loop(
            lambda s: unfinished(s) & (s.pending < PIVOTS), lambda s: knot(tableau, s), s
        )
        if not keep:
            return jax.lax.cond(unfinished(s), update, lambda *carry: carry, tableau, s)
        return update(tableau, s)

    def update(tableau: Array, s: _State) -> tuple[Array, _State]:
        tableau = tableau - dot(s.updates.T, s.factors[:, None] * s.updates)
        tableau = jnp.where(jnp.eye(q, dtype=bool), s.diagonal[None, :], tableau)
        clean = jnp.zeros_like(s.updates), jnp.zeros_like(s.factors)
        return tableau, s._replace(updates=clean[0], factors=clean[1], pending=zero)

    n_rows = basis.shape[0]
    padded = jnp.minimum(jnp.arange(n_rows + ahead - 1), n_rows - 1)
    shape = padded.size, q
    state = _State(
        row=zero,
        time=times[0],
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
            value=dot(basis[padded], start.value),
            edge=jnp.broadcast_to(start.edge, shape),
            active=jnp.broadcast_to(start.active, shape),
            reached=zero,
            knots=zero,
        ),
    )
    tableau, state = jax.lax.while_loop(lambda c: unfinished(c[1]), round_, (start.tableau, state))
    value, edge, active = (of[:n_rows] for of in record(state)[:3])
    return Followed(value, edge, active, state.row, state.knots), tableau if keep else None


def _time(distance: Array, speed: Array) -> Array:
    """When a distance that shrinks at `speed` is used up; inf where it does not shrink."""
    return jnp.where(speed > 0, jnp.maximum(distance, 0) / jnp.where(speed > 0, speed, 1), jnp.inf)
