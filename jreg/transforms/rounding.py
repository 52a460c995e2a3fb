"""Parameters of low precision: what an update cannot express is kept and added to the next one.

Transforms compute in float32 or wider. For bfloat16 and float16 parameters p they remember the
residue `r = q - (p + update)` of the point q that they meant, and go on from `p + r`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jreg.typing import Array, PyTree


def wide(tree: PyTree) -> PyTree:
    """Every leaf in float32, or its own dtype if that is wider."""

    def one(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    return jax.tree.map(one, tree)


def common_dtype(tree: PyTree) -> Any:
    """The widest dtype of `wide(tree)`; float32 for a tree without leaves."""
    return jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(tree)))


def no_residue(params: PyTree) -> PyTree:
    """Zeros for the leaves of low precision, None for the others."""

    def one(p: Array) -> Array | None:
        return jnp.zeros(jnp.shape(p), jnp.float32) if _is_narrow(p) else None

    return jax.tree.map(one, params)


def restore(params: PyTree, residue: PyTree) -> PyTree:
    """The point that was meant: `p + r`, in float32 or wider."""
    return jax.tree.map(lambda p, r: p if r is None else p + r, wide(params), residue)


def move(params: PyTree, target: PyTree) -> tuple[PyTree, PyTree]:
    """(update of the dtype of params, residue) on the way to `target`. Zeros are met exactly."""

    def update(p: Array, q: Array) -> Array:
        return _rounded(q - wide(p), p).astype(p.dtype)

    def lost(p: Array, q: Array, u: Array) -> Array | None:
        return q - _rounded(wide(p) + wide(u), p) if _is_narrow(p) else None

    updates = jax.tree.map(update, params, target)
    return updates, jax.tree.map(lost, params, target, updates)


def _is_narrow(p: Any) -> bool:
    return jnp.promote_types(jnp.asarray(p).dtype, jnp.float32) != jnp.asarray(p).dtype


def _rounded(x: Array, like: Array) -> Array:
    """x with the precision of `like`, in its own dtype: XLA may leave out a cast there and back."""
    if not _is_narrow(like):
        return x
    info = jnp.finfo(like.dtype)
    return jax.lax.reduce_precision(x, exponent_bits=info.nexp, mantissa_bits=info.nmant)
