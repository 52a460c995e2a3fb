"""The maximum norm."""

import jax.numpy as jnp

from jreg import tree
from jreg.penalties.coupled import Coupled
from jreg.prox import ordered
from jreg.typing import Array, Scalar


@tree.dataclass
class Linf(Coupled):
    """`lam * max_j |w_j|`: many entries end at one common size.

    lam: strength >= 0, in units of the loss per unit of w. Its dual norm is the L1 norm. Raises
    ValueError for a concrete negative lam; a traced one gives NaN. Beck (2017), example 6.48;
    Fuchs (2011).

    >>> Linf(1.5).prox(jnp.array([3.0, -1.0, 0.5, 2.0]), step=1.0)
    Array([ 1.75, -1.  ,  0.5 ,  1.75], dtype=float32)
    """

    lam: Scalar = 1.0

    def _value(self, w: Array) -> Array:
        return jnp.max(jnp.sign(w) * w, initial=0)

    def _prox(self, v: Array, t: Array) -> Array:
        return ordered.linf(v, t)

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        """The directional derivative is the largest outward move of the largest entries."""
        size = jnp.abs(w)
        top = jnp.max(size, initial=0)
        outward = jnp.where(top == 0, jnp.sign(u), jnp.sign(w))
        pushed = jnp.where(size == top, outward * u, 0)
        level = ordered.water_level(pushed, s, where=size == top)
        level = jnp.where(top == 0, jnp.maximum(level, 0), level)
        return jnp.where(size == top, outward * jnp.minimum(pushed, level), u)

    def _gauge(self, u: Array) -> Array:
        return jnp.sum(jnp.sign(u) * u)

    def _smooth(self, w: Array) -> Array:
        """Entries below the largest, and a largest that is alone and not 0."""
        size = jnp.abs(w)
        largest = size == jnp.max(size, initial=0)
        return ~largest | ((jnp.sum(largest) == 1) & (size > 0))
