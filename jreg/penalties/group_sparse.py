"""Group lassos that also act within groups: sparse, and non-negative."""

import dataclasses
from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties import strength
from jreg.penalties.groups import Groups
from jreg.penalties.l1 import L1
from jreg.penalties.radial import GroupLasso, Radial
from jreg.penalties.separable import flat_or_infinite
from jreg.prox.groups import Layout
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class SparseGroupLasso(Radial):
    """`lam * (l1_ratio |w|_1 + (1 - l1_ratio) sum_g v_g |w_g|_2)`: few groups, few entries in each.

    l1_ratio in [0, 1]: 1 is the lasso, 0 the group lasso. lam, weights, groups and axis as in
    `GroupLasso`. Simon, Friedman, Hastie and Tibshirani (2013).

    >>> penalty = SparseGroupLasso(1.0, l1_ratio=0.5, groups=Groups([0, 0, 0, 1]))
    >>> penalty.prox(jnp.array([3.0, 0.4, -2.0, 0.7]), step=1.0).round(2)
    Array([ 1.76,  0.  , -1.05,  0.  ], dtype=float32)
    """

    lam: Scalar = 1.0
    l1_ratio: Scalar = 0.5
    weights: Any = None
    groups: Groups | None = tree.static(default=None)
    axis: int | None = tree.static(default=None)

    homogeneous: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "lam": (0, inf),
        "l1_ratio": (0, 1),
        "weights": (0, inf),
    }

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an excluded group is not 0."""
        return self._l1(w).value(w) + self._group().value(w)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """Soft, then block soft thresholding: exact in this order. One step for all entries."""
        steps = tree.broadcast(step, tree.floating(v))
        if any(jnp.ndim(h) > 0 for h in jax.tree.leaves(steps)):
            raise TypeError("SparseGroupLasso needs one step for all entries; got an array")
        return self._group().prox(self._l1(v).prox(v, steps), steps)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Entries of the shortest vector from -grad to the subdifferential at w.

        In a group at 0 the L1 part absorbs what it can of each entry, the norm what it can of the
        rest; elsewhere each entry is that of an L1 penalty with a tilt.
        """
        w, grad = tree.floating(w), tree.floating(grad)
        l1, group = self._l1(w), self._group()
        norms = group._norms(w)
        of_norms = group._on(norms, w)
        rest = jax.tree.map(
            lambda g, s: prox.soft_threshold(g, jnp.where(jnp.isinf(s), 0, s)),
            grad,
            l1.strengths(w),
        )
        whole = group.kkt_distance(w, rest)  # right for groups at 0, inf outside the domain

        def tilt(w: Array, g: Array, norm: Array, slope: Array) -> Array:
            return g + w * self._layout(w).spread(prox.radial_ratio(slope, norm))

        within = l1.kkt_distance(w, jax.tree.map(tilt, w, grad, norms, of_norms.slope(norms)))
        return jax.tree.map(
            lambda w, norm, a, b: jnp.where(
                self._layout(w).spread(norm == 0) | jnp.isinf(a), a, b
            ),
            w, norms, whole, within,
        )  # fmt: skip

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps its group at 0."""
        grad = tree.floating(grad)
        counted = strength.counted(self.weights, self._norms(grad))
        roots = self._gauges(grad)
        return self._spread(
            jax.tree.map(lambda r, counted: jnp.where(counted, r, 0), roots, counted), grad
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 in every penalised group."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The dual norm, `max_g` of the root c of `|soft(u_g, c s1)| = c s2_g`.

        Wang and Ye (2014), section 3; Ndiaye, Fercoq, Gramfort and Salmon (2016), section 4.
        """
        return tree.largest(self._gauges(tree.floating(u)))

    def conjugate(self, u: PyTree) -> Array:
        """0 where the dual norm is at most 1 (to rounding), else inf."""
        polar = self.polar(u)
        return flat_or_infinite(polar - 1, jnp.ones_like(polar))

    def support(self, w: PyTree) -> PyTree:
        """Entries that are not 0, or without a kink there."""
        inside, group = self._l1(w).support(w), self._group().support(w)
        return jax.tree.map(jnp.logical_and, inside, group)

    def _of_norms(self, weights: PyTree) -> L1:
        return L1(self.lam, weights)

    def _l1(self, like: PyTree) -> L1:
        ratio = self._ratio().astype(tree.dtype(tree.floating(like)))
        return L1(strength.share(ratio, self.lam))

    def _group(self) -> GroupLasso:
        lam = strength.share(1 - self._ratio(), self.lam)
        return GroupLasso(lam, self.weights, self.groups, self.axis)

    def _ratio(self) -> Array:
        """l1_ratio; NaN where a traced one is out of range."""
        ratio = jnp.asarray(self.l1_ratio, float)
        return jnp.where((ratio >= 0) & (ratio <= 1), ratio, jnp.nan)

    def _gauges(self, u: PyTree) -> PyTree:
        """The root c for each group; 0 for excluded ones."""
        l1, group = self._l1(u).strengths(u), self._group()
        norms = group._norms(u)

        def leaf(u: Array, s1: Array, s2: Array) -> Array:
            groups, out = self._layout(u), jnp.isinf(s2) | jnp.isinf(s1)
            s1 = jnp.where(jnp.isinf(s1), 0, s1)
            return jnp.where(out, 0, _gauge(u, s1, jnp.where(out, 0, s2), groups))

        return jax.tree.map(leaf, u, l1, group._on(norms, u).strengths(norms))


