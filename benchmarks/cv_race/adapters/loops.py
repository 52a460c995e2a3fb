"""A peer's path on every set of rows, one after the other or two at a time in two processes.

Copying the rows and scoring the held-out ones are part of it, as in the peers' own selection.
"""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import ModuleType

import numpy as np

from cv_race.adapters import Solver
from cv_race.studies import Study, curve, rows_of, score

Fit = Callable[[int, float], np.ndarray]  # set and tolerance to coefficients (n_lams, p)
PROCESSES = 2
PR_SET_PDEATHSIG = 1

_held: dict = {}  # the study and the fit, in a process of the pool


def path_of_rows(study: Study, adapter: ModuleType, variant: str) -> Fit:
    """The path of a set's rows by an adapter of `path_race`."""

    def fit(k: int, tol: float) -> np.ndarray:
        return adapter.prepare(rows_of(study.problem, study.train[k]), variant)(tol)

    return fit


def in_turn(study: Study, fit: Fit) -> Solver:
    sets = range(len(study.train))
    return Solver(
        lambda tol: curve([score(study, k, fit(k, tol)) for k in sets]),
        lambda tol: np.stack([fit(k, tol) for k in sets]),
    )


def two_at_a_time(study: Study, fit: Fit) -> Solver:
    """In two processes with a thread each, which score what they fit; started by the first call."""
    context = multiprocessing.get_context("fork")  # the data are there at once
    pool = ProcessPoolExecutor(PROCESSES, context, initializer=_start, initargs=(study, fit))
    sets = range(len(study.train))
    return Solver(
        lambda tol: curve(list(pool.map(partial(_scored, tol), sets))),
        lambda tol: np.stack(list(pool.map(partial(_fitted, tol), sets))),
    )


def single_thread() -> None:
    """For what runs twice at the same time: two threads of BLAS each would be four."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def _start(study: Study, fit: Fit) -> None:
    single_thread()
    _held.update(study=study, fit=fit)
    if sys.platform == "linux":  # a worker that is stopped at its time limit takes these with it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _fitted(tol: float, k: int) -> np.ndarray:
    return _held["fit"](k, tol)


def _scored(tol: float, k: int) -> np.ndarray:
    return score(_held["study"], k, _fitted(tol, k))
