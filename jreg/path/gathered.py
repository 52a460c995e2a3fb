"""The candidate columns of a path as rows of memory, and products with those that are in use.

The columns are counted in chunks, so that one compiled program multiplies any number of them, and
works as much as there are. Newton's directions need one digit: they are found with a copy of the
columns in single precision, twice as quick to read and to multiply.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jreg import design, tree
from jreg.certificates import NullModel
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem
from jreg.typing import Array

CHUNK = 128  # columns multiplied together: what a core's cache holds


@tree.dataclass
class Gathered(CentredProblem):
    """A problem on columns of Z, which are the rows of X; those beyond `chunks` are 0."""

    curvature: Array | None = None  # bound of the second derivative of F along each column
    chunks: Array | None = None  # how many have columns in use
    low: Any = None  # the same in single precision, if this is not
    frozen: Any = None  # `Frozen`, a part of an inverse second derivative nearby

    def times(self, theta: Array) -> Array:
        """`Z theta`, like eta."""
        parts = theta.T
        if self.X.shape[0] <= CHUNK:
            return dot(parts, self.X).T
        more = self.X.shape[0] - theta.shape[0]  # to whole chunks
        parts = jnp.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, more)])

        def add(i: Array, eta: Array) -> Array:
            return eta + dot(_chunk(parts, i, axis=-1), _chunk(self.X, i))

        nothing = jnp.zeros((*parts.shape[:-1], self.X.shape[1]), parts.dtype)
        return jax.lax.fori_loop(0, self.chunks, add, nothing).T

    def transposed_times(self, r: Array) -> Array:
        """`Z' r`, like theta; r like eta."""
        parts = r.T
        if self.X.shape[0] <= CHUNK:
            return dot(parts, self.X.T).T

        def write(i: Array, out: Array) -> Array:
            product = dot(parts, _chunk(self.X, i).T)
            return jax.lax.dynamic_update_slice_in_dim(out, product, i * CHUNK, axis=-1)

        nothing = jnp.zeros((*parts.shape[:-1], self.X.shape[0]), parts.dtype)
        return jax.lax.fori_loop(0, self.chunks, write, nothing).T[: self.mean.size]

    def column_curvature(self) -> Array:
        """As of the whole problem."""
        assert self.curvature is not None
        return self.curvature


def gathered(
    problem: CentredProblem, null: NullModel, index: Array, used: Array
) -> tuple[Gathered, NullModel]:
    """Both on the first `used` of the columns `index` (k,); those beyond the last column of X
    are 0."""
    p, k = problem.mean.size, index.size
    size = min(CHUNK, k)
    index = jnp.pad(index, (0, -k % size), constant_values=p)
    present = (index < p) & (jnp.arange(index.size) < used)
    at = jnp.minimum(index, p - 1)
    per = jnp.where(present, safe_reciprocal(problem.scale[at]), 0)

    def columns(i: Array) -> Array:
        here = _chunk(at, i, size)
        Z = design.columns(problem.X, here).T - problem.mean[here][:, None]
        return Z * _chunk(per, i, size)[:, None]

    def fill(i: Array, rows: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(rows, columns(i), i * size, axis=0)

    chunks = (used + size - 1) // size
    rows = jnp.zeros((index.size, problem.weight.size), per.dtype)
    rows = jax.lax.fori_loop(0, chunks, fill, rows)
    index, at, per, present = (a[:k] for a in (index, at, per, present))
    null = null._replace(
        gradient=null.gradient.at[index].get(mode="fill", fill_value=0),
        curvature=jnp.where(present, null.curvature[at], 0),
    )
    parts = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    full = Gathered(
        **parts
        | {
            "X": rows,
            "mean": jnp.zeros_like(per),
            "scale": (per > 0).astype(per.dtype),
            "gram": None,
            "curvature": null.curvature,
            "chunks": chunks,
        }
    )
    if rows.dtype == jnp.float32:
        return full, null
    return dataclasses.replace(full, low=jax.tree.map(single, full)), null


def single(leaf: Array) -> Array:
    """In single precision, if it is not of integers or flags."""
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(leaf, jnp.float32) if floating else leaf


def _chunk(a: Array, i: Array, size: int = CHUNK, axis: int = 0) -> Array:
    return jax.lax.dynamic_slice_in_dim(a, i * size, size, axis)
