"""Cells of rows: the moments of disjoint sets, of which those of other sets are sums.

What cross-validation fits and scores are unions of a few cells, so that one pass over X is enough
for the paths of all folds and for their errors on the rows held out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot
from jreg.path.compiled import compiled
from jreg.path.moments import moments
from jreg.problem import LinearProblem
from jreg.typing import Array


class Cells(NamedTuple):
    """Disjoint sets of rows whose weights are those of the problem."""

    kind: np.ndarray  # (n,) the cell of each row: 0, 1, ...
    first: np.ndarray  # (n_cells,) a row of each
    origin: np.ndarray  # (q,) and (n_cells, q + 1, q + 1): `moments` of each
    parts: Array

    @classmethod
    def of(cls, problem: LinearProblem, kind: np.ndarray) -> "Cells":
        """One pass over X."""
        sets = [np.nonzero(kind == c)[0] for c in range(kind.max() + 1)]
        return cls(kind, np.array([rows[0] for rows in sets]), *moments(problem, sets))

    def own(self, rows: np.ndarray) -> np.ndarray | None:
        """Which cells (n_cells,) make up the rows that a mask (n,) marks; None if none do."""
        own = rows[self.first]
        return own if np.array_equal(own[self.kind], rows) else None


def with_few_cells(members: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks (n_fits, n) in runs of k fits that tell at most k + 1 kinds of rows apart, and the kind
    (n,) of each row: for each run one pass over X is enough. The folds of one drawing are such a
    run; those of two are two."""
    nothing = np.zeros(members.shape[1], int)
    start, kind = 0, nothing
    for stop, member in enumerate(members):
        more = _told_apart(kind, member)
        if more.max() > stop - start + 1:
            yield members[start:stop], kind
            start, more = stop, _told_apart(nothing, member)
        kind = more
    yield members[start:], kind


def _told_apart(kind: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Kinds 0, 1, ... of the rows that agree in both."""
    both = 2 * kind + member
    return (np.cumsum(np.bincount(both) > 0) - 1)[both]


@compiled
def added(parts: Array, own: Array) -> Array:
    """The moments of those sets of rows that are `own` (n_sets,)."""
    return jax.lax.cond(
        jnp.sum(own) == 1,
        lambda: parts[jnp.argmax(own)],
        lambda: jnp.tensordot(own.astype(parts.dtype), parts, 1, precision="highest"),
    )


def squared_errors(
    cells: Cells, rows: np.ndarray, coef: np.ndarray, intercept: np.ndarray
) -> np.ndarray | None:
    """Means (n_lams,) over the rows that a mask (n,) marks of `(y - offset - eta)^2`, by weight and
    summed over outputs, for coef (n_lams, p[, k]) and intercept (n_lams[, k]).

    None where the moments do not tell: the rows are no union of cells, or the errors are so small
    beside what they are differences of that a quarter of the digits is lost.
    """
    own = cells.own(rows)
    if own is None:
        return None
    error, parts = jax.device_get(_squared_errors(cells.parts, own, cells.origin, coef, intercept))
    lost = np.finfo(error.dtype).eps ** -0.25
    return error if np.all(parts <= lost * error) else None


@compiled
def _squared_errors(
    parts: Array, own: Array, origin: Array, coef: Array, intercept: Array
) -> tuple[Array, Array]:
    """The errors `w' M w` with residuals w'u, u = [x - origin, y - origin, 1] and M the mean of
    u u'; and the squares of `sum_j |w_j| M_jj^(1/2)`, which bound their terms."""
    n_lams, p = coef.shape[:2]
    second = added(parts, own)
    coef, intercept = coef.reshape(n_lams, p, -1), intercept.reshape(n_lams, -1)
    outputs = jnp.broadcast_to(jnp.eye(coef.shape[2]), (n_lams, *2 * coef.shape[2:]))
    constant = origin[None, p:] - dot(origin[:p], coef) - intercept
    w = jnp.concatenate([-jnp.swapaxes(coef, 1, 2), outputs, constant[:, :, None]], axis=2)
    bound = dot(jnp.abs(w), jnp.sqrt(jnp.diagonal(second)))
    squares = jnp.sum(dot(w, second) * w, axis=(1, 2)), jnp.sum(bound**2, axis=1)
    return jax.tree.map(lambda total: total / second[-1, -1], squares)
