"""Proximal operators of functions of singular values.

If f is invariant under permutations and signs of its entries, the prox of `f(sigma(Z))` at
`V = U diag(sigma) W'` is `U diag(prox_f(sigma)) W'`: the prox of f, lifted. Beck (2017),
theorem 7.18.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.linalg import dot, plus_zero
from jreg.prox.elementwise import soft_threshold
from jreg.prox.nonconvex import l0
from jreg.typing import Array, ArrayLike


def spectral(f: Callable[..., Array], V: ArrayLike, *parameters: ArrayLike) -> Array:
    """`U diag(f(sigma, *parameters)) W'` for `V = U diag(sigma) W'`.

    V (..., m, n); f maps the min(m, n) singular values, in decreasing order, to as many numbers; it
    must commute with permutations and sign changes of the entries, as the prox of a norm does.
    Whatever is to be differentiated comes as one of the parameters, not in the closure of f.
    Derivatives are divided differences of f (Daleckii and Krein 1965; Noferini 2017), with their
    limits at equal and at zero singular values, where U and W themselves have none. Raises
    ValueError if V is not a matrix.

    >>> spectral(jnp.cbrt, 8 * jnp.eye(2)).round(4)
    Array([[2., 0.],
           [0., 2.]], dtype=float32)
    """
    V = tree.floating(V)
    if V.ndim < 2:
        raise ValueError(f"V must be a matrix; got shape {V.shape}")
    if 0 in V.shape:
        return V
    parameters = tuple(jnp.asarray(p, V.dtype) for p in parameters)
    lift = partial(_spectral, f)
    for _ in range(V.ndim - 2):
        lift = jax.vmap(lift, in_axes=(0, None))
    return lift(V, parameters)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spectral(f: Callable[..., Array], V: Array, parameters: tuple) -> Array:
    U, sigma, Wt = jnp.linalg.svd(V, full_matrices=False)
    return _compose(U, f(sigma, *parameters), Wt)


def _compose(U: Array, z: Array, Wt: Array) -> Array:
    Z = dot(U * z[None, :], Wt)
    return plus_zero(Z)


@_spectral.defjvp
def _spectral_jvp(f: Callable[..., Array], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The derivative in the bases U and W, where `A = U' dV W`:

    its diagonal moves sigma; off the diagonal the symmetric part of A is multiplied by
    (z_i - z_j)/(sigma_i - sigma_j), the skew part by (z_i + z_j)/(sigma_i + sigma_j), and what dV
    has outside the span of U or of W by z_j/sigma_j.
    """
    V, parameters = primals
    dV, dparameters = tangents
    U, sigma, Wt = jnp.linalg.svd(V, full_matrices=False)
    z, dz = jax.jvp(lambda *p: f(sigma, *p), parameters, dparameters)
    J = jax.jacfwd(lambda s: f(s, *parameters))(sigma)
    slope = jnp.diagonal(J)

    # at a distance where rounding in the difference equals the error of the limit
    near = jnp.sqrt(jnp.finfo(V.dtype).eps) * sigma[0]
    gap, total = sigma[:, None] - sigma[None, :], sigma[:, None] + sigma[None, :]
    mean_slope = (slope[:, None] + slope[None, :]) / 2
    equal, zero, zeros = jnp.abs(gap) <= near, sigma <= near, total <= near
    symmetric = jnp.where(
        equal, mean_slope - (J + J.T) / 2, (z[:, None] - z[None, :]) / jnp.where(equal, 1, gap)
    )
    skew = jnp.where(zeros, mean_slope, (z[:, None] + z[None, :]) / jnp.where(zeros, 1, total))
    outer = jnp.where(zero, slope, z / jnp.where(zero, 1, sigma))

    left, right = dot(U.T, dV), dot(dV, Wt.T)
    A = dot(left, Wt.T)
    inner = symmetric * (A + A.T) / 2 + skew * (A - A.T) / 2
    k = sigma.size
    inner = jnp.where(jnp.eye(k, dtype=bool), jnp.diag(dz + dot(J, jnp.diagonal(A))), inner)
    dZ = dot(dot(U, inner), Wt)
    m, n = V.shape
    if m > k:
        dZ = dZ + dot((right - dot(U, A)) * outer[None, :], Wt)
    if n > k:
        dZ = dZ + dot(U * outer[None, :], left - dot(A, Wt))
    return _compose(U, z, Wt), dZ


def nuclear(V: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t sum_i sigma_i(Z)`, the nuclear norm: singular values soft-thresholded at t.

    V (..., m, n); t >= 0 a scalar. Cai, Candes and Shen (2010), theorem 2.1.

    >>> nuclear(jnp.diag(jnp.array([3.0, 1.0])), 1.0).round(5)
    Array([[2., 0.],
           [0., 0.]], dtype=float32)
    """
    return spectral(soft_threshold, V, t)


def rank(V: ArrayLike, t: ArrayLike) -> Array:
    """Prox of `t rank(Z)`: singular values up to sqrt(2 t) are set to 0.

    The global minimiser; of two, that of lower rank. V (..., m, n); t >= 0 a scalar. Eckart and
    Young (1936); Hiriart-Urruty and Le (2013), section 4.

    >>> rank(jnp.diag(jnp.array([3.0, 1.0])), 1.0).round(5)
    Array([[3., 0.],
           [0., 0.]], dtype=float32)
    """
    return spectral(l0, V, t)
