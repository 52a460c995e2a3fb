"""Proximal operators of nonconvex penalties of one entry: global minimisers, for every step.

The objective of a nonconvex prox may have two minima; each function returns the global one, and of
two equally good ones that nearer 0. (Several libraries return a stationary point for long steps.)
`v` has any shape; `t`, `step` and the parameters are scalars or like `v`.
"""

import jax.numpy as jnp

from jreg.linalg import plus_zero
from jreg.prox.elementwise import keep_where, soft_threshold
from jreg.typing import Array, ArrayLike


def l0(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t 1{z != 0}`, hard thresholding: v where `|v| > sqrt(2 t)`, else 0.

    Blumensath and Davies (2008), section 2; Beck (2017), example 6.10.

    >>> l0(jnp.array([0.9, -2.0]), 0.5)
    Array([ 0., -2.], dtype=float32)
    """
    v = jnp.asarray(v)
    t = jnp.asarray(t, v.dtype)
    return plus_zero(keep_where((jnp.abs(v) > jnp.sqrt(2 * t)) | (t == 0), v))


def l_half(v: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t sqrt(|z|)`: 0 up to `|v| = 3/2 t^(2/3)`, then the larger root of a cubic.

    Xu, Chang, Xu and Zhang (2012), theorem 1.

    >>> l_half(jnp.array([1.4, 4.0]), 1.0).round(3)
    Array([0.   , 3.742], dtype=float32)
    """
    v = jnp.asarray(v)
    t = jnp.asarray(t, v.dtype)
    size = jnp.abs(v)
    kept = size > 1.5 * jnp.cbrt(t) ** 2
    ratio = jnp.where(kept, t / 4 * (jnp.where(kept, size, 1) / 3) ** -1.5, 0)
    angle = jnp.arccos(jnp.minimum(ratio, 0.75))  # at most 1/sqrt(2) where kept
    root = 2 / 3 * v * (1 + jnp.cos(2 / 3 * (jnp.pi - angle)))
    return plus_zero(keep_where(kept | (t == 0), root))


def mcp(v: ArrayLike, step: ArrayLike, lam: ArrayLike, gamma: ArrayLike) -> Array:
    """Prox of `step` times the minimax concave penalty of strength lam and width `gamma lam`.

    For `step < gamma` firm thresholding: 0 up to `step lam`, v beyond `gamma lam`, and
    `(|v| - step lam) / (1 - step/gamma)` between; for `step >= gamma` hard thresholding at
    `lam sqrt(gamma step)`. Zhang (2010), section 2; Gao and Bruce (1997).

    >>> mcp(jnp.array([1.5, 2.5]), step=3.0, lam=1.0, gamma=1.5)
    Array([0. , 2.5], dtype=float32)
    """
    v = jnp.asarray(v)
    step, lam, gamma = (jnp.asarray(a, v.dtype) for a in (step, lam, gamma))
    size = jnp.abs(v)
    convex = step < gamma
    share = jnp.where(convex, 1 - step / jnp.where(convex, gamma, 1), 1)
    sloped = soft_threshold(v, step * lam) / share
    firm = jnp.where((lam > 0) & (size > gamma * lam), v, sloped)
    hard = keep_where(size > lam * jnp.sqrt(jnp.where(convex, 0, gamma * step)), v)
    return plus_zero(jnp.where(convex, jnp.where(lam > 0, firm, v), hard))


def scad(v: ArrayLike, step: ArrayLike, lam: ArrayLike, gamma: ArrayLike) -> Array:
    """Prox of `step` times the smoothly clipped absolute deviation penalty, gamma > 2.

    For `step < gamma - 1`: `soft(v, step lam)` up to `(1 + step) lam`, then
    `((gamma - 1) v - step gamma lam sign(v)) / (gamma - 1 - step)` up to `gamma lam`, then v. For
    longer steps the objective is concave between lam and `gamma lam`, and the better of a point
    below lam and one above `gamma lam` is taken. Fan and Li (2001), section 2.

    >>> scad(jnp.array([2.5, 3.2]), step=2.0, lam=1.0, gamma=2.1)
    Array([0.5, 3.2], dtype=float32)
    """
    v = jnp.asarray(v)
    step, lam, gamma = (jnp.asarray(a, v.dtype) for a in (step, lam, gamma))
    size = jnp.abs(v)
    soft = soft_threshold(v, step * lam)
    convex = step < gamma - 1
    rest = jnp.where(convex, gamma - 1 - step, 1)
    sloped = ((gamma - 1) * v - step * gamma * lam * jnp.sign(v)) / rest
    firm = jnp.where(size <= (1 + step) * lam, soft, jnp.where(size <= gamma * lam, sloped, v))

    low = jnp.clip(size - step * lam, 0, lam)
    # at gamma lam, the nearest flat point to a v below it, the objective is never the least
    flat = step * (gamma + 1) * lam**2 / 2
    better = (size > gamma * lam) & (step * lam * low + (low - size) ** 2 / 2 > flat)
    return plus_zero(jnp.where(convex, firm, jnp.where(better, v, jnp.clip(soft, -lam, lam))))


def log_sum(v: ArrayLike, t: ArrayLike, epsilon: ArrayLike) -> Array:
    """Prox of `t log(1 + |z| / epsilon)`: the larger root of a quadratic, if better than 0.

    `z^2 - (|v| - epsilon) z + t - |v| epsilon = 0`. Candes, Wakin and Boyd (2008), section 2;
    Prater-Bennette, Shen and Tripp (2022), theorem 3.1.

    >>> log_sum(jnp.array([3.0, 4.0]), 1.0, 0.01).round(3)
    Array([0.   , 3.733], dtype=float32)
    """
    v = jnp.asarray(v)
    t, epsilon = (jnp.asarray(a, v.dtype) for a in (t, epsilon))
    size = jnp.abs(v)
    discriminant = (size + epsilon) ** 2 - 4 * t
    real = discriminant > 0
    width = jnp.sqrt(jnp.where(real, discriminant, 1))
    sum_ = size - epsilon  # of the two roots
    falls = sum_ < 0  # then the plain formula cancels
    root = jnp.where(
        falls, 2 * (size * epsilon - t) / jnp.where(falls, width - sum_, 1), (sum_ + width) / 2
    )
    root = jnp.where(real & (root > 0), root, 0)
    convex = t <= epsilon**2
    rises = t * jnp.log1p(root / epsilon) + root * (root / 2 - size)  # objective minus that at 0
    kept = real & jnp.where(convex, size * epsilon > t, rises < 0)
    return plus_zero(jnp.where(t == 0, v, keep_where(kept, jnp.sign(v) * root)))


def capped_l1(v: ArrayLike, t: ArrayLike, theta: ArrayLike) -> Array:
    """Prox of `t min(|z|, theta)`: `soft(v, t)` for small |v|, v itself for large.

    They change places at `|v| = theta + t/2`, or at `sqrt(2 t theta)` (0 against v) when
    `t > 2 theta`. Zhang (2010, JMLR 11), section 2; Gong et al. (2013), table 1.

    >>> capped_l1(jnp.array([1.4, 1.6]), 1.0, 1.0).round(3)
    Array([0.4, 1.6], dtype=float32)
    """
    v = jnp.asarray(v)
    t, theta = (jnp.asarray(a, v.dtype) for a in (t, theta))
    short = t <= 2 * theta
    change = jnp.where(short, theta + t / 2, jnp.sqrt(jnp.where(short, 0, 2 * t * theta)))
    small = jnp.where(short, soft_threshold(v, t), 0)
    return plus_zero(jnp.where(jnp.abs(v) > change, v, small))
