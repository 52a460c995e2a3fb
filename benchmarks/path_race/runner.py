"""Runs the contenders on a problem: first what each tolerance reaches, then the clock.

1. Every contender goes down its decades of tolerances, two at a time and one back, until its
   certificate (the duality gap as the evaluator finds it; the KKT distance of a nonconvex penalty)
   is at the level, it runs into the time limit, or its decades end.
2. Whoever reached it quickly runs once more three decades tighter: the best objective of all runs,
   lambda by lambda, is what suboptimality is measured against.
3. For each level every contender gets the loosest tolerance that reaches it, a fresh process, one
   cold call, and warm calls in turn with the others. Before each call is a pause: the threads of
   OpenBLAS and OpenMP go on looking for work for a while, and would slow down whoever comes next.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from path_race import problems
from path_race.contenders import Stopped, Worker, enter
from path_race.evaluator import Evaluator
from path_race.problems import Problem
from path_race.tolerances import Reference, Run, Searched, Trial, loosest, search, tighten

LEVEL = 1e-6
SLOW = 3.0  # a contender this many times slower than the fastest peer, and
LONG = 5.0  # slower than so many seconds, is timed once: in the search
PAUSE = 0.5  # seconds before a call; OpenBLAS was seen to look for work for 0.1 s
GENEROUS = 10  # times the time limit, for a run that kept to it before


@dataclass
class Clock:
    """The times of one contender at one level."""

    name: str
    tol: float
    reached: float
    rounds: list[float]
    cold: float | None = None
    memory: float | None = None  # of the first call
    memory_warm: float | None = None  # of a later one, beyond what is there before it
    says: dict = field(default_factory=dict)  # of the cold call
    says_warm: dict = field(default_factory=dict)


def take_turns(entries: list[tuple[Searched, Run, float]], folder: Path, options: Any) -> list:
    """Time the runs in turn, each in a fresh process (step 3)."""
    peers = [run.seconds for searched, run, _ in entries if is_peer(searched)]
    fastest = min(peers, default=np.inf)
    limit = GENEROUS * options.limit
    clocks, workers = [], []
    try:
        for searched, run, reached in entries:
            clock = Clock(searched.contender.name, run.tol, reached, [run.seconds])
            clocks.append(clock)
            if is_peer(searched) and run.seconds > max(LONG, SLOW * fastest):
                continue
            worker = Worker(searched.contender, folder)
            workers.append((clock, worker))
            cold = reply_of(worker, run.tol, limit)
            clock.cold, clock.memory = cold.get("seconds"), cold.get("memory")
            clock.says = cold.get("says", {})
        turns: dict[int, list] = {id(clock): [] for clock, _ in workers}
        for _ in range(options.repeats):
            for clock, worker in workers:
                warm = reply_of(worker, clock.tol, limit)
                if "seconds" in warm:
                    turns[id(clock)].append(warm["seconds"])
                    clock.memory_warm = warm.get("memory_of_call")
                    clock.says_warm = warm.get("says", {})
        for clock, _ in workers:
            clock.rounds = turns[id(clock)] or clock.rounds
    finally:
        for _, worker in workers:
            worker.close()
    return clocks


def reply_of(worker: Worker, tol: float, limit: float) -> dict:
    """The reply, empty if the solver now fails."""
    time.sleep(PAUSE)
    try:
        return worker.run(tol, limit)
    except (Stopped, ValueError) as error:
        print(f"  {worker.contender.name}: {error}", flush=True)
        return {}


def is_peer(searched: Searched) -> bool:
    return searched.contender.adapter.NAME not in ("jreg", "floor")


def race(problem: Problem, options: Any) -> dict:
    """All contenders on one problem: a dict of plain values for the report."""
    evaluator, absent = Evaluator(problem), dict[str, str]()
    convex = problem.penalty != "mcp"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems.save(problem, folder)
        there = enter(problem, options.peers, options.peers_dir, absent, options.float32)
        every = [Searched(contender) for contender in there]
        racers = [s for s in every if s.contender.adapter.NAME != "floor"]
        trials = [Trial(s, folder, evaluator, options.limit) for s in racers]
        reference = Reference(evaluator.null, problem.lams.size)
        for trial in trials:
            search(trial, LEVEL)
            tighten(trial, LEVEL)
            trial.close()
            for run in trial.searched.runs.values():
                reference.add(run)
            report_progress(trial.searched)
        level = LEVEL
        peers = [s.tightest() for s in racers if is_peer(s)]
        best_peer = min((run.certificate for run in peers if run), default=LEVEL)
        if best_peer > LEVEL:  # then at the best certificate that a peer reaches
            level = best_peer * (1 + 1e-9)
        gates = {
            "suboptimality": (LEVEL, reference.suboptimality),
            "gap" if convex else "KKT": (level, lambda run: run.certificate),
        }
        floors = [(s, Run(0.0, 0.0), 0.0) for s in every if s not in racers]
        levels = {}
        for word, (bound, figure) in gates.items():
            found = [
                (t.searched, loosest(t, lambda run, b=bound, f=figure: f(run) <= b)) for t in trials
            ]
            entries = [(s, run, figure(run)) for s, run in found if run is not None]
            levels[word] = {
                "bound": bound,
                "clocks": take_turns(entries + floors, folder, options),
                "not_reached": [
                    {"name": s.contender.name, **best_of(s, figure)}
                    for s, run in found
                    if run is None
                ],
            }
        for trial in trials:
            trial.close()
        log = (folder / "stderr.txt").read_text(errors="replace")
    return {
        "problem": problem.name,
        "kind": problem.kind(),
        "shape": problem.X.shape,
        "n_lams": problem.lams.size,
        "lam_ratio": float(problem.lams[-1] / problem.lams[0]),
        "size_of_X_mb": size_of(problem) / 2**20,
        "reference_within": reference.uncertainty(),
        "levels": levels,
        "absent": absent,
        "searches": [
            summary(s, lambda run: {"suboptimality": reference.suboptimality(run)}) for s in racers
        ],
        "log": log[-2000:],
    }


def size_of(problem: Problem) -> int:
    X = problem.X
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if problem.sparse else X.nbytes


def best_of(searched: Searched, figure: Any) -> dict:
    """The best that a contender reached below a level, or why it reached nothing."""
    done = [run for run in searched.runs.values() if np.isfinite(figure(run))]
    stops = [run.stopped for run in searched.runs.values() if run.stopped]
    why = searched.reason or (stops[-1] if stops else "")
    if not done:
        return {"reached": None, "why": why}
    best = min(done, key=figure)
    return {"reached": figure(best), "tol": best.tol, "seconds": best.seconds, "why": why}


def summary(searched: Searched, more: Callable[[Run], dict]) -> dict:
    """All runs of a search; `more` gives what a race has to say of a run."""
    return {
        "name": searched.contender.name,
        "versions": searched.versions,
        "threads": searched.threads,
        "reason": searched.reason,
        "runs": [
            {
                "tol": run.tol,
                "seconds": run.seconds,
                "certificate": run.certificate,
                "says": run.says,
                "stopped": run.stopped,
                **more(run),
            }
            for run in sorted(searched.runs.values(), key=lambda run: -run.tol)
        ],
    }


def report_progress(searched: Searched) -> None:
    """What each tolerance gave, for whoever watches."""
    runs = sorted(searched.runs.values(), key=lambda run: -run.tol)
    words = [
        f"{run.tol:.0e}: {run.stopped[:60] or f'{run.seconds:.3g} s, {run.certificate:.0e}'}"
        for run in runs
    ]
    print(f"  {searched.contender.name}: {searched.reason or '; '.join(words)}", flush=True)
