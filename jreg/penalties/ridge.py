"""The ridge penalty."""

import dataclasses
from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, prox, tree
from jreg.penalties import strength
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class Ridge:
    """`lam/2 * sum_j v_j w_j^2`. Hoerl and Kennard (1970).

    lam: strength >= 0, in units of the loss per squared unit of w. weights: per-feature factors
    v_j like the coefficients (never rescaled); 0 leaves a feature unpenalised, inf excludes it.
    Raises ValueError for concrete negative values; traced ones give NaN and `Status.NOT_FINITE`.

    >>> Ridge(3.0).prox(jnp.array([2.0]), step=1.0)
    Array([0.5], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, inf)}

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded entry is not 0."""
        w = tree.floating(w)
        return tree.total(lambda w, s: strength.scaled(s, w, 0.5 * w**2), w, self._strengths(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`v / (1 + step s)`; step is a scalar or like v."""
        v = tree.floating(v)
        return jax.tree.map(prox.ridge, v, strength.times(step, self._strengths(v), v))

    def at(self, c: Scalar) -> "Ridge":
        """The same penalty `c` times as strong."""
        return dataclasses.replace(self, lam=c * self.lam)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """`|grad + s w|`; for an excluded entry 0 at w = 0 and inf elsewhere."""

        def entry(w: Array, g: Array, s: Array) -> Array:
            excluded = jnp.where(w == 0, 0, jnp.inf)
            return jnp.where(jnp.isinf(s), excluded, jnp.abs(g + _finite(s) * w))

        w, grad = tree.floating(w), tree.floating(grad)
        return jax.tree.map(entry, w, grad, self._strengths(w))

    def entry(self, grad: PyTree) -> PyTree:
        """inf where a penalised entry has a gradient: ridge never sets one to exactly 0."""
        grad = tree.floating(grad)
        return jax.tree.map(
            lambda g, counted: jnp.where(counted & (g != 0), jnp.inf, jnp.zeros_like(g)),
            grad,
            strength.counted(self.weights, grad),
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf, unless the gradient is 0."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The smallest c with `conjugate(u / c) == 0`: inf, unless u is 0."""
        u = tree.floating(u)
        penalised = jax.tree.map(lambda u, s: jnp.where(jnp.isinf(s), 0, u), u, self._strengths(u))
        return jnp.where(tree.largest(penalised) == 0, 0.0, jnp.inf)

    def conjugate(self, u: PyTree) -> Array:
        """`sum_j u_j^2 / (2 s_j)`; an unpenalised entry gives 0 at u = 0 and inf elsewhere."""

        def entry(u: Array, s: Array) -> Array:
            flat = s == 0
            smooth = 0.5 * u * (u / jnp.where(flat, 1, s))  # no square: it may overflow
            return jnp.where(flat, jnp.where(u == 0, 0, jnp.inf), smooth)

        u = tree.floating(u)
        return tree.total(entry, u, self._strengths(u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where the weight is 0; None when no entry can be."""
        return strength.unpenalized(self.weights, w)

    def support(self, w: PyTree) -> PyTree:
        """Entries around which the penalty is smooth: all but the excluded ones."""
        w = tree.floating(w)
        return jax.tree.map(
            lambda w, s: jnp.broadcast_to(~jnp.isinf(s), w.shape), w, self._strengths(w)
        )

    def restrict(self, index: Any) -> "Ridge":
        """The penalty on some entries of one array of parameters."""
        return dataclasses.replace(self, weights=strength.take(self.weights, index))

    def _strengths(self, like: PyTree) -> PyTree:
        return strength.strengths(self.lam, self.weights, like)


def _finite(s: Array) -> Array:
    return jnp.where(jnp.isinf(s), 0, s)
