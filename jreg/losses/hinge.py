"""The squared hinge loss of support vector machines."""

from typing import ClassVar

import jax.numpy as jnp

from jreg import tree
from jreg.losses.responses import are_labels, check_labels
from jreg.typing import Array, ArrayLike


@tree.value_dataclass
class SquaredHinge:
    """`max(0, 1 - s eta)^2` with s = 1 where y > 0, else -1.

    Labels are {0, 1} or {-1, 1}; the sign of eta is the class. Chang, Hsieh and Lin (2008).

    >>> SquaredHinge().pointwise(jnp.array([0.0, 2.0]), jnp.array([1.0, 1.0]))
    Array([1., 0.], dtype=float32)
    """

    smoothness: ClassVar[float | None] = 2.0
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = False
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`max(0, 1 - s eta)^2`; its second derivative at the kink is 0, as in `curvature`."""
        slack = 1 - _sign(y) * eta
        return jnp.where(slack > 0, slack, 0 * slack) ** 2

    def gradient(self, eta: Array, y: Array) -> Array:
        """`-2 s max(0, 1 - s eta)`."""
        return -2 * _sign(y) * jnp.maximum(1 - _sign(y) * eta, 0)

    def curvature(self, eta: Array, y: Array) -> Array:
        """2 where s eta < 1, else 0."""
        slack = 1 - _sign(y) * eta
        return jnp.where(slack > 0, 2, 0 * slack)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`v + v^2 / 4` with v = s u <= 0; infinite outside."""
        v = _sign(y) * u
        return jnp.where(v > 0, jnp.inf, v + 0.25 * v**2)

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """`(max(0, m) + v/2)^2 + v min(0, m)` with the slack m = 1 - s eta and v = s u <= 0."""
        v, slack = _sign(y) * u, 1 - _sign(y) * eta
        term = (jnp.maximum(slack, 0) + 0.5 * v) ** 2 + v * jnp.minimum(slack, 0)
        return jnp.where(v > 0, jnp.inf, term)

    def prox(self, v: Array, y: Array, t: Array) -> Array:
        """`v + 2 t s max(0, 1 - s v) / (1 + 2 t)`."""
        return v + (2 * t / (1 + 2 * t)) * _sign(y) * jnp.maximum(1 - _sign(y) * v, 0)

    def inverse_link(self, eta: Array) -> Array:
        """The decision value eta: the hinge loss has no probabilities (use `classify`)."""
        return eta

    def classify(self, eta: Array) -> Array:
        """1 where the decision value is positive, else 0."""
        return (eta > 0).astype(int)

    def deviance(self, eta: Array, y: Array) -> Array:
        """Twice the loss, which is 0 beyond the margin."""
        return 2 * self.pointwise(eta, y)

    def in_domain(self, y: Array) -> Array:
        """0 and 1, or -1 and 1; a mixture of 0 and -1 has no meaning."""
        return are_labels(y)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError unless the labels are within {0, 1} or within {-1, 1}."""
        check_labels(y, "SquaredHinge")


def _sign(y: Array) -> Array:
    """Labels {0, 1} or {-1, 1} as {-1, 1}; NaN stays."""
    return jnp.where(y > 0, 1, -1) + 0 * y
