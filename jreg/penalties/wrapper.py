"""What penalties made of another penalty share: its traits, and the pieces that it may lack."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from jreg import prox, tree
from jreg.penalties.addable import Addable, has_prox, is_smooth
from jreg.typing import Array, PyTree, Scalar

Self = TypeVar("Self", bound="Wrapper")


class Wrapper(Addable):
    """Base of the penalties made of one other; `at` goes to that one.

    An optional piece is a property: a function, or None where the inner penalty has none.
    """

    penalty: Any

    ranges: ClassVar[dict[str, tuple[float, float]]] = {}

    @property
    def convex(self) -> bool:
        """As that of the inner penalty."""
        return self.penalty.convex

    @property
    def separable(self) -> bool:
        """As that of the inner penalty."""
        return self.penalty.separable

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """As that of the inner penalty."""
        return is_smooth(self.penalty)

    @property
    def homogeneous(self) -> bool:
        """As that of the inner penalty."""
        return self.penalty.homogeneous

    @property
    def compares(self) -> bool:
        """As that of the inner penalty."""
        return self.penalty.compares

    @property
    def has_prox(self) -> bool:
        """As that of the inner penalty."""
        return has_prox(self.penalty)

    def at(self: Self, c: Scalar) -> Self:
        """The same of the inner penalty at strength `c * lam`."""
        return dataclasses.replace(self, penalty=self.penalty.at(c))  # type: ignore[type-var]

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """As the inner penalty."""
        return self.penalty.unpenalized(w)


def optional(penalty: Any, piece: str) -> Callable[..., Any] | None:
    """An optional piece of the contract, None where the penalty has none."""
    return getattr(penalty, piece, None)


def like(b: PyTree, w: PyTree) -> PyTree:
    """`b`, a scalar or a tree like w, as a tree of arrays of the dtypes of w."""
    return tree.cast_like(tree.broadcast(b, w), w)


def positive(x: Scalar, dtype: Any) -> Array:
    """A number in `dtype`; NaN unless it is above 0, which concrete ones are."""
    x = jnp.asarray(x)
    return jnp.where(x > 0, x, jnp.nan).astype(dtype)


def inner(u: PyTree, b: PyTree) -> Array:
    """`<u, b>` over all entries, in which 0 times infinity is 0."""

    def product(u: Array, b: Array) -> Array:
        none = ((u == 0) & jnp.isinf(b)) | ((b == 0) & jnp.isinf(u))  # others have a derivative
        return jnp.where(none, 0, u) * jnp.where(none, 0, b)

    return tree.total(product, u, b)


def clean(z: PyTree) -> PyTree:
    """The same with +0 for -0."""
    return jax.tree.map(lambda z: prox.plus_zero(z), z)


def fixed_point_residual(penalty: Any, w: PyTree, grad: PyTree) -> PyTree:
    """`|w - prox(w - grad; 1)|`, entry by entry.

    If the penalty is convex, its norm is at most the distance of -grad from the subdifferential at
    w (the prox is nonexpansive, and w = prox(w + x) for each subgradient x); both are 0 together.
    """
    w, grad = tree.floating(w), tree.floating(grad)
    z = penalty.prox(tree.subtract(w, grad), 1.0)
    return jax.tree.map(lambda w, z: jnp.abs(w - z), w, z)


def infinite(grad: PyTree) -> Array:
    """inf, or NaN where the gradient is: no strength gives zeros."""
    return jnp.inf + 0 * tree.largest(tree.floating(grad))


def entries_at(b: Any, index: Any) -> Any:
    """Some entries of one array; a number stays."""
    return b if jnp.ndim(b) == 0 else jnp.asarray(b)[index]
