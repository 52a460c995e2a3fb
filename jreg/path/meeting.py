"""Products with one X that several paths ask for, made together: one pass over X for all of them.

The paths of the folds of a cross-validation go down the same lambdas in blocks, and each block ends
in a product with X, of which reading X is the larger part. So the paths meet there: who has asked
waits until everybody has, and the last one multiplies for all. Rounds have the same members
whatever the clock does, hence results do not depend on it.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from jreg import design
from jreg.path.compiled import compiled
from jreg.path.sizes import MEMBERS, bucket
from jreg.typing import Array, ArrayLike

# rows (..., n) to their products with X, (..., p)
Multiply: TypeAlias = Callable[[Array], ArrayLike]


@compiled
def product(X: Any, rows: Array) -> Array:
    """`rows X` for rows (..., n)."""
    flat = rows.reshape(-1, rows.shape[-1])
    found = design.transposed_times(X, flat.T).T
    return found.reshape(*rows.shape[:-1], found.shape[-1])


class Closed(Exception):
    """The meeting has ended before its time."""


class Meeting:
    """Members are threads, of which `at_once` compute at the same time and the others wait."""

    def __init__(self, X: Any, at_once: int) -> None:
        self.X = X
        self._turn = threading.Semaphore(at_once)
        self._door = threading.Condition()
        self._members = 0
        self._asked: dict[Any, np.ndarray] = {}
        self._answers: dict[Any, np.ndarray] = {}
        self._error: BaseException | None = None

    def product(self, key: Any, rows: Array) -> ArrayLike:
        """`rows X`, once every member has asked, each with a key of its own; keys sort as they
        should be stacked. Alone nobody waits, and nothing leaves the device."""
        if self._members <= 1:
            return product(self.X, rows)
        asked = np.asarray(rows)
        self._turn.release()
        try:
            with self._door:
                self._asked[key] = asked
                self._answer()
                self._door.wait_for(lambda: key in self._answers or self._error)
                if self._error:
                    raise self._error
                return self._answers.pop(key)
        finally:
            self._turn.acquire()

    def expect(self, members: int) -> None:
        """So many are about to come."""
        self._members = members

    @contextmanager
    def member(self) -> Iterator[None]:
        """One of those that are expected: asks for products, and leaves."""
        with self._turn:
            try:
                yield
            finally:
                with self._door:
                    self._members -= 1
                    self._answer()

    def close(self) -> None:
        """Whoever waits, or asks from now on, gets `Closed`."""
        with self._door:
            self._error = self._error or Closed()
            self._door.notify_all()

    def _answer(self) -> None:
        """Multiply for all, if nobody is missing."""
        if self._error or not self._asked or len(self._asked) < self._members:
            return
        try:
            self._answers.update(self._multiplied())
        except Exception as error:
            self._error = error
        self._asked.clear()
        self._door.notify_all()

    def _multiplied(self) -> dict[Hashable, np.ndarray]:
        keys = sorted(self._asked)
        rows = [self._asked[key] for key in keys]
        rows += [np.zeros_like(rows[0])] * (bucket(len(rows), MEMBERS) - len(rows))
        found = np.asarray(product(self.X, np.stack(rows)))
        return dict(zip(keys, found, strict=False))
