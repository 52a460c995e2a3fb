"""Proximal operators of norms of groups of entries.

The Euclidean norm of a group is radial: its prox moves along v, `z = shrunk(|v|) v / |v|`. In a
diagonal metric (a step per entry) the direction bends, and one radius per group is found by Newton.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jreg import linalg
from jreg.linalg import plus_zero
from jreg.prox.elementwise import nonnegative_soft_threshold
from jreg.typing import Array, ArrayLike


class Layout(Protocol):
    """Sums over groups and back."""

    def total(self, x: Array) -> Array:
        """Sum over each group: (n_groups,)."""

    def largest(self, x: Array) -> Array:
        """The largest of each group of entries >= 0, 0 for an empty one: (n_groups,)."""

    def spread(self, per_group: Array) -> Array:
        """The number of its group for each entry."""

    def sizes(self) -> np.ndarray:
        """Number of entries in each group."""


def norm_l2(v: Array, groups: Layout) -> Array:
    """Norms `sqrt(sum v_i^2)` of groups; derivative 0 at 0, no overflow or underflow."""
    largest = jax.lax.stop_gradient(groups.largest(jnp.abs(v)))
    usable = (largest > 0) & jnp.isfinite(largest)
    scale = jnp.where(usable, largest, 1)
    squares = groups.total((v / groups.spread(scale)) ** 2)
    positive = squares > 0
    return scale * jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), squares)


def l2(v: ArrayLike, t: ArrayLike, axis: int | None = None) -> Array:
    """Prox of `t |z|_2`, block soft thresholding: `(1 - t/|v|)_+ v`.

    axis: the groups are the vectors along this axis; None: all of v is one group. t is a scalar or
    has one entry per group (v without that axis). Yuan and Lin (2006), section 2; Beck (2017),
    example 6.19.

    >>> l2(jnp.array([3.0, 4.0]), 2.5)
    Array([1.5, 2. ], dtype=float32)
    """
    v = jnp.asarray(v)
    size = linalg.norm_l2(v, axis)
    ratio = radial_ratio(nonnegative_soft_threshold(size, t), size)
    return plus_zero((ratio if axis is None else jnp.expand_dims(ratio, axis)) * v)


def radial_ratio(shrunk: Array, size: Array, at_zero: ArrayLike = 0) -> Array:
    """`shrunk / size`, and `at_zero` where size is 0.

    The division comes last: XLA makes it once a group, and what follows once an entry.
    """
    zero = size == 0
    return jnp.where(zero, at_zero, shrunk) / jnp.where(zero, 1, size)


def l2_in_metric(v: Array, t: Array, step: Array, groups: Layout) -> Array:
    """Minimiser of `sum_g t_g |z_g| + sum_i (z_i - v_i)^2 / (2 step_i)`.

    `z_i = r v_i / (r + t step_i)`, where the radius r = |z_g| is the root of

        phi(r) = sum_i (v_i / (r + t step_i))^2 - 1 = 0,

    or 0 if `sum_i (v_i / step_i)^2 <= t^2`. `1/sqrt(phi + 1)` is concave and increasing in r, so
    Newton's method on it converges from the left, from any start below the root: it needs no
    safeguard. Its derivatives are those of the equation. step >= 0 is like v, t >= 0 has one number
    a group. Deleu and Bengio (2021), section 3; More (1978), section 5.
    """
    eps, total, spread = jnp.finfo(v.dtype).eps, groups.total, groups.spread
    longest = jnp.max(step, initial=0)
    step = jnp.where(longest > 0, jnp.maximum(step, eps**2 * longest), 1)  # as good as 0
    active = (longest > 0) & (total((v / step) ** 2) > t**2)
    free = t == 0
    stretched = spread(jnp.where(free, 1, t)) * step

    def moments(r: Array, v: Array, stretched: Array) -> tuple[Array, Array]:
        """`h(r) = sum (v / (r + t step))^2` and `-h'(r) / 2`."""
        wide = spread(r) + stretched
        ratio = v / wide
        return total(ratio**2), total(ratio**2 / wide)

    def newton(r: Array, v: Array, stretched: Array) -> Array:
        """One step on `1/sqrt(h) - 1`: r + h (sqrt(h) - 1) / (-h'/2)."""
        h, slope = moments(r, v, stretched)
        safe = jnp.where(slope > 0, slope, 1)
        move = jnp.where(slope > 0, h * (jnp.sqrt(jnp.where(h > 0, h, 1)) - 1) / safe, 0)
        return jnp.maximum(r + move, 0)

    fixed = jax.lax.stop_gradient
    solved = active & ~free
    inner = spread(solved)
    v_in, wide_in = jnp.where(inner, v, 1), jnp.where(inner, stretched, 1)

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        r, last, k = state
        moving = jnp.abs(r - last) > 4 * eps * r
        return jnp.any(moving & solved) & (k < 60)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        r, _, k = state
        return newton(r, fixed(v_in), fixed(wide_in)), r, k + 1

    start = jnp.zeros_like(t)
    radius, _, _ = jax.lax.while_loop(
        unfinished, advance, (newton(start, fixed(v_in), fixed(wide_in)), start, jnp.zeros((), int))
    )
    # one more step, differentiated in v, t and step alone, carries the derivative of the root
    radius = newton(fixed(radius), v_in, wide_in)
    r = spread(jnp.where(solved, radius, 1))
    z = jnp.where(inner, r / (r + wide_in) * v, 0)
    return plus_zero(jnp.where(spread(free) | (longest == 0), v, z))
