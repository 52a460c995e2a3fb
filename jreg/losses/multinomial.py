"""The multinomial logistic loss."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.losses.divergence import divergence
from jreg.losses.responses import refuse, shown
from jreg.typing import Array, ArrayLike


@tree.value_dataclass
class Multinomial:
    """Multinomial log-likelihood, `log sum_j exp(eta_j) - eta_y`, for classes y = 0 .. k - 1.

    y is (n_samples,), whole numbers in any dtype; eta is (n_samples, n_classes), the coefficients
    (n_features, n_classes), all classes alike: a constant added to a row of eta changes nothing,
    so without a penalty (of the intercept, say) only differences between classes mean something.
    n_classes >= 2 is part of the structure. Boehning (1992).

    >>> Multinomial(4).gradient(jnp.zeros((1, 4)), jnp.array([2.0])).tolist()
    [[0.25, 0.25, -0.75, 0.25]]
    """

    n_classes: int = tree.static()

    smoothness: ClassVar[float | None] = 0.5
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True  # but for the constant of each row
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.n_classes, int | np.integer) or self.n_classes < 2:
            raise ValueError(f"n_classes must be a whole number >= 2; got {self.n_classes!r}")

    def outputs(self, row: tuple[int, ...]) -> tuple[int, ...] | None:
        """One output per class, for y (n_samples,)."""
        return (int(self.n_classes),) if row == () else None

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`log(1 + sum_{j != y} exp(eta_j - eta_y))`, in nats; keeps the digits of small losses."""
        return jax.nn.softplus(-self._margin(eta, y)) + 0 * y

    def gradient(self, eta: Array, y: Array) -> Array:
        """`softmax(eta) - e_y`, accurate in both tails; like eta."""
        wrong = -jax.nn.sigmoid(-self._margin(eta, y))
        nan = (0 * y)[:, None]
        return jnp.where(self._is_class(y), wrong[:, None], jax.nn.softmax(eta, axis=-1)) + nan

    def curvature(self, eta: Array, y: Array) -> Array:
        """`p (1 - p)`, the diagonal of `diag(p) - p p'`, p = softmax(eta); like eta."""
        del y
        p = jax.nn.softmax(eta, axis=-1)
        return p * (1 - p)

    def curvature_bound(self) -> Array:
        """Boehning's `1/2 (I - 1 1' / k)`, (k, k): above the curvature matrix at every eta."""
        k = int(self.n_classes)
        return 0.5 * (jnp.eye(k) - 1 / k)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`sum_j q_j log q_j` with q = u + e_y on the simplex (to rounding); infinite outside."""
        q, log_q = self._probabilities(u, y)
        return jnp.where(self._outside(u, q), jnp.inf, jnp.sum(q * log_q, axis=-1)) + 0 * y

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """Kullback-Leibler divergence of q = u + e_y from softmax(eta), every term at least 0."""
        q, log_q = self._probabilities(u, y)
        right = -jax.nn.softplus(-self._margin(eta, y))
        log_p = jnp.where(self._is_class(y), right[:, None], jax.nn.log_softmax(eta, axis=-1))
        terms = jnp.sum(divergence(jnp.maximum(q, 0), log_q, log_p), axis=-1)
        return jnp.where(self._outside(u, q), jnp.inf, terms) + 0 * y

    def inverse_link(self, eta: Array) -> Array:
        """Probabilities of the classes, `softmax(eta)`, along the last axis."""
        return jax.nn.softmax(eta, axis=-1)

    def classify(self, eta: Array) -> Array:
        """The likeliest class."""
        return jnp.argmax(eta, axis=-1)

    def shift(self, eta: Array, y: Array, weight: Array) -> Array:
        """Log-proportions of the classes, (k,): the best intercept where eta is 0."""
        del eta
        share = jnp.sum(weight[:, None] * self._is_class(y), axis=0)
        logs = jnp.log(share)
        return logs - jnp.mean(logs)

    def deviance(self, eta: Array, y: Array) -> Array:
        """Twice the loss; the saturated model has likelihood 1."""
        return 2 * self.pointwise(eta, y)

    def in_domain(self, y: Array) -> Array:
        """Whole numbers from 0 to n_classes - 1."""
        return (y >= 0) & (y < self.n_classes) & (y == jnp.floor(y))

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError unless every y is a whole number from 0 to n_classes - 1."""
        y = np.asarray(y)
        wrong = ~((y >= 0) & (y < self.n_classes) & (y == np.floor(y)))
        refuse(
            y,
            wrong,
            f"y must hold classes, whole numbers from 0 to {self.n_classes - 1}, "
            f"for Multinomial(n_classes={self.n_classes})",
        )

    def check_intercept(self, y: ArrayLike) -> None:
        """Raise ValueError where a class does not occur: its best intercept is -inf."""
        missing = np.setdiff1d(np.arange(self.n_classes), np.unique(np.asarray(y)))
        if missing.size:
            raise ValueError(
                f"y lacks the class {shown(missing)} of n_classes={self.n_classes}, so the best "
                "intercept is infinite; give every class, or fit_intercept=False"
            )

    def _is_class(self, y: Array) -> Array:
        """(n, k): whether the sample is of the class."""
        return y[:, None] == jnp.arange(self.n_classes, dtype=y.dtype)[None, :]

    def _margin(self, eta: Array, y: Array) -> Array:
        """`eta_y - log sum_{j != y} exp(eta_j)`."""
        mine = self._is_class(y)
        others = jax.nn.logsumexp(jnp.where(mine, -jnp.inf, eta), axis=-1)
        return jnp.sum(jnp.where(mine, eta, 0), axis=-1) - others

    def _probabilities(self, u: Array, y: Array) -> tuple[Array, Array]:
        """q = u + e_y and log q (0 where q <= 0)."""
        mine = self._is_class(y)
        q = jnp.where(mine, 1 + u, u)
        some = q > 0
        log_q = jnp.where(
            mine, jnp.log1p(jnp.where(some & mine, u, 0)), jnp.log(jnp.where(some & ~mine, q, 1))
        )
        return q, log_q

    def _outside(self, u: Array, q: Array) -> Array:
        """Whether q leaves the simplex by more than rounding."""
        rounding = 8 * u.shape[-1] * jnp.finfo(u.dtype).eps
        off = jnp.abs(jnp.sum(u, axis=-1)) > rounding
        return off | jnp.any(q < 0, axis=-1)
