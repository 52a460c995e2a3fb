"""Piecewise losses of the residual: `Huber`, `Pinball` and `SmoothedPinball`.

All three are one function of e = eta - y,

    envelope(e) = max_{low <= g <= high} g e - width/2 g^2,

the Moreau envelope of the support function of [low, high]: Huber has [-delta, delta] and width 1,
the pinball loss [-quantile, 1 - quantile] and width 0. The maximiser g is the gradient, and the
conjugate is `u y + width/2 u^2` on [low, high]. Moreau (1965); Nesterov (2005), section 2.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.losses.parameters import check_inside, inside
from jreg.losses.responses import refuse
from jreg.typing import Array, ArrayLike, Scalar


class _Residual:
    """What the three share: everything follows from `_interval()`, (low, high, width)."""

    translates: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False
    strictly_convex: ClassVar[bool] = False

    def _interval(self) -> tuple[Array, Array, Array]:
        raise NotImplementedError

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`g (eta - y) - width/2 g^2` with g the gradient."""
        g = self.gradient(eta, y)
        return g * (eta - y - 0.5 * self._interval()[2] * g)

    def gradient(self, eta: Array, y: Array) -> Array:
        """`clip((eta - y) / width, low, high)`; for width 0 a subgradient, 0 where eta = y."""
        low, high, width = self._interval()
        e = eta - y
        curved = jnp.clip(e / jnp.where(width > 0, width, 1), low, high)
        side = jnp.where(e > 0, high, jnp.where(e < 0, low, 0 * e))
        return jnp.where(width > 0, curved, side)

    def curvature(self, eta: Array, y: Array) -> Array:
        """`1 / width` where low < (eta - y) / width < high, else 0."""
        low, high, width = self._interval()
        e = eta - y
        within = (e > low * width) & (e < high * width)
        steep = 1 / jnp.where(width > 0, width, 1)
        return jnp.where(within & (width > 0), steep, 0 * e)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`u y + width/2 u^2` for low <= u <= high (to rounding), infinite outside."""
        width = self._interval()[2]
        return jnp.where(self._outside(u), jnp.inf, u * y + 0.5 * width * u**2)

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """`(u - low) (low width - e)_+ + (high - u) (e - high width)_+ + width/2 (u - g)^2`."""
        low, high, width = self._interval()
        e, g = eta - y, self.gradient(eta, y)
        below = jnp.maximum(u - low, 0) * jnp.maximum(low * width - e, 0)
        above = jnp.maximum(high - u, 0) * jnp.maximum(e - high * width, 0)
        return jnp.where(self._outside(u), jnp.inf, below + above + 0.5 * width * (u - g) ** 2)

    def prox(self, v: Array, y: Array, t: Array) -> Array:
        """`argmin_z t loss(z, y) + 1/2 (z - v)^2 = v - t clip((v - y) / (width + t), low, high)`.

        v and y of one shape; the step t > 0 a scalar or like v.
        """
        low, high, width = self._interval()
        e = v - y
        # written so that z = y comes out exactly where the pinball loss sticks to y
        inner = jnp.where(width > 0, y + e * (width / (width + t)), y + 0 * e)
        z = jnp.where(e > high * (width + t), v - t * high, inner)
        return jnp.where(e < low * (width + t), v - t * low, z)

    def inverse_link(self, eta: Array) -> Array:
        """The fitted value is eta itself."""
        return eta

    def deviance(self, eta: Array, y: Array) -> Array:
        """Twice the loss, which is 0 at eta = y."""
        return 2 * self.pointwise(eta, y)

    def in_domain(self, y: Array) -> Array:
        """Every finite number is a response."""
        return jnp.isfinite(y)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError unless every y is finite."""
        refuse(y, ~np.isfinite(np.asarray(y)), "y must be finite")

    def _outside(self, u: Array) -> Array:
        """Whether u leaves [low, high] by more than rounding."""
        low, high, _ = self._interval()
        rounding = 4 * jnp.finfo(u.dtype).eps
        return (u < low * (1 + rounding)) | (u > high * (1 + rounding))


@tree.value_dataclass
class Huber(_Residual):
    """Huber's loss: `1/2 e^2` for |e| <= delta, else `delta (|e| - delta/2)`, e = eta - y.

    delta > 0 is in units of y: residuals beyond it count linearly. Huber (1964).

    >>> Huber(1.0).pointwise(jnp.array([0.5, 3.0]), jnp.zeros(2))
    Array([0.125, 2.5  ], dtype=float32)
    """

    delta: Scalar = 1.0

    smoothness: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_inside("delta", self.delta, 0)

    def _interval(self) -> tuple[Array, Array, Array]:
        delta = inside(self.delta, 0)
        return -delta, delta, jnp.ones_like(delta)


@tree.value_dataclass
class Pinball(_Residual):
    """The loss of a quantile: `quantile r` for r = y - eta > 0, else `(quantile - 1) r`.

    0 < quantile < 1. It has a prox in eta but no gradient at eta = y: solvers that need a smooth
    loss take `SmoothedPinball`. Koenker and Bassett (1978).

    >>> Pinball(0.75).pointwise(jnp.zeros(2), jnp.array([1.0, -1.0]))
    Array([0.75, 0.25], dtype=float32)
    """

    quantile: Scalar = 0.5

    smoothness: ClassVar[float | None] = None
    smooth: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_inside("quantile", self.quantile, 0, 1)

    def _interval(self) -> tuple[Array, Array, Array]:
        quantile = inside(self.quantile, 0, 1)
        return -quantile, 1 - quantile, jnp.zeros_like(quantile)


@tree.value_dataclass
class SmoothedPinball(_Residual):
    """The Moreau envelope of `Pinball`: a parabola for -(1 - quantile) width < r < quantile width.

    0 < quantile < 1; width > 0 in units of y. Below the pinball loss by at most
    `width/2 max(quantile, 1 - quantile)^2`, so a fit is optimal for `Pinball` to that. A small
    width is close and slow, since the curvature is 1 / width.

    >>> SmoothedPinball(0.5, width=1.0).pointwise(jnp.zeros(2), jnp.array([0.25, 2.0]))
    Array([0.03125, 0.875  ], dtype=float32)
    """

    quantile: Scalar = 0.5
    width: Scalar = 0.1

    smooth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_inside("quantile", self.quantile, 0, 1)
        check_inside("width", self.width, 0)

    @property
    def smoothness(self) -> Array:
        """`1 / width`."""
        return 1 / inside(self.width, 0)

    def _interval(self) -> tuple[Array, Array, Array]:
        quantile = inside(self.quantile, 0, 1)
        return -quantile, 1 - quantile, inside(self.width, 0)
