"""`cross_validate`: a lambda path scored on rows that its fits have not seen."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jreg import checks, plots
from jreg.losses import Cox, Squared
from jreg.path import Path
from jreg.path.drive import Plan, checked, fits, fits_of_weights
from jreg.path.grid import check_lams
from jreg.path.inputs import precision, read_problem
from jreg.path.progress import progress_bar
from jreg.penalties import L1
from jreg.problem import Linear, LinearProblem
from jreg.selection.folds import Folds, read_folds
from jreg.selection.measures import Measure, check_scores, read_measure
from jreg.typing import ArrayLike, Loss, Penalty, Progress, has


@dataclasses.dataclass(frozen=True, eq=False)
class CVPath:
    """A path, and how well each of its lambdas does on rows that were left out.

    Attributes:
      path: the fit of all rows at every lam.
      measure: what was measured. larger_is_better: which end of it is good.
      mean, standard_error: (n_lams,) over the folds, each with the weight of the rows it scored;
        the error is that of the mean, `sqrt(weighted variance of the folds / (n_folds - 1))`.
      fold_scores: (n_folds, n_lams). fold_weight: (n_folds,).
      folds: the masks (n_folds, n_samples) of the rows that each fold fitted and scored.
      setting: what of the penalty was chosen along with lam, such as {"l1_ratio": 0.5}, or {}.
      others: the results for the settings that were not chosen.
    """

    path: Path
    measure: str
    larger_is_better: bool
    mean: np.ndarray
    standard_error: np.ndarray
    fold_scores: np.ndarray
    fold_weight: np.ndarray
    folds: Folds
    setting: dict[str, float] = dataclasses.field(default_factory=dict)
    others: tuple["CVPath", ...] = ()

    @property
    def index_min(self) -> int:
        """Row of the path with the best mean; of equal ones the one with the largest lam."""
        loss = -self.mean if self.larger_is_better else self.mean
        loss = np.where(np.isnan(loss), np.inf, loss)
        best = np.nonzero(loss == loss.min())[0]
        return int(best[np.argmax(self.path.lams[best])])

    @property
    def index_1se(self) -> int:
        """Row with the largest lam whose mean is within one standard error of the best."""
        best, sign = self.index_min, -1 if self.larger_is_better else 1
        bound = sign * self.mean[best] + self.standard_error[best]
        within = np.nonzero(sign * self.mean <= bound)[0]
        within = np.union1d(within, [best])
        return int(within[np.argmax(self.path.lams[within])])

    @property
    def lam_min(self) -> float:
        """The lam with the best mean."""
        return float(self.path.lams[self.index_min])

    @property
    def lam_1se(self) -> float:
        """The largest lam within one standard error of the best mean: the simplest model that
        cannot be told from it. Breiman, Friedman, Olshen and Stone (1984), section 3.4.3."""
        return float(self.path.lams[self.index_1se])

    def index(self, lam: str | float) -> int:
        """Row of "min", "1se", or a lam of the path."""
        if isinstance(lam, str):
            if lam not in ("min", "1se"):
                raise ValueError(f'lam must be "min", "1se" or a number; got {lam!r}')
            return self.index_min if lam == "min" else self.index_1se
        lams = np.asarray(self.path.lams, float)
        near = int(np.argmin(np.abs(lams - lam)))
        if not np.isclose(lams[near], lam, rtol=1e-6, atol=0):
            raise ValueError(f"lam {lam} is not on the path; the nearest is {lams[near]:.6g}")
        return near

    def params(self, lam: str | float = "1se") -> Linear:
        """`Linear(coef, intercept)` of all rows at "min", "1se" or a lam of the path."""
        k = self.index(lam)
        return Linear(self.path.coef[k], self.path.intercept[k])

    def predict(
        self,
        X: ArrayLike,
        lam: str | float = "1se",
        kind: str = "response",
        offset: ArrayLike | None = None,
    ) -> np.ndarray:
        """Predictions for new rows, (n_rows[, n_outputs]); kind and offset as in `Path.predict`."""
        return self.path.row(self.index(lam)).predict(X, kind, offset)[0]

    def plot(self, *, ax: Any = None, **options: Any) -> Any:
        """Draw the mean with bars of one standard error against log lam, both choices marked."""
        marks = {"best": self.lam_min, "within one standard error": self.lam_1se}
        return plots.error_path(
            self.path.lams,
            self.mean,
            self.standard_error,
            n_nonzero=self.path.n_nonzero,
            marks=marks,
            ylabel=self.measure,
            ax=ax,
            **options,
        )

    def to_dataframe(self) -> Any:
        """One row per lam: mean, standard error, every fold, non-zeros (needs pandas)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_dataframe needs pandas: pip install "jreg[data]"') from error
        table = {
            "lam": self.path.lams,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "n_nonzero": self.path.n_nonzero,
        }
        folds = {f"fold {k}": row for k, row in enumerate(self.fold_scores)}
        return pd.DataFrame({**table, **folds})

    def __repr__(self) -> str:
        """The path, and both choices."""
        lines = [f"CVPath, {len(self.fold_scores)} folds, {self.measure}"]
        if self.setting:
            lines[0] += "".join(f", {name} = {value:g}" for name, value in self.setting.items())
        for name, k in (("lam_min", self.index_min), ("lam_1se", self.index_1se)):
            lines.append(
                f"  {name} {self.path.lams[k]:.4g}: {self.measure} {self.mean[k]:.4g} "
                f"+- {self.standard_error[k]:.2g}, {int(self.path.n_nonzero[k])} non-zero"
            )
        return "\n".join([*lines, repr(self.path)])


