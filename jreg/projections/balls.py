"""Projections on balls and spheres. v has any shape; the norm is that of all its entries.

Points of a ball come back unchanged. The radius is a number >= 0, traced or not; a negative
concrete one raises ValueError.
"""

import jax.numpy as jnp

from jreg import checks, tree
from jreg.linalg import norm_l2, plus_zero
from jreg.projections.search import largest
from jreg.projections.section import simplex
from jreg.typing import Array, ArrayLike, Scalar


def l0_ball(v: ArrayLike, k: Scalar) -> Array:
    """Projection on `{at most k non-zeros}`: the k largest |v_i|, of equal ones those first in v.

    The set is not convex. k an integer >= 0, traced or not; raises ValueError for k < 0. Blumensath
    and Davies (2009), section 2.

    >>> l0_ball(jnp.array([1.0, -3.0, 2.0]), 2)
    Array([ 0., -3.,  2.], dtype=float32)
    """
    v = tree.floating(v)
    checks.concrete_number("k", k, low=0)
    if v.size == 0:
        return v
    kept = largest(jnp.abs(v).ravel(), k).reshape(v.shape)
    return jnp.where(kept & (v != 0) | jnp.isnan(v), v, 0)


def l1_ball(v: ArrayLike, radius: Scalar) -> Array:
    """Projection on `{|z|_1 <= radius}`: `sign(v) simplex(|v|, radius)` outside the ball.

    Duchi, Shalev-Shwartz, Singer and Chandra (2008), section 4.

    >>> l1_ball(jnp.array([3.0, -1.0]), 2.0)
    Array([2., 0.], dtype=float32)
    """
    v = tree.floating(v)
    radius = _radius(radius, v)
    inside = jnp.sum(jnp.abs(v)) <= radius
    return plus_zero(jnp.where(inside, v, jnp.sign(v) * simplex(jnp.abs(v), radius)))


def l2_ball(v: ArrayLike, radius: Scalar) -> Array:
    """Projection on `{|z|_2 <= radius}`: `v min(1, radius / |v|)`. Beck (2017), example 6.46.

    >>> l2_ball(jnp.array([3.0, 4.0]), 1.0)
    Array([0.6, 0.8], dtype=float32)
    """
    v = tree.floating(v)
    return l2_ball_along(v, _radius(radius, v), None)


def linf_ball(v: ArrayLike, radius: Scalar) -> Array:
    """Projection on `{|z|_inf <= radius}`: `clip(v, -radius, radius)`. Beck (2017), section 6.4.

    >>> linf_ball(jnp.array([3.0, -0.5]), 1.0)
    Array([ 1. , -0.5], dtype=float32)
    """
    v = tree.floating(v)
    radius = _radius(radius, v)
    return plus_zero(jnp.clip(v, -radius, radius))


def l1_sphere(v: ArrayLike, radius: Scalar) -> Array:
    """A nearest point of `{|z|_1 = radius}`: `sign(v) simplex(|v|, radius)`.

    Not convex. An entry 0 of v may go either way: it goes up.

    >>> l1_sphere(jnp.array([0.0, -0.5]), 1.0)
    Array([ 0.25, -0.75], dtype=float32)
    """
    v = tree.floating(v)
    return plus_zero(_sign(v) * simplex(jnp.abs(v), _radius(radius, v)))


def l2_sphere(v: ArrayLike, radius: Scalar) -> Array:
    """A nearest point of `{|z|_2 = radius}`: `radius v / |v|`.

    Not convex. From v = 0 all points are as near: it is `radius` on the first axis, and the
    derivative in v is 0.

    >>> l2_sphere(jnp.array([0.3, 0.4]), 1.0)
    Array([0.6, 0.8], dtype=float32)
    """
    v = tree.floating(v)
    z = l2_sphere_along(v.ravel(), _radius(radius, v), 0)
    return z.reshape(v.shape)


def linf_sphere(v: ArrayLike, radius: Scalar) -> Array:
    """A nearest point of `{|z|_inf = radius}`: v clipped, its largest entry at +-radius.

    Not convex. Of equally large entries the first moves; an entry 0 goes up.

    >>> linf_sphere(jnp.array([0.2, -0.5]), 1.0)
    Array([ 0.2, -1. ], dtype=float32)
    """
    v = tree.floating(v)
    if v.size == 0:
        return v
    radius = _radius(radius, v)
    flat = v.ravel()
    moves = jnp.arange(v.size) == jnp.argmax(jnp.abs(flat))
    z = jnp.where(moves, _sign(flat) * radius, jnp.clip(flat, -radius, radius))
    return plus_zero(z).reshape(v.shape)


def l2_ball_along(v: Array, radius: Array, axis: int | None) -> Array:
    """Every vector along `axis` projected on the L2 ball."""
    size = norm_l2(v, axis, keepdims=True)
    inside = size <= radius
    return plus_zero(jnp.where(inside, v, v / jnp.where(inside, 1, size) * radius))


def l2_sphere_along(v: Array, radius: Array, axis: int) -> Array:
    """Every vector along `axis` projected on the L2 sphere; 0 goes to the first axis."""
    size = norm_l2(v, axis, keepdims=True)
    shape = [1] * v.ndim
    shape[axis] = v.shape[axis]
    first = (jnp.arange(v.shape[axis]) == 0).reshape(shape).astype(v.dtype)
    zero = size == 0
    unit = jnp.where(zero, jnp.broadcast_to(first, v.shape), v / jnp.where(zero, 1, size))
    return plus_zero(unit * radius)


def _sign(v: Array) -> Array:
    """+-1, and 1 for 0."""
    return jnp.where(v == 0, 1, jnp.sign(v))


def _radius(radius: Scalar, v: Array) -> Array:
    checks.concrete_number("radius", radius, low=0)
    return jnp.asarray(radius, v.dtype)
