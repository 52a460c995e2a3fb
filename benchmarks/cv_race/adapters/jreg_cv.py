"""`jreg.cross_validate` and `jreg.stability_selection` as a user calls them, the path of all rows
included. Arrays in C order."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from path_race import passes
from path_race.adapters import jreg_path as path

from cv_race.adapters import Solver
from cv_race.studies import KEY, Study

NAME, ENVIRONMENT, TOLERANCES = path.NAME, path.ENVIRONMENT, path.TOLERANCES
DEFAULT = 10.0**-6
versions = path.versions

_said: dict[str, Any] = {}


def variants(study: Study) -> list[str] | str:
    return [""]


def says() -> dict[str, Any]:
    return dict(_said)


def prepare(study: Study, variant: str) -> Solver:
    X = np.ascontiguousarray(study.problem.X)
    whole = _halves(study, X) if study.folds is None else _folds(study, X)
    return Solver(whole, _Noting(study, X, whole))


def _folds(study: Study, X: np.ndarray) -> Callable[[float], np.ndarray]:
    from jreg.selection import cross_validate

    loss, penalty = path.terms(study.problem)
    options = _options(study) | {"folds": study.folds}

    def validate(tol: float) -> np.ndarray:
        found = cross_validate(X, study.problem.y, penalty, loss, tol=tol, **options)
        return found.mean

    return validate


def _halves(study: Study, X: np.ndarray) -> Callable[[float], np.ndarray]:
    from jreg.selection import stability_selection

    loss, penalty = path.terms(study.problem)
    options = _options(study) | {"n_pairs": len(study.train) // 2, "key": KEY}

    def select(tol: float) -> np.ndarray:
        found = stability_selection(X, study.problem.y, penalty, loss, tol=tol, **options)
        return found.n_selected

    return select


def _options(study: Study) -> dict[str, Any]:
    return {"lams": study.problem.lams, "fit_intercept": False, "standardize": False}


class _Noting:
    """The fits of a selection, which it does not keep, noted as they pass by; and passes over X of
    it and of one path, for what the solver says."""

    def __init__(self, study: Study, X: np.ndarray, whole: Callable[[float], Any]) -> None:
        self.study, self.X, self.whole = study, X, whole
        self.counts: Any = None  # nothing is counted in a process that is timed

    def __call__(self, tol: float) -> np.ndarray:
        self.counts = self.counts or passes.count(self.X.shape[1])
        noted: list[np.ndarray] = []
        with noting(noted, self.study):
            self._count("passes", lambda: self.whole(tol))
        self._count("passes_of_path", lambda: self._path(tol))
        return np.stack(noted[1:])  # without the path of all rows

    def _count(self, word: str, call: Callable[[], Any]) -> None:
        self.counts.restart()
        call()
        _said[word] = self.counts.total

    def _path(self, tol: float) -> None:
        import jreg

        loss, penalty = path.terms(self.study.problem)
        jreg.path(self.X, self.study.problem.y, penalty, loss, tol=tol, **_options(self.study))


@contextlib.contextmanager
def noting(noted: list[np.ndarray], study: Study) -> Iterator[None]:
    """Appends the coefficients of every path that `jreg.selection` solves by weights."""
    from jreg.path import drive

    original = drive.fits_of_weights

    def noted_fits(problem: Any, penalty: Any, plan: Any, weights: Any) -> Iterator[Any]:
        weights = list(weights)
        if not np.array_equal(np.stack(weights[1:]) > 0, study.train):
            raise RuntimeError("other rows are fitted than the peers fit")
        for fit in original(problem, penalty, plan, weights):
            noted.append(fit.path.coef)
            yield fit

    homes = [
        module
        for name, module in sys.modules.items()
        if name.startswith("jreg.selection.")
        and getattr(module, "fits_of_weights", None) is original
    ]
    for home in homes:
        vars(home)["fits_of_weights"] = noted_fits
    try:
        yield
    finally:
        for home in homes:
            vars(home)["fits_of_weights"] = original
