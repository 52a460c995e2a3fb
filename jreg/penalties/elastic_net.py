"""Elastic net, of which the lasso and ridge penalties are the ends."""

import dataclasses
from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, prox, tree
from jreg.penalties import strength
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class ElasticNet:
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

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "l1_ratio": (0, 1),
        "weights": (0, inf),
    }

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            checks.number(name, getattr(self, name), low=low, high=high)

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded entry is not 0."""

        def entry(w: Array, s1: Array, s2: Array) -> Array:
            kink = strength.scaled(jnp.where(w == 0, 0, s1), w, jnp.abs(w))
            return kink + strength.scaled(s2, w, 0.5 * w**2)

        w = tree.floating(w)
        return tree.total(entry, w, *self._parts(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`soft(v, step s1) / (1 + step s2)`; step is a scalar or like v."""
        v = tree.floating(v)
        s1, s2 = self._parts(v)
        t1, t2 = strength.times(step, s1, v), strength.times(step, s2, v)
        return jax.tree.map(prox.elastic_net, v, t1, t2)

    def at(self, c: Scalar) -> "ElasticNet":
        """The same penalty `c` times as strong."""
        return dataclasses.replace(self, lam=c * self.lam)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Distance of -grad from the subdifferential at w, entry by entry."""

        def entry(w: Array, g: Array, s1: Array, s2: Array) -> Array:
            at_zero = jnp.maximum(jnp.abs(g) - s1, 0)
            slope = jnp.where(w == 0, 0, s1) * jnp.sign(w) + jnp.where(w == 0, 0, s2) * w
            return jnp.where(w == 0, at_zero, jnp.abs(g + slope))

        w, grad = tree.floating(w), tree.floating(grad)
        return jax.tree.map(entry, w, grad, *self._parts(w))

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps it at 0, given the gradient there.

        0 for unpenalised and excluded entries; inf where the L1 part is 0.
        """

        def one(g: Array, s1: Array, counted: Array) -> Array:
            return jnp.where(counted, strength.ratio_or_limit(jnp.abs(g), s1), 0)

        grad = tree.floating(grad)
        return jax.tree.map(one, grad, self._parts(grad)[0], strength.counted(self.weights, grad))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which every penalised entry of the solution under `at(c)` is 0."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The smallest c with `conjugate(u / c) == 0`: `max_j |u_j| / s1_j`."""
        u = tree.floating(u)
        s1 = self._parts(u)[0]
        return tree.largest(
            jax.tree.map(lambda u, s: strength.ratio_or_limit(jnp.abs(u), s), u, s1)
        )

    def conjugate(self, u: PyTree) -> Array:
        """`sum_j max(|u_j| - s1_j, 0)^2 / (2 s2_j)`; infinite beyond s1 where s2 is 0."""

        def entry(u: Array, s1: Array, s2: Array) -> Array:
            rounding = 4 * jnp.finfo(u.dtype).eps * jnp.where(jnp.isinf(s1), 0, s1)
            excess = jnp.maximum(jnp.abs(u) - s1, 0)
            flat = s2 == 0
            smooth = excess**2 / (2 * jnp.where(flat | jnp.isinf(s2), 1, s2))
            return jnp.where(flat, jnp.where(excess <= rounding, 0, jnp.inf), smooth)

        u = tree.floating(u)
        return tree.total(entry, u, *self._parts(u))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """True where the weight is 0; None when no entry can be."""
        return strength.unpenalized(self.weights, w)

    def support(self, w: PyTree) -> PyTree:
        """Entries around which the penalty is smooth: non-zero, or without an L1 part."""
        w = tree.floating(w)
        return jax.tree.map(lambda w, s1: (w != 0) | (s1 == 0), w, self._parts(w)[0])

    def restrict(self, index: Any) -> "ElasticNet":
        """The penalty on some entries of one array of parameters."""
        return dataclasses.replace(self, weights=strength.take(self.weights, index))

    def _parts(self, like: PyTree) -> tuple[PyTree, PyTree]:
        """Strengths of the L1 and of the quadratic part, per entry."""
        ratio = jnp.asarray(self.l1_ratio)
        ratio = jnp.where((ratio >= 0) & (ratio <= 1), ratio, jnp.nan)
        s = strength.strengths(self.lam, self.weights, like)
        dtype = tree.dtype(like)
        return strength.part(ratio.astype(dtype), s), strength.part((1 - ratio).astype(dtype), s)
