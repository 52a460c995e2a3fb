"""The lasso penalty."""

import dataclasses
from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, prox, tree
from jreg.penalties import strength
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class L1:
    """`lam * sum_j v_j |w_j|`, the lasso penalty. Tibshirani (1996).

    lam: strength >= 0, in units of the loss per unit of w. weights: per-feature factors v_j like
    the coefficients (never rescaled); 0 leaves a feature unpenalised, inf excludes it. Raises
    ValueError for concrete negative values; traced ones give NaN and `Status.NOT_FINITE`.

    >>> L1(0.5).prox(jnp.array([2.0, -0.2]), step=1.0)
    Array([1.5, 0. ], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, inf)}

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded entry is not 0."""

        def entry(w: Array, s: Array) -> Array:
            return strength.scaled(jnp.where(w == 0, 0, s), w, jnp.abs(w))

        w = tree.floating(w)
        return tree.total(entry, w, self._strengths(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`sign(v) max(|v| - step s, 0)`; step is a scalar or like v."""
        v = tree.floating(v)
        return jax.tree.map(prox.soft_threshold, v, strength.times(step, self._strengths(v), v))

    def at(self, c: Scalar) -> "L1":
        """The same penalty `c` times as strong."""
        return dataclasses.replace(self, lam=c * self.lam)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Distance of -grad from the subdifferential at w, entry by entry."""

        def entry(w: Array, g: Array, s: Array) -> Array:
            at_zero = jnp.maximum(jnp.abs(g) - s, 0)
            return jnp.where(w == 0, at_zero, jnp.abs(g + jnp.where(w == 0, 0, s) * jnp.sign(w)))

        w, grad = tree.floating(w), tree.floating(grad)
        return jax.tree.map(entry, w, grad, self._strengths(w))

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps it at 0, given the gradient there.

        0 for unpenalised and excluded entries.
        """

        def one(g: Array, s: Array, counted: Array) -> Array:
            return jnp.where(counted, strength.ratio_or_limit(jnp.abs(g), s), 0)

        grad = tree.floating(grad)
        return jax.tree.map(one, grad, self._strengths(grad), strength.counted(self.weights, grad))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """`max_j |grad_j| / s_j`: the smallest c at which `at(c)` gives all zeros."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The dual norm `max_j |u_j| / s_j`."""
        u = tree.floating(u)
        return tree.largest(
            jax.tree.map(lambda u, s: strength.ratio_or_limit(jnp.abs(u), s), u, self._strengths(u))
        )

    def conjugate(self, u: PyTree) -> Array:
        """0 where every |u_j| <= s_j (to rounding), else inf."""
        u = tree.floating(u)
        rounding = 4 * jnp.finfo(tree.dtype(u)).eps
        return jnp.where(self.polar(u) <= 1 + rounding, 0.0, jnp.inf)

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where the weight is 0; None when no entry can be."""
        return strength.unpenalized(self.weights, w)

    def support(self, w: PyTree) -> PyTree:
        """Entries around which the penalty is smooth: non-zero or unpenalised."""
        w = tree.floating(w)
        return jax.tree.map(lambda w, s: (w != 0) | (s == 0), w, self._strengths(w))

    def restrict(self, index: Any) -> "L1":
        """The penalty on some entries of one array of parameters."""
        return dataclasses.replace(self, weights=strength.take(self.weights, index))

    def _strengths(self, like: PyTree) -> PyTree:
        return strength.strengths(self.lam, self.weights, like)
