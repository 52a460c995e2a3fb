"""p-norms, distances, and rows or columns brought to a common scale."""

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.linalg import column_scale, norm_l2
from jreg.typing import Array, ArrayLike, Scalar


def norm(x: ArrayLike, p: Scalar, axis: int | None = None) -> Array:
    """`(sum |x_i|^p)^(1/p)`, and `max |x_i|` for p = inf; over `axis`, or all entries for None.

    p in [1, inf], traced or not; raises ValueError for a concrete p below 1. Does not overflow
    unless the norm itself does. The derivative at x = 0 is 0.

    >>> norm(jnp.array([3e30, 4e30]), 2.0)
    Array(5.e+30, dtype=float32)
    """
    x = tree.floating(x)
    checks.concrete_number("p", p, low=1)
    p = jnp.asarray(p, x.dtype)
    size = jnp.abs(x)
    largest = jnp.max(size, axis=axis, keepdims=True, initial=0)
    unit = jax.lax.stop_gradient(largest)
    usable = (unit > 0) & jnp.isfinite(unit)
    ratio = jnp.where(usable, size / jnp.where(usable, unit, 1), 0)
    bounded = jnp.isfinite(p)
    power = jnp.where(bounded, p, 1)
    positive = ratio > 0
    terms = jnp.where(positive, jnp.where(positive, ratio, 1) ** power, 0)
    total = jnp.sum(terms, axis=axis, keepdims=True)
    value = jnp.where(usable, total, 1) ** (1 / power) * jnp.where(usable, unit, 1)
    value = jnp.where(usable & bounded, value, largest)
    return jnp.squeeze(jnp.where(unit == 0, 0, value), axis)


def dual_norm(u: ArrayLike, p: Scalar, axis: int | None = None) -> Array:
    """`max {u.x : norm(x, p) <= 1}`: the norm of exponent `p / (p - 1)`.

    Arguments and errors as `norm`.

    >>> dual_norm(jnp.array([3.0, -4.0]), 1.0)
    Array(4., dtype=float32)
    """
    u = tree.floating(u)
    checks.concrete_number("p", p, low=1)
    p = jnp.asarray(p, u.dtype)
    inner = (p > 1) & jnp.isfinite(p)
    q = jnp.where(inner, p, 2) / (jnp.where(inner, p, 2) - 1)
    return norm(u, jnp.where(inner, q, jnp.where(p <= 1, jnp.inf, jnp.ones_like(p))), axis)


def distance(x: ArrayLike, y: ArrayLike, p: Scalar) -> Array:
    """`norm(x - y, p)`: Minkowski's distance of two arrays of one shape; p as in `norm`.

    >>> distance(jnp.array([1.0, 2.0]), jnp.array([4.0, 6.0]), 2.0)
    Array(5., dtype=float32)
    """
    return norm(tree.floating(x) - tree.floating(y), p)


@tree.dataclass
class Scaling:
    """`Z = (X - shift) / scale`; shift and scale are (n, 1) or (1, p)."""

    shift: Array
    scale: Array

    def apply(self, X: ArrayLike) -> Array:
        """`(X - shift) / scale`, for other data too when it was made from columns."""
        return (tree.floating(X) - self.shift) / self.scale

    def inverse(self, Z: ArrayLike) -> Array:
        """`Z scale + shift`: X again, to rounding."""
        return tree.floating(Z) * self.scale + self.shift


def normalize(X: ArrayLike, how: str, axis: int = 1) -> tuple[Array, Scaling]:
    """`(Z, Scaling)` with every row (axis=1) or column (axis=0) of X (n, p) on a common scale.

    "l1", "l2" and "max" divide by that norm; "minmax" maps onto [0, 1]; "standard" to mean 0 and
    1/n deviation 1. Zero rows, and constant ones for the last two, become 0. Raises ValueError for
    another `how` or axis and if X is not a matrix.

    >>> normalize(jnp.array([[-1.0, 0.0, 1.0]]), "l1")[0]
    Array([[-0.5,  0. ,  0.5]], dtype=float32)
    """
    X = tree.floating(X)
    checks.matrix("X", X)
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 (columns) or 1 (rows); got {axis!r}")
    zero = jnp.zeros((), X.dtype)
    if how == "l1":
        shift, scale = zero, jnp.sum(jnp.abs(X), axis, keepdims=True)
    elif how == "l2":
        shift, scale = zero, norm_l2(X, axis, keepdims=True)
    elif how == "max":
        shift, scale = zero, jnp.max(jnp.abs(X), axis, keepdims=True)
    elif how == "minmax":
        shift = jnp.min(X, axis, keepdims=True)
        scale = jnp.max(X, axis, keepdims=True) - shift
    elif how == "standard":
        shift, scale = _standard(X, axis)
    else:
        raise ValueError(f"how must be one of {', '.join(HOW)}; got {how!r}")
    scaling = Scaling(jnp.broadcast_to(shift, scale.shape), jnp.where(scale == 0, 1, scale))
    return scaling.apply(X), scaling


HOW = ("l1", "l2", "max", "minmax", "standard")


def _standard(X: Array, axis: int) -> tuple[Array, Array]:
    """Mean and 1/n deviation; the value itself and 0 where constant."""
    low = jnp.min(X, axis, keepdims=True)
    mean = low + jnp.mean(X - low, axis, keepdims=True)
    columns = X if axis == 0 else X.T
    weight = jnp.full(columns.shape[0], 1 / columns.shape[0], X.dtype)
    # a sqrt at 0 has no derivative: constant columns are left out of it
    constant = jnp.max(X, axis, keepdims=True) == low
    ramp = jnp.arange(columns.shape[0], dtype=X.dtype)[:, None]
    columns = jnp.where(constant.ravel()[None, :], ramp, columns)
    deviation = column_scale(columns, weight, jnp.where(constant, 0, mean).ravel())
    return mean, jnp.where(constant, 0, deviation.reshape(mean.shape))
