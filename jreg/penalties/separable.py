"""What all penalties `sum_j f(w_j; s_j)` of single entries share: the tree, strength and limits.

A member is a dataclass with the leaves `lam` and `weights` that writes the mathematics of one
entry: `_value`, `_prox`, `_slope`, `_kink` and, if it is convex, `_conjugate`. They act elementwise
on arrays; `s = lam * weight` is finite there. Entries of infinite strength, which must be 0, are
dealt with here once for all members.
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

Self = TypeVar("Self", bound="Separable")


class Separable(Addable):
    """Base of the penalties of single entries."""

    lam: Scalar
    weights: Any

    convex: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, inf)}

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)

    # --- the mathematics of one entry, which a member writes ------------------------------------

    def _value(self, w: Array, s: Array) -> Array:
        """f(w; s), 0 at 0."""
        raise NotImplementedError

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        """The global minimiser of `step f(z; s) + 1/2 (z - v)^2`; of two, that nearer 0."""
        raise NotImplementedError

    def _slope(self, w: Array, s: Array) -> Array:
        """f'(w; s) for w != 0."""
        raise NotImplementedError

    def _kink(self, s: Array) -> tuple[Array, Array]:
        """(low, high): the subdifferential at 0. It scales like s."""
        raise NotImplementedError

    def _conjugate(self, u: Array, s: Array) -> Array:
        """`sup_w u w - f(w; s)`, to rounding."""
        raise NotImplementedError

    # --- the contract ---------------------------------------------------------------------------

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded entry is not 0."""
        excluded = lambda w: jnp.where(w == 0, w, jnp.inf)  # noqa: E731
        return tree.total(lambda x: x, self._each(self._value, excluded, w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`argmin_z step * penalty(z) + 1/2 |z - v|^2`; step is a scalar or like v."""
        v = tree.floating(v)
        steps = tree.cast_like(tree.broadcast(step, v), v)
        return self._each(
            lambda v, step, s: self._prox(v, s, step), lambda v, step: jnp.zeros_like(v), v, steps
        )

    def at(self: Self, c: Scalar) -> Self:
        """The same penalty with strength `c * lam`."""
        return dataclasses.replace(self, lam=c * self.lam)  # type: ignore[type-var]

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Distance of -grad from the subdifferential at w, entry by entry; inf if infeasible."""

        def distance(w: Array, g: Array, s: Array) -> Array:
            low, high = self._kink(s)
            at_zero = jnp.maximum(jnp.maximum(low + g, -g - high), 0)
            slope = self._slope(jnp.where(w == 0, 1, w), s)
            return jnp.where(w == 0, at_zero, jnp.abs(g + slope))

        excluded = lambda w, g: jnp.where(w == 0, 0 * g, jnp.inf)  # noqa: E731
        return self._each(distance, excluded, w, grad)

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps it at 0, given the gradient there.

        0 for unpenalised and excluded entries; inf where the penalty has no kink at 0.
        """
        grad = tree.floating(grad)
        ratio = self._each(self._entry, jnp.zeros_like, grad)
        counted = strength.counted(self.weights, grad)
        return jax.tree.map(lambda r, counted: jnp.where(counted, r, 0), ratio, counted)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 in every penalised entry."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The smallest c with `conjugate(u / c) = 0`; the dual norm if the penalty is a norm."""
        return tree.largest(self._each(lambda u, s: self._entry(-u, s), jnp.zeros_like, u))

    def conjugate(self, u: PyTree) -> Array:
        """`sup_w <u, w> - penalty(w)`; an unpenalised entry gives 0 at u = 0 and inf elsewhere."""
        return tree.total(lambda x: x, self._each(self._conjugate, jnp.zeros_like, u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where the weight is 0; None when no entry can be."""
        return strength.unpenalized(self.weights, w)

    def support(self, w: PyTree) -> PyTree:
        """Entries around which the penalty is smooth: not 0, or without a kink there."""

        def smooth(w: Array, s: Array) -> Array:
            low, high = self._kink(s)
            return (w != 0) | (low == high)

        return self._each(smooth, lambda w: jnp.zeros(w.shape, bool), w)

    def restrict(self: Self, index: Any) -> Self:
        """The penalty on some entries of one array of parameters."""
        return dataclasses.replace(  # type: ignore[type-var]
            self, weights=strength.take(self.weights, index)
        )

    # --- for penalties built on this one --------------------------------------------------------

    def slope(self, w: PyTree) -> PyTree:
        """The derivative at each entry that is not 0; 0 for excluded ones."""

        def entry(w: Array, s: Array) -> Array:
            return jnp.where(w == 0, 0, self._slope(jnp.where(w == 0, 1, w), s))

        return self._each(entry, jnp.zeros_like, w)

    def kink(self, w: PyTree) -> tuple[PyTree, PyTree]:
        """(low, high): the subdifferential at 0, entry by entry; (-inf, inf) for excluded ones."""

        def end(sign: int) -> PyTree:
            formula = lambda w, s: jnp.broadcast_to(self._kink(s)[(sign + 1) // 2], w.shape)  # noqa: E731
            return self._each(formula, lambda w: jnp.full_like(w, sign * inf), w)

        return end(-1), end(1)

    def strengths(self, like: PyTree) -> PyTree:
        """`lam * weights`, a tree like `like`; NaN if a traced hyper-parameter is out of range."""
        lam = jnp.asarray(self.lam)
        for name in self.ranges.keys() - {"lam", "weights"}:
            low, high = self.ranges[name]
            value = jnp.asarray(getattr(self, name))
            lam = jnp.where((value >= low) & (value <= high), lam, jnp.nan)
        return strength.strengths(lam, self.weights, tree.floating(like))

    # --- shared ---------------------------------------------------------------------------------

    def _entry(self, grad: Array, s: Array) -> Array:
        """The smallest c with -grad in c * (the subdifferential at 0)."""
        low, high = self._kink(s)
        down = strength.ratio_or_limit(jnp.maximum(grad, 0), -low)
        return jnp.maximum(down, strength.ratio_or_limit(jnp.maximum(-grad, 0), high))

    def _each(
        self, formula: Callable[..., Array], excluded: Callable[..., Array], *trees: PyTree
    ) -> PyTree:
        """`formula(*entries, s)` on every leaf, and `excluded(*entries)` where s is infinite."""
        trees = tuple(tree.floating(t) for t in trees)

        def leaf(s: Array, *entries: Array) -> Array:
            out = jnp.isinf(s)
            result = jnp.where(out, excluded(*entries), formula(*entries, jnp.where(out, 0, s)))
            if result.dtype == bool:
                return result
            return jnp.where(jnp.isnan(s), jnp.nan, result)  # also past comparisons

        return jax.tree.map(leaf, self.strengths(trees[0]), *trees)


def parameter(penalty: Any, name: str, like: Array) -> Array:
    """A hyper-parameter in the dtype of `like`."""
    return jnp.asarray(getattr(penalty, name), like.dtype)


def flat_or_infinite(excess: Array, size: Array) -> Array:
    """0 where excess <= 0 (to rounding relative to size), else inf: an indicator."""
    rounding = 4 * jnp.finfo(size.dtype).eps * size
    return jnp.where(jnp.isnan(excess), jnp.nan, jnp.where(excess <= rounding, 0, jnp.inf))
