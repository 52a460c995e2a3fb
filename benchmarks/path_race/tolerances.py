"""What every tolerance of a solver reaches, and which is the loosest that reaches a level."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from path_race.contenders import Contender, Stopped, Worker
from path_race.evaluator import Evaluator

QUICK = 10.0  # seconds; slower contenders do not help to find the best objective,
HELP = 30.0  # for which they get so many
COMPILATION = 120.0  # seconds more for the first call of a process


@dataclass
class Run:
    """One tolerance of one contender."""

    tol: float
    seconds: float = float("nan")
    certificate: float = float("inf")
    objective: np.ndarray | None = None
    dual: np.ndarray | None = None
    says: dict = field(default_factory=dict)
    stopped: str = ""


@dataclass
class Searched:
    """What each tolerance of a contender reached."""

    contender: Contender
    versions: str = ""
    threads: str = ""
    runs: dict[float, Run] = field(default_factory=dict)
    reason: str = ""

    def tightest(self) -> Run | None:
        done = [run for run in self.runs.values() if np.isfinite(run.certificate)]
        return min(done, key=lambda run: run.certificate, default=None)


class Reference:
    """The best objective and the best dual value of all runs, lambda by lambda."""

    def __init__(self, null: float, size: int) -> None:
        self.null = null
        self.best, self.bound = np.full(size, np.inf), np.full(size, -np.inf)

    def add(self, run: Run) -> None:
        if run.objective is not None:
            self.best = np.fmin(self.best, run.objective)
            self.bound = np.fmax(self.bound, run.dual)

    def suboptimality(self, run: Run) -> float:
        if run.objective is None:
            return float("inf")
        worst = np.max((run.objective - self.best) / self.null)
        return float(worst) if np.isfinite(worst) else float("inf")

    def uncertainty(self) -> float:
        """How far the best objective can be from the optimum; NaN without duals."""
        known = np.isfinite(self.bound).all()
        return float(np.max(self.best - self.bound) / self.null) if known else float("nan")


class Trial:
    """One worker at a time of one contender, restarted when it was stopped."""

    def __init__(self, searched: Searched, folder: Path, evaluator: Evaluator, limit: float):
        self.searched, self.folder = searched, folder
        self.evaluator, self.limit = evaluator, limit
        self.worker: Any = None

    def at(self, tol: float) -> Run:
        """Run at a tolerance, once."""
        if tol not in self.searched.runs:
            self.searched.runs[tol] = self._run(tol)
        return self.searched.runs[tol]

    def _run(self, tol: float) -> Run:
        saved = self.folder / "coefs.npy"
        try:
            if self.worker is None:
                self._start()
            if self.searched.reason:
                return Run(tol, stopped=self.searched.reason)
            reply = self.worker.run(tol, self.limit, saved)
        except Stopped as error:
            self.worker = None
            return Run(tol, stopped=str(error))
        if "error" in reply:
            return Run(tol, stopped=reply["error"])
        figures = self.evaluator(np.load(saved))
        return Run(
            tol,
            reply["seconds"],
            figures.certificate(),
            figures.objective,
            figures.dual,
            reply.get("says", {}),
        )

    def _start(self) -> None:
        """A process that has compiled what the loosest tolerance needs."""
        self.worker = Worker(self.searched.contender, self.folder)
        ready = self.worker.ready
        if "reason" in ready:
            self.searched.reason = ready["reason"]
            return
        self.searched.versions, self.searched.threads = ready["versions"], ready["threads"]
        loosest = self.searched.contender.adapter.TOLERANCES[0]
        self.worker.run(loosest, self.limit + COMPILATION)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None


def search(trial: Trial, level: float) -> None:
    """Go down the decades until the certificate is at the level (step 1)."""
    decades = trial.searched.contender.adapter.TOLERANCES
    failed = 0
    for k in range(0, len(decades), 2):
        run = trial.at(decades[k])
        if trial.searched.reason:
            return
        if run.certificate <= level or run.stopped:
            if k > 0:
                trial.at(decades[k - 1])
            failed += bool(run.stopped)
            if run.certificate <= level or run.stopped.startswith("over") or failed > 1:
                return


def tighten(trial: Trial, level: float) -> None:
    """A run three decades tighter than the one that reached the level (step 2)."""
    runs = trial.searched.runs.values()
    there = [run for run in runs if run.certificate <= level and run.seconds < QUICK]
    if there:
        tightest = min(run.tol for run in there)
        decades = trial.searched.contender.adapter.TOLERANCES
        k = min(decades.index(tightest) + 3, len(decades) - 1)
        trial.limit, usual = min(trial.limit, HELP), trial.limit
        trial.at(decades[k])
        trial.limit = usual


def loosest(trial: Trial, reaches: Any) -> Run | None:
    """The run of the loosest tolerance that reaches; the decade before it is tried as well."""
    decades = trial.searched.contender.adapter.TOLERANCES
    for k, tol in enumerate(decades):
        run = trial.searched.runs.get(tol)
        if run is not None and reaches(run):
            before = trial.at(decades[k - 1]) if k else run
            return before if reaches(before) else run
    return None
