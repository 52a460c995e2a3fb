"""A cross-validation as it runs: paths of all folds, each scored on the rows it left out."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jreg.losses import Cox
from jreg.path import Path
from jreg.path.along import Plan
from jreg.path.cells import Cells, squared_errors
from jreg.path.drive import fits_of_weights
from jreg.path.result import predict_rows
from jreg.problem import LinearProblem
from jreg.selection.cv_path import CVPath
from jreg.selection.folds import Folds
from jreg.selection.measures import Measure, check_scores, deviance, squared_error
from jreg.status import Status
from jreg.typing import has


class Study(NamedTuple):
    """What all settings of a cross-validation share."""

    problem: LinearProblem  # checked, X on the host
    weight: np.ndarray
    folds: Folds
    measure: Measure
    plan: Plan

    def weights(self) -> np.ndarray:
        """(1 + n_folds, n): those of all rows, then of the rows that each fold fits."""
        return np.where(np.insert(self.folds.train, 0, True, axis=0), self.weight[None], 0)


Setting = dict[str, float]
Variants = Callable[[np.ndarray, Path], Iterable[tuple[Setting, Path]]]


def as_it_is(setting: Setting) -> Variants:
    """The path of a fold, as the one thing to score."""
    return lambda weight, path: [(setting, path)]


def run(
    study: Study, penalties: Any, variants: Variants, report: Callable[[int], None]
) -> list[CVPath]:
    """Results for all variants of the paths of one grid of lambdas.

    penalties: one, or one for each of `study.weights()`. variants(weights, path): what is made of
    a path, each with its name. report: takes how many paths are done.
    """
    weights = study.weights()
    fits = fits_of_weights(study.problem, penalties, study.plan, weights)
    whole = list(variants(weights[0], next(fits).path))
    scores: list[list[np.ndarray]] = [[] for _ in whole]
    report(1)
    for k, (fold, cells) in enumerate(fits):
        check_path(fold, f"fold {k}")
        for column, (_, path) in zip(scores, variants(weights[1 + k], fold), strict=True):
            column.append(_score(study, path, k, cells))
        report(2 + k)
    return [
        _result(study, setting, path, np.stack(column))
        for (setting, path), column in zip(whole, scores, strict=True)
    ]


def _result(study: Study, setting: Setting, path: Path, scores: np.ndarray) -> CVPath:
    weight = np.sum(study.folds.test * _counted(study)[None], axis=1)
    mean, error = summary(scores, weight)
    if np.isnan(mean).all():
        k = int(np.argmax(np.isnan(scores).any(axis=1)))
        raise ValueError(
            f"{study.measure.name} of fold {k} is NaN, so no lam can be chosen: the rows that it "
            "scores may lack a class, or pairs to compare. Use fewer folds, or another measure"
        )
    return CVPath(
        path=path,
        measure=study.measure.name,
        larger_is_better=study.measure.larger_is_better,
        mean=mean,
        standard_error=error,
        fold_scores=scores,
        fold_weight=weight,
        folds=study.folds,
        setting=setting,
    )


def summary(scores: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means (n_lams,) of scores (n_folds, n_lams), and their standard errors."""
    share = (weight / weight.sum())[:, None]
    mean = np.sum(share * scores, axis=0)
    variance = np.sum(share * (scores - mean[None]) ** 2, axis=0)
    return mean, np.sqrt(variance / max(len(scores) - 1, 1))


def _score(study: Study, fold: Path, k: int, cells: Cells | None) -> np.ndarray:
    """The scores (n_lams,) of a fold's path on the rows that it left out."""
    problem, test = study.problem, np.nonzero(study.folds.test[k])[0]
    scores = None
    if has(problem.loss, "mean") and study.measure.name == "deviance":
        scores = _deviance_of_all(study, fold, k)
    elif cells is not None and study.measure.scores in (deviance, squared_error):
        held = study.folds.test[k] & (study.weight > 0)
        scores = squared_errors(cells, held, fold.coef, fold.intercept)
    if scores is None:
        y, offset = np.asarray(problem.y)[test], np.asarray(problem.offset)[test]
        eta = predict_rows(fold, problem.X, test) + offset[None]
        scores = study.measure.scores(problem.loss, y, eta, study.weight[test])
    return check_scores(scores, fold.lams.size, study.measure.name)


def _deviance_of_all(study: Study, fold: Path, k: int) -> np.ndarray:
    """For a loss of all rows together: the deviance of all, less that of the rows fitted."""
    problem, train, test = study.problem, study.folds.train[k], study.folds.test[k]
    y, offset = np.asarray(problem.y), np.asarray(problem.offset)
    eta = fold.predict(problem.X, "link", offset)
    both = np.where(train | test, study.weight, 0)
    fitted = np.where(train, study.weight, 0)
    of_both = study.measure.scores(problem.loss, y, eta, both) * both.sum()
    of_fitted = study.measure.scores(problem.loss, y, eta, fitted) * fitted.sum()
    return (of_both - of_fitted) / _counted(study)[test].sum()


def _counted(study: Study) -> np.ndarray:
    """What each row counts for: under Cox's deviance that is a number for each event."""
    if isinstance(study.problem.loss, Cox) and study.measure.name == "deviance":
        return study.weight * np.asarray(study.problem.y)[:, 1]
    return study.weight


def check_folds(study: Study) -> None:
    """Each fold must have rows, and those of its fit must suit the loss."""
    problem = study.problem
    y = np.asarray(problem.y)
    for k, (train, test) in enumerate(zip(*study.folds, strict=True)):
        if not _counted(study)[test].sum() > 0 or not study.weight[train].sum() > 0:
            raise ValueError(f"fold {k} fits or scores no row that counts (weight 0, or no event)")
        check_rows(problem, y[train & (study.weight > 0)], f"fold {k}")


def check_rows(problem: LinearProblem, y: np.ndarray, what: str) -> None:
    """ValueError if the rows with these y, named `what`, do not suit the loss."""
    try:
        problem.loss.check(y)
        if problem.fit_intercept and has(problem.loss, "check_intercept"):
            problem.loss.check_intercept(y)
    except ValueError as error:
        raise ValueError(f"{what} cannot be fitted: {error}") from error


def check_path(path: Path, what: str) -> None:
    """ValueError if the path of some rows, named `what`, lacks solutions."""
    if np.any(path.status == Status.NOT_FINITE) or not np.isfinite(path.coef).all():
        raise ValueError(f"{what} has lambdas without a solution: {path!r}")
