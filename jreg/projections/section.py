"""Projections on boxes cut by a hyperplane: simplices, capped simplices, box sections.

All are `z_i = clip(v_i - tau a_i, lower_i, upper_i)` with the tau for which `a.z = b`. The product
falls as tau grows and is linear between neighbouring breakpoints `(v_i - lower_i) / a_i` and
`(v_i - upper_i) / a_i`. A search, without a sort, finds the piece that holds tau, and tau is solved
for there, relative to a point of the piece: v is never summed as it is, so nothing is lost to a
common offset in float32. Given the piece, z is a smooth formula, which is differentiated.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.projections import search
from jreg.typing import Array, ArrayLike, Scalar


def simplex(v: ArrayLike, total: Scalar = 1.0) -> Array:
    """Projection on `{z >= 0, sum z = total}`: `max(v - tau, 0)`.

    v of any shape, one simplex over all entries; entries of -inf get weight 0. Raises ValueError
    for a concrete total below 0 (a traced one gives zeros). The derivative is the projector on
    vectors that sum to 0 over the support. Held, Wolfe and Crowder (1974); Duchi, Shalev-Shwartz,
    Singer and Chandra (2008), section 3.

    >>> simplex(jnp.array([1.0, 0.5, -2.0]))
    Array([0.75, 0.25, 0.  ], dtype=float32)
    """
    checks.concrete_number("total", total, low=0)
    return _section(v, 0.0, jnp.inf, 1.0, total)


def capped_simplex(v: ArrayLike, total: Scalar, upper: ArrayLike = 1.0) -> Array:
    """Projection on `{0 <= z <= upper, sum z = total}`: `clip(v - tau, 0, upper)`.

    v of any shape; upper a scalar or like v. Raises ValueError for concrete values that leave no
    such z: upper or total below 0, total above the sum of upper (traced ones give the end of the
    box that is nearest to the total). Wang and Lu (2015).

    >>> capped_simplex(jnp.array([3.0, 0.5, 0.0]), 2.0).round(6)
    Array([1.  , 0.75, 0.25], dtype=float32)
    """
    checks.concrete_number("upper", upper, low=0)
    checks.concrete_number("total", total, low=0)
    _feasible(jnp.shape(v), 0.0, upper, 1.0, total)
    return _section(v, 0.0, upper, 1.0, total)


def box_section(v: ArrayLike, lower: ArrayLike, upper: ArrayLike, a: ArrayLike, b: Scalar) -> Array:
    """Projection on `{lower <= z <= upper, a.z = b}`: `clip(v - tau a, lower, upper)`.

    v of any shape; lower, upper and a are scalars or like v; bounds may be infinite. Where a is 0,
    z is v clipped. Raises ValueError for concrete values that leave no such z (traced ones give the
    corner of the box where `a.z` is nearest to b). Helgason, Kennington and Lall (1980).

    >>> box_section(jnp.array([1.0, 1.0]), -1.0, 1.0, jnp.array([1.0, -1.0]), 1.0)
    Array([1., 0.], dtype=float32)
    """
    _feasible(jnp.shape(v), lower, upper, a, b)
    return _section(v, lower, upper, a, b)


def _feasible(shape: tuple, lower: ArrayLike, upper: ArrayLike, a: ArrayLike, b: Scalar) -> None:
    """Raise ValueError unless concrete bounds are in order and the range of `a.z` holds b."""
    if checks.is_traced(lower, upper, a, b):
        return
    low, high, slope = (np.broadcast_to(np.asarray(x, float), shape) for x in (lower, upper, a))
    checks.ordered("lower", low, "upper", high)
    used, sign = slope != 0, slope > 0
    least = np.sum(slope[used] * np.where(sign, low, high)[used])
    most = np.sum(slope[used] * np.where(sign, high, low)[used])
    size = np.abs(slope[used]) * np.maximum(np.abs(low), np.abs(high))[used]
    slack = 1e-6 * (abs(float(b)) + np.sum(np.where(np.isfinite(size), size, 0)))
    if not least - slack <= float(b) <= most + slack:
        raise ValueError(
            f"the set is empty: within the bounds a.z lies between {least:g} and {most:g}; "
            f"got b = {float(b):g}"
        )


def _section(v: ArrayLike, lower: ArrayLike, upper: ArrayLike, a: ArrayLike, b: Scalar) -> Array:
    v = tree.floating(v)
    if v.size == 0:
        return v
    shape = v.shape
    v = v.ravel()

    def flat(x: ArrayLike) -> Array:
        x = jnp.asarray(x, v.dtype)
        return jnp.broadcast_to(x, shape).ravel() if x.ndim else x

    lower, upper, a, b = flat(lower), flat(upper), flat(a), jnp.asarray(b, v.dtype)
    found = search.piece(*jax.lax.stop_gradient((v, lower, upper, a, b)))
    tau, inside, past = jax.lax.stop_gradient(found)

    free = jnp.where(a == 0, (v > lower) & (v < upper), inside)
    bound = jnp.where(past == (a > 0), lower, upper)  # v - tau a falls with tau where a > 0
    fixed = jnp.where(free, 0, jnp.where(a == 0, jnp.clip(v, lower, upper), bound))
    slope = jnp.where(free, a, 0)
    near = jnp.where(free, v, 0) - tau * slope
    curvature = jnp.sum(slope**2)
    curvature = jnp.where(curvature == 0, 1, curvature)
    bounded = jnp.where((a == 0) & ~jnp.isfinite(fixed), 0, fixed)
    beyond = (jnp.sum(slope * near) + jnp.sum(a * bounded) - b) / curvature
    z = jnp.where(free, near - slope * beyond, fixed)
    # free entries are within the bounds but for rounding
    z = z + jax.lax.stop_gradient(jnp.clip(z, lower, upper) - z)
    return jnp.where(jnp.any(jnp.isnan(v)), jnp.nan, z).reshape(shape)
