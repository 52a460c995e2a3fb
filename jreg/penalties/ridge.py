"""The ridge penalty and its robust relative, Huber's."""

from math import inf
from typing import Any, ClassVar

import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties import strength
from jreg.penalties.separable import Separable, flat_or_infinite, parameter
from jreg.typing import Array, Scalar


@tree.dataclass
class Ridge(Separable):
    """`lam/2 * sum_j v_j w_j^2`. Hoerl and Kennard (1970).

    lam: strength >= 0, in units of the loss per squared unit of w. weights: per-feature factors
    v_j like the coefficients (never rescaled); 0 leaves a feature unpenalised, inf excludes it.
    Raises ValueError for concrete negative values; traced ones give NaN and `Status.NOT_FINITE`.

    >>> Ridge(3.0).prox(jnp.array([2.0]), step=1.0)
    Array([0.5], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """Unless a weight is infinite, which is a constraint."""
        return strength.finite(self.weights)

    def _value(self, w: Array, s: Array) -> Array:
        return 0.5 * s * w**2

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.ridge(v, step * s)

    def _slope(self, w: Array, s: Array) -> Array:
        return s * w

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return jnp.zeros_like(s), jnp.zeros_like(s)

    def _conjugate(self, u: Array, s: Array) -> Array:
        flat = s == 0
        smooth = 0.5 * u * (u / jnp.where(flat, 1, s))  # no square: it may overflow
        return jnp.where(flat, flat_or_infinite(jnp.abs(u), s), smooth)


@tree.dataclass
class Huber(Separable):
    """`lam * sum_j v_j h(w_j)`, h(w) = `w^2/2` for |w| <= delta, `delta (|w| - delta/2)` beyond.

    Shrinks small entries like ridge and large ones like the lasso, without zeros. delta: where it
    turns linear, > 0, in units of w. lam and weights as in `Ridge`. Huber (1964).

    >>> Huber(2.0, delta=1.0).prox(jnp.array([1.5, 4.0]), step=1.0)
    Array([0.5, 2. ], dtype=float32)
    """

    lam: Scalar = 1.0
    delta: Scalar = 1.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "delta": (1e-30, 1e30),
        "weights": (0, inf),
    }

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """Unless a weight is infinite, which is a constraint."""
        return strength.finite(self.weights)

    def _value(self, w: Array, s: Array) -> Array:
        delta = parameter(self, "delta", w)
        inner = jnp.clip(w, -delta, delta)
        return s * inner * (w - 0.5 * inner)

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.huber(v, step * s, parameter(self, "delta", v))

    def _slope(self, w: Array, s: Array) -> Array:
        delta = parameter(self, "delta", w)
        return s * jnp.clip(w, -delta, delta)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return jnp.zeros_like(s), jnp.zeros_like(s)

    def _conjugate(self, u: Array, s: Array) -> Array:
        flat, edge = s == 0, parameter(self, "delta", u) * s
        smooth = 0.5 * u * (u / jnp.where(flat, 1, s))
        beyond = flat_or_infinite(jnp.abs(u) - edge, edge)
        return jnp.where(beyond == 0, jnp.where(flat, 0, smooth), beyond)