class Study(NamedTuple):
    """What all settings of a cross-validation share."""

    problem: LinearProblem  # checked, X on the host
    weight: np.ndarray
    folds: Folds
    measure: Measure
    plan: Plan


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    folds: Any = 10,
    groups: ArrayLike | None = None,
    repeats: int = 1,
    key: Any = None,
    lams: ArrayLike | None = None,
    n_lams: int = 100,
    lam_min_ratio: float | None = None,
    l1_ratios: ArrayLike | None = None,
    gammas: ArrayLike | None = None,
    measure: Any = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    standardize: bool = True,
    tol: float | None = None,
    progress: Progress = None,
    feature_names: Any = None,
) -> CVPath:
    """A lambda path, and for every lam an estimate of the error on new data.

    Each fold is a path on the rows it keeps, over the lambdas of the path of all rows; its means
    and scales are those of its own rows, so nothing of the rows it is scored on is known to it.
    All folds share one X: a fold is a vector of weights, and for least squares on tall data the
    Gram matrices of all folds cost one pass over X.

    Args:
      X, y, penalty, loss, lams, n_lams, lam_min_ratio, sample_weight, offset, fit_intercept,
        standardize, tol, feature_names: as in `jreg.path`; also `Cox`, and other losses that only
        `jreg.sweep` takes. Weights count in fits, grid and scores.
      folds: how many (drawn at random; each gets its share of every class, for losses of classes),
        a splitter of scikit-learn, (n_samples,) fold numbers, or pairs (train, test) of indices.
      groups: (n_samples,) labels; rows of one group are never in two folds.
      repeats: how often folds are drawn anew. key: a whole number or key of JAX that draws them;
        None is 0.
      l1_ratios, gammas: values of these fields of the penalty to try, each with a grid of lambdas
        of its own; the best of all is returned, the rest as `others`.
      measure: "deviance" (the default), "mse", "mae"; "misclassification" and "auc" for two
        classes, "misclassification" for more; "concordance" for `Cox`; or a function
        (loss, y, eta, weight) -> (n_lams,), of which less is better.
      progress: True for a bar over the fits, or a function of (fits done, fits in all).

    Returns a `CVPath`. Raises ValueError for bad input, and for a fold that lacks a class or
    converges nowhere. Memory: no copy of X for a fold.

    Stone (1974); Hastie, Tibshirani and Friedman (2009), section 7.10; the weights of folds and
    errors as in Friedman, Hastie and Tibshirani (2010); for Cox, each fold's deviance is that of
    all rows less that of the rows kept, for each event: Verweij and van Houwelingen (1993).

    >>> import jreg
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=60)
    >>> found = jreg.cross_validate(X, y, folds=5)
    >>> found.params("1se").coef.round(1) + 0.0
    array([1., 0., 0., 0., 0.])
    """
    if checks.is_traced(X, y, penalty, loss, lams, sample_weight, offset, tol):
        raise TypeError("jreg.cross_validate is driven from the host: not inside jit, vmap or grad")
    measured = read_measure(measure, loss)
    problem, names = read_problem(
        X, y, loss, sample_weight, offset, feature_names, fit_intercept, standardize
    )
    masks = read_folds(
        folds,
        X,
        problem.y,
        groups=groups,
        repeats=repeats,
        key=key,
        classes=has(loss, "classify"),
    )
    plan = Plan(
        tol=float(checks.tolerance(tol, problem.X.dtype)),
        lams=None if lams is None else check_lams(lams),
        n_lams=n_lams,
        lam_min_ratio=lam_min_ratio,
        names=names,
    )
    settings = list(_settings(penalty, l1_ratios=l1_ratios, gammas=gammas))
    found: list[CVPath] = []
    with precision(problem.X.dtype):
        problem, _ = checked(problem, penalty)
        study = Study(problem, np.asarray(problem.sample_weight), masks, measured, plan)
        _check_folds(study)
        total = len(settings) * (1 + len(masks.train))
        with progress_bar(progress, total, unit="fit") as report:
            for setting in settings:
                done = len(found) * (1 + len(masks.train))
                found.append(_study(study, penalty, setting, lambda k, done=done: report(done + k)))
    best = min(range(len(found)), key=lambda k: _loss(found[k]))
    others = tuple(result for k, result in enumerate(found) if k != best)
    return dataclasses.replace(found[best], others=others)


