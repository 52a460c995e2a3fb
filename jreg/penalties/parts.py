"""A penalty taken apart, for methods that need no prox of the whole.

    penalty(x) = sum_k f_k(A_k x)

Each f_k has a prox and A_k is linear: the identity, or that of `of_map`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties.addable import has_prox
from jreg.penalties.calculus import Fixed, Scaled
from jreg.penalties.linear_map import OfMap
from jreg.penalties.sum import Sum, add
from jreg.typing import Array, PyTree

POWER_ITERATIONS = 20


class Term(NamedTuple):
    """`f(A x)`: a penalty with a prox, and the `OfMap` that knows A, or None for the identity."""

    penalty: Any
    of: OfMap | None = None

    def map(self, x: PyTree) -> PyTree:
        """`A x`."""
        return x if self.of is None else self.of.map(x)

    def adjoint(self, u: PyTree, like: PyTree) -> PyTree:
        """`A' u`, like x."""
        return u if self.of is None else self.of.adjoint(u, like)


def parts(penalty: Any) -> tuple[Term, ...] | None:
    """The terms of a penalty, those with the identity first; None where one has no prox.

    Sums are taken apart, also within `of_map`, `scaled` and `fixed`; terms of the identity are
    joined again where a rule makes one prox of them.

    >>> from jreg.penalties import L1, Box, of_map
    >>> found = parts(of_map(L1(1.0), jnp.ones((2, 3))) + L1(1.0) + Box(-1.0, 1.0))
    >>> [(type(f).__name__, A is None) for f, A in found]
    [('Sum', True), ('L1', False)]
    """
    found = _terms(penalty)
    if any(not has_prox(term.penalty) for term in found):
        return None
    joined: list[Any] = []
    for f in (term.penalty for term in found if term.of is None):
        for i, other in enumerate(joined):
            if has_prox(add(other, f)):
                joined[i] = add(other, f)
                break
        else:
            joined.append(f)
    return (*(Term(f) for f in joined), *(term for term in found if term.of is not None))


def _terms(penalty: Any) -> tuple[Term, ...]:
    if isinstance(penalty, Fixed):
        return _terms(penalty.penalty)
    if isinstance(penalty, Scaled):
        return tuple(Term(Scaled(f, penalty.c), A) for f, A in _terms(penalty.penalty))
    if isinstance(penalty, Sum) and not has_prox(penalty):
        return tuple(term for f in penalty.terms for term in _terms(f))
    if isinstance(penalty, OfMap) and not has_prox(penalty):
        inner = _terms(penalty.penalty)
        if all(A is None for _, A in inner):
            return tuple(Term(f, penalty) for f, _ in inner)
    return (Term(penalty),)


def has_parts(penalty: Any) -> bool:
    """Whether every term of a penalty has a prox, or is one of a linear map.

    >>> from jreg.penalties import L1, of_map
    >>> differences = of_map(L1(1.0), jnp.ones((2, 3)))
    >>> has_parts(differences), has_parts(of_map(differences, jnp.ones((3, 3))))
    (True, False)
    """
    return parts(penalty) is not None


def adjoint_sum(terms: tuple[Term, ...], u: tuple[PyTree, ...], x: PyTree) -> PyTree:
    """`sum_k A_k' u_k`, like x."""
    total = jax.tree.map(jnp.zeros_like, x)
    for term, u_k in zip(terms, u, strict=True):
        total = jax.tree.map(jnp.add, total, term.adjoint(u_k, x))
    return total


def map_norm(term: Term, metric: PyTree) -> Array:
    """`|A D^-1/2|` from below, by power iterations; 1 where that is 0. D like x.

    Exact for the identity in a uniform metric; else short by some per cent. Kuczynski and
    Wozniakowski (1992).
    """
    root = jax.tree.map(jnp.sqrt, metric)
    leaves, structure = jax.tree.flatten(metric)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    normal = [jax.random.normal(k, d.shape, d.dtype) for k, d in zip(keys, leaves, strict=True)]

    def improve(_: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        v, size = carry
        x = jax.tree.map(lambda v, r: v / (jnp.where(size > 0, size, 1) * r), v, root)
        v = jax.tree.map(jnp.divide, term.adjoint(term.map(x), x), root)
        return v, norm(v)

    v = structure.unflatten(normal)
    start = (v, norm(v))
    square = jax.lax.fori_loop(0, POWER_ITERATIONS, improve, start)[1]
    return jnp.sqrt(jnp.where(square > 0, square, 1))


def norm(x: PyTree) -> Array:
    """The Euclidean norm of a tree."""
    return jnp.sqrt(tree.total(jnp.square, x))
