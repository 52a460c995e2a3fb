"""What the penalties that couple all entries of an array share: the tree, the strength, the scale.

A member writes the mathematics of one array: `_value`, `_prox`, `_residual`, `_gauge`, `_smooth`.
The residual of a polyhedral penalty f comes from its directional derivative f'(w; .), the support
function of the subdifferential: by Moreau's identity the shortest vector from that set to u is the
prox of f'(w; .) at u. Rockafellar (1970), theorem 23.4.
"""

import dataclasses
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.penalties import strength
from jreg.penalties.addable import Addable
from jreg.typing import Array, PyTree, Scalar

Self = TypeVar("Self", bound="Coupled")


class Coupled(Addable):
    """Base of the norms and semi-norms that couple entries; applied to every leaf alone."""

    lam: Scalar

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf)}
    entry: ClassVar[None] = None
    restrict: ClassVar[None] = None

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)

    # --- the mathematics of one array, which a member writes ------------------------------------

    def _value(self, w: Array) -> Array:
        """The penalty of strength 1."""
        raise NotImplementedError

    def _prox(self, v: Array, t: Array) -> Array:
        """`argmin_z t * (penalty of strength 1)(z) + 1/2 |z - v|^2`."""
        raise NotImplementedError

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        """The shortest vector from the subdifferential at w (strength s) to u."""
        raise NotImplementedError

    def _gauge(self, u: Array) -> Array:
        """The smallest c with u in c times the subdifferential at 0, strength 1."""
        raise NotImplementedError

    def _smooth(self, w: Array) -> Array:
        """Entries around which the penalty is differentiable."""
        raise NotImplementedError

    def _reach(self, u: Array) -> Array:
        """The smallest c at which the penalty of strength c holds everything; u = -gradient."""
        return self._gauge(u)

    # --- the contract ---------------------------------------------------------------------------

    def value(self, w: PyTree) -> Array:
        """The penalty."""

        def leaf(w: Array, s: Array) -> Array:
            size = self._value(w)
            return jnp.where((size == 0) & ~jnp.isnan(s), 0, s) * size

        return tree.total(leaf, *self._with_strength(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`argmin_z step * penalty(z) + 1/2 |z - v|^2`; step is a scalar or a tree of scalars."""
        v, s = self._with_strength(v)
        t = strength.times(tree.cast_like(scalar_steps(self, step, v), v), s, v)
        return jax.tree.map(self._prox, v, t)

    def at(self: Self, c: Scalar) -> Self:
        """The same penalty with strength `c * lam`."""
        return dataclasses.replace(self, lam=c * self.lam)  # type: ignore[type-var]

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Absolute entries of the shortest vector from -grad to the subdifferential at w."""
        w, s = self._with_strength(w)
        return jax.tree.map(
            lambda w, g, s: jnp.abs(self._residual(w, -g, s)), w, tree.floating(grad), s
        )

    def polar(self, u: PyTree) -> Array:
        """The smallest c with `conjugate(u / c) = 0`; the dual norm if the penalty is a norm."""
        return tree.largest(
            jax.tree.map(
                lambda u, s: strength.ratio_or_limit(self._gauge(u), s), *self._with_strength(u)
            )
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 everywhere."""
        return tree.largest(
            jax.tree.map(
                lambda g, s: strength.ratio_or_limit(self._reach(-g), s),
                *self._with_strength(grad_at_zero),
            )
        )

    def conjugate(self, u: PyTree) -> Array:
        """0 where `polar(u) <= 1`, to rounding, else inf."""

        def leaf(u: Array, s: Array) -> Array:
            rounding = 4 * jnp.finfo(u.dtype).eps * u.size**0.5
            excess = strength.ratio_or_limit(self._gauge(u), s) - 1
            return jnp.where(excess <= rounding, 0, jnp.where(excess > 0, jnp.inf, excess))

        return tree.total(leaf, *self._with_strength(u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """None: every entry takes part."""
        del w
        return None

    def support(self, w: PyTree) -> PyTree:
        """Entries around which the penalty is differentiable, the others held fixed."""
        return jax.tree.map(lambda w, s: self._smooth(w) | (s == 0), *self._with_strength(w))

    def _with_strength(self, w: PyTree) -> tuple[PyTree, PyTree]:
        w = tree.floating(w)
        return w, strength.strengths(self.lam, None, w)


def scalar_steps(penalty: Any, step: PyTree, v: PyTree) -> PyTree:
    """A scalar step for every leaf of v, or TypeError."""
    steps = tree.broadcast(step, v)
    if any(jnp.ndim(h) > 0 for h in jax.tree.leaves(steps)):
        raise TypeError(f"{type(penalty).__name__} needs one step for all entries; got an array")
    return steps


def columns(f: Callable[..., Array], *arrays: Array) -> Array:
    """`f` of each vector along the first axis; results that are vectors are put back in place."""
    shape = arrays[0].shape
    if len(shape) == 1:
        return f(*arrays)
    flat = [a.reshape(shape[0] if shape else 1, -1) for a in arrays]
    result = jax.vmap(f, in_axes=1, out_axes=-1)(*flat)
    return result.reshape(shape) if result.ndim == 2 else result


def matrices(f: Callable[..., Array], *arrays: Array) -> Array:
    """`f` of each matrix in the last two axes; ValueError for vectors."""
    shape = arrays[0].shape
    if len(shape) < 2:
        raise ValueError(f"expected parameters that are matrices; got an array of shape {shape}")
    for _ in shape[2:]:
        f = jax.vmap(f)
    return f(*arrays)
