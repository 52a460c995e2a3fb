"""A bound on the norm of each neuron's weights."""

from math import inf
from typing import ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, projections, tree
from jreg.penalties.addable import Addable
from jreg.penalties.wrapper import fixed_point_residual, infinite
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class MaxNorm(Addable):
    """0 where each slice has `|w_j|_2 <= radius`, inf elsewhere: the max-norm constraint.

    axis: the axis that numbers the slices; -1, the default, is one per output neuron of kernels
    (n_in, n_out) and one per filter. radius: > 0, in units of w. A vector has one slice per entry,
    so bound kernels only: `proximal(inner, kernels_only(MaxNorm(3.0)))`. It has no strength:
    `at` changes nothing. ValueError for a concrete radius <= 0. Srebro and Shraibman (2005);
    Srivastava et al. (2014), section 5.1.

    >>> MaxNorm(1.0).prox(jnp.array([[3.0, 0.1], [4.0, 0.1]]), step=1.0)
    Array([[0.6, 0.1],
           [0.8, 0.1]], dtype=float32)
    """

    radius: Scalar = 1.0
    axis: int = tree.static(default=-1)

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"radius": (1e-30, inf)}

    def __post_init__(self) -> None:
        checks.number("radius", self.radius, low=1e-30)

    def value(self, w: PyTree) -> Array:
        """0 inside (to rounding), inf outside."""

        def outside(w: Array) -> Array:
            norms = jnp.linalg.norm(_slices(w, self.axis), axis=1)
            excess = norms - self.radius * (1 + 8 * jnp.finfo(w.dtype).eps)
            return jnp.where(excess > 0, jnp.inf, 0 * excess)

        return tree.total(outside, tree.floating(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """The projection of each slice on the ball, whatever the step."""
        del step

        def leaf(v: Array) -> Array:
            project = lambda row: projections.l2_ball(row, self.radius)  # noqa: E731
            rows = jax.vmap(project)(_slices(v, self.axis))
            moved = jnp.moveaxis(v, self.axis, 0)
            return jnp.moveaxis(rows.reshape(moved.shape), 0, self.axis)

        return jax.tree.map(leaf, tree.floating(v))

    def at(self, c: Scalar) -> "MaxNorm":
        """The same constraint."""
        del c
        return self

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """A lower bound of it, 0 at the same points: `|w - prox(w - grad)|`."""
        return fixed_point_residual(self, w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf: no strength gives zeros."""
        return infinite(grad_at_zero)

    def unpenalized(self, w: PyTree) -> None:
        """None: every entry takes part."""
        del w

    def support(self, w: PyTree) -> PyTree:
        """Entries of slices strictly inside."""

        def inside(w: Array) -> Array:
            norms = jnp.linalg.norm(_slices(w, self.axis), axis=1)
            shape = [1] * w.ndim
            shape[self.axis] = -1
            return jnp.broadcast_to((norms < self.radius).reshape(shape), w.shape)

        return jax.tree.map(inside, tree.floating(w))


def _slices(w: Array, axis: int) -> Array:
    """(number of slices, size of one)."""
    return jnp.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
