"""Nonconvex penalties of single entries: less bias on large coefficients than the lasso.

None has a conjugate, so a solution is certified by its KKT residual alone; it may be one of several
stationary points. Their proxes are global minimisers for every step.
"""

from math import inf
from typing import Any, ClassVar

import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties.separable import Separable, parameter
from jreg.typing import Array, Scalar


class Nonconvex(Separable):
    """Base of the nonconvex ones: no conjugate and no dual norm."""

    convex: ClassVar[bool] = False
    conjugate: ClassVar[None] = None  # type: ignore[assignment]
    polar: ClassVar[None] = None  # type: ignore[assignment]


@tree.dataclass
class L0(Nonconvex):
    """`sum_j lam v_j 1{w_j != 0}`: the number of nonzero entries.

    0 is stationary at every strength > 0 (lam_max is 0), as is every minimiser over a fixed
    support; the prox picks among them. lam and weights as in `L1`, lam in units of the loss.
    Blumensath and Davies (2008).

    >>> L0(0.5).prox(jnp.array([0.9, -2.0]), step=1.0)
    Array([ 0., -2.], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    def _value(self, w: Array, s: Array) -> Array:
        return jnp.where(w == 0, 0 * w, s + 0 * w)

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.l0(v, step * s)

    def _slope(self, w: Array, s: Array) -> Array:
        return jnp.zeros_like(w)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return _everything(s)


@tree.dataclass
class LHalf(Nonconvex):
    """`sum_j lam v_j sqrt(|w_j|)`. 0 is stationary at every strength > 0, as for `L0`.

    lam and weights as in `L1`. Xu, Chang, Xu and Zhang (2012).

    >>> LHalf(1.0).prox(jnp.array([1.4, 4.0]), step=1.0).round(3)
    Array([0.   , 3.742], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    def _value(self, w: Array, s: Array) -> Array:
        return s * jnp.where(w == 0, w, jnp.sqrt(jnp.abs(jnp.where(w == 0, 1, w))))

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.l_half(v, step * s)

    def _slope(self, w: Array, s: Array) -> Array:
        return s * jnp.sign(w) / (2 * jnp.sqrt(jnp.abs(w)))

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return _everything(s)


@tree.dataclass
class MCP(Nonconvex):
    """Minimax concave penalty `sum_j f(w_j)`, `f(w) = l |w| - w^2 / (2 gamma)` up to `gamma l`,
    `gamma l^2 / 2` beyond, with `l = lam v_j`.

    gamma > 0: the larger, the nearer the lasso (inf is the lasso); a path varies lam at fixed
    gamma. Convex with any quadratic of curvature 1/gamma or more. lam and weights as in `L1`.
    Zhang (2010).

    >>> MCP(1.0, gamma=3.0).prox(jnp.array([0.5, 2.0, 4.0]), step=1.0)
    Array([0. , 1.5, 4. ], dtype=float32)
    """

    lam: Scalar = 1.0
    gamma: Scalar = 3.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "gamma": (0, inf),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        inner = self._inner(w, s)
        return jnp.where(w == 0, 0, s) * inner - 0.5 * inner**2 / parameter(self, "gamma", w)

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.mcp(v, step, s, parameter(self, "gamma", v))

    def _slope(self, w: Array, s: Array) -> Array:
        return (s - self._inner(w, s) / parameter(self, "gamma", w)) * jnp.sign(w)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return -s, s

    def _inner(self, w: Array, s: Array) -> Array:
        """|w|, at most the width `gamma s` of the curved part."""
        return jnp.minimum(jnp.abs(w), jnp.where(s > 0, parameter(self, "gamma", w) * s, s))


@tree.dataclass
class SCAD(Nonconvex):
    """Smoothly clipped absolute deviation `sum_j f(w_j)`, with `l = lam v_j`: slope l up to l, then
    falling linearly to 0 at `gamma l`.

    gamma > 2; a path varies lam at fixed gamma. Convex with any quadratic of curvature
    `1/(gamma - 1)` or more. lam and weights as in `L1`. Fan and Li (2001).

    >>> SCAD(1.0).prox(jnp.array([1.5, 5.0]), step=1.0)
    Array([0.5, 5. ], dtype=float32)
    """

    lam: Scalar = 1.0
    gamma: Scalar = 3.7
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "gamma": (2, 1e30),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        gamma = parameter(self, "gamma", w)
        size = jnp.abs(w)
        inner = jnp.minimum(size, s)
        beyond = jnp.clip(size - s, 0, (gamma - 1) * s)  # way down the falling slope
        falling = beyond * (s - 0.5 * beyond / (gamma - 1))
        return jnp.where(w == 0, 0, s) * inner + falling

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.scad(v, step, s, parameter(self, "gamma", v))

    def _slope(self, w: Array, s: Array) -> Array:
        gamma = parameter(self, "gamma", w)
        return jnp.clip((gamma * s - jnp.abs(w)) / (gamma - 1), 0, s) * jnp.sign(w)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return -s, s


@tree.dataclass
class LogSum(Nonconvex):
    """`sum_j lam v_j log(1 + |w_j| / epsilon)`, whose majorisers are reweighted lassos.

    epsilon > 0: where the logarithm sets in, in units of w. lam and weights as in `L1`, lam in
    units of the loss. Candes, Wakin and Boyd (2008), section 2.2.

    >>> LogSum(1.0, epsilon=0.01).prox(jnp.array([3.0, 4.0]), step=1.0).round(3)
    Array([0.   , 3.733], dtype=float32)
    """

    lam: Scalar = 1.0
    epsilon: Scalar = 1.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "epsilon": (1e-30, 1e30),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        size = jnp.where(w == 0, 0, jnp.abs(jnp.where(w == 0, 1, w)))
        return s * jnp.log1p(size / parameter(self, "epsilon", w))

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.log_sum(v, step * s, parameter(self, "epsilon", v))

    def _slope(self, w: Array, s: Array) -> Array:
        return s * jnp.sign(w) / (parameter(self, "epsilon", w) + jnp.abs(w))

    def _kink(self, s: Array) -> tuple[Array, Array]:
        slope = s / parameter(self, "epsilon", s)
        return -slope, slope


@tree.dataclass
class CappedL1(Nonconvex):
    """`sum_j lam v_j min(|w_j|, theta)`: the lasso up to theta, constant beyond.

    theta > 0: the cap, in units of w. lam and weights as in `L1`. At |w_j| = theta the penalty has
    a downward kink; the outer slope, 0, counts there. Zhang (2010, JMLR 11).

    >>> CappedL1(1.0, theta=1.0).prox(jnp.array([1.4, 1.6]), step=1.0).round(3)
    Array([0.4, 1.6], dtype=float32)
    """

    lam: Scalar = 1.0
    theta: Scalar = 1.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "theta": (1e-30, 1e30),
        "weights": (0, inf),
    }

    def _value(self, w: Array, s: Array) -> Array:
        return jnp.where(w == 0, 0, s) * jnp.minimum(jnp.abs(w), parameter(self, "theta", w))

    def _prox(self, v: Array, s: Array, step: Array) -> Array:
        return prox.capped_l1(v, step * s, parameter(self, "theta", v))

    def _slope(self, w: Array, s: Array) -> Array:
        return jnp.where(jnp.abs(w) < parameter(self, "theta", w), s, 0) * jnp.sign(w)

    def _kink(self, s: Array) -> tuple[Array, Array]:
        return -s, s


def _everything(s: Array) -> tuple[Array, Array]:
    """The subdifferential of a cusp: the whole line, unless the strength is 0."""
    wide = jnp.where(s > 0, jnp.inf, s)
    return -wide, wide
