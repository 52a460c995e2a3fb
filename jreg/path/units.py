"""What joins the candidates of a path as a whole: single features, or the groups of a penalty.

A unit is a row of a table of features, (n_units, size), filled up with their number. `restrict`
gives a problem and a penalty on some units, whose entries then lie side by side: every unit has
`size` of them, and the ones that fill up are columns of scale 0, which take no part.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.certificates import NullModel
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem
from jreg.typing import Array, Scalar, has

WASTE = 8  # entries of the table for each feature, at most


class Units(NamedTuple):
    """Features that join together."""

    table: np.ndarray  # (n_units, size)
    divisible: bool  # or else the one unit is all features, and the penalty cannot be restricted

    def largest(self, values: Any) -> np.ndarray:
        """The largest of each unit, (rows, n_units), of numbers >= 0 or flags (rows, p[, k])."""
        values = np.asarray(values)
        per_feature = values if values.ndim < 3 else values.max(axis=2)
        fill = np.zeros_like(per_feature[:, :1])
        return np.concatenate([per_feature, fill], axis=1)[:, self.table].max(axis=-1)


def units_of(penalty: Any, n_features: int, outputs: tuple[int, ...]) -> Units | None:
    """The units of coefficients (n_features, *outputs); None where a penalty mixes features in
    other ways. ValueError for groups of other vectors."""
    everything = np.arange(n_features)
    if penalty.separable:
        known = has(penalty, "restrict") and has(penalty, "entry")
        return Units(everything[:, None], True) if known else None
    if not (has(penalty, "blocks") and has(penalty, "entry")):
        return None
    groups = getattr(penalty, "groups", None)
    if groups is not None:
        if outputs:
            raise ValueError(
                "groups are of a vector of coefficients, and there are "
                f"{outputs[0]} outputs; axis=0 makes one group of each feature's coefficients"
            )
        if groups.ids.size != n_features:
            raise ValueError(
                f"groups are of {groups.ids.size} features, and X has {n_features} columns"
            )
        if groups.n_groups * groups.sizes().max(initial=0) > WASTE * n_features:
            return Units(everything[None, :], False)
    rows = penalty.blocks((n_features, *outputs))
    return None if rows is None else Units(rows.reshape(rows.shape[0], -1), True)


def restrict(
    problem: CentredProblem, penalty: Any, null: NullModel, ids: Array, rows: Array
) -> tuple[CentredProblem, Any, NullModel]:
    """All three on the units `ids` (k,), whose features are `rows` (k, size)."""
    index = rows.ravel()
    p = problem.mean.size
    part = restricted(penalty, null, ids, rows)
    problem = standardised(problem.restrict(jnp.minimum(index, p - 1)), index < p)
    null = null._replace(
        gradient=null.gradient.at[index].get(mode="fill", fill_value=0),
        curvature=null.curvature.at[index].get(mode="fill", fill_value=0),
    )
    return problem, part, null


def restricted(penalty: Any, null: NullModel, ids: Array, rows: Array) -> Any:
    """The penalty on the units `ids` (k,), whose features are `rows` (k, size)."""
    if penalty.separable:
        return penalty.restrict(jnp.minimum(rows.ravel(), null.curvature.size - 1))
    all_penalised = penalty.unpenalized(null.gradient) is None
    return Chosen(penalty, ids, rows.shape[1], all_penalised)


@tree.dataclass
class Standardised(CentredProblem):
    """A problem whose X is Z itself, so that products with it are plain ones."""

    def times(self, theta: Array) -> Array:
        """`Z theta`, like eta."""
        return dot(self.X, theta)

    def transposed_times(self, r: Array) -> Array:
        """`Z' r`, like theta; r like eta."""
        return dot(r.T, self.X).T


def standardised(problem: CentredProblem, inside: Array) -> Standardised:
    """A problem on few columns with Z formed, 0 for those that are not `inside`."""
    present = inside & (problem.scale > 0)
    Z = (problem.X - problem.mean[None, :]) * safe_reciprocal(problem.scale)[None, :]
    parts = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    both = present[:, None] & present[None, :]
    return Standardised(
        **parts
        | {
            "X": jnp.where(present[None, :], Z, 0),
            "mean": jnp.zeros_like(problem.mean),
            "scale": jnp.where(present, 1, problem.scale * 0),
            "gram": None if problem.gram is None else jnp.where(both, problem.gram, 0),
        }
    )


@tree.dataclass
class Chosen:
    """Some groups of a penalty, as a penalty of their entries side by side, `size` a group.

    `sum_k penalty.block(index_k)(w_k)`, w_k being rows `k size` to `(k + 1) size` of w.
    """

    penalty: Any
    index: Array  # (k,)
    size: int = tree.static()
    all_penalised: bool = tree.static()

    separable: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    @property
    def convex(self) -> bool:
        """As the penalty."""
        return self.penalty.convex

    @property
    def homogeneous(self) -> bool:
        """As the penalty."""
        return self.penalty.homogeneous

    def at(self, c: Scalar) -> "Chosen":
        """The same penalty with strength `c * lam`."""
        return dataclasses.replace(self, penalty=self.penalty.at(c))

    def value(self, w: Array) -> Array:
        """The sum over the groups."""
        return jnp.sum(self._each("value", w))

    def prox(self, v: Array, step: Array) -> Array:
        """Group by group; one step for all."""
        blocks = jax.vmap(lambda g, v: self.penalty.block(g).prox(v, step))
        return blocks(self.index, self._table(v)).reshape(v.shape)

    def kkt_distance(self, w: Array, grad: Array) -> Array:
        """Entries of the shortest vector from -grad to the subdifferential at w."""
        return self._each("kkt_distance", w, grad).reshape(w.shape)

    def support(self, w: Array) -> Array:
        """Entries around which the penalty is smooth."""
        return self._each("support", w).reshape(w.shape)

    def unpenalized(self, w: Array) -> Array | None:
        """True for groups without a penalty; None if there can be none."""
        return None if self.all_penalised else self._each("unpenalized", w).reshape(w.shape)

    @property
    def polar(self) -> Callable[[Array], Array] | None:
        """The largest of the groups' gauges."""
        if not has(self.penalty, "polar"):
            return None
        return lambda u: jnp.max(self._each("polar", u), initial=0)

    @property
    def conjugate(self) -> Callable[[Array], Array] | None:
        """The sum of the groups' conjugates."""
        if not has(self.penalty, "conjugate"):
            return None
        return lambda u: jnp.sum(self._each("conjugate", u))

    def _table(self, w: Array) -> Array:
        return w.reshape(self.index.size, self.size, *w.shape[1:])

    def _each(self, name: str, *arrays: Array) -> Any:
        """A method of the penalty of every group."""

        def one(g: Array, *parts: Array) -> Any:
            return getattr(self.penalty.block(g), name)(*parts)

        return jax.vmap(one)(self.index, *map(self._table, arrays))
