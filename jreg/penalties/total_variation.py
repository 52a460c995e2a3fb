"""Total variation along a line, alone and with the lasso."""

from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties import strength
from jreg.penalties.coupled import Coupled, columns
from jreg.penalties.separable import parameter
from jreg.prox import ordered
from jreg.typing import Array, Scalar


@tree.dataclass
class TotalVariation(Coupled):
    """`lam * sum_i v_i |w_{i+1} - w_i|`: piecewise constant parameters, in the order they come in.

    lam: strength >= 0, in units of the loss per unit of w. weights: one factor per edge, (n - 1,)
    for n entries, finite (never rescaled). An array of higher rank is taken along its first axis,
    column by column. `lam_max` is the smallest strength at which w is constant (on each stretch
    between edges of weight 0), given the gradient at the best constant; a gradient whose sum is
    not 0 is centred, which is exact for denoising and orthogonal designs. Raises ValueError for
    concrete negative numbers; traced ones give NaN. Rudin, Osher and Fatemi (1992); Johnson (2013).

    >>> TotalVariation(0.5).prox(jnp.array([1.0, 2.0, -1.0, 3.0]), step=1.0).round(3)
    Array([1.25, 1.25, 0.  , 2.5 ], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, 1e30)}

    def _value(self, w: Array) -> Array:
        return jnp.sum(columns(lambda w: jnp.sum(self._edges(w) * _size(jnp.diff(w))), w))

    def _prox(self, v: Array, t: Array) -> Array:
        return columns(lambda v: ordered.total_variation(v, times(t, self._edges(v))), v)

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        return columns(lambda w, u: variation_residual(w, u, times(s, self._edges(w))), w, u)

    def _gauge(self, u: Array) -> Array:
        return jnp.max(columns(lambda u: variation_gauge(u, self._edges(u)), u), initial=0)

    def _reach(self, u: Array) -> Array:
        return jnp.max(columns(lambda u: variation_reach(u, self._edges(u)), u), initial=0)

    def _smooth(self, w: Array) -> Array:
        """Entries that differ from both neighbours."""
        return columns(lambda w: jumps(w, self._edges(w)), w)

    def _edges(self, w: Array) -> Array:
        """The weights of the edges of a vector w."""
        n = max(w.size - 1, 0)
        if self.weights is None:
            return jnp.ones(n, w.dtype)
        if jnp.shape(self.weights) != (n,):
            raise ValueError(
                f"weights must have one number for each of the {n} edges between {w.size} "
                f"entries; got shape {jnp.shape(self.weights)}"
            )
        weights = jnp.asarray(self.weights, w.dtype)
        return jnp.where(weights >= 0, weights, jnp.nan)


@tree.dataclass
class FusedLasso(Coupled):
    """`lam * (l1_ratio |w|_1 + (1 - l1_ratio) sum_i |w_{i+1} - w_i|)`: sparse, piecewise constant.

    l1_ratio in [0, 1]: 1 is the lasso, 0 is total variation, whose `lam_max` it then has. lam and
    the axis as in `TotalVariation`. Tibshirani, Saunders, Rosset, Zhu and Knight (2005); Friedman,
    Hastie, Hofling and Tibshirani (2007), section 3.

    >>> FusedLasso(0.8, l1_ratio=0.625).prox(jnp.array([4.0, 4.2, 0.1]), step=1.0).round(3)
    Array([3.45, 3.45, 0.  ], dtype=float32)
    """

    lam: Scalar = 1.0
    l1_ratio: Scalar = 0.5

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "l1_ratio": (0, 1)}

    def _value(self, w: Array) -> Array:
        a, b = self._parts(w)
        return a * jnp.sum(_size(w)) + b * jnp.sum(
            columns(lambda w: jnp.sum(_size(jnp.diff(w))), w)
        )

    def _prox(self, v: Array, t: Array) -> Array:
        a, b = self._parts(v)
        return columns(lambda v: ordered.fused_lasso(v, times(t, a), times(t, b)), v)

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        """Total variation, then soft, on the entries at 0: stretches are all 0 or without 0."""
        a, b = (times(s, part) for part in self._parts(w))

        def column(w: Array, u: Array) -> Array:
            slope = jnp.where(w == 0, 0, a) * jnp.sign(w)
            edges = jnp.broadcast_to(b, (max(w.size - 1, 0),))
            return prox.soft_threshold(
                variation_residual(w, u - slope, edges), jnp.where(w == 0, a, 0)
            )

        return columns(column, w, u)

    def _gauge(self, u: Array) -> Array:
        return self._or_variation(u, variation_gauge)

    def _reach(self, u: Array) -> Array:
        return self._or_variation(u, variation_reach)

    def _or_variation(self, u: Array, variation: Any) -> Array:
        """The gauge for l1_ratio > 0, that of total variation for 0."""
        a, b = self._parts(u)

        def column(u: Array) -> Array:
            alone = variation(u, jnp.ones(max(u.size - 1, 0), u.dtype))
            return jnp.where(a == 0, alone, fused_gauge(u, jnp.where(a == 0, 1, a), b))

        return jnp.max(columns(column, u), initial=0)

    def _smooth(self, w: Array) -> Array:
        a, b = self._parts(w)
        edges = lambda w: jnp.broadcast_to(b, (max(w.size - 1, 0),))  # noqa: E731
        return columns(lambda w: jumps(w, edges(w)), w) & ((w != 0) | (a == 0))

    def _parts(self, w: Array) -> tuple[Array, Array]:
        """Shares of the L1 norm and of total variation."""
        ratio = parameter(self, "l1_ratio", w)
        return ratio, 1 - ratio


# --- one vector, one weight t per edge ------------------------------------------------------------


def times(s: Array, t: Array) -> Array:
    """`s t`, where 0 times infinity is 0."""
    return jnp.where(t == 0, 0, s) * t


def variation_residual(w: Array, u: Array, t: Array) -> Array:
    """Prox at u of the directional derivative of total variation at w: edges that jump are linear,
    those that do not keep their weight."""
    sign = jnp.sign(jnp.diff(w))
    pull = jnp.where(sign == 0, 0, t) * sign
    edge = jnp.zeros(1, w.dtype)
    gradient = jnp.concatenate([edge, pull]) - jnp.concatenate([pull, edge])
    return ordered.total_variation(u - gradient, jnp.where(sign == 0, t, 0))


def variation_gauge(u: Array, t: Array) -> Array:
    """`max_i |u_1 + ... + u_i| / t_i`, with t_n = 0: inf unless u sums to 0, to rounding."""
    sums, t = jnp.abs(jnp.cumsum(u)), jnp.append(t, 0)
    rounding = 8 * jnp.finfo(u.dtype).eps * jnp.cumsum(_size(u))
    sums = jnp.where((t == 0) & (sums <= rounding), 0, sums)
    return jnp.max(strength.ratio_or_limit(sums, t), initial=0)


def variation_reach(u: Array, t: Array) -> Array:
    """The same once u is centred on each stretch between edges of weight 0."""
    if u.size == 0:
        return jnp.zeros((), u.dtype)
    stretch = jnp.append(0, jnp.cumsum(t == 0))
    total = lambda x: jax.ops.segment_sum(x, stretch, num_segments=u.size)[stretch]  # noqa: E731
    sums = jnp.abs(jnp.cumsum(u - total(u) / total(jnp.ones_like(u))))[:-1]
    ratio = strength.ratio_or_limit(jnp.where(t == 0, 0, sums), t)
    return jnp.max(ratio, initial=0) + 0 * jnp.sum(u)  # NaN where u is, also for one entry


def fused_gauge(u: Array, a: Array, b: Array) -> Array:
    """The smallest c for which u = c (a x + b D'y) with all |x_i| <= 1 and |y_i| <= 1; a > 0.

    With sums S_j = u_1 + ... + u_j, by Farkas' lemma for such chains,

        max_{i < j} |S_j - S_i| / (a (j - i) + b (inner_i + inner_j)),

    inner_i = 1 except at both ends, 0 and n. A ratio of two sums of terms in i and in j: Newton's
    method (Dinkelbach 1967) needs the best pair of a difference, which a running maximum finds.
    """
    n = u.size
    S = jnp.concatenate([jnp.zeros(1, u.dtype), jnp.cumsum(u)])
    place = jnp.arange(n + 1)
    inner = ((place > 0) & (place < n)).astype(u.dtype)

    def ratio(pair: Array, a: Array, b: Array, S: Array) -> Array:
        i, j = pair[0], pair[1]
        length = (j - i).astype(S.dtype)
        return jnp.abs(S[j] - S[i]) / (a * length + b * (inner[i] + inner[j]))

    def best(c: Array, S: Array) -> tuple[Array, Array]:
        """The pair with the largest S_j - S_i - c (its denominator), and that."""
        opened = -S + c * (fixed_a * place - fixed_b * inner)
        closed = S - c * (fixed_a * place + fixed_b * inner)
        sums = closed[1:] + jax.lax.cummax(opened)[:-1]
        j = 1 + jnp.argmax(sums)
        i = jnp.argmax(jnp.where(place < j, opened, -jnp.inf))
        return jnp.stack([i, j]), sums[j - 1]

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        pair, c, _, k = state
        up, gain_up = best(c, fixed_S)
        down, gain_down = best(c, -fixed_S)
        candidate = jnp.where(gain_up >= gain_down, up, down)
        new = ratio(candidate, fixed_a, fixed_b, fixed_S)
        better = new > c
        return jnp.where(better, candidate, pair), jnp.where(better, new, c), better, k + 1

    fixed_a, fixed_b, fixed_S = jax.lax.stop_gradient((a, b, S))
    whole = jnp.array([0, n])
    start = (whole, ratio(whole, fixed_a, fixed_b, fixed_S), jnp.asarray(True), jnp.asarray(0))
    pair, *_ = jax.lax.while_loop(lambda state: state[2] & (state[3] < 100), advance, start)
    i, j = pair[0], pair[1]
    length = a * (j - i).astype(S.dtype) + b * (inner[i] + inner[j])
    return _size(S[j] - S[i]) / length


def jumps(w: Array, t: Array) -> Array:
    """Entries that differ from both neighbours, where the edge has a weight."""
    free = (jnp.diff(w) != 0) | (t == 0)
    return jnp.append(free, True) & jnp.append(True, free)


def _size(x: Array) -> Array:
    """|x| with derivative 0 at 0."""
    return jnp.sign(x) * x
