"""Elastic net, of which the lasso and ridge penalties are the ends."""

from math import inf
from typing import Any, ClassVar

import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties.separable import Separable, flat_or_infinite, parameter
from jreg.typing import Array, Scalar


@tree.dataclass
class ElasticNet(Separable):
    """`lam * sum_j v_j (l1_ratio |w_j| + (1 - l1_ratio)/2 w_j^2)`. Zou and Hastie (2005).

    lam: strength >= 0, in units of the loss. l1_ratio: share of the L1 part in [0, 1]; 1 is the
    lasso, 0 is ridge. weights: per-feature factors v_j like the coefficients (never rescaled); 0
    leaves a feature unpenalised, inf excludes it. Raises ValueError for concrete values outside
    these ranges; traced ones give NaN and `Status.NOT_FINITE`.

    >>> ElasticNet(0.5, l1_ratio=0.5).value(jnp.array([1.0, -2.0]))
    Array(1.375, dtype=float32)
    """

    lam: Scalar = 1.0
    l1_ratio: Scalar = 0.5
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "l1_ratio": (0, 1),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        s1, s2 = self._parts(s)
        return jnp.where(w == 0, 0, s1) * jnp.abs(w) + 0.5 * s2 * w**2

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        s1, s2 = self._parts(s)
        return prox.elastic_net(v, step * s1, step * s2)

    def _slope(self, w: Array, s: Array) -> Array:
        s1, s2 = self._parts(s)
        return s1 * jnp.sign(w) + s2 * w

    def _kink(self, s: Array) -> tuple[Array, Array]:
        s1, _ = self._parts(s)
        return -s1, s1

    def _conjugate(self, u: Array, s: Array) -> Array:
        s1, s2 = self._parts(s)
        excess = jnp.maximum(jnp.abs(u) - s1, 0)
        flat = s2 == 0
        smooth = excess**2 / (2 * jnp.where(flat, 1, s2))
        return jnp.where(flat, flat_or_infinite(excess, s1), smooth)

    def _parts(self, s: Array) -> tuple[Array, Array]:
        """Strengths of the L1 and of the quadratic part."""
        ratio = parameter(self, "l1_ratio", s)
        return ratio * s, (1 - ratio) * s
