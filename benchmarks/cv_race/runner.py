"""Runs the contenders on a study: first what each tolerance reaches, then the clock.

1. Every contender gives the fits of all sets of rows at its default tolerance, and then down its
   decades until the worst gap of every lambda of every set is at the level, as `path_race` does.
2. At its default tolerance, and at the loosest that reaches the level, each is timed in a fresh
   process: one cold call of the whole selection, and warm ones in turn with the others.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from path_race.runner import LEVEL, best_of, report_progress, summary, take_turns
from path_race.tolerances import Run, Searched, Trial, loosest, search

from cv_race import studies
from cv_race.contenders import enter, timed
from cv_race.evaluator import SetsEvaluator
from cv_race.studies import Study


def race(study: Study, options: Any) -> dict:
    """All contenders on one study: a dict of plain values for the report."""
    evaluator, absent = SetsEvaluator(study), dict[str, str]()
    quick = options.smoke and options.peers is None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies.save(study, folder)
        there = enter(study, options.peers, options.peers_dir, absent, quick)
        trials = [Trial(Searched(c), folder, evaluator, options.limit) for c in there]
        for trial in trials:
            runs_of(trial)
            report_progress(trial.searched)
        levels = {
            "default": at_level([(t, default_of(t)) for t in trials], folder, options),
            "gap": at_level([(t, certified(t)) for t in trials], folder, options),
        }
        log = (folder / "stderr.txt").read_text(errors="replace")
    problem = study.problem
    return {
        "problem": problem.name,
        "kind": problem.kind(),
        "shape": problem.X.shape,
        "n_lams": problem.lams.size,
        "n_sets": len(study.train),
        "levels": levels,
        "absent": absent,
        "searches": [summary(trial.searched, words_of) for trial in trials],
        "log": log[-2000:],
    }


def runs_of(trial: Trial) -> None:
    """The default tolerance, and the decades down to the level with the one before (step 1)."""
    try:
        if not trial.at(trial.searched.contender.adapter.DEFAULT).stopped:
            search(trial, LEVEL)
            certified(trial)
    finally:
        trial.close()


def default_of(trial: Trial) -> Run | None:
    """None where it stops, or does not come to every lambda."""
    run = trial.searched.runs.get(trial.searched.contender.adapter.DEFAULT)
    return run if run is not None and np.isfinite(run.certificate) else None


def certified(trial: Trial) -> Run | None:
    """The run of the loosest tolerance at which every fit is certified."""
    return loosest(trial, lambda run: run.certificate <= LEVEL)


def at_level(found: list[tuple[Trial, Run | None]], folder: Path, options: Any) -> dict:
    """The clocks of those that reach a level, and the best of the others (step 2)."""
    entries = []
    for trial, run in found:
        if run is not None:
            contender = timed(trial.searched.contender, options.peers_dir)
            searched = dataclasses.replace(trial.searched, contender=contender)
            entries.append((searched, run, run.certificate))
    return {
        "clocks": take_turns(entries, folder, options),
        "not_reached": [missed(trial.searched) for trial, run in found if run is None],
    }


def missed(searched: Searched) -> dict:
    best = best_of(searched, lambda run: run.certificate)
    return {"name": searched.contender.name, **best}


def words_of(run: Run) -> dict:
    """Of a search: the curve is too long for it."""
    said = {word: run.says[word] for word in run.says if word != "curve"}
    return {"certified": share(run), "says": said}


def share(run: Run) -> float:
    """Of all fits of a run, those whose gap is at the level."""
    if run.objective is None or run.dual is None:
        return 0.0
    return float(np.mean(run.objective - run.dual <= LEVEL))
