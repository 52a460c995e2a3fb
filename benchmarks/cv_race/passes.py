"""Passes over X while paths are solved in threads: `path_race.passes` for `jreg.path.drive`.

Products that read columns of X count, those with a Gram matrix do not: least squares on tall data
read X for the moments of all folds together and never again.
"""

import importlib
import threading
from collections.abc import Callable
from typing import Any

from path_race.passes import CERTIFICATES, UNSEEN, Passes, columns_of


def count(n_features: int) -> Passes:
    """Passes of everything that `jreg` solves in this process from now on."""
    passes, lock = Passes(n_features), threading.Lock()

    def whole(times: int = 1) -> None:
        passes.whole += times

    def unseen() -> None:
        passes.seen = False

    def read(columns: Any) -> None:
        passes.columns += int(columns)

    watch = _Watch(lock)
    for module, names in CERTIFICATES.items():
        for name in names:
            watch(module, name, lambda found, args: whole())
    for module, names in UNSEEN.items():
        for name in names:
            watch(module, name, lambda found, args: unseen())
    watch("drive", "setup", lambda found, args: whole(1 if found.problem.gram is None else 2))
    watch("drive", "moments", lambda found, args: whole())
    watch("candidates", "grow", lambda found, args: read(args[-2]))  # those that are used
    for name, place in (("_freeze", 3), ("_model", 2), ("_move", 1)):  # where the members are
        watch("glms", name, lambda found, args, k=place: read(columns_of(args[k])))
    return passes


class _Watch:
    """Calls `see(result, args)` after each call of a function of `jreg.path`."""

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock

    def __call__(self, module: str, name: str, see: Callable) -> None:
        home = importlib.import_module(f"jreg.path.{module}")
        original = getattr(home, name)

        def watched(*args: Any, **options: Any) -> Any:
            found = original(*args, **options)
            with self.lock:
                see(found, args)
            return found

        setattr(home, name, watched)


def both(passes: Passes) -> float | None:
    """Whole passes and those of the work between them."""
    return None if passes.inner is None else passes.whole + passes.inner
