"""Passes over X of `jreg.path` and of all that solves paths, counted where programs are called.

* whole: products of all columns of X, with the residuals of a block of lambdas (certificates; one
  for all the paths that meet), with the response, or with X itself (the moments of tall data, which
  are read once, of all folds);
* inner: columns that the work between certificates reads (the Gram matrix of candidates, Hessians
  and fits of generalised linear models, Newton's products on a sparse support), as multiples of
  those of X. What a compiled Newton method on groups or several outputs reads cannot be seen from
  outside: inner then is None.
"""

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CERTIFICATES = {
    "meeting": ("product",),
    "drive": ("product",),
    "newton_blocks": ("certify_fits",),
    "sparse_newton": ("certify_fits",),
    "ridge": ("_of_samples", "_solutions", "_solutions", "certify_fits"),  # parameters, predictors
    "blocks": ("_certify_block",),
}
UNSEEN = {"newton_blocks": ("_solve",), "blocks": ("_solve_block",)}
LOCK = threading.Lock()  # folds are solved in threads


@dataclass
class Passes:
    """Counts since the last `restart`."""

    n_features: int
    whole: int = 0
    columns: int = 0
    seen: bool = True

    def restart(self) -> None:
        self.whole, self.columns, self.seen = 0, 0, True

    @property
    def inner(self) -> float | None:
        return self.columns / self.n_features if self.seen else None

    @property
    def total(self) -> float | None:
        return None if self.inner is None else self.whole + self.inner


def count(n_features: int) -> Passes:
    """Passes of all paths that are solved in this process, in any thread, from now on."""
    passes = Passes(n_features)

    def certificate(*_: Any) -> None:
        passes.whole += 1

    def unseen(*_: Any) -> None:
        passes.seen = False

    def first(data: Any) -> None:
        passes.whole += 1 if data.problem.gram is None else 2

    def read(columns: int) -> None:
        passes.columns += int(columns)

    for module, names in CERTIFICATES.items():
        _watch(module, names, certificate)
    for module, names in UNSEEN.items():
        _watch(module, names, unseen)
    _watch("drive", ("setup",), lambda found, *_: first(found))
    for module in ("drive", "cells"):
        _watch(module, ("moments",), certificate)
    _watch("candidates", ("grow",), lambda found, *args: read(args[-2]))  # those that are used
    # where the members are
    for name, place in (("freeze", 3), ("freeze_again", 4), ("_model", 2), ("_move", 1)):
        _watch("glms", (name,), lambda found, *args, k=place: read(columns_of(args[k])))
    for name in ("times", "transposed_times"):
        _watch(
            "sparse_support", (name,), lambda found, *args: read(args[0].matrix.shape[1]), "Columns"
        )
    return passes


def columns_of(members: Any) -> int:
    """Of the support and of those that may change."""
    return (members.support >= 0).sum() + (members.quick >= 0).sum()


def _watch(module: str, names: tuple[str, ...], see: Callable, owner: str = "") -> None:
    """Call `see(result, *args)` after each call of these functions of a module, or of a class."""
    home = importlib.import_module(f"jreg.path.{module}")
    home = getattr(home, owner) if owner else home
    for name in names:
        original = getattr(home, name)

        def watched(*args: Any, original: Callable = original, **options: Any) -> Any:
            found = original(*args, **options)
            with LOCK:
                see(found, *args)
            return found

        setattr(home, name, watched)
