"""Projections on sets of linear equations and inequalities. v has any shape, `a` is like v."""

import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.linalg import dot, norm_l2, plus_zero, safe_reciprocal
from jreg.typing import Array, ArrayLike, Scalar


def box(v: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Array:
    """Projection on `{lower <= z <= upper}`: `clip(v, lower, upper)`.

    The bounds are scalars or like v and may be infinite; raises ValueError for concrete ones out of
    order. Beck (2017), section 6.4.

    >>> box(jnp.array([-3.0, 0.5]), -1.0, 1.0)
    Array([-1. ,  0.5], dtype=float32)
    """
    v = tree.floating(v)
    if not checks.is_traced(lower, upper):
        checks.ordered("lower", np.asarray(lower), "upper", np.asarray(upper))
    return plus_zero(jnp.clip(v, jnp.asarray(lower, v.dtype), jnp.asarray(upper, v.dtype)))


def nonnegative(v: ArrayLike) -> Array:
    """Projection on `{z >= 0}`: `max(v, 0)`.

    >>> nonnegative(jnp.array([-3.0, 0.5]))
    Array([0. , 0.5], dtype=float32)
    """
    v = tree.floating(v)
    return jnp.where(v <= 0, 0, v)


def halfspace(v: ArrayLike, a: ArrayLike, b: Scalar) -> Array:
    """Projection on `{a.z <= b}`: `v - max(a.v - b, 0) a / |a|^2`.

    For a = 0 that is v; raises ValueError if then a concrete b is below 0, as the set is empty.
    Beck (2017), lemma 6.26.

    >>> halfspace(jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0]), 1.0)
    Array([1., 1.], dtype=float32)
    """
    return hyperslab(v, a, -jnp.inf, b)


def hyperplane(v: ArrayLike, a: ArrayLike, b: Scalar) -> Array:
    """Projection on `{a.z = b}`: `v - (a.v - b) a / |a|^2`.

    For a = 0 that is v; raises ValueError if then a concrete b is not 0, as the set is empty.

    >>> hyperplane(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), 5.0).round(6)
    Array([0.28, 1.04], dtype=float32)
    """
    return hyperslab(v, a, b, b)


def hyperslab(v: ArrayLike, a: ArrayLike, lower: Scalar, upper: Scalar) -> Array:
    """Projection on `{lower <= a.z <= upper}`: `v - (a.v - clip(a.v, lower, upper)) a / |a|^2`.

    For a = 0 that is v. Raises ValueError for concrete bounds out of order, and for a = 0 if they
    do not hold 0.

    >>> hyperslab(jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0]), -1.0, 1.0)
    Array([1., 1.], dtype=float32)
    """
    v = tree.floating(v)
    if not checks.is_traced(lower, upper):
        checks.ordered("lower", np.asarray(lower), "upper", np.asarray(upper))
    concrete = not checks.is_traced(a, lower, upper)
    if concrete and not np.any(a) and not np.asarray(lower) <= 0 <= np.asarray(upper):
        raise ValueError(
            f"a is 0, so that a.z = 0 is never between {float(lower):g} and {float(upper):g}"
        )
    a = jnp.broadcast_to(jnp.asarray(a, v.dtype), v.shape)
    shrink = safe_reciprocal(norm_l2(a, None))
    unit = a * shrink
    position = jnp.sum(unit * v)
    low, high = (_times(jnp.asarray(end, v.dtype), shrink) for end in (lower, upper))
    # not by clip: its derivative would be that of neither side where lower = upper
    nearest = jnp.where(position > high, high, jnp.where(position < low, low, position))
    nearest = jnp.where(low == high, high, nearest)
    return plus_zero(v - unit * (position - nearest))


def _times(end: Array, shrink: Array) -> Array:
    """`end * shrink`, infinite ends as they are."""
    finite = jnp.isfinite(end)
    return jnp.where(finite, jnp.where(finite, end, 0) * shrink, end)


@tree.dataclass
class AffineSet:
    """`{z : A z = b}` with the pseudo-inverse of A; made by `affine`."""

    A: Array
    b: Array
    inverse: Array

    def project(self, v: ArrayLike) -> Array:
        """`v - A^+ (A v - b)` for v (n,), with one step of refinement."""
        v = jnp.asarray(v, self.A.dtype)
        z = v - dot(self.inverse, dot(self.A, v) - self.b)
        return plus_zero(z - dot(self.inverse, dot(self.A, z) - self.b))


def affine(A: ArrayLike, b: ArrayLike) -> AffineSet:
    """The set `{z : A z = b}`, factored once for many projections: `affine(A, b).project(v)`.

    A (m, n), b (m,). A may lack full rank: singular values below `10 max(m, n) eps` of the largest
    count as 0. Raises ValueError for concrete A and b that no z solves; traced ones project on
    the least-squares solutions. Derivatives in A hold while its rank stays. Golub and Pereyra
    (1973).

    >>> affine(jnp.ones((1, 2)), jnp.ones(1)).project(jnp.array([1.0, 1.0])).round(5)
    Array([0.5, 0.5], dtype=float32)
    """
    A = tree.floating(jnp.asarray(A))
    b = jnp.asarray(b, A.dtype)
    if A.ndim != 2 or b.shape != A.shape[:1]:
        raise ValueError(f"A must be (m, n) and b (m,); got shapes {A.shape} and {b.shape}")
    inverse = jnp.linalg.pinv(A)
    if not checks.is_traced(A, b):
        rest = float(jnp.max(jnp.abs(dot(A, dot(inverse, b)) - b), initial=0))
        size = float(jnp.max(jnp.abs(b), initial=0))
        if rest > 1e3 * max(A.shape) * float(jnp.finfo(A.dtype).eps) * size:
            raise ValueError(f"the set is empty: A z = b has no solution, error {rest:.2g}")
    return AffineSet(A, b, inverse)
