"""The candidate columns of a path, and products with those of them that are in use.

The columns lie as rows of memory in a few pieces, of which only the first ones are multiplied: one
compiled program serves any number of columns, and works as much as there are. Directions and small
moves need few digits: they are found with a copy in single precision, twice as quick.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import design, tree
from jreg.certificates import NullModel
from jreg.linalg import dot, safe_reciprocal
from jreg.path.compiled import compiled
from jreg.problem import CentredProblem, Linear
from jreg.typing import Array, ArrayLike

STARTS = (0, 512, 1024, 2048, 4096, 6144, *(1 << k for k in range(13, 32)))  # of pieces


@tree.dataclass
class Pieces:
    """Columns as the rows of some arrays."""

    parts: tuple[Array, ...]
    used: ArrayLike  # how many columns are in use: the first ones

    @property
    def dtype(self) -> Any:
        """Of the entries."""
        return self.parts[0].dtype

    def times(self, rows: Array) -> Array:
        """`sum_j rows[..., j] column_j`, (..., n)."""
        total = jnp.zeros((*rows.shape[:-1], self.parts[0].shape[1]), rows.dtype)
        for start, Z in self._placed():
            some = rows[..., start : start + len(Z)]
            total = self._if_used(start, lambda t, a, Z: t + dot(a, Z), total, some, Z)
        return total

    def transposed_times(self, rows: Array) -> Array:
        """`rows[..., :] . column_j`, (..., columns)."""
        nothing = [jnp.zeros((*rows.shape[:-1], len(Z)), rows.dtype) for Z in self.parts]
        found = [
            self._if_used(start, lambda _, r, Z: dot(r, Z.T), zero, rows, Z)
            for zero, (start, Z) in zip(nothing, self._placed(), strict=True)
        ]
        return jnp.concatenate(found, axis=-1)

    def _placed(self) -> Iterator[tuple[int, Array]]:
        """Each piece, with the number of its first column."""
        return zip(starts(sum(map(len, self.parts))), self.parts, strict=True)

    def _if_used(
        self, start: int, fun: Callable[..., Array], otherwise: Array, *args: Any
    ) -> Array:
        """`fun(otherwise, *args)` if the piece from column `start` on is in use."""
        if start == 0:
            return fun(otherwise, *args)
        return jax.lax.cond(start < self.used, fun, lambda a, *_: a, otherwise, *args)


def starts(columns: int) -> list[int]:
    """The first column of each piece."""
    return [start for start in STARTS if start < max(columns, 1)]


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


def gather(problem: CentredProblem, index: np.ndarray, used: int) -> tuple[Pieces, Pieces]:
    """The columns `index` of Z, of which the first `used` count, in their precision and in single;
    those beyond the last column of X are 0."""
    ends = [*starts(index.size), index.size]
    found: list[tuple[Array, Array]] = []
    for start, end in itertools.pairwise(ends):
        if start < used:
            found.append(_columns(problem, index[start:end]))
        elif len(found[-1][0]) != end - start:  # any piece will do where none is read
            found.append(_nothing(problem, end - start))
        else:
            found.append(found[-1])
    full, low = (Pieces(parts, np.int32(used)) for parts in zip(*found, strict=True))
    return full, low


@compiled
def _columns(problem: CentredProblem, index: Array) -> tuple[Array, Array]:
    p = problem.mean.size
    at = jnp.minimum(index, p - 1)
    Z = design.columns(problem.X, at).T - problem.mean[at][:, None]
    Z = Z * jnp.where(index < p, safe_reciprocal(problem.scale[at]), 0)[:, None]
    return Z, single(Z)


@partial(compiled, static_argnames="count")
def _nothing(problem: CentredProblem, count: int) -> tuple[Array, Array]:
    Z = jnp.zeros((count, problem.weight.size), problem.weight.dtype)
    return Z, single(Z)


def on_columns(
    problem: CentredProblem, null: NullModel, pieces: tuple[Pieces, Pieces], index: Array
) -> tuple[Gathered, NullModel]:
    """Both on the columns `index` of Z, which are the pieces."""
    p = problem.mean.size
    at = jnp.minimum(index, p - 1)
    present = (index < p) & (problem.scale[at] > 0)
    null = null._replace(
        gradient=null.gradient.at[index].get(mode="fill", fill_value=0),
        curvature=jnp.where(present, null.curvature[at], 0),
    )
    parts = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    scale = present.astype(problem.scale.dtype)
    parts |= {"X": None, "gram": None, "mean": jnp.zeros_like(scale), "scale": scale}
    whole = Gathered(**parts, curvature=null.curvature)
    full, low = pieces
    if full.dtype != low.dtype:
        low_problem = dataclasses.replace(jax.tree.map(single, whole), X=low)
        whole = dataclasses.replace(whole, low=low_problem)
    return dataclasses.replace(whole, X=full), null


def single(leaf: Array) -> Array:
    """In single precision, if it is not of integers or flags."""
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(leaf, jnp.float32) if floating else leaf
