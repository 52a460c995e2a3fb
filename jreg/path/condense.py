"""Eliminating what does not change: a large support seen through a few coordinates.

Within a block of lambdas only few coordinates can change state: some inactive ones may join (J),
some active ones may drop (D). All others of the support A keep their sign, so they are linear in
the rest and are eliminated, once, by one product with M = inv(H_AA). What is left is the small
program on Q = J + D, `knots`, that `homotopy.follow` follows exactly; `expand` adds the
coefficients of A.

Slots: A lives in m slots of the arrays, empty ones hold -1 and have zero rows in M.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot
from jreg.path.homotopy import Course, Followed, Knots
from jreg.typing import Array, ArrayLike


class Members(NamedTuple):
    """Who is in A and who in Q, as rows of the arrays of candidates; -1 marks an empty slot."""

    support: ArrayLike  # (m,) int
    edge: ArrayLike  # (m,) the edge at which each of the support is held; 0 for free and empty ones
    quick: ArrayLike  # (q,) int: Q
    slot: ArrayLike  # (q,) int: the slot of a member of D in A, -1 for a member of J
    still: ArrayLike  # (m,) bool: in A and not in D
    source: ArrayLike  # (capacity,) int: the place of each candidate in [A, Q, nothing], Q for D

    @classmethod
    def of(
        cls,
        support: np.ndarray,
        edge: np.ndarray,
        quick: np.ndarray,
        slot: np.ndarray,
        capacity: int,
    ) -> "Members":
        """With what follows from the others."""
        m, q = support.size, quick.size
        still, used = support >= 0, quick >= 0
        source = np.full(capacity, m + q, np.int32)
        source[support[still]] = np.nonzero(still)[0]
        source[quick[used]] = m + np.nonzero(used)[0]
        still[slot[slot >= 0]] = False
        return cls(support, edge, quick, slot, still, source)


class Edges(NamedTuple):
    """The kinks of the candidates at lam 1, and their frozen curvature, in units of rows."""

    low: ArrayLike  # (capacity,)
    high: ArrayLike
    ridge: ArrayLike


class Condensed(NamedTuple):
    """The elimination of A from the Hessian. Members of Q are rows: products with M, which is
    symmetric, then need no transpose, which XLA would make on CPUs."""

    inverse: Array  # (m, m) M
    cross: Array  # (q, m) H_JA, rows of D zero
    U: Array  # (q, m): H_JA M, and rows of M for D
    tableau: Array  # (q, q): H pivoted on A, seen on Q
    size: Array  # (q,) diagonal of H on J, inf for empty places
    slope: Array  # (m,) M edge: how the coefficients of A fall with lambda


def condense(inverse: Array, cross: Array, inner: Array, members: Members) -> Condensed:
    """From M, H_QA (q, m) and H_QQ (q, q)."""
    drops = members.slot >= 0
    used = members.quick >= 0
    joins = used & ~drops
    place = jnp.maximum(members.slot, 0)
    filled = members.support >= 0
    cross = jnp.where(joins[:, None] & filled[None, :], cross, 0)
    inner = jnp.where(
        joins[:, None] & joins[None, :], inner, jnp.eye(joins.size, dtype=inner.dtype)
    )
    V = dot(cross, inverse)
    U = jnp.where(drops[:, None], inverse[place], V)
    at_drops = jnp.where(drops[None, :], U[:, place], 0)  # columns D of [H_JA M, M_DA]
    tableau = jnp.where(
        drops[None, :],
        jnp.where(drops[:, None], -at_drops, at_drops),
        jnp.where(drops[:, None], at_drops.T, inner - dot(V, cross.T)),
    )
    size = jnp.where(used, jnp.diagonal(inner), jnp.inf)
    return Condensed(inverse, cross, U, tableau, size, dot(inverse, members.edge))


def at(members: Members, values: Array) -> Array:
    """Values (rows, capacity) of A and Q, (rows, m + q); 0 in empty places."""
    place = jnp.concatenate([members.support, members.quick])
    return jnp.where(place[None, :] >= 0, values[:, jnp.maximum(place, 0)], 0)


def of_candidates(members: Members, parts: tuple[Array, Array]) -> Array:
    """Coefficients (rows, capacity) from those of A and Q."""
    nothing = jnp.zeros((parts[0].shape[0], 1), parts[0].dtype)
    return jnp.concatenate([*parts, nothing], axis=1)[:, members.source]


def knots(
    condensed: Condensed,
    members: Members,
    wanted: Array,
    edges: Edges,
    level: Array,
    course: Course,
) -> tuple[Array, Knots]:
    """Coefficients of A if nothing changed (k, m), and the program on Q.

    wanted: (k, m + q), c of A and Q. level: (k,). course: its rows are the start, each place,
    and one beyond.
    """
    m = members.support.size
    drops = members.slot >= 0
    place = jnp.maximum(members.slot, 0)
    still = dot(wanted[:, :m], condensed.inverse) - level[:, None] * condensed.slope[None, :]
    value = jnp.where(
        drops[None, :], still[:, place], wanted[:, m:] - dot(still, condensed.cross.T)
    )
    edge = jnp.where(drops, members.edge[place], 0)
    used, quick = members.quick >= 0, jnp.maximum(members.quick, 0)
    low, high = jnp.where(used, edges.low[quick], 0), jnp.where(used, edges.high[quick], 0)
    size = condensed.size
    return still, Knots(condensed.tableau, course, value, level, low, high, size, edge, drops)


def expand(
    condensed: Condensed, members: Members, still: Array, start: Knots, found: Followed
) -> tuple[Array, Array]:
    """Coefficients of A (rows, m), those of D left 0, and of Q (rows, q)."""
    drops = members.slot >= 0
    coef = jnp.where(found.active, found.value, 0)
    level = dot(start.course.basis, start.level)[:, None]
    held = jnp.where(found.active, level * found.edge, found.value)
    shift = jnp.where(drops[None, :], held - level * start.edge[None, :], coef)
    rest = dot(start.course.basis, still) - dot(shift, condensed.U)
    return jnp.where(members.still[None, :], rest, 0), coef


def changed_tableau(tableau: Array, changed: Array) -> Array:
    """T_RR of the members (r,) that changed state, then -1; the identity in empty places."""
    used, place = changed >= 0, jnp.maximum(changed, 0)
    T = tableau[place[:, None], place[None, :]]
    return jnp.where(used[:, None] & used[None, :], T, jnp.eye(changed.size, dtype=T.dtype))


def bordered(
    inverse: Array, U: Array, slot: Array, changed: Array, slots: Array, inner: Array
) -> Array:
    """M after some of Q changed state: `M + W' inv(T_RR) W`, W' = [M H_AN - E_N, -M_Z].

    inverse, U: as in `Condensed`. slot: as in `Members`. changed: (r,) places in Q of the joins N
    and the drops Z, then -1. slots: (r,) where each is, or will be, in A. inner: inv(T_RR).
    """
    m = inverse.shape[0]
    used = changed >= 0
    place = jnp.maximum(changed, 0)
    joins = used & (slot[place] < 0)
    unit = jnp.where(joins, slots, -1)[:, None] == jnp.arange(m)[None, :]
    rows = U[place]
    rows = jnp.where(joins[:, None], rows, -rows) - unit.astype(rows.dtype)
    W = jnp.where(used[:, None], rows, 0)
    M = inverse + dot(W.T, dot(inner, W))
    freed = jnp.where(used & ~joins, slots, m)
    gone = jnp.any(freed[:, None] == jnp.arange(m)[None, :], axis=0)
    return jnp.where(gone[:, None] | gone[None, :], 0, M)