def _settings(penalty: Any, **lists: ArrayLike | None) -> Iterator[dict[str, float]]:
    """The values to try of the penalty's fields, named in the singular."""
    names = {"l1_ratios": "l1_ratio", "gammas": "gamma"}
    given = {names[name]: values for name, values in lists.items() if values is not None}
    if len(given) > 1:
        raise ValueError("give l1_ratios or gammas, not both")
    if not given:
        yield {}
    for name, values in given.items():
        if not hasattr(penalty, name):
            raise ValueError(f"{type(penalty).__name__} has no {name}")
        array = np.atleast_1d(np.asarray(values, float))
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"{name}s must be a non-empty 1-D array; got shape {array.shape}")
        yield from ({name: float(value)} for value in array)


def _check_folds(study: Study) -> None:
    """Each fold must have rows, and those of its fit must suit the loss."""
    problem = study.problem
    y = np.asarray(problem.y)
    for k, (train, test) in enumerate(zip(*study.folds, strict=True)):
        if not _counted(study)[test].sum() > 0 or not study.weight[train].sum() > 0:
            raise ValueError(f"fold {k} fits or scores no row that counts (weight 0, or no event)")
        try:
            problem.loss.check(y[train & (study.weight > 0)])
            if problem.fit_intercept and has(problem.loss, "check_intercept"):
                problem.loss.check_intercept(y[train & (study.weight > 0)])
        except ValueError as error:
            raise ValueError(f"fold {k} cannot be fitted: {error}") from error


def _study(study: Study, penalty: Any, setting: dict[str, float], report: Any) -> CVPath:
    """One grid of lambdas."""
    _, penalty = checked(study.problem, dataclasses.replace(penalty, **setting))
    path = fits(study.problem, penalty, study.plan)
    report(1)
    plan = dataclasses.replace(study.plan, lams=np.asarray(path.lams, float))
    weights = np.where(study.folds.train, study.weight[None], 0)
    scores = []
    for k, fold in enumerate(fits_of_weights(study.problem, penalty, plan, weights)):
        scores.append(_score(study, fold, k))
        report(2 + k)
    fold_scores = np.stack(scores)
    fold_weight = study.folds.test @ _counted(study)
    mean, error = summary(fold_scores, fold_weight)
    return CVPath(
        path=path,
        measure=study.measure.name,
        larger_is_better=study.measure.larger_is_better,
        mean=mean,
        standard_error=error,
        fold_scores=fold_scores,
        fold_weight=fold_weight,
        folds=study.folds,
        setting=setting,
    )


def summary(scores: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means (n_lams,) of scores (n_folds, n_lams), and their standard errors."""
    share = (weight / weight.sum())[:, None]
    mean = np.sum(share * scores, axis=0)
    variance = np.sum(share * (scores - mean[None]) ** 2, axis=0)
    return mean, np.sqrt(variance / max(len(scores) - 1, 1))


def _score(study: Study, fold: Path, k: int) -> np.ndarray:
    """The scores (n_lams,) of a fold's path on the rows that it left out."""
    problem, test = study.problem, np.nonzero(study.folds.test[k])[0]
    if not np.isfinite(fold.coef).all():
        raise ValueError(f"fold {k} has lambdas without a solution: {fold!r}")
    if has(problem.loss, "mean") and study.measure.name == "deviance":
        scores = _deviance_of_all(study, fold, k)
    else:
        y, offset = np.asarray(problem.y)[test], np.asarray(problem.offset)[test]
        eta = fold.predict(problem.X[test], "link", offset)
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


def _loss(result: CVPath) -> float:
    best = float(result.mean[result.index_min])
    best = -best if result.larger_is_better else best
    return np.inf if np.isnan(best) else best
