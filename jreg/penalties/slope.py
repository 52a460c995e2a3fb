"""SLOPE: the sorted L1 norm."""

from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.penalties import strength
from jreg.penalties.coupled import Coupled
from jreg.projections.order import isotonic
from jreg.prox.ordered import non_increasing, sorted_l1
from jreg.typing import Array, Scalar


@tree.dataclass
class SLOPE(Coupled):
    """`lam * sum_i v_i |w|_(i)`, |w|_(1) >= |w|_(2) >= ...: correlated features get equal sizes.

    lam: strength >= 0, in units of the loss per unit of w. weights: as many factors as w has
    entries, non-increasing and >= 0; None for `slope_weights(size, 0.1)`. Constant weights are the
    lasso, linearly decreasing ones OSCAR, (1, 0, ..., 0) is `Linf`. Raises ValueError for concrete
    numbers outside these ranges; traced ones give NaN. Bogdan, van den Berg, Sabatti, Su and
    Candes (2015); Zeng and Figueiredo (2014).

    >>> SLOPE(1.0, weights=jnp.array([2.0, 1.0])).prox(jnp.array([3.0, -2.5]), step=1.0)
    Array([ 1.25, -1.25], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lam": (0, inf), "weights": (0, 1e30)}

    def _value(self, w: Array) -> Array:
        return jnp.sum(self._weights(w) * _decreasing(jnp.sign(w) * w))

    def _prox(self, v: Array, t: Array) -> Array:
        return sorted_l1(v, jnp.minimum(t, 1e30) * self._weights(v))

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        """On entries of one size c > 0 the directional derivative is a sorted sum without absolute
        values, at 0 the SLOPE norm: pool within each cluster, clip in the one at 0."""
        w_flat, u_flat = w.ravel(), u.ravel()
        size = jnp.abs(w_flat)
        outward = jnp.where(size == 0, jnp.sign(u_flat), jnp.sign(w_flat))
        pushed = outward * u_flat
        order = jnp.lexsort((-pushed, -size))
        size = size[order]
        cluster = jnp.cumsum(jnp.append(False, size[1:] != size[:-1]))
        t = jnp.minimum(s, 1e30) * self._weights(w)
        left = isotonic(pushed[order] - t, increasing=False, runs=cluster)
        left = jnp.where(size == 0, jnp.maximum(left, 0), left)
        return (outward * jnp.zeros_like(left).at[order].set(left)).reshape(w.shape)

    def _gauge(self, u: Array) -> Array:
        """`max_k sum_{i <= k} |u|_(i) / sum_{i <= k} v_i`."""
        sums = jnp.cumsum(_decreasing(jnp.sign(u) * u))
        return jnp.max(strength.ratio_or_limit(sums, jnp.cumsum(self._weights(u))), initial=0)

    def _smooth(self, w: Array) -> Array:
        """Nonzero entries whose size no other entry has."""
        size = jnp.abs(w.ravel())
        order = jnp.argsort(size)
        differs = jnp.diff(size[order]) != 0
        alone = jnp.append(differs, True) & jnp.append(True, differs)
        return (jnp.zeros(size.shape, bool).at[order].set(alone) & (size != 0)).reshape(w.shape)

    def _weights(self, w: Array) -> Array:
        """The factors in the dtype of w."""
        if self.weights is None:
            return slope_weights(w.size, 0.1).astype(w.dtype)
        if jnp.shape(self.weights) != (w.size,):
            raise ValueError(
                f"weights must have one number for each of the {w.size} entries of the "
                f"parameters; got shape {jnp.shape(self.weights)}"
            )
        return non_increasing("weights", self.weights).astype(w.dtype)


def slope_weights(n: int, q: float = 0.1) -> Array:
    """Factors of SLOPE after Benjamini and Hochberg: `Phi^-1(1 - i q / (2 n))`, i = 1, ..., n.

    q in (0, 1) is the false discovery rate that `lam = sigma / sqrt(n_samples)` then keeps, for
    noise of deviation sigma, orthogonal columns of mean square 1 and the mean squared loss. Raises
    ValueError for a concrete q outside [0, 1]. Bogdan et al. (2015), section 1.3.

    >>> slope_weights(2, 0.2)
    Array([1.6448..., 1.2815...], dtype=float32)
    """
    checks.concrete_number("q", q, low=0, high=1)
    i = jnp.arange(1, n + 1, dtype=jnp.result_type(float))
    return -jax.scipy.special.ndtri(i * (q / (2 * n)))


def _decreasing(x: Array) -> Array:
    """The entries of x >= 0, the largest first."""
    return jnp.sort(x.ravel(), descending=True)
