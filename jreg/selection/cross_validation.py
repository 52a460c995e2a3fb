"""`cross_validate`: a lambda path scored on rows that its fits have not seen."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from jreg.losses import Squared
from jreg.path.drive import checked
from jreg.path.inputs import precision
from jreg.path.progress import progress_bar
from jreg.path.reading import read_data
from jreg.penalties import L1
from jreg.selection.cv_path import CVPath
from jreg.selection.folds import read_folds
from jreg.selection.measures import read_measure
from jreg.selection.relaxed import read_shares, relaxed_variants
from jreg.selection.study import Study, as_it_is, check_folds, run
from jreg.typing import ArrayLike, Loss, Penalty, Progress, has


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
    relax: ArrayLike | None = None,
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
    All folds share one X: a fold is a vector of weights. For least squares on tall data the Gram
    matrices of all folds cost one pass over X, and squared errors on the rows left out none; on
    larger wide data, on CPUs, all rows and up to ten folds go down the path side by side, and one
    product with X certifies a block of lambdas of them all.

    Args:
      X, y, penalty, loss, lams, n_lams, lam_min_ratio, sample_weight, offset, fit_intercept,
        standardize, tol, feature_names: as in `jreg.path`; also `Cox`, and other losses that only
        `jreg.sweep` takes. Weights count in fits, grid and scores.
      folds: how many (drawn at random; each gets its share of every class, for losses of classes),
        a splitter of scikit-learn, (n_samples,) fold numbers, or pairs (train, test) of indices.
      groups: (n_samples,) labels; rows of one group are never in two folds, and ValueError is
        raised for folds given otherwise.
      repeats: how often folds are drawn anew. key: a whole number or key of JAX that draws them;
        None is 0.
      l1_ratios, gammas: values of these fields of the penalty to try, each with a grid of lambdas
        of its own; the best of all is returned, the rest as `others`.
      relax: shares to try of the path itself against the refits of its supports without a penalty
        (0 is the refit; 1, which is always tried, the path): the relaxed lasso, see `relax`.
      measure: "deviance" (the default), "mse", "mae"; "misclassification" and "auc" for two
        classes, "misclassification" for more; "concordance" for `Cox`; or a function
        (loss, y, eta, weight) -> (n_lams,), of which less is better.
      progress: True for a bar over the fits, or a function of (fits done, fits in all).

    Returns a `CVPath`. Raises ValueError for bad input, and for a fold that lacks a class or
    converges nowhere, and where a measure is NaN at every lam. Memory: no copy of X for a fold.

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
    study, given = read_study(
        X,
        y,
        penalty,
        loss,
        folds=folds,
        groups=groups,
        repeats=repeats,
        key=key,
        lams=lams,
        n_lams=n_lams,
        lam_min_ratio=lam_min_ratio,
        measure=measure,
        sample_weight=sample_weight,
        offset=offset,
        fit_intercept=fit_intercept,
        standardize=standardize,
        tol=tol,
        feature_names=feature_names,
    )
    settings = list(_settings(penalty, l1_ratios=l1_ratios, gammas=gammas))
    shares = None if relax is None else read_shares(relax)
    found: list[CVPath] = []
    paths = len(study.weights())
    with (
        precision(study.problem.X.dtype),
        progress_bar(progress, len(settings) * paths, unit="fit") as report,
    ):
        for i, setting in enumerate(settings):
            one = checked(study.problem, dataclasses.replace(given, **setting))[1]
            variants = as_it_is(setting)
            if shares is not None:
                variants = relaxed_variants(study.problem, setting, shares)
            found += run(study, one, variants, partial(_report, report, i * paths))
    return best_of(found)


def read_study(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty,
    loss: Loss,
    *,
    folds: Any = 10,
    groups: ArrayLike | None = None,
    repeats: int = 1,
    key: Any = None,
    measure: Any = None,
    **options: Any,
) -> tuple[Study, Any]:
    """The data, folds and measure of a cross-validation, and the penalty, all checked; options are
    those of `path`."""
    measured = read_measure(measure, loss)
    problem, penalty, plan = read_data(X, y, penalty, loss, **options)
    masks = read_folds(
        folds,
        X,
        np.asarray(problem.y),
        groups=groups,
        repeats=repeats,
        key=key,
        classes=has(loss, "classify"),
    )
    study = Study(problem, np.asarray(problem.sample_weight), masks, measured, plan)
    check_folds(study)
    return study, penalty


def _report(report: Callable[[int], None], before: int, done: int) -> None:
    report(before + done)


def best_of(found: list[CVPath]) -> CVPath:
    """The result with the best mean; the others in its `others`."""
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


def _loss(result: CVPath) -> float:
    best = float(result.mean[result.index_min])
    best = -best if result.larger_is_better else best
    return np.inf if np.isnan(best) else best
