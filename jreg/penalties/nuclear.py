"""The nuclear norm."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from jreg import prox, tree
from jreg.linalg import dot
from jreg.penalties.coupled import Coupled, matrices
from jreg.typing import Array, Scalar


@tree.dataclass
class Nuclear(Coupled):
    """`lam * sum_i sigma_i(W)`, the sum of singular values: matrices of low rank.

    lam: strength >= 0, in units of the loss per unit of W. An array of rank above 2 is a batch of
    matrices in its last two axes. The dual norm is the spectral norm. The subdifferential depends
    on the rank: singular values up to `4 (m + n) eps` times the largest, its rounding, count as 0.
    Raises ValueError for vectors and concrete negative lam; a traced one gives NaN. Fazel (2002);
    Watson (1992) for the subdifferential.

    >>> Nuclear(1.0).prox(jnp.diag(jnp.array([3.0, 0.5])), step=1.0).round(5)
    Array([[2., 0.],
           [0., 0.]], dtype=float32)
    """

    lam: Scalar = 1.0

    compares: ClassVar[bool] = False

    def _value(self, w: Array) -> Array:
        return jnp.sum(matrices(_sum_of_singular_values, w))

    def _prox(self, v: Array, t: Array) -> Array:
        return matrices(lambda v: prox.nuclear(v, t), v)

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        """`u - s U W'` in the tangent space of the rank, singular values beyond s outside it."""
        s = jnp.minimum(s, 1e30)

        def matrix(w: Array, u: Array) -> Array:
            U, Wt = range_of(w)
            rest = u - s * dot(U, Wt)
            tangent = tangent_part(rest, U, Wt)
            return tangent + prox.nuclear(rest - tangent, s)

        return matrices(matrix, w, u)

    def _gauge(self, u: Array) -> Array:
        sigma = matrices(lambda u: jnp.linalg.svd(u, compute_uv=False), u)
        return jnp.max(sigma, initial=0)

    def _smooth(self, w: Array) -> Array:
        """All entries where the rank is full, else none."""
        return matrices(full_rank, w)


def singular_values_kept(sigma: Array, shape: tuple[int, ...]) -> Array:
    """Those above `4 (m + n) eps` times the largest."""
    rounding = 4 * sum(shape) * jnp.finfo(sigma.dtype).eps
    return sigma > rounding * jnp.max(sigma, initial=0)


def range_of(w: Array) -> tuple[Array, Array]:
    """U (m, k) and W' (k, n) of a matrix, with zeros in place of the vectors of its null space."""
    U, sigma, Wt = jnp.linalg.svd(w, full_matrices=False)
    kept = singular_values_kept(sigma, w.shape)
    return jnp.where(kept[None, :], U, 0), jnp.where(kept[:, None], Wt, 0)


def tangent_part(R: Array, U: Array, Wt: Array) -> Array:
    """`P_U R + R P_W - P_U R P_W`: R on the tangent space of the matrices of one rank."""
    left = dot(U, dot(U.T, R))
    return left + dot(dot(R - left, Wt.T), Wt)


def full_rank(w: Array) -> Array:
    """True in every entry if a matrix has full rank, to rounding."""
    sigma = jnp.linalg.svd(w, compute_uv=False)
    return jnp.broadcast_to(jnp.all(singular_values_kept(sigma, w.shape)), w.shape)


@jax.custom_jvp
def _sum_of_singular_values(w: Array) -> Array:
    return jnp.sum(jnp.linalg.svd(w, compute_uv=False))


@_sum_of_singular_values.defjvp
def _sum_of_singular_values_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The subgradient of least norm, U W' of the nonzero singular values."""
    (w,), (dw,) = primals, tangents
    U, Wt = range_of(w)
    return _sum_of_singular_values(w), jnp.sum(dot(U, Wt) * dw)
