"""What is raced: a problem of `path_race` and the sets of its rows that are fitted."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from path_race import problems
from path_race.problems import Problem

FOLDS, PAIRS = 10, 50
KEY = 0  # of the halves


@dataclass(frozen=True)
class Study:
    """A problem and its sets of rows.

    train: boolean (n_sets, n_samples), the rows that each fits. folds: (n_samples,) the fold that
    leaves each row out, 0 to 9; None for stability selection, where nothing is scored.
    """

    problem: Problem
    train: np.ndarray
    folds: np.ndarray | None

    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train, test) indices, as scikit-learn wants them."""
        return [(np.nonzero(rows)[0], np.nonzero(~rows)[0]) for rows in self.train]


def rows_of(problem: Problem, rows: np.ndarray) -> Problem:
    """The problem of some rows (a mask), X copied once and kept in Fortran order."""
    X = np.take(problem.X.T, np.nonzero(rows)[0], axis=1).T
    return dataclasses.replace(problem, X=X, y=problem.y[rows])


def score(study: Study, k: int, coefs: np.ndarray) -> np.ndarray:
    """Of the fits (n_lams, p) of set k, lambdas falling: the mean deviance of its held-out rows,
    (n_lams,); for stability selection which features are selected by now, (n_lams, p)."""
    if study.folds is None:
        return np.maximum.accumulate(coefs != 0, axis=0)
    held = rows_of(study.problem, ~study.train[k])
    eta = held.X @ coefs.T
    y = held.y[:, None]
    if study.problem.loss == "squared":
        return np.mean((eta - y) ** 2, axis=0)
    return 2 * np.mean(np.logaddexp(0, eta) - y * eta, axis=0)


def curve(scores: Any) -> np.ndarray:
    """The mean curve (n_lams,) of the scores of all sets; for stability selection the sum of the
    selection frequencies, which is the mean number of features selected."""
    mean = np.mean(scores, axis=0)
    return mean if mean.ndim == 1 else mean.sum(axis=1)


def in_folds(problem: Problem) -> Study:
    """Ten folds of equal size: with unequal ones a lambda would be another C of
    LogisticRegressionCV in each."""
    n = len(problem.y)
    if n % FOLDS:
        raise ValueError(f"{n} rows do not make {FOLDS} folds of equal size")
    folds = np.random.default_rng(2).permutation(n) % FOLDS
    return Study(problem, folds[None] != np.arange(FOLDS)[:, None], folds)


def in_halves(problem: Problem, pairs: int = PAIRS) -> Study:
    """Complementary halves, as `jreg.stability_selection`, which takes none, draws them by `KEY`.
    Shah and Samworth (2013)."""
    rng, n = np.random.default_rng(KEY), len(problem.y)
    train = np.zeros((2 * pairs, n), bool)
    for k in range(pairs):
        order = rng.permutation(n)
        train[2 * k, order[: n // 2]] = True
        train[2 * k + 1, order[n // 2 : 2 * (n // 2)]] = True
    return Study(problem, train, None)


Make = Callable[[str], Study]


def race() -> dict[str, Make]:
    """The studies by name, each made when it is asked for."""

    def folded(n: int, p: int, **options: Any) -> Make:
        return lambda name: in_folds(problems.simulated(name, n, p, **options))

    return {
        "lasso 10000 x 500": folded(10000, 500),
        "lasso 100000 x 200": folded(100000, 200),
        "lasso 200 x 5000": folded(200, 5000),
        "lasso 1000 x 10000": folded(1000, 10000),
        "logistic 1000 x 2000": folded(1000, 2000, loss="logistic"),
        "stability selection 200 x 1000": lambda name: in_halves(
            problems.simulated(name, 200, 1000)
        ),
    }


GOALS = {
    "lasso 10000 x 500": 4.0,
    "lasso 100000 x 200": 4.0,
    "lasso 200 x 5000": 2.0,
    "lasso 1000 x 10000": 2.0,
    "logistic 1000 x 2000": 2.0,
    "stability selection 200 x 1000": 4.0,
}


def smoke() -> dict[str, Make]:
    """The same kinds, small."""

    def small(n: int, p: int, **options: Any) -> Problem:
        return problems.simulated("", n, p, n_lams=8, ratio=0.1, **options)

    def named(study: Study, name: str) -> Study:
        return dataclasses.replace(study, problem=dataclasses.replace(study.problem, name=name))

    return {
        "lasso 40 x 60": lambda name: named(in_folds(small(40, 60)), name),
        "lasso 80 x 20": lambda name: named(in_folds(small(80, 20)), name),
        "logistic 60 x 40": lambda name: named(in_folds(small(60, 40, loss="logistic")), name),
        "stability selection 40 x 60": lambda name: named(in_halves(small(40, 60), 3), name),
    }


def save(study: Study, folder: Path) -> None:
    """The problem's files, and `sets.npy` and `folds.npy` (empty for stability selection)."""
    problems.save(study.problem, folder)
    np.save(folder / "sets.npy", np.asfortranarray(study.train, dtype=np.int32))
    folds = np.empty(0) if study.folds is None else study.folds
    np.save(folder / "folds.npy", folds.astype(np.int32))


def load(folder: Path) -> Study:
    """What `save` wrote."""
    folds = np.load(folder / "folds.npy").astype(int)
    train = np.load(folder / "sets.npy") == 1
    return Study(problems.load(folder), train, folds if folds.size else None)
