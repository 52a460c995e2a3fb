"""Losses of positive responses under a log link: `Poisson` and `Gamma`.

Both are Kullback-Leibler divergences: with mu = exp(eta) the Poisson loss exceeds its saturated
value by `D(y, mu)` and the Gamma loss by `D(1, y / mu)`, D(q, m) = m - q - q log(m / q). Curvature
is unbounded, so neither has a smoothness; their Bregman distance is in closed form instead.
McCullagh and Nelder (1989), sections 6.2 and 8.2.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.losses.divergence import divergence
from jreg.losses.responses import refuse
from jreg.typing import Array, ArrayLike


def _log(q: Array) -> Array:
    """log q for q > 0; 0 elsewhere, where it is not used."""
    return jnp.log(jnp.where(q > 0, q, 1))


@tree.value_dataclass
class Poisson:
    """Poisson log-likelihood under the log link, `exp(eta) - y eta`, for counts y >= 0.

    y need not be whole (rates are counts per exposure); eta is the log of the mean. Overflows to
    `inf`, never NaN, beyond eta = 88 in float32.

    >>> Poisson().gradient(jnp.array([0.0, 0.0]), jnp.array([1.0, 3.0]))
    Array([ 0., -2.], dtype=float32)
    """

    smoothness: ClassVar[float | None] = None
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`exp(eta) - y eta`, without the constant log y!."""
        return jnp.exp(eta) - y * eta

    def gradient(self, eta: Array, y: Array) -> Array:
        """`exp(eta) - y`."""
        return jnp.exp(eta) - y

    def curvature(self, eta: Array, y: Array) -> Array:
        """`exp(eta)`."""
        del y
        return jnp.exp(eta)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`q log q - q` with q = u + y >= 0; infinite outside."""
        q = u + y
        return jnp.where(q < 0, jnp.inf, q * (_log(q) - 1))

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """`D(u + y, exp(eta))`."""
        q = u + y
        return jnp.where(q < 0, jnp.inf, divergence(q, _log(q), eta))

    def bregman(self, new: Array, old: Array, y: Array) -> Array:
        """`D(exp(old), exp(new))`, the loss at new above its tangent at old."""
        del y
        return divergence(jnp.exp(old), old, new)

    def inverse_link(self, eta: Array) -> Array:
        """The mean, `exp(eta)`."""
        return jnp.exp(eta)

    def shift(self, eta: Array, y: Array, weight: Array) -> Array:
        """`log(sum s y) - log(sum s exp(eta))`, the best constant to add to eta."""
        return jnp.log(jnp.sum(weight * y)) - jax.nn.logsumexp(eta, b=weight)

    def deviance(self, eta: Array, y: Array) -> Array:
        """`2 [y log(y / mu) - (y - mu)]`."""
        return 2 * self.fenchel_young(eta, y, jnp.zeros_like(y))

    def in_domain(self, y: Array) -> Array:
        """Finite and at least 0."""
        return jnp.isfinite(y) & (y >= 0)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError for negative counts, NaN or inf."""
        y = np.asarray(y)
        refuse(y, ~(np.isfinite(y) & (y >= 0)), "y must hold counts, at least 0, for Poisson")

    def check_intercept(self, y: ArrayLike) -> None:
        """Raise ValueError where all counts are 0: the best intercept is -inf."""
        if not np.any(np.asarray(y)):
            raise ValueError(
                "y is 0 everywhere, so the best intercept is infinite; "
                "give a positive count, or fit_intercept=False"
            )


@tree.value_dataclass
class Gamma:
    """Gamma log-likelihood under the log link, `eta + y exp(-eta)`, for responses y > 0.

    eta is the log of the mean. Overflows to `inf`, never NaN, below eta = -88 in float32.

    >>> Gamma().gradient(jnp.array([0.0, 0.0]), jnp.array([1.0, 3.0]))
    Array([ 0., -2.], dtype=float32)
    """

    smoothness: ClassVar[float | None] = None
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`eta + y exp(-eta)`."""
        return eta + self._ratio(eta, y)

    def gradient(self, eta: Array, y: Array) -> Array:
        """`1 - y exp(-eta)`."""
        return 1 - self._ratio(eta, y)

    def curvature(self, eta: Array, y: Array) -> Array:
        """`y exp(-eta)`."""
        return self._ratio(eta, y)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`r log(r / y) - r` with r = 1 - u >= 0; infinite outside."""
        r = 1 - u
        return jnp.where(r < 0, jnp.inf, r * (_log(r) - jnp.log(y) - 1))

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """`D(1 - u, y exp(-eta))`."""
        r = 1 - u
        return jnp.where(r < 0, jnp.inf, divergence(r, _log(r), jnp.log(y) - eta))

    def bregman(self, new: Array, old: Array, y: Array) -> Array:
        """`D(y exp(-old), y exp(-new))`, the loss at new above its tangent at old."""
        log_y = jnp.log(y)
        return divergence(self._ratio(old, y), log_y - old, log_y - new)

    def inverse_link(self, eta: Array) -> Array:
        """The mean, `exp(eta)`."""
        return jnp.exp(eta)

    def shift(self, eta: Array, y: Array, weight: Array) -> Array:
        """`log(sum s y exp(-eta)) - log(sum s)`, the best constant to add to eta."""
        return jax.nn.logsumexp(-eta, b=weight * y) - jnp.log(jnp.sum(weight))

    def deviance(self, eta: Array, y: Array) -> Array:
        """`2 [(y - mu) / mu - log(y / mu)]`."""
        return 2 * self.fenchel_young(eta, y, jnp.zeros_like(y))

    def in_domain(self, y: Array) -> Array:
        """Finite and positive."""
        return jnp.isfinite(y) & (y > 0)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError for zeros, negative numbers, NaN or inf."""
        y = np.asarray(y)
        refuse(y, ~(np.isfinite(y) & (y > 0)), "y must be positive for Gamma")

    @staticmethod
    def _ratio(eta: Array, y: Array) -> Array:
        """`y / mu`, from logarithms: y exp(-eta) may be finite where exp(-eta) is not."""
        return jnp.exp(jnp.log(y) - eta)
