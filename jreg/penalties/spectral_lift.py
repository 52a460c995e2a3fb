"""Penalties of the singular values of a matrix."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, prox, tree
from jreg.penalties.wrapper import Wrapper, fixed_point_residual, optional
from jreg.typing import Array, PyTree


@tree.dataclass
class Spectral(Wrapper):
    """`f(sigma(W))`: see `spectral`."""

    penalty: Any

    separable: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    smooth: ClassVar[bool] = False
    entry: ClassVar[None] = None
    restrict: ClassVar[None] = None

    def value(self, w: PyTree) -> Array:
        """f of the singular values."""
        return self.penalty.value(self._sigma(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`U diag(prox_f(sigma)) W'` for `V = U diag(sigma) W'`; one step for each matrix."""
        v = tree.floating(v)
        steps = tree.broadcast(step, v)
        if any(jnp.ndim(h) > 0 for h in jax.tree.leaves(steps)):
            raise TypeError("spectral penalties need one step for all entries; got an array")
        leaves, structure = jax.tree.flatten(self.penalty)

        def f(sigma: Array, step: Array, *leaves: Array) -> Array:
            return structure.unflatten(leaves).prox(sigma, step)

        return jax.tree.map(lambda v, step: prox.spectral(f, v, step, *leaves), v, steps)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """A lower bound of it, 0 at the same points if f is convex: `|w - prox(w - grad; 1)|`."""
        return fixed_point_residual(self, w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """That of f for the singular values."""
        return self.penalty.lam_max(self._sigma(grad_at_zero))

    def unpenalized(self, w: PyTree) -> None:
        """None: every entry takes part."""
        del w

    def support(self, w: PyTree) -> PyTree:
        """All entries of a matrix if f is smooth around all its singular values, else none."""
        smooth = self.penalty.support(self._sigma(w))
        return jax.tree.map(
            lambda w, s: jnp.broadcast_to(jnp.all(s, axis=-1)[..., None, None], w.shape),
            tree.floating(w),
            smooth,
        )

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """`f*(sigma(U))`. Lewis (1995)."""
        f = optional(self.penalty, "conjugate")
        return None if f is None else lambda u: f(self._sigma(u))

    @property
    def polar(self) -> Callable[[PyTree], Array] | None:
        """That of f at the singular values."""
        f = optional(self.penalty, "polar")
        return None if f is None else lambda u: f(self._sigma(u))

    def _sigma(self, w: PyTree) -> PyTree:
        def leaf(w: Array) -> Array:
            if w.ndim < 2:
                raise ValueError(f"expected parameters that are matrices; got shape {w.shape}")
            return jnp.linalg.svd(w, compute_uv=False)

        return jax.tree.map(leaf, tree.floating(w))


def spectral(penalty: Any) -> Spectral:
    """`f(sigma(W))` for f a penalty of single entries, even and the same for all of them.

    That of L1 is the nuclear norm, that of L0 the rank, that of ridge half the squared Frobenius
    norm. An array of rank above 2 is a batch of matrices in its last two axes. `kkt_distance` is a
    lower bound. Raises ValueError for an f that is not separable, has weights or is not even. Lewis
    (1995); Beck (2017), theorem 7.18.

    >>> from jreg.penalties.l1 import L1
    >>> spectral(L1(1.0)).prox(jnp.diag(jnp.array([3.0, 0.5])), step=1.0).round(4)
    Array([[2., 0.],
           [0., 0.]], dtype=float32)
    """
    name = type(penalty).__name__
    if not penalty.separable or optional(penalty, "weights") is not None:
        raise ValueError(f"a penalty of singular values must treat all alike; {name} does not")
    if not checks.is_traced(penalty):
        for x in (0.01, 0.5, 1.0, 30.0):
            one, other = (float(penalty.value(np.array([s * x]))) for s in (1, -1))
            if one != other:
                raise ValueError(f"a penalty of singular values must be even; {name} is not")
    return Spectral(penalty)
