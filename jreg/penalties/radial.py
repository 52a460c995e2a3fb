"""Penalties of the Euclidean norms of groups: `sum_g f(|w_g|; s_g)`, f a penalty of one entry.

Everything about a group follows from its norm and f (Moreau's identity in the direction of w_g), so
each member names f once, as a penalty of the vector of norms.
"""

import dataclasses
from math import inf
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, prox, tree
from jreg.penalties.addable import Addable
from jreg.penalties.groups import Groups, layout
from jreg.penalties.l1 import L1
from jreg.penalties.nonconvex import L0, MCP
from jreg.penalties.separable import Separable
from jreg.prox.groups import Layout
from jreg.typing import Array, PyTree, Scalar

Self = TypeVar("Self", bound="Radial")


class Radial(Addable):
    """Base of the penalties of group norms."""

    lam: Scalar
    weights: Any
    groups: Groups | None
    axis: int | None

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, inf)}
    restrict: ClassVar[None] = None

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)
        if self.groups is not None and self.axis is not None:
            raise ValueError("give groups (of a vector) or axis (of an array), not both")
        if not isinstance(self.groups, Groups | None):
            raise TypeError(f"groups must be a jreg.Groups; got {type(self.groups).__name__}")

    def _of_norms(self, weights: PyTree) -> Separable:
        """f as a penalty of the vector of norms, one weight per group."""
        raise NotImplementedError

    def _default_weights(self, sizes: np.ndarray) -> np.ndarray:
        """`sqrt(size)`: all groups then enter alike under pure noise. Yuan and Lin (2006)."""
        return np.sqrt(sizes)

    # --- the contract ---------------------------------------------------------------------------

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded group is not 0."""
        norms = self._norms(w)
        return self._on(norms, w).value(norms)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`f's prox of |v_g|, times v_g / |v_g|`; step is a scalar, or a tree of scalars."""
        v = tree.floating(v)
        steps = tree.cast_like(tree.broadcast(step, v), v)
        norms = self._norms(v)
        of_norms = self._on(norms, v)
        if any(jnp.ndim(h) > 0 for h in jax.tree.leaves(steps)):
            return self._prox_in_metric(v, steps, of_norms)
        shrunk = of_norms.prox(norms, steps)

        def leaf(v: Array, new: Array, old: Array, s: Array) -> Array:
            ratio = prox.radial_ratio(new, old, at_zero=jnp.where(s == 0, 1, 0))
            return prox.plus_zero(self._layout(v).spread(ratio) * v)

        return jax.tree.map(leaf, v, shrunk, norms, of_norms.strengths(norms))

    def at(self: Self, c: Scalar) -> Self:
        """The same penalty with strength `c * lam`."""
        return dataclasses.replace(self, lam=c * self.lam)  # type: ignore[type-var]

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Entries of the shortest vector from -grad to the subdifferential at w."""
        w, grad = tree.floating(w), tree.floating(grad)
        norms = self._norms(w)
        at_zero = jax.tree.map(jnp.zeros_like, norms)
        of_norms = self._on(norms, w)
        slope = of_norms.slope(norms)
        excess = of_norms.kkt_distance(at_zero, self._norms(grad))
        outside = of_norms.kkt_distance(norms, at_zero)  # inf where an excluded group is not 0

        def leaf(w: Array, g: Array, norm: Array, slope: Array, excess: Array, out: Array) -> Array:
            groups = self._layout(w)
            size = prox.norm_l2(g, groups)
            still = groups.spread(norm == 0)
            share = groups.spread(prox.radial_ratio(jnp.minimum(excess, size), size))
            unit = jnp.where(still, 0, w) * groups.spread(
                jnp.where(norm == 0, 0, slope / jnp.where(norm == 0, 1, norm))
            )
            distance = jnp.abs(jnp.where(still, share * g, g + unit))
            return jnp.where(groups.spread(jnp.isinf(out)), jnp.inf, distance)

        return jax.tree.map(leaf, w, grad, norms, slope, excess, outside)

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps its group at 0."""
        grad = tree.floating(grad)
        norms = self._norms(grad)
        return self._spread(self._on(norms, grad).entry(norms), grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 in every penalised group."""
        norms = self._norms(grad_at_zero)
        return self._on(norms, grad_at_zero).lam_max(norms)

    def polar(self, u: PyTree) -> Array:
        """The dual norm `max_g |u_g| / s_g`."""
        norms = self._norms(u)
        return self._on(norms, u).polar(norms)

    def conjugate(self, u: PyTree) -> Array:
        """f's conjugate of the norms."""
        norms = self._norms(u)
        return self._on(norms, u).conjugate(norms)

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where the weight of the group is 0; None when no group can be."""
        if self.weights is None:
            return None
        norms = self._norms(w)
        return self._spread(self._on(norms, w).unpenalized(norms), w)

    def support(self, w: PyTree) -> PyTree:
        """Entries of groups that are not 0, or without a kink there."""
        norms = self._norms(w)
        return self._spread(self._on(norms, w).support(norms), w)

    def blocks(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The rows of each group in parameters of this shape: (n_groups, size), filled up with
        their number; (n_groups,) if each is one row; None for groups of other kinds."""
        if self.groups is not None:
            return self.groups.members() if shape == self.groups.ids.shape else None
        if self.axis is None:
            return np.arange(shape[0])[None, :]
        return np.arange(shape[0]) if self.axis in (0, -len(shape)) else None

    def block(self: Self, g: Any) -> Self:
        """The penalty of group g alone, which may be filled up with zeros."""
        weights = self.weights
        if weights is None and self.groups is not None:
            weights = self._default_weights(self.groups.sizes())
        weights = None if weights is None else jnp.asarray(weights)[g][None]
        changes = {"weights": weights, "groups": None, "axis": None}
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    # --- shared ---------------------------------------------------------------------------------

    def _prox_in_metric(self, v: PyTree, steps: PyTree, of_norms: Separable) -> PyTree:
        del v, steps, of_norms
        raise TypeError(f"{type(self).__name__} needs one step for all entries; got an array")

    def _layout(self, leaf: Array) -> Layout:
        return layout(self.groups, self.axis, leaf)

    def _norms(self, w: PyTree) -> PyTree:
        """The norms of the groups of each leaf, (n_groups,)."""
        return jax.tree.map(lambda w: prox.norm_l2(w, self._layout(w)), tree.floating(w))

    def _spread(self, per_group: PyTree, like: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x, leaf: self._layout(leaf).spread(x), per_group, tree.floating(like)
        )

    def _on(self, norms: PyTree, w: PyTree) -> Separable:
        """f with the weights of the groups of w."""
        weights = self.weights
        if weights is None:
            weights = jax.tree.map(
                lambda leaf, norm: jnp.asarray(
                    self._default_weights(self._layout(leaf).sizes()), norm.dtype
                ),
                tree.floating(w),
                norms,
            )
        return self._of_norms(weights)


@tree.dataclass
class GroupLasso(Radial):
    """`lam * sum_g v_g |w_g|_2`: whole groups are 0 or not. Yuan and Lin (2006).

    groups: a `Groups` of the entries of a vector; or axis: the axis that numbers the groups of an
    array (-1: one group per output neuron or filter; 0: one per row, the L2,1 norm); neither: each
    array is one group. lam: strength >= 0, in units of the loss per unit of w. weights: one factor
    per group, `sqrt(size)` by default; 0 leaves a group unpenalised, inf excludes it. Raises
    ValueError for concrete negative numbers, or both groups and axis.

    `prox` also takes a step per entry (a diagonal metric), then by Newton's method on the norm.

    >>> penalty = GroupLasso(0.5, groups=Groups([0, 0, 1]))
    >>> penalty.prox(jnp.array([3.0, 4.0, 0.4]), step=1.0).round(3)
    Array([2.576, 3.434, 0.   ], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None
    groups: Groups | None = tree.static(default=None)
    axis: int | None = tree.static(default=None)

    homogeneous: ClassVar[bool] = True

    def _of_norms(self, weights: PyTree) -> Separable:
        return L1(self.lam, weights)

    def _prox_in_metric(self, v: PyTree, steps: PyTree, of_norms: Separable) -> PyTree:
        def leaf(v: Array, step: Array, norm: Array, s: Array) -> Array:
            groups, out = self._layout(v), jnp.isinf(s)
            step = jnp.broadcast_to(step, v.shape)
            z = prox.l2_in_metric(v, jnp.where(out, 0, s), step, groups)
            return jnp.where(groups.spread(out), 0, z)

        norms = self._norms(v)
        return jax.tree.map(leaf, v, steps, norms, of_norms.strengths(norms))


@tree.dataclass
class GroupMCP(Radial):
    """`sum_g MCP(|w_g|_2; lam v_g, gamma)`: group lasso without its bias on large groups.

    gamma as in `MCP`; lam, weights, groups and axis as in `GroupLasso`. Huang, Breheny and Ma
    (2012), section 3.

    >>> GroupMCP(1.0, gamma=3.0).prox(jnp.array([30.0, 40.0]), step=1.0)
    Array([30., 40.], dtype=float32)
    """

    lam: Scalar = 1.0
    gamma: Scalar = 3.0
    weights: Any = None
    groups: Groups | None = tree.static(default=None)
    axis: int | None = tree.static(default=None)

    convex: ClassVar[bool] = False
    conjugate: ClassVar[None] = None  # type: ignore[assignment]
    polar: ClassVar[None] = None  # type: ignore[assignment]
    ranges: ClassVar[dict[str, tuple[float, float]]] = MCP.ranges

    def _of_norms(self, weights: PyTree) -> Separable:
        return MCP(self.lam, self.gamma, weights)


@tree.dataclass
class GroupL0(Radial):
    """`lam * sum_g v_g 1{w_g != 0}`: the number of groups in use, each of weight 1 by default.

    lam, groups and axis as in `GroupLasso`, lam in units of the loss.

    >>> GroupL0(0.5, axis=0).prox(jnp.array([[0.6, 0.6], [0.8, 0.8]]), step=1.0)
    Array([[0. , 0. ],
           [0.8, 0.8]], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None
    groups: Groups | None = tree.static(default=None)
    axis: int | None = tree.static(default=None)

    convex: ClassVar[bool] = False
    conjugate: ClassVar[None] = None  # type: ignore[assignment]
    polar: ClassVar[None] = None  # type: ignore[assignment]

    def _default_weights(self, sizes: np.ndarray) -> np.ndarray:
        """1 for every group."""
        return np.ones(sizes.shape)

    def _of_norms(self, weights: PyTree) -> Separable:
        return L0(self.lam, weights)
