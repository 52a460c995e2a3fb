"""The process of one solver: `python -m cv_race.worker ADAPTER WHAT VARIANT FOLDER`.

WHAT is "whole", the selection as it is timed, which then says its mean curve; or "fits", the
coefficients of every set of rows for the evaluator. The protocol is that of `path_race.worker`.
"""

import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from path_race.worker import Memory, answer, pools

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
    channel = os.fdopen(os.dup(1), "w", buffering=1)  # for the replies alone
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # of solvers that do not converge: the evaluator finds out

    def reply(words: dict) -> None:
        channel.write(json.dumps(words) + "\n")

    try:
        adapter = importlib.import_module(f"cv_race.adapters.{name}")
        versions = adapter.versions()
        solver = adapter.prepare(studies.load(Path(folder)), variant)
        reporter = Reporter(adapter, what, getattr(solver, what))
    except Exception as error:  # an old peer may fail in any way under a new library
        traceback.print_exc()
        reply({"reason": f"{type(error).__name__}: {error}"})
        return 0
    memory = Memory()
    reply({"ready": True, "versions": versions, "threads": pools()})
    for line in sys.stdin:
        try:
            reply(answer(reporter.solve, reporter, memory, json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            reply({"error": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
