"""The solvers in the race, each with the processes that it runs in."""

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from path_race.adapters import NAMES
from path_race.problems import Problem

THREADS = 2
HERE = Path(__file__).parent
LIMITS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "BLIS", "VECLIB_MAXIMUM")
START_LIMIT = 300.0  # seconds for a process to import and load


class Stopped(Exception):
    """A worker ended, or was ended at its time limit."""


@dataclass
class Contender:
    """One solver in one setting on one problem."""

    adapter: ModuleType
    variant: str
    command: list[str]

    @property
    def name(self) -> str:
        return f"{self.adapter.NAME}, {self.variant}" if self.variant else self.adapter.NAME


@dataclass
class Worker:
    """A process that has loaded the problem and waits for requests."""

    contender: Contender
    folder: Path
    process: Any = field(init=False)
    ready: dict = field(init=False)

    def __post_init__(self) -> None:
        environment = dict(os.environ)
        environment |= {f"{name}_NUM_THREADS": str(THREADS) for name in LIMITS}
        # the workers find this package, and jreg where it is not installed
        paths = [str(HERE.parent), str(HERE.parents[1]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with open(self.folder / "stderr.txt", "a") as log:
            self.process = subprocess.Popen(
                [*self.contender.command, self.contender.variant, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        try:
            self.ready = self._read(START_LIMIT)
        except Stopped as error:
            self.ready = {"reason": f"did not start: {error}"}

    def run(self, tol: float, limit: float, save: Path | None = None) -> dict:
        """The reply to a request; raises Stopped at the time limit or when the process ended."""
        request = {"tol": tol, "save": None if save is None else str(save)}
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Stopped("the process ended") from None
        return self._read(limit)

    def _read(self, limit: float) -> dict:
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.close()
            raise Stopped(f"over {limit:g} s")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise Stopped(f"the process ended with exit status {code}")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def command(adapter: ModuleType, peers: Path) -> list[str] | str:
    """How to start a worker of this adapter, or why that cannot be."""
    if hasattr(adapter, "command"):
        return adapter.command(str(HERE / "adapters" / "glmnet.R"))
    name = adapter.__name__.rsplit(".", 1)[1]
    python = sys.executable
    if adapter.ENVIRONMENT is not None:
        python = str(peers / adapter.ENVIRONMENT / "bin" / "python")
        if not Path(python).exists():
            return f"no environment {adapter.ENVIRONMENT!r}: run benchmarks/install_peers.sh"
    return [python, "-m", "path_race.worker", name]


def adapters(wanted: list[str] | None) -> list[ModuleType]:
    """The modules by the names of their solvers; jreg and the floor always take part."""
    found = [importlib.import_module(f"path_race.adapters.{name}") for name in NAMES]
    names = [adapter.NAME for adapter in found]
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; there are {names}")
    always = ("jreg", "floor")
    return [a for a in found if wanted is None or a.NAME in wanted or a.NAME in always]


def enter(
    problem: Problem,
    wanted: list[str] | None,
    peers: Path,
    absent: dict[str, str],
    float32: bool = False,
) -> Iterator[Contender]:
    """The contenders of a problem; the reasons of the others go to `absent`."""
    for adapter in adapters(wanted):
        start = command(adapter, peers)
        settings = adapter.variants(problem.kind(), *problem.X.shape, problem.sparse)
        if isinstance(settings, str) or isinstance(start, str):
            absent[adapter.NAME] = settings if isinstance(settings, str) else str(start)
            continue
        if float32 and adapter.NAME == "jreg":
            settings = [*settings, "float32"]
        for variant in settings:
            yield Contender(adapter, variant, start)
