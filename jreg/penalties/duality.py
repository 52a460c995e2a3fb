"""The Fenchel conjugate and the Moreau envelope of a penalty.

Moreau (1965); Beck (2017), sections 6.6 and 6.7.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.penalties.wrapper import (
    Wrapper,
    clean,
    fixed_point_residual,
    infinite,
    like,
    optional,
    positive,
)
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class Conjugate(Wrapper):
    """`f*(u) = sup_w <u, w> - f(w)`: see `conjugate`."""

    penalty: Any

    homogeneous: ClassVar[bool] = False
    polar: ClassVar[None] = None
    smooth: ClassVar[bool] = False
    entry: ClassVar[None] = None

    def value(self, w: PyTree) -> Array:
        """`f*(w)`; TypeError if f knows no conjugate."""
        f = optional(self.penalty, "conjugate")
        if f is None:
            raise TypeError(f"{type(self.penalty).__name__} has no conjugate in closed form")
        return f(w)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`v - step prox_f(v / step; 1 / step)`, Moreau's identity; v for step 0."""
        v = tree.floating(v)
        still = jax.tree.map(lambda t: t == 0, like(step, v))
        t = jax.tree.map(lambda t, still: jnp.where(still, 1, t), like(step, v), still)
        over = jax.tree.map(lambda v, t: v / t, v, t)
        z = self.penalty.prox(over, jax.tree.map(lambda t: 1 / t, t))
        return clean(
            jax.tree.map(
                lambda v, t, z, still: jnp.where(still, v, v - t * z), v, t, z, still
            )
        )  # fmt: skip

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """A lower bound of it, 0 at the same points: `|w - prox(w - grad; 1)|`."""
        return fixed_point_residual(self, w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf: a stronger f does not make a stronger f*."""
        return infinite(grad_at_zero)

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """None: where f is free, f* holds at 0."""
        del w
        return None

    def support(self, w: PyTree) -> PyTree:
        """No entry for certain."""
        return jax.tree.map(lambda w: jnp.zeros(w.shape, bool), tree.floating(w))

    @property
    def conjugate(self) -> Callable[[PyTree], Array]:
        """f, which is convex and closed."""
        return self.penalty.value

    @property
    def restrict(self) -> Callable[[Any], "Conjugate"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda index: Conjugate(f(index))


@tree.dataclass
class Envelope(Wrapper):
    """`min_z f(z) + |z - w|^2 / (2 mu)`: see `envelope`."""

    penalty: Any
    mu: Scalar = 1.0

    homogeneous: ClassVar[bool] = False
    smooth: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"mu": (1e-30, 1e30)}
    polar: ClassVar[None] = None
    entry: ClassVar[None] = None

    def __post_init__(self) -> None:
        checks.number("mu", self.mu, low=1e-30, high=1e30)

    def value(self, w: PyTree) -> Array:
        """The envelope; its derivative is `gradient(w)`, of every order that the prox has."""
        w = tree.floating(w)
        return _envelope(self.penalty, self._mu(w), w)

    def gradient(self, w: PyTree) -> PyTree:
        """`(w - prox_f(w; mu)) / mu`, Lipschitz with constant 1/mu if f is convex."""
        w = tree.floating(w)
        z = self.penalty.prox(w, self._mu(w))
        return jax.tree.map(lambda w, z: (w - z) / self._mu(w), w, z)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`v + step / (step + mu) (prox_f(v; step + mu) - v)`."""
        v, mu = tree.floating(v), positive(self.mu, tree.dtype(tree.floating(v)))
        z = self.penalty.prox(v, jax.tree.map(lambda h: h + mu, step))
        return clean(jax.tree.map(lambda v, z, h: v + h / (h + mu) * (z - v), v, z, like(step, v)))

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """`|grad + gradient(w)|`: the envelope is smooth."""
        return jax.tree.map(
            lambda g, slope: jnp.abs(g + slope), tree.floating(grad), self.gradient(w)
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf: a smooth penalty gives no zeros."""
        return infinite(grad_at_zero)

    def support(self, w: PyTree) -> PyTree:
        """All entries."""
        return jax.tree.map(lambda w: jnp.ones(w.shape, bool), tree.floating(w))

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """`f*(u) + mu/2 |u|^2`."""
        f = optional(self.penalty, "conjugate")
        if f is None:
            return None

        def of(u: PyTree) -> Array:
            u = tree.floating(u)
            return f(u) + tree.total(lambda u: 0.5 * self._mu(u) * u * u, u)

        return of

    @property
    def restrict(self) -> Callable[[Any], "Envelope"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda index: Envelope(f(index), self.mu)

    def _mu(self, w: PyTree) -> Array:
        return positive(self.mu, tree.dtype(w))


@jax.custom_jvp
def _envelope(penalty: Any, mu: Array, w: PyTree) -> Array:
    z = penalty.prox(w, mu)
    return penalty.value(z) + tree.total(lambda w, z: (w - z) ** 2 / (2 * mu), w, z)


@_envelope.defjvp
def _envelope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """By Danskin's theorem the minimiser z counts as constant."""
    penalty, mu, w = primals
    dpenalty, dmu, dw = tangents
    z = penalty.prox(w, mu)
    _, inner = jax.jvp(lambda p: p.value(z), (penalty,), (dpenalty,))
    along = tree.total(lambda w, z, dw: (w - z) / mu * dw, w, z, dw)
    width = tree.total(lambda w, z: -((w - z) ** 2) / (2 * mu**2), w, z)
    return _envelope(penalty, mu, w), inner + along + width * dmu


def conjugate(penalty: Any) -> Conjugate:
    """`f*(u) = sup_w <u, w> - f(w)` of a convex f, with the prox of Moreau's identity.

    That of a norm is the indicator of the ball of its dual norm, and the prox the projection on it.
    `at` varies the strength of f. `kkt_distance` is a lower bound. Raises ValueError if f is not
    convex.

    >>> from jreg.penalties.l1 import L1
    >>> conjugate(L1(1.0)).prox(jnp.array([3.0, -0.5]), step=2.0)
    Array([ 1. , -0.5], dtype=float32)
    """
    if not penalty.convex:
        raise ValueError(f"{type(penalty).__name__} is not convex: Moreau's identity needs that")
    return Conjugate(penalty)


def envelope(penalty: Any, mu: Scalar) -> Envelope:
    """`min_z f(z) + |z - w|^2 / (2 mu)`, the Moreau envelope: f made smooth, with its minimisers.

    mu > 0: width of the smoothing; the gradient is `(w - prox_f(w; mu)) / mu`. That of `lam |w|` is
    Huber's function. Raises ValueError for a concrete mu that is not above 0; a traced one gives
    NaN. If f is not convex, the gradient is one of a minimiser where there are several.

    >>> from jreg.penalties.l1 import L1
    >>> envelope(L1(1.0), mu=0.5).value(jnp.array([0.2, -2.0]))
    Array(1.79, dtype=float32)
    """
    return Envelope(penalty, mu)
