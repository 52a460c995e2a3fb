"""Losses of a linear predictor: `Squared` and `Logistic`.

A loss is a pure function of `eta` (the linear predictor) and `y`, one number per sample; problems
take the weighted mean. Every member has the pieces of `jreg.typing.Loss`. Its Fenchel conjugate in
eta, `conjugate(u, y) = sup_eta u eta - pointwise(eta, y)`, and the Fenchel-Young term
`pointwise(eta, y) + conjugate(u, y) - u eta >= 0` make the duality gap; the latter is written
without cancellation, so that a gap in float32 means something.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy

from jreg import tree
from jreg.losses.divergence import divergence
from jreg.losses.responses import are_labels, check_labels, over_outputs, positive, refuse
from jreg.typing import Array, ArrayLike


@tree.value_dataclass
class Squared:
    """Half the squared error, `1/2 (eta - y)^2`, for a real response y in any units.

    y and eta are (n_samples,), or both (n_samples, n_outputs) with n_outputs >= 2 for several
    responses, over which the loss of a sample is summed.

    >>> Squared().pointwise(jnp.array([1.0]), jnp.array([3.0]))
    Array([2.], dtype=float32)
    """

    smoothness: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True
    quadratic: ClassVar[bool] = True
    translates: ClassVar[bool] = True

    def outputs(self, row: tuple[int, ...]) -> tuple[int, ...] | None:
        """As many outputs as responses: rows of eta have the shape of rows of y."""
        return row if row == () or (len(row) == 1 and row[0] >= 2) else None

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`1/2 (eta - y)^2`, units of y squared; (n_samples,)."""
        return over_outputs(0.5 * (eta - y) ** 2)

    def gradient(self, eta: Array, y: Array) -> Array:
        """`eta - y`."""
        return eta - y

    def curvature(self, eta: Array, y: Array) -> Array:
        """1."""
        del y
        return jnp.ones_like(eta)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`1/2 u^2 + u y`."""
        return over_outputs(0.5 * u**2 + u * y)

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """`1/2 (eta - y - u)^2`."""
        return over_outputs(0.5 * (eta - y - u) ** 2)

    def prox(self, v: Array, y: Array, t: Array) -> Array:
        """`(v + t y) / (1 + t)`."""
        return (v + t * y) / (1 + t)

    def inverse_link(self, eta: Array) -> Array:
        """The mean is eta itself."""
        return eta

    def deviance(self, eta: Array, y: Array) -> Array:
        """`(eta - y)^2`, twice the loss above the saturated model."""
        return over_outputs((eta - y) ** 2)

    def in_domain(self, y: Array) -> Array:
        """Every finite number is a response."""
        return jnp.isfinite(y)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError unless every y is finite."""
        refuse(y, ~np.isfinite(np.asarray(y)), "y must be finite")


@tree.value_dataclass
class Logistic:
    """Binomial log-likelihood, `log(1 + exp(eta)) - t eta`, with t = 1 where y > 0, else 0.

    Labels are {0, 1} or {-1, 1}; eta is the log-odds of the positive class.

    >>> Logistic().inverse_link(jnp.array([0.0]))
    Array([0.5], dtype=float32)
    """

    smoothness: ClassVar[float | None] = 0.25
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def pointwise(self, eta: Array, y: Array) -> Array:
        """`log(1 + exp(eta)) - t eta`, in nats; no overflow for any finite eta."""
        return jax.nn.softplus(jnp.where(positive(y) == 1, -eta, eta)) + 0 * y

    def gradient(self, eta: Array, y: Array) -> Array:
        """`sigmoid(eta) - t`, accurate in both tails."""
        t = positive(y)
        return jnp.where(t == 1, -jax.nn.sigmoid(-eta), jax.nn.sigmoid(eta)) + 0 * y

    def curvature(self, eta: Array, y: Array) -> Array:
        """`sigmoid(eta) sigmoid(-eta)`, at most 1/4."""
        del y
        return jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)

    def conjugate(self, u: Array, y: Array) -> Array:
        """`q log q + (1 - q) log(1 - q)` with q = u + t in [0, 1]; infinite outside."""
        q, rest = _probabilities(u, y)
        inside = (q >= 0) & (rest >= 0)
        q, rest = jnp.where(inside, q, 1), jnp.where(inside, rest, 0)
        return jnp.where(inside, xlogy(q, q) + xlogy(rest, rest), jnp.inf) + 0 * y

    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array:
        """Kullback-Leibler divergence of Bernoulli(q), q = u + t, from Bernoulli(sigmoid(eta))."""
        q, rest = _probabilities(u, y)
        inside = (q >= 0) & (rest >= 0)
        q, rest = jnp.where(inside, q, 1), jnp.where(inside, rest, 0)
        # log1p for the one of q and 1 - q that is near 1 where u is small
        label = positive(y) == 1
        near = jnp.log1p(-jnp.minimum(jnp.abs(u), 0.5))
        log_q = jnp.where(label & (u >= -0.5), near, _log(q))
        log_rest = jnp.where(~label & (u <= 0.5), near, _log(rest))
        term = divergence(q, log_q, -jax.nn.softplus(-eta))
        term = term + divergence(rest, log_rest, -jax.nn.softplus(eta))
        return jnp.where(inside, term, jnp.inf) + 0 * y

    def inverse_link(self, eta: Array) -> Array:
        """Probability of the positive class."""
        return jax.nn.sigmoid(eta)

    def classify(self, eta: Array) -> Array:
        """1 where the positive class is the likelier one, else 0."""
        return (eta > 0).astype(int)

    def deviance(self, eta: Array, y: Array) -> Array:
        """Twice the loss; the saturated model has likelihood 1."""
        return 2 * self.pointwise(eta, y)

    def in_domain(self, y: Array) -> Array:
        """0 and 1, or -1 and 1; a mixture of 0 and -1 has no meaning."""
        return are_labels(y)

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError unless the labels are within {0, 1} or within {-1, 1}."""
        check_labels(y, "Logistic")

    def check_intercept(self, y: ArrayLike) -> None:
        """Raise ValueError for a single class: the best intercept is infinite."""
        y = np.asarray(y)
        if np.unique(y).size < 2:
            raise ValueError(
                f"y has a single class ({y.flat[0]:g}), so the best intercept is infinite; "
                "give both classes, or fit_intercept=False"
            )


def _log(q: Array) -> Array:
    """log q for q > 0; 0 elsewhere, where it is not used."""
    return jnp.log(jnp.where(q > 0, q, 1))


def _probabilities(u: Array, y: Array) -> tuple[Array, Array]:
    """(q, 1 - q) for q = u + t, each without cancellation: one of them is -u or u itself."""
    t = positive(y)
    return jnp.where(t == 1, 1 + u, u), jnp.where(t == 1, -u, 1 - u)
