"""The inverse of the support's Hessian from block to block, bordered where the support changes."""

from typing import Any

import numpy as np

from jreg.path.compiled import compiled
from jreg.path.condense import Condensed, bordered, changed_tableau
from jreg.path.inverse import sweep_inverse
from jreg.path.sizes import CHANGED, bucket
from jreg.typing import Array, ArrayLike


class KeptInverse:
    """M = inv(H_AA) on slots, for an H that stays as it is.

    It is bordered when it is asked for, since a block that needs another H does not ask.
    """

    def __init__(self) -> None:
        self.inverse: Any = None  # None: to be made afresh
        self._block: tuple[Condensed, ArrayLike] | None = None
        self._changed: tuple[np.ndarray, np.ndarray, int] | None = None

    def renew(self, inverse: Array | np.ndarray | None) -> None:
        """Take another inverse, or forget this one."""
        self.inverse, self._block, self._changed = inverse, None, None

    def used(self, condensed: Condensed, slot: ArrayLike) -> None:
        """A block was solved, with the members of Q in these slots, -1 for none."""
        self._block = condensed, slot

    def update(self, changed: np.ndarray, slots: np.ndarray, size: int) -> None:
        """Members `changed` of that block's Q changed state, in `slots` of now `size`."""
        self._changed = (changed, slots, size) if changed.size else None

    def now(self) -> Any:
        """M of the present support; None if it is to be made afresh."""
        if self.inverse is not None and self._changed is not None:
            assert self._block is not None
            (condensed, slot), (changed, slots, size) = self._block, self._changed
            self.renew(_border(condensed, slot, changed, slots, size))
        return self.inverse


def _border(
    condensed: Condensed, slot: ArrayLike, changed: np.ndarray, slots: np.ndarray, size: int
) -> Array:
    inverse: Any = condensed.inverse
    U: Any = condensed.U
    more = (0, size - inverse.shape[0])
    if more[1]:  # rare, and not worth a program for each pair of sizes
        inverse, U = np.pad(inverse, (more, more)), np.pad(U, ((0, 0), more))
    rest = (0, bucket(changed.size, CHANGED) - changed.size)
    count = np.int32(changed.size)
    changed = np.pad(changed, rest, constant_values=-1).astype(np.int32)
    slots = np.pad(slots, rest, constant_values=-1).astype(np.int32)
    inner = _inverse_of_changed(condensed.tableau, changed, count)
    return _bordered(inverse, U, slot, changed, slots, inner)


_bordered = compiled(bordered)


@compiled
def _inverse_of_changed(tableau: Array, changed: Array, count: Array) -> Array:
    return sweep_inverse(changed_tableau(tableau, changed), count)
