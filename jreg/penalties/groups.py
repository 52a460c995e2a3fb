"""Which entries belong together: `Groups` of a vector, or the slices of an array along an axis."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg.prox.groups import Layout
from jreg.typing import Array, ArrayLike


class Groups:
    """A partition of the entries of a vector, a static value (compared and hashed by content).

    ids: the group of each entry, integers 0, 1, ... in any order; a number that no entry has is an
    empty group. Raises ValueError for ids that are not integers, negative or not of rank 1.

    >>> groups = Groups([0, 0, 1, 1, 1])
    >>> groups.total(jnp.arange(5.0))
    Array([1., 9.], dtype=float32)
    >>> Groups.of_sizes([2, 3]) == groups
    True
    """

    def __init__(self, ids: ArrayLike, n_groups: int | None = None) -> None:
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(
                f"ids must be a vector of integers; got shape {ids.shape} of {ids.dtype}"
            )
        ids = ids.astype(np.int32)
        needed = int(ids.max(initial=-1)) + 1
        if ids.size and ids.min() < 0:
            raise ValueError(f"ids must be at least 0; got {ids.min()}")
        if n_groups is not None and n_groups < needed:
            raise ValueError(f"n_groups must be at least {needed}; got {n_groups}")
        ids.setflags(write=False)
        self.ids = ids
        self.n_groups = needed if n_groups is None else n_groups
        self._digest = hashlib.sha256(ids.tobytes() + str(self.n_groups).encode()).hexdigest()
        sizes = self.sizes()
        equal = self.n_groups > 0 and sizes.min() == sizes.max() and sizes.min() > 0
        self._equal = int(sizes[0]) if equal and (np.diff(ids) >= 0).all() else None

    @classmethod
    def of_sizes(cls, sizes: Sequence[int]) -> "Groups":
        """Consecutive groups of these sizes."""
        return cls(np.repeat(np.arange(len(sizes)), sizes), len(sizes))

    def sizes(self) -> np.ndarray:
        """Number of entries in each group."""
        return np.bincount(self.ids, minlength=self.n_groups)

    def members(self) -> np.ndarray:
        """The entries of each group, (n_groups, size of the largest), filled up with their number.

        >>> Groups([0, 1, 0]).members()
        array([[0, 2],
               [1, 3]])
        """
        order = np.argsort(self.ids, kind="stable")
        sizes = self.sizes()
        place = np.arange(self.ids.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        table = np.full((self.n_groups, sizes.max(initial=0)), self.ids.size)
        table[self.ids[order], place] = order
        return table

    def total(self, x: Array) -> Array:
        """Sum over each group: (n_groups,)."""
        self._check(x)
        if self._equal:  # a reshape is faster than a scatter
            return jnp.sum(x.reshape(-1, self._equal), axis=1)
        return jax.ops.segment_sum(x, self.ids, self.n_groups)

    def largest(self, x: Array) -> Array:
        """The largest of each group of entries >= 0, 0 for an empty one: (n_groups,)."""
        self._check(x)
        if self._equal:
            return jnp.max(x.reshape(-1, self._equal), axis=1)
        return jnp.zeros(self.n_groups, x.dtype).at[self.ids].max(x)

    def spread(self, per_group: Array) -> Array:
        """The number of its group for each entry."""
        if self._equal:  # and a broadcast than a gather
            shape = (self.n_groups, self._equal)
            return jnp.broadcast_to(per_group[:, None], shape).reshape(-1)
        return per_group[self.ids]

    def _check(self, x: Array) -> None:
        if x.shape != self.ids.shape:
            raise ValueError(f"groups are of {self.ids.size} entries; got an array of {x.shape}")

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Groups) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Groups({self.ids.size} entries in {self.n_groups} groups)"


class Slices:
    """The groups of an array that are numbered by one axis; axis None: all of it is one group."""

    def __init__(self, shape: tuple[int, ...], axis: int | None) -> None:
        if axis is not None and not -len(shape) <= axis < len(shape):
            raise ValueError(f"axis {axis} does not exist in parameters of shape {shape}")
        self.shape = shape
        self.axis = None if axis is None else axis % len(shape)

    def sizes(self) -> np.ndarray:
        """Number of entries in each group."""
        n = 1 if self.axis is None else self.shape[self.axis]
        return np.full(n, int(np.prod(self.shape)) // max(n, 1))

    def total(self, x: Array) -> Array:
        """Sum over each group: (n_groups,)."""
        return jnp.sum(x, axis=self._others()).reshape(-1)

    def largest(self, x: Array) -> Array:
        """The largest of each group of entries >= 0, 0 for an empty one: (n_groups,)."""
        return jnp.max(x, axis=self._others(), initial=0).reshape(-1)

    def spread(self, per_group: Array) -> Array:
        """The number of its group for each entry."""
        shape = [n if a == self.axis else 1 for a, n in enumerate(self.shape)]
        return jnp.broadcast_to(per_group.reshape(shape), self.shape)

    def _others(self) -> tuple[int, ...]:
        return tuple(a for a in range(len(self.shape)) if a != self.axis)


def layout(groups: Groups | None, axis: int | None, leaf: Array) -> Layout:
    """The groups of one array of parameters."""
    return Slices(leaf.shape, axis) if groups is None else groups