def _gauge(u: Array, s1: Array, s2: Array, groups: Layout) -> Array:
    """The root c of `h(c) = |soft(u_g, c s1)| - c s2_g`, inf if there is none.

    h is convex and decreasing, so Newton's method from 0 rises to the root and never passes it;
    h is piecewise smooth, so it ends.
    """
    size = jax.lax.stop_gradient(prox.norm_l2(u, groups))
    none = (size > 0) & (s2 == 0) & (s1 == 0)
    solved = ~(size == 0) & ~none

    def newton(c: Array, u: Array, s1: Array, s2: Array) -> Array:
        rest = jnp.maximum(jnp.abs(u) - groups.spread(c) * s1, 0)
        norm = prox.norm_l2(rest, groups)
        slope = prox.radial_ratio(groups.total(s1 * rest), norm) + s2
        return c + (norm - c * s2) / jnp.where(slope > 0, slope, 1)

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        c, last, k = state
        rising = (c - last) > 4 * jnp.finfo(u.dtype).eps * c
        return jnp.any(rising & solved) & (k < 100)

    fixed = jax.lax.stop_gradient((jnp.where(groups.spread(solved), u, 0), s1, s2))
    zero = jnp.zeros_like(size)
    c, _, _ = jax.lax.while_loop(
        unfinished,
        lambda s: (newton(s[0], *fixed), s[0], s[2] + 1),
        (newton(zero, *fixed), zero, jnp.zeros((), int)),
    )
    # one more step carries the derivative of the root
    c = newton(jax.lax.stop_gradient(c), jnp.where(groups.spread(solved), u, 1), s1, s2)
    return jnp.where(none, jnp.inf, jnp.where(solved, c, 0))


@tree.dataclass
class NonNegativeGroupLasso(Radial):
    """`lam * sum_g v_g |w_g|_2` on w >= 0, inf elsewhere.

    lam, weights, groups and axis as in `GroupLasso`; a group of weight 0 is still non-negative.

    >>> NonNegativeGroupLasso(0.5, jnp.ones(1)).prox(jnp.array([3.0, -1.0, 4.0]), step=1.0).round(3)
    Array([2.7..., 0. , 3.6...], dtype=float32)
    """

    lam: Scalar = 1.0
    weights: Any = None
    groups: Groups | None = tree.static(default=None)
    axis: int | None = tree.static(default=None)

    homogeneous: ClassVar[bool] = True

    def value(self, w: PyTree) -> Array:
        """The penalty; inf where an entry is negative or an excluded group not 0."""
        w = tree.floating(w)
        negative = tree.largest(jax.tree.map(lambda w: jnp.where(w < 0, 1.0, 0.0), w)) > 0
        return jnp.where(negative, jnp.inf, self._group().value(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """Negative entries to 0, then block soft thresholding: exact in this order."""
        return self._group().prox(jax.tree.map(_positive, tree.floating(v)), step)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Entries of the shortest vector from -grad to the subdifferential at w; inf outside."""
        w, grad = tree.floating(w), tree.floating(grad)
        # at w_j = 0 the constraint absorbs any positive gradient
        rest = jax.tree.map(lambda w, g: jnp.where((w == 0) & (g > 0), 0, g), w, grad)
        distance = self._group().kkt_distance(w, rest)
        return jax.tree.map(lambda w, d: jnp.where(w < 0, jnp.inf, d), w, distance)

    def entry(self, grad: PyTree) -> PyTree:
        """For each entry the smallest c at which `at(c)` keeps its group at 0."""
        return self._group().entry(jax.tree.map(lambda g: _positive(-g), tree.floating(grad)))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 in every penalised group."""
        return tree.largest(self.entry(grad_at_zero))

    def polar(self, u: PyTree) -> Array:
        """The smallest c with `conjugate(u / c) = 0`: `max_g |(u_g)_+| / s_g`."""
        return self._group().polar(jax.tree.map(_positive, tree.floating(u)))

    def conjugate(self, u: PyTree) -> Array:
        """0 where `|(u_g)_+| <= s_g` in every group (to rounding), else inf."""
        return self._group().conjugate(jax.tree.map(_positive, tree.floating(u)))

    def support(self, w: PyTree) -> PyTree:
        """Positive entries."""
        return jax.tree.map(lambda w: w > 0, tree.floating(w))

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """None: the constraint binds every entry."""
        del w
        return None

    def _of_norms(self, weights: PyTree) -> L1:
        return L1(self.lam, weights)

    def _group(self) -> GroupLasso:
        return GroupLasso(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})


def _positive(v: Array) -> Array:
    return prox.keep_where(v > 0, v)
