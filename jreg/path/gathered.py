"""The candidate columns of a path, and products with those of them that are in use.

The columns lie as rows of memory in a few pieces, of which only the first ones are multiplied: one
compiled program serves any number of columns, and works as much as there are. Directions and small
moves need few digits: they are found with a copy in single precision, twice as quick.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jreg import design, tree
from jreg.certificates import NullModel
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem, Linear
from jreg.typing import Array

PIECE = 1024  # columns


@tree.dataclass
class Pieces:
    """Columns as the rows of arrays (PIECE, n), the last of which may be shorter."""

    parts: tuple[Array, ...]
    count: Array  # how many of them have columns in use

    @property
    def dtype(self) -> Any:
        """Of the entries."""
        return self.parts[0].dtype

    def times(self, rows: Array) -> Array:
        """`sum_j rows[..., j] column_j`, (..., n)."""
        total, start = dot(rows[..., : len(self.parts[0])], self.parts[0]), len(self.parts[0])
        for i, part in enumerate(self.parts[1:], 1):
            some = rows[..., start : start + len(part)]
            total = jax.lax.cond(
                i < self.count, lambda t, a, Z: t + dot(a, Z), lambda t, *_: t, total, some, part
            )
            start += len(part)
        return total

    def transposed_times(self, rows: Array) -> Array:
        """`rows[..., :] . column_j`, (..., columns)."""
        found = [dot(rows, self.parts[0].T)]
        for i, part in enumerate(self.parts[1:], 1):
            nothing = jnp.zeros((*rows.shape[:-1], len(part)), rows.dtype)
            found.append(
                jax.lax.cond(
                    i < self.count,
                    lambda _, r, Z: dot(r, Z.T),
                    lambda z, *_: z,
                    nothing,
                    rows,
                    part,
                )
            )
        return jnp.concatenate(found, axis=-1)


@tree.dataclass
class Gathered(CentredProblem):
    """A problem whose X are `Pieces` of Z."""

    curvature: Array | None = None  # bound of the second derivative of F along each column
    low: Any = None  # the same in single precision, if this is not
    frozen: Any = None  # `Frozen`, a part of an inverse second derivative nearby

    def times(self, theta: Array) -> Array:
        """`Z theta`, like eta."""
        return self.X.times(theta.T).T

    def transposed_times(self, r: Array) -> Array:
        """`Z' r`, like theta; r like eta."""
        return self.X.transposed_times(r.T).T

    def column_curvature(self) -> Array:
        """As of the whole problem."""
        assert self.curvature is not None
        return self.curvature

    def moved(self, image: Array, d: Linear) -> Array:
        """The image after a small move of the parameters."""
        low = self.low or self
        return image + low.times(d.coef.astype(low.X.dtype)) + d.intercept[None]

    def turned(self, gradient: Linear, image: Array, old: Array) -> Linear:
        """The gradient at an image near an old one, where it is known."""
        low = self.low or self
        change = self.residual(image) - self.residual(old)
        coef = gradient.coef + low.transposed_times(change.astype(low.X.dtype))
        slope = gradient.intercept + jnp.sum(change, axis=0)
        return Linear(coef, jnp.where(self.fit_intercept, slope, 0))


def gathered(
    problem: CentredProblem, null: NullModel, index: Array, used: Array
) -> tuple[Gathered, NullModel]:
    """Both on the first `used` of the columns `index` (k,); those beyond the last column of X
    are 0."""
    p = problem.mean.size
    present = (index < p) & (jnp.arange(index.size) < used)
    at = jnp.minimum(index, p - 1)
    per = jnp.where(present, safe_reciprocal(problem.scale[at]), 0)

    def piece(start: int) -> Array:
        here = slice(start, start + PIECE)

        def columns() -> Array:
            Z = design.columns(problem.X, at[here]).T - problem.mean[at[here]][:, None]
            return Z * per[here, None]

        nothing = jnp.zeros((at[here].size, problem.weight.size), per.dtype)
        return jax.lax.cond(start < used, columns, lambda: nothing)

    X = Pieces(tuple(map(piece, range(0, index.size, PIECE))), (used + PIECE - 1) // PIECE)
    null = null._replace(
        gradient=null.gradient.at[index].get(mode="fill", fill_value=0),
        curvature=jnp.where(present, null.curvature[at], 0),
    )
    parts = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    parts |= {"X": X, "mean": jnp.zeros_like(per), "scale": (per > 0).astype(per.dtype)}
    full = Gathered(**parts | {"gram": None, "curvature": null.curvature})
    if X.dtype == jnp.float32:
        return full, null
    return dataclasses.replace(full, low=jax.tree.map(single, full)), null


def single(leaf: Array) -> Array:
    """In single precision, if it is not of integers or flags."""
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(leaf, jnp.float32) if floating else leaf
