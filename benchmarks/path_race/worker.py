"""The process of one solver: loads a problem once, then answers requests to run.

`python -m path_race.worker ADAPTER VARIANT FOLDER` writes one line of JSON when it is ready, then
one per line that it reads: `{"tol": 1e-6, "save": "coefs.npy"}` runs the solver and says how long
it took, beyond what memory, and what the solver itself says. Starting, loading and saving are not
timed. Whatever the solver prints goes to stderr.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from path_race import problems


def resident(word: str) -> float | None:
    """VmRSS or VmHWM (its peak) in MB; None where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))


def restart_peak() -> None:
    """Make the peak of the memory the present use, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


class Memory:
    """Peaks of the resident memory, in MB."""

    def __init__(self) -> None:
        self.first = self.before = self.restart()

    def _largest(self) -> float:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes / (1024**2 if sys.platform == "darwin" else 1024)

    def restart(self) -> float:
        restart_peak()
        self.before = resident("VmRSS") or self._largest()
        return self.before

    def peaks(self) -> dict[str, float]:
        """Beyond what there was before the first call, and before this one."""
        peak = resident("VmHWM") or self._largest()
        return {"memory": peak - self.first, "memory_of_call": peak - self.before}


def pools() -> str:
    """The threads of every native library that can say so."""
    try:
        import threadpoolctl
    except ImportError:
        return ""
    found = {f"{p['internal_api']} {p['num_threads']}" for p in threadpoolctl.threadpool_info()}
    return ", ".join(sorted(found))


def answer(solve: Any, adapter: Any, memory: Memory, request: dict) -> dict:
    memory.restart()
    start = time.perf_counter()
    coefs = solve(request["tol"])
    seconds = time.perf_counter() - start
    reply = {"seconds": seconds, **memory.peaks()}
    if request.get("save"):
        np.save(request["save"], coefs)
    if hasattr(adapter, "says"):
        reply["says"] = adapter.says()
    return reply


def serve(prepare: Callable[[], tuple[str, Callable, Any]]) -> int:
    """Answer requests until there are no more.

    prepare(): versions, the solver, and what says more of a run, an adapter or the like.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1)  # for the replies alone
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # of solvers that do not converge: the evaluator finds out

    def reply(words: dict) -> None:
        channel.write(json.dumps(words) + "\n")

    try:
        versions, solve, adapter = prepare()
    except Exception as error:  # an old peer may fail in any way under a new library
        traceback.print_exc()
        reply({"reason": f"{type(error).__name__}: {error}"})
        return 0
    memory = Memory()
    reply({"ready": True, "versions": versions, "threads": pools()})
    for line in sys.stdin:
        try:
            reply(answer(solve, adapter, memory, json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            reply({"error": f"{type(error).__name__}: {error}"})
    return 0


def main() -> int:
    name, variant, folder = sys.argv[1:]

    def prepare() -> tuple[str, Callable, Any]:
        adapter = importlib.import_module(f"path_race.adapters.{name}")
        versions = adapter.versions()
        return versions, adapter.prepare(problems.load(Path(folder)), variant), adapter

    return serve(prepare)


if __name__ == "__main__":
    sys.exit(main())
