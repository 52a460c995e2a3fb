"""The rank of a matrix."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties.coupled import Coupled, matrices
from jreg.penalties.nuclear import full_rank, range_of, singular_values_kept, tangent_part
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class Rank(Coupled):
    """`lam * rank(W)`, counting singular values above `4 (m + n) eps` of the largest; nonconvex.

    lam: strength >= 0, in units of the loss. An array of rank above 2 is a batch of matrices in its
    last two axes. `prox` is the global minimiser. `kkt_distance` is to the limiting
    subdifferential, all matrices orthogonal to the tangent space of the matrices of W's rank
    (Luke 2013): it is 0 at every minimiser among matrices of one rank and at W = 0 (so lam_max is
    0), and says nothing about the rank itself. Raises ValueError for vectors and concrete negative
    lam.

    >>> Rank(0.5).prox(jnp.diag(jnp.array([3.0, 0.9])), step=1.0).round(5)
    Array([[3., 0.],
           [0., 0.]], dtype=float32)
    """

    lam: Scalar = 1.0

    convex: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    conjugate: ClassVar[None] = None  # type: ignore[assignment]
    polar: ClassVar[None] = None  # type: ignore[assignment]

    def _value(self, w: Array) -> Array:
        def matrix(w: Array) -> Array:
            sigma = jnp.linalg.svd(jax.lax.stop_gradient(w), compute_uv=False)
            kept = singular_values_kept(sigma, w.shape).astype(w.dtype)
            return jnp.sum(kept + 0 * sigma)  # NaN stays

        return jnp.sum(matrices(matrix, w))

    def _prox(self, v: Array, t: Array) -> Array:
        kept = matrices(lambda v: prox.rank(v, t), v)
        return jnp.where(jnp.isnan(t), jnp.nan, kept)

    def _residual(self, w: Array, u: Array, s: Array) -> Array:
        tangent = matrices(lambda w, u: tangent_part(u, *range_of(w)), w, u)
        return jnp.where(s == 0, u, tangent + 0 * s)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """0: W = 0 is stationary at every strength > 0."""
        return 0 * tree.largest(tree.floating(grad_at_zero))

    def _smooth(self, w: Array) -> Array:
        """All entries where the rank is full, else none: there it is constant."""
        return matrices(full_rank, w)
