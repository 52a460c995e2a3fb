"""A penalty of a linear map of the parameters."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.linalg import dot
from jreg.penalties.addable import has_prox
from jreg.penalties.wrapper import Wrapper, clean, fixed_point_residual, positive
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class OfMap(Wrapper):
    """`f(A w)`: see `of_map`."""

    penalty: Any
    matrix: Any = None
    mu: Scalar | None = None
    function: Any = tree.static(default=None)
    transpose: Any = tree.static(default=None)

    separable: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    conjugate: ClassVar[None] = None
    polar: ClassVar[None] = None
    entry: ClassVar[None] = None
    restrict: ClassVar[None] = None

    def __post_init__(self) -> None:
        checks.number("mu", self.mu, low=1e-30)

    @property
    def has_prox(self) -> bool:
        """Where `A A' = mu I` is declared."""
        return self.mu is not None and has_prox(self.penalty)

    def map(self, w: PyTree) -> PyTree:
        """`A w`."""
        w = tree.floating(w)
        if self.function is not None:
            return self.function(w)
        return dot(jnp.asarray(self.matrix, w.dtype), w)

    def adjoint(self, u: PyTree, like: PyTree = None) -> PyTree:
        """`A' u`; `like`, parameters of the right shape, if A is a function given alone."""
        u = tree.floating(u)
        if self.transpose is not None:
            return self.transpose(u)
        if self.function is None:
            return dot(jnp.asarray(self.matrix, u.dtype).T, u)
        if like is None:
            raise TypeError("give of_map the adjoint of A, or adjoint() parameters like w")
        return jax.linear_transpose(self.function, tree.floating(like))(u)[0]

    def value(self, w: PyTree) -> Array:
        """`f(A w)`."""
        return self.penalty.value(self.map(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`v + A' (prox_f(A v; mu step) - A v) / mu` where `A A' = mu I`, else TypeError."""
        if self.mu is None:
            raise TypeError(
                f"{type(self.penalty).__name__} of a linear map has a prox only where A A' = mu I: "
                "declare it with of_map(..., mu=...), or use a splitting solver (primal-dual, "
                "ADMM), which needs `penalty.prox`, `map` and `adjoint` alone"
            )
        if any(jnp.ndim(h) > 0 for h in jax.tree.leaves(step)):
            raise TypeError("a penalty of a linear map needs one number as step; got an array")
        v = tree.floating(v)
        mu = positive(self.mu, tree.dtype(v))
        image = self.map(v)
        moved = tree.subtract(self.penalty.prox(image, mu * step), image)
        return clean(tree.add_scaled(v, 1 / mu, self.adjoint(moved, v)))

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """A lower bound of it, 0 at the same points: `|w - prox(w - grad; 1)|`."""
        return fixed_point_residual(self, w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives A w = 0, given the gradient at the best such w.

        For `A A' = mu I`; otherwise TypeError.
        """
        if self.mu is None:
            raise TypeError("lam_max of a linear map needs A A' = mu I: of_map(..., mu=...)")
        grad = tree.floating(grad_at_zero)
        mu = positive(self.mu, tree.dtype(grad))
        return self.penalty.lam_max(jax.tree.map(lambda g: g / mu, self.map(grad)))

    def unpenalized(self, w: PyTree) -> None:
        """None: any entry may take part."""
        del w

    def support(self, w: PyTree) -> PyTree:
        """All entries if f is smooth around every entry of A w, else none."""
        smooth = [jnp.all(s) for s in jax.tree.leaves(self.penalty.support(self.map(w)))]
        every = jnp.all(jnp.stack(smooth)) if smooth else jnp.asarray(True)
        return jax.tree.map(lambda w: jnp.broadcast_to(every, w.shape), tree.floating(w))


def of_map(
    penalty: Any,
    A: Any,
    adjoint: Callable[[PyTree], PyTree] | None = None,
    mu: Scalar | None = None,
) -> OfMap:
    """`f(A w)`: total variation of an image, sparsity of a transform.

    A: a matrix (m, n), or a linear function of w; adjoint: the function `u -> A' u`, found by
    transposing A if left out. Functions are compared by identity: define them once. It has a value,
    `map` and `adjoint`, which is what splitting solvers take, and a `prox` only where `A A' = mu I`
    is declared by mu > 0. (`A' A = mu I` is not enough: A = [I; I].) Raises ValueError for a
    concrete matrix that does not have the declared mu. Combettes and Pesquet (2011), table 10.1.

    >>> from jreg.penalties.l1 import L1
    >>> rotate = jnp.array([[0.6, 0.8], [-0.8, 0.6]])
    >>> of_map(L1(1.0), rotate, mu=1.0).prox(jnp.array([3.0, 4.0]), step=1.0).round(3)
    Array([2.4, 3.2], dtype=float32)
    """
    if callable(A):
        return OfMap(penalty, None, mu, A, adjoint)
    if mu is not None and not checks.is_traced(A, mu):
        _check_mu(A, mu)
    return OfMap(penalty, jnp.asarray(A), mu, None, adjoint)


def _check_mu(A: Any, mu: Scalar) -> None:
    A = jnp.asarray(A, float)
    error = float(jnp.max(jnp.abs(dot(A, A.T) - mu * jnp.eye(A.shape[0]))))
    if not error <= 1e-4 * abs(float(mu)):
        raise ValueError(f"A A' is not {float(mu):g} times the identity: it is off by {error:.2g}")
