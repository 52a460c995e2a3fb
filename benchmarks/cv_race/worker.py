"""The process of one solver: `python -m cv_race.worker ADAPTER WHAT VARIANT FOLDER`.

WHAT is "whole", the selection as it is timed, which then says its mean curve; or "fits", the
coefficients of every set of rows for the evaluator. The protocol is that of `path_race.worker`.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from path_race.worker import serve

from cv_race import studies


class Reporter:
    """Keeps the curve of the last run, for what the solver says."""

    def __init__(self, adapter: ModuleType, what: str, solve: Callable) -> None:
        self.adapter, self.what, self.solver = adapter, what, solve
        self.curve: list[float] = []

    def solve(self, tol: float) -> np.ndarray:
        found = self.solver(tol)
        self.curve = [float(value) for value in found] if self.what == "whole" else []
        return found

    def says(self) -> dict[str, Any]:
        said = self.adapter.says() if hasattr(self.adapter, "says") else {}
        return {**said, "curve": self.curve}


def main() -> int:
    name, what, variant, folder = sys.argv[1:]

    def prepare() -> tuple[str, Callable, Any]:
        adapter = importlib.import_module(f"cv_race.adapters.{name}")
        versions = adapter.versions()
        solver = adapter.prepare(studies.load(Path(folder)), variant)
        reporter = Reporter(adapter, what, getattr(solver, what))
        return versions, reporter.solve, reporter

    return serve(prepare)


if __name__ == "__main__":
    sys.exit(main())
