"""Pytree helpers: frozen dataclasses as pytrees, and the few maps that solvers need."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jreg.typing import Array, PyTree

T = TypeVar("T")


def static(default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that is part of the structure (compared and hashed), not a leaf."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def dataclass(cls: type[T]) -> type[T]:
    """A frozen dataclass registered as a pytree; identity semantics, for objects with arrays."""
    return _register(dataclasses.dataclass(frozen=True, eq=False)(cls))


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(static,))
def value_dataclass(cls: type[T]) -> type[T]:
    """The same, equal and hashable by value: for solvers and losses, whose fields are numbers."""
    return _register(dataclasses.dataclass(frozen=True)(cls))


def _register(cls: type[T]) -> type[T]:
    """Make a pytree of a dataclass.

    Not by `jax.tree_util.register_dataclass`: in JAX 0.10.2 the structures of two such classes with
    the same fields compare equal, so a compiled program of one may be taken for the other's.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    structure = tuple(f.name for f in fields if f.metadata.get("static"))
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in leaves)

    def flatten(node: T) -> tuple[tuple, tuple]:
        children = tuple(getattr(node, name) for name in leaves)
        return children, tuple(getattr(node, name) for name in structure)

    def flatten_with_keys(node: T) -> tuple[tuple, tuple]:
        children, static = flatten(node)
        return tuple(zip(keys, children, strict=True)), static

    def unflatten(static: tuple, children: tuple) -> T:
        values = zip(leaves + structure, tuple(children) + static, strict=True)
        return cls(**dict(values))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def inside(outer: PyTree, piece: str) -> list[Any]:
    """The outermost parts of a pytree, itself aside, that have a `piece`."""
    parts = jax.tree.leaves(outer, is_leaf=lambda f: f is not outer and hasattr(f, piece))
    return [f for f in parts if hasattr(f, piece)]


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Every leaf as an array of `dtype`, never weakly typed, so that 1, 1.0 and
    `np.float64(1)` are one trace. Numbers of Python and NumPy are converted by NumPy, where JAX
    would compile a program for each shape."""

    def convert(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return jnp.asarray(leaf, dtype)
        return jax.device_put(np.array(leaf, dtype))

    return jax.tree.map(convert, tree)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """Every leaf as an array of the dtype of its counterpart in `like`."""
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, other.dtype), tree, like)


def floating(tree: PyTree) -> PyTree:
    """Every leaf as a JAX array of a floating dtype; integers become the default float."""

    def one(leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        inexact = jnp.issubdtype(array.dtype, jnp.inexact)
        return array if inexact else array.astype(jnp.result_type(float))

    return jax.tree.map(one, tree)


def broadcast(prefix: PyTree, tree: PyTree) -> PyTree:
    """`prefix` as a tree like `tree`: a lone scalar is repeated for every leaf."""
    if jax.tree.structure(prefix) == jax.tree.structure(tree):
        return prefix
    if jax.tree.structure(prefix) == _LEAF and jnp.ndim(prefix) == 0:
        return jax.tree.map(lambda _: prefix, tree)
    raise ValueError(
        f"expected a scalar or a tree like the parameters, {jax.tree.structure(tree)}; "
        f"got {jax.tree.structure(prefix)}"
    )


_LEAF = jax.tree.structure(0.0)


def total(f: Callable[..., Array], *trees: PyTree) -> Array:
    """Sum over all entries of `f` applied leaf by leaf."""
    leaves = jax.tree.leaves(jax.tree.map(lambda *a: jnp.sum(f(*a)), *trees))
    return sum(leaves[1:], leaves[0]) if leaves else jnp.zeros(())


def largest(tree: PyTree) -> Array:
    """The largest absolute value over all leaves (0 for an empty tree); NaN if one is NaN.

    NaN is asked for by itself: a maximum over 2 axes leaves it out on CPUs (XLA of JAX 0.10.2).
    """
    leaves = [_largest(leaf) for leaf in jax.tree.leaves(tree)]
    result = jnp.zeros(())
    for leaf in leaves:
        result = jnp.maximum(result.astype(leaf.dtype), leaf)
    return result


def _largest(a: Array) -> Array:
    return jnp.where(jnp.any(jnp.isnan(a)), jnp.nan, jnp.max(jnp.abs(a), initial=0.0))


def add_scaled(a: PyTree, c: Any, b: PyTree) -> PyTree:
    """`a + c * b`, leaf by leaf."""
    return jax.tree.map(lambda x, y: x + c * y, a, b)


def subtract(a: PyTree, b: PyTree) -> PyTree:
    """`a - b`, leaf by leaf."""
    return jax.tree.map(jnp.subtract, a, b)


def select(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """`a` where the scalar `condition` holds, else `b`; both are computed."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def dtype(tree: PyTree) -> Any:
    """The common dtype of all leaves."""
    return jnp.result_type(*jax.tree.leaves(tree))


def no_tangent(tree: PyTree) -> PyTree:
    """The tangent of a constant: zeros, of type float0 for integers."""

    def one(leaf: Array) -> Any:
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        return jnp.zeros_like(leaf) if inexact else np.zeros(jnp.shape(leaf), jax.dtypes.float0)

    return jax.tree.map(one, tree)
