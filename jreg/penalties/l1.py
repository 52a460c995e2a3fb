"""The lasso penalty and its one-sided and asymmetric relatives."""

from math import inf
from typing import Any, ClassVar

import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties.separable import Separable, flat_or_infinite, parameter
from jreg.typing import Array, Scalar


@tree.dataclass
class L1(Separable):
    """`lam * sum_j v_j |w_j|`, the lasso penalty. Tibshirani (1996).

    lam: strength >= 0, in units of the loss per unit of w. weights: per-feature factors v_j like
    the coefficients (never rescaled); 0 leaves a feature unpenalised, inf excludes it. Raises
    ValueError for concrete negative values; traced ones give NaN and `Status.NOT_FINITE`.

    >>> L1(0.5).prox(jnp.array([2.0, -0.2]), step=1.0)
    Array([1.5, 0. ], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    homogeneous: ClassVar[bool] = True

    def _value(self, w: Array, s: Array) -> Array:
        return jnp.where(w == 0, 0, s) * jnp.abs(w)  # the gradient at 0 is 0

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.soft_threshold(v, step * s)

    def _slope(self, w: Array, s: Array) -> Array:
        return s * jnp.sign(w)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return -s, s

    def _conjugate(self, u: Array, s: Array) -> Array:
        return flat_or_infinite(jnp.abs(u) - s, s)


@tree.dataclass
class NonNegativeL1(Separable):
    """`lam * sum_j v_j w_j` on w >= 0, inf elsewhere.

    The non-negative lasso, scikit-learn's `positive=True`. lam and weights as in `L1`; a feature of
    weight 0 is still non-negative. Efron, Hastie, Johnstone and Tibshirani (2004), section 3.4.

    >>> NonNegativeL1(0.5).prox(jnp.array([2.0, -3.0]), step=1.0)
    Array([1.5, 0. ], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    homogeneous: ClassVar[bool] = True

    def _value(self, w: Array, s: Array) -> Array:
        return jnp.where(w < 0, jnp.inf, jnp.where(w == 0, 0, s) * w)

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.nonnegative_soft_threshold(v, step * s)

    def _slope(self, w: Array, s: Array) -> Array:
        return jnp.where(w < 0, -jnp.inf, s)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return jnp.full_like(s, -jnp.inf), s

    def _conjugate(self, u: Array, s: Array) -> Array:
        return flat_or_infinite(u - s, s)


@tree.dataclass
class AsymmetricL1(Separable):
    """`lam * sum_j v_j max(above w_j, -below w_j)`: one slope for each sign.

    above, below: slopes >= 0 for positive and negative entries, finite. With `above = q` and
    `below = 1 - q` it is the check function of quantile regression. lam and weights as in `L1`.
    Koenker and Bassett (1978); Combettes and Pesquet (2007), example 2.

    >>> AsymmetricL1(1.0, above=2.0, below=1.0).prox(jnp.array([-3.0, 1.0, 6.0]), step=1.0)
    Array([-2.,  0.,  4.], dtype=float32)
    """

    lam: Scalar = 1.0
    above: Scalar = 1.0
    below: Scalar = 1.0
    weights: Any = None

    homogeneous: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "above": (0, 1e30),
        "below": (0, 1e30),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        low, high = self._kink(s)
        return jnp.where(w == 0, 0, jnp.where(w > 0, high, low)) * w

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        low, high = self._kink(s)
        return prox.asymmetric_soft_threshold(v, -step * low, step * high)

    def _slope(self, w: Array, s: Array) -> Array:
        low, high = self._kink(s)
        return jnp.where(w > 0, high, low)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return -parameter(self, "below", s) * s, parameter(self, "above", s) * s

    def _conjugate(self, u: Array, s: Array) -> Array:
        low, high = self._kink(s)
        return flat_or_infinite(jnp.maximum(u - high, low - u), jnp.maximum(high, -low))
