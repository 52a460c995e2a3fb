"""Constraints on single entries: intervals."""

from math import inf
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from jreg import checks, prox, tree
from jreg.penalties.addable import Addable
from jreg.typing import Array, PyTree, Scalar

Self = TypeVar("Self", bound="Box")


@tree.dataclass
class Box(Addable):
    """0 where `lower <= w <= upper`, inf elsewhere: a constraint, which has no strength.

    lower, upper: numbers or like w, in units of w; infinite for none. Raises ValueError where a
    concrete lower exceeds upper. On standardised features they bound `scale * coef`.

    >>> Box(-1.0, 1.0).prox(jnp.array([-3.0, 0.5]), step=1.0)
    Array([-1. ,  0.5], dtype=float32)
    """

    lower: Any = -inf
    upper: Any = inf

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lower": (-inf, inf), "upper": (-inf, inf)}
    polar: ClassVar[None] = None
    entry: ClassVar[None] = None

    def __post_init__(self) -> None:
        checks.ordered("lower", self.lower, "upper", self.upper)

    def value(self, w: PyTree) -> Array:
        """0 inside, inf outside."""
        return tree.total(
            lambda w, low, high: jnp.where((w >= low) & (w <= high), 0 * w, _outside(w)),
            *self._with_bounds(w),
        )

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """The nearest point of the box, whatever the step."""
        del step
        return jax.tree.map(
            lambda v, low, high: prox.plus_zero(jnp.clip(v, low, high)), *self._with_bounds(v)
        )

    def at(self: Self, c: Scalar) -> Self:
        """The same constraint."""
        del c
        return self

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """|grad| inside; at a bound the part of it that leads back inside; inf outside."""

        def entry(w: Array, low: Array, high: Array, g: Array) -> Array:
            down = jnp.where(w > low, jnp.maximum(g, 0), 0)  # w could decrease
            up = jnp.where(w < high, jnp.maximum(-g, 0), 0)
            return jnp.where((w >= low) & (w <= high), down + up, _outside(w))

        return jax.tree.map(entry, *self._with_bounds(w), tree.floating(grad))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf, or 0 if 0 is a solution: no strength makes it one."""
        zero = jax.tree.map(jnp.zeros_like, tree.floating(grad_at_zero))
        stays = tree.largest(self.kkt_distance(zero, grad_at_zero)) == 0
        return jnp.where(stays, jnp.zeros((), tree.dtype(zero)), jnp.inf)

    def conjugate(self, u: PyTree) -> Array:
        """The support function `sum_j max(lower_j u_j, upper_j u_j)`."""

        def entry(u: Array, low: Array, high: Array) -> Array:
            bound = jnp.where(u < 0, low, high)
            return jnp.where(u == 0, 0, jnp.where(u == 0, 0, bound) * jnp.where(u == 0, 1, u))

        return tree.total(entry, *self._with_bounds(u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where neither bound is finite; None if the bounds are single numbers."""
        if all(jnp.ndim(bound) == 0 for bound in jax.tree.leaves((self.lower, self.upper))):
            return None
        return jax.tree.map(
            lambda w, low, high: jnp.broadcast_to(jnp.isinf(low) & jnp.isinf(high), w.shape),
            *self._with_bounds(w),
        )

    def support(self, w: PyTree) -> PyTree:
        """Entries strictly inside."""
        return jax.tree.map(lambda w, low, high: (w > low) & (w < high), *self._with_bounds(w))

    def restrict(self: Self, index: Any) -> Self:
        """The constraint on some entries of one array of parameters."""
        low, high = (b if jnp.ndim(b) == 0 else b[index] for b in (self.lower, self.upper))
        return type(self)(low, high)

    def _with_bounds(self, w: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        w = tree.floating(w)
        bounds = (tree.cast_like(tree.broadcast(b, w), w) for b in (self.lower, self.upper))
        low, high = bounds
        return w, low, high


@tree.dataclass
class NonNegative(Box):
    """0 where every entry is >= 0, inf elsewhere.

    >>> NonNegative().prox(jnp.array([-3.0, 0.5]), step=1.0)
    Array([0. , 0.5], dtype=float32)
    """

    lower: Any = 0.0
    upper: Any = inf


def _outside(w: Array) -> Array:
    return jnp.where(jnp.isnan(w), w, jnp.inf)
