"""Projections of matrices; further axes in front are a batch."""

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.linalg import dot, plus_zero
from jreg.projections.balls import l2_ball_along, l2_sphere_along
from jreg.typing import Array, ArrayLike, Scalar


def psd(V: ArrayLike) -> Array:
    """Projection on the positive semidefinite matrices: `U max(lambda, 0) U'`.

    V (..., n, n), symmetrised first, which is the projection on the symmetric matrices. The
    derivative is by divided differences (Daleckii and Krein 1965), finite at equal eigenvalues.
    Raises ValueError for a matrix that is not square. Higham (1988), theorem 2.1.

    >>> psd(jnp.diag(jnp.array([2.0, -1.0]))).round(5)
    Array([[2., 0.],
           [0., 0.]], dtype=float32)
    """
    V = tree.floating(V)
    if V.ndim < 2 or V.shape[-1] != V.shape[-2]:
        raise ValueError(f"V must be a square matrix; got shape {V.shape}")
    if V.size == 0:
        return V
    lift = _psd
    for _ in range(V.ndim - 2):
        lift = jax.vmap(lift)
    return lift((V + jnp.swapaxes(V, -1, -2)) / 2)


@jax.custom_jvp
def _psd(S: Array) -> Array:
    return _compose(S, *jnp.linalg.eigh(S))


def _compose(S: Array, values: Array, U: Array) -> Array:
    Z = dot(U * jnp.maximum(values, 0)[None, :], U.T)
    return plus_zero(jnp.where(values[0] >= 0, S, (Z + Z.T) / 2))


@_psd.defjvp
def _psd_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """`U (R * U' dS U) U'` with `R_ij = (l_i^+ - l_j^+) / (l_i - l_j)`.

    That is `(l_i^+ + l_j^+) / (|l_i| + |l_j|)`, which has no cancellation; 0 for two zeros.
    """
    (S,), (dS,) = primals, tangents
    values, U = jnp.linalg.eigh(S)
    positive, size = jnp.maximum(values, 0), jnp.abs(values)
    total = size[:, None] + size[None, :]
    ratio = (positive[:, None] + positive[None, :]) / jnp.where(total == 0, 1, total)
    return _compose(S, values, U), dot(dot(U, ratio * dot(dot(U.T, dS), U)), U.T)


def unit_rows(V: ArrayLike, axis: int = -1) -> Array:
    """Every vector along `axis` divided by its L2 norm; a zero vector goes to the first axis.

    A nearest point of a set that is not convex.

    >>> unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    Array([[0.6, 0.8],
           [1. , 0. ]], dtype=float32)
    """
    V = tree.floating(V)
    return l2_sphere_along(V, jnp.ones((), V.dtype), axis)


def max_norm(V: ArrayLike, radius: Scalar, axis: int = -1) -> Array:
    """Every vector along `axis` projected on the L2 ball: the max-norm constraint per neuron.

    Raises ValueError for a concrete radius below 0. Srivastava, Hinton, Krizhevsky, Sutskever and
    Salakhutdinov (2014), section 5.1.

    >>> max_norm(jnp.array([[3.0, 4.0], [0.1, 0.0]]), 1.0)
    Array([[0.6, 0.8],
           [0.1, 0. ]], dtype=float32)
    """
    V = tree.floating(V)
    checks.concrete_number("radius", radius, low=0)
    return l2_ball_along(V, jnp.asarray(radius, V.dtype), axis)
