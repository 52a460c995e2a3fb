"""Scaling, translation and tilting of a penalty, and penalties of fixed strength.

Each rule is exact for every function with a prox, convex or not. Combettes and Pesquet (2011),
table 10.1; Beck (2017), section 6.3.
"""

from collections.abc import Callable
from math import inf
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.penalties.wrapper import (
    Wrapper,
    clean,
    entries_at,
    infinite,
    inner,
    like,
    optional,
    positive,
)
from jreg.typing import Array, PyTree, Scalar


@tree.dataclass
class Scaled(Wrapper):
    """`c f(w)`, c > 0: see `scaled`."""

    penalty: Any
    c: Scalar = 1.0

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"c": (1e-30, 1e30)}

    def __post_init__(self) -> None:
        checks.number("c", self.c, low=1e-30, high=1e30)

    def value(self, w: PyTree) -> Array:
        """`c f(w)`."""
        value = self.penalty.value(w)
        return positive(self.c, value.dtype) * value

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """The prox of f with step `c * step`."""
        v = tree.floating(v)
        c = positive(self.c, tree.dtype(v))
        return self.penalty.prox(v, jax.tree.map(lambda step: c * step, step))

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """c times that of f for the gradient `grad / c`."""
        grad = tree.floating(grad)
        c = positive(self.c, tree.dtype(grad))
        return jax.tree.map(lambda d: c * d, self.penalty.kkt_distance(w, self._over(grad)))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """That of f for `grad / c`."""
        return self.penalty.lam_max(self._over(grad_at_zero))

    def support(self, w: PyTree) -> PyTree:
        """As f."""
        return self.penalty.support(w)

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """`c f*(u / c)`."""
        f = optional(self.penalty, "conjugate")
        if f is None:
            return None

        def of(u: PyTree) -> Array:
            value = f(self._over(u))
            return positive(self.c, value.dtype) * value

        return of

    @property
    def polar(self) -> Callable[[PyTree], Array] | None:
        """That of f at `u / c`."""
        f = optional(self.penalty, "polar")
        return None if f is None else lambda u: f(self._over(u))

    @property
    def entry(self) -> Callable[[PyTree], PyTree] | None:
        """That of f for `grad / c`."""
        f = optional(self.penalty, "entry")
        return None if f is None else lambda grad: f(self._over(grad))

    @property
    def restrict(self) -> Callable[[Any], "Scaled"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda index: Scaled(f(index), self.c)

    def _over(self, u: PyTree) -> PyTree:
        u = tree.floating(u)
        return jax.tree.map(lambda u: u / positive(self.c, u.dtype), u)


@tree.dataclass
class Translated(Wrapper):
    """`f(w - b)`: see `translated`."""

    penalty: Any
    b: Any = 0.0

    homogeneous: ClassVar[bool] = False
    polar: ClassVar[None] = None
    entry: ClassVar[None] = None

    def value(self, w: PyTree) -> Array:
        """`f(w - b)`."""
        return self.penalty.value(self._from(w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`b + prox_f(v - b)`."""
        v = tree.floating(v)
        z = self.penalty.prox(self._from(v), step)
        return clean(jax.tree.map(jnp.add, z, like(self.b, v)))

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """That of f at `w - b`."""
        return self.penalty.kkt_distance(self._from(w), grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """inf (a strong penalty gives b), unless b is 0."""
        grad = tree.floating(grad_at_zero)
        none = tree.largest(like(self.b, grad)) == 0
        return jnp.where(none, self.penalty.lam_max(grad), infinite(grad))

    def support(self, w: PyTree) -> PyTree:
        """That of f at `w - b`."""
        return self.penalty.support(self._from(w))

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """`f*(u) + <u, b>`."""
        f = optional(self.penalty, "conjugate")
        if f is None:
            return None

        def of(u: PyTree) -> Array:
            u = tree.floating(u)
            return f(u) + inner(u, like(self.b, u))

        return of

    @property
    def restrict(self) -> Callable[[Any], "Translated"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda i: Translated(f(i), entries_at(self.b, i))

    def _from(self, w: PyTree) -> PyTree:
        w = tree.floating(w)
        return tree.subtract(w, like(self.b, w))


@tree.dataclass
class Tilted(Wrapper):
    """`f(w) + <c, w>`: see `tilted`."""

    penalty: Any
    c: Any = 0.0

    homogeneous: ClassVar[bool] = False
    polar: ClassVar[None] = None

    def value(self, w: PyTree) -> Array:
        """`f(w) + <c, w>`."""
        w = tree.floating(w)
        return self.penalty.value(w) + inner(w, like(self.c, w))

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`prox_f(v - step c)`."""
        v = tree.floating(v)
        moved = jax.tree.map(lambda v, h, c: v - h * c, v, like(step, v), like(self.c, v))
        return self.penalty.prox(moved, step)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """That of f for the gradient `grad + c`."""
        return self.penalty.kkt_distance(w, self._plus(grad))

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """That of f for `grad + c`."""
        return self.penalty.lam_max(self._plus(grad_at_zero))

    def support(self, w: PyTree) -> PyTree:
        """As f."""
        return self.penalty.support(w)

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """`f*(u - c)`."""
        f = optional(self.penalty, "conjugate")
        if f is None:
            return None

        def of(u: PyTree) -> Array:
            u = tree.floating(u)
            return f(tree.subtract(u, like(self.c, u)))

        return of

    @property
    def entry(self) -> Callable[[PyTree], PyTree] | None:
        """That of f for `grad + c`."""
        f = optional(self.penalty, "entry")
        return None if f is None else lambda grad: f(self._plus(grad))

    @property
    def restrict(self) -> Callable[[Any], "Tilted"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda i: Tilted(f(i), entries_at(self.c, i))

    def _plus(self, grad: PyTree) -> PyTree:
        grad = tree.floating(grad)
        return jax.tree.map(jnp.add, grad, like(self.c, grad))


@tree.dataclass
class Fixed(Wrapper):
    """f, whatever the strength: see `fixed`."""

    penalty: Any

    entry: ClassVar[None] = None

    def at(self, c: Scalar) -> "Fixed":
        """The same penalty."""
        del c
        return self

    def value(self, w: PyTree) -> Array:
        """`f(w)`."""
        return self.penalty.value(w)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """The prox of f."""
        return self.penalty.prox(v, step)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """That of f."""
        return self.penalty.kkt_distance(w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """0 if f holds every penalised entry at 0 (`f.lam_max <= 1`), else inf."""
        needed = self.penalty.lam_max(grad_at_zero)
        never = jnp.where(jnp.isnan(needed), needed, inf)
        return jnp.where(needed <= 1, jnp.zeros_like(needed), never)

    def support(self, w: PyTree) -> PyTree:
        """As f."""
        return self.penalty.support(w)

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """That of f."""
        return optional(self.penalty, "conjugate")

    @property
    def polar(self) -> Callable[[PyTree], Array] | None:
        """That of f."""
        return optional(self.penalty, "polar")

    @property
    def restrict(self) -> Callable[[Any], "Fixed"] | None:
        """The same on some entries of one array."""
        f = optional(self.penalty, "restrict")
        return None if f is None else lambda index: Fixed(f(index))


def scaled(penalty: Any, c: Scalar) -> Scaled:
    """`c f(w)` for a penalty f and a number c > 0: the prox of f with step `c * step`.

    Unlike `penalty.at(c)` it also multiplies what has no strength. Raises ValueError for a concrete
    c that is not above 0; a traced one gives NaN.

    >>> from jreg.penalties.l1 import L1
    >>> scaled(L1(0.5), 2.0).prox(jnp.array([3.0, -0.5]), step=1.0)
    Array([2., 0.], dtype=float32)
    """
    return Scaled(penalty, c)


def translated(penalty: Any, b: PyTree) -> Translated:
    """`f(w - b)`: shrinks towards b, a number or a tree like w; prox `b + prox_f(v - b)`.

    The strength of which a path is made stays that of f; there is no finite `lam_max`.

    >>> from jreg.penalties.l1 import L1
    >>> translated(L1(2.0), jnp.array([1.0, 2.0])).prox(jnp.array([2.0, 5.0]), step=1.0)
    Array([1., 3.], dtype=float32)
    """
    return Translated(penalty, b)


def tilted(penalty: Any, c: PyTree) -> Tilted:
    """`f(w) + <c, w>` for c a number or a tree like w: prox `prox_f(v - step c)`.

    `at` varies the strength of f and leaves the tilt as it is.

    >>> from jreg.penalties.l1 import L1
    >>> tilted(L1(1.0), 0.5).prox(jnp.array([3.0, -3.0]), step=1.0)
    Array([ 1.5, -2.5], dtype=float32)
    """
    return Tilted(penalty, c)


def fixed(penalty: Any) -> Fixed:
    """f at its own strength, which a path does not vary: `at` is the identity.

    >>> from jreg.penalties.ridge import Ridge
    >>> fixed(Ridge(3.0)).at(100.0).prox(jnp.array([2.0]), step=1.0)
    Array([0.5], dtype=float32)
    """
    return Fixed(penalty)
