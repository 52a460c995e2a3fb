"""The constraint that parameters are in order."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties.addable import Addable
from jreg.penalties.coupled import columns, scalar_steps
from jreg.projections import order
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class Isotonic(Addable):
    """0 where w_1 <= w_2 <= ... <= w_n, inf elsewhere: a constraint, which has no strength.

    increasing: False for w_1 >= w_2 >= .... An array of higher rank is ordered along its first
    axis, column by column. Barlow, Bartholomew, Bremner and Brunk (1972); Best and
    Chakravarti (1990).

    >>> Isotonic().prox(jnp.array([1.0, 3.0, 2.0, 4.0]), step=1.0)
    Array([1. , 2.5, 2.5, 4. ], dtype=float32)
    """

    increasing: bool = tree.static(default=True)

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    polar: ClassVar[None] = None
    entry: ClassVar[None] = None
    restrict: ClassVar[None] = None

    def value(self, w: PyTree) -> Array:
        """0 in order, inf elsewhere."""

        def column(w: Array) -> Array:
            return jnp.where(self._ordered(w), 0, jnp.inf) + 0 * jnp.sum(w)

        return tree.total(lambda w: columns(column, w), tree.floating(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """Isotonic regression, whatever the step (one for all entries)."""
        v = tree.floating(v)
        scalar_steps(self, step, v)
        project = lambda v: order.isotonic(v, increasing=self.increasing)  # noqa: E731
        return jax.tree.map(lambda v: columns(project, v), v)

    def at(self, c: Scalar) -> "Isotonic":
        """The same constraint."""
        del c
        return self

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """|isotonic regression of -grad within each block of equal w|; inf where out of order.

        The normal cone at w is polar to the feasible directions, which are ordered in each block.
        """

        def column(w: Array, g: Array) -> Array:
            block = jnp.append(0, jnp.cumsum(jnp.diff(w) != 0)) if w.size else jnp.zeros(0, int)
            left = order.isotonic(-g, increasing=self.increasing, runs=block)
            return jnp.where(self._ordered(w), jnp.abs(left), jnp.inf)

        return jax.tree.map(
            lambda w, g: columns(column, w, g), tree.floating(w), tree.floating(grad)
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf, or 0 if 0 is a solution: no strength makes it one."""
        zero = jax.tree.map(jnp.zeros_like, tree.floating(grad_at_zero))
        size = tree.largest(grad_at_zero)
        moves = tree.largest(self.kkt_distance(zero, grad_at_zero))
        rounding = 8 * jnp.finfo(size.dtype).eps * size
        return jnp.where(moves <= rounding, jnp.zeros_like(size), jnp.inf)

    def conjugate(self, u: PyTree) -> Array:
        """0 where u sums to 0 and its partial sums are >= 0 (<= 0 if decreasing), else inf."""

        def column(u: Array) -> Array:
            sums = jnp.cumsum(u) if self.increasing else -jnp.cumsum(u)
            rounding = 8 * jnp.finfo(u.dtype).eps * jnp.sum(jnp.abs(u))
            low = jnp.min(sums, initial=0)
            inside = (low >= -rounding) & (jnp.abs(jnp.sum(u)) <= rounding)
            return jnp.where(inside, 0, jnp.where(jnp.isnan(low), jnp.nan, jnp.inf))

        return tree.total(lambda u: columns(column, u), tree.floating(u)).astype(tree.dtype(u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """None: every entry takes part."""
        del w
        return None

    def support(self, w: PyTree) -> PyTree:
        """Entries strictly between their neighbours."""

        def column(w: Array) -> Array:
            free = jnp.diff(w) != 0
            return jnp.append(free, True) & jnp.append(True, free)

        return jax.tree.map(lambda w: columns(column, w), tree.floating(w))

    def _ordered(self, w: Array) -> Array:
        rises = jnp.diff(w) if self.increasing else -jnp.diff(w)
        return jnp.all(rises >= 0)
