"""`path`: the certified lambda path of a data set, driven from the host."""

import dataclasses
from typing import Any

import numpy as np

from jreg import checks
from jreg.losses import Squared
from jreg.path.drive import solve_one, takes_loss, takes_penalty
from jreg.path.inputs import precision
from jreg.path.reading import read_data
from jreg.path.result import Path
from jreg.penalties import L1
from jreg.typing import ArrayLike, Loss, MeanLoss, Penalty, Progress


def path(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    lams: ArrayLike | None = None,
    n_lams: int = 100,
    lam_min_ratio: float | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    standardize: bool = True,
    tol: float | None = None,
    max_deviance_ratio: float | None = None,
    progress: Progress = None,
    feature_names: Any = None,
) -> Path:
    """Solutions of `mean loss + penalty.at(lam)` along a lambda path, each with its certificate.

    Exactly so between the knots of the path where it is piecewise linear (squared loss, L1), by
    Newton's method in blocks of lambdas elsewhere; never by a heuristic that the certificate over
    all features would not catch.

        minimise  sum_i s_i loss(eta_i, y_i) / sum_i s_i + lam * penalty(scale * coef)
        eta = X coef + intercept + offset

    With k outputs (`Multinomial(k)`, or k responses under `Squared`) coef is (n_features, k) and
    the intercept (k,). `GroupLasso(weights=np.ones(n_features), axis=0)`, a group for each row, is
    then the penalty of glmnet's "grouped" multinomial and "mgaussian" paths.

    Args:
      X: (n_samples, n_features) array or DataFrame of finite numbers, or a SciPy sparse matrix or
        array, of which only candidate columns are ever made dense (standardised or not).
      y: (n_samples,) response in the domain of the loss; (n_samples, k) for k responses.
      penalty: of single coefficients (`L1`, `ElasticNet`, `MCP`, ...) or of groups (`GroupLasso`
        and its kin): groups of features, or with `axis=0` the rows of several outputs. Multiplied
        by each lam: `L1(2.)` at lam 0.1 has strength 0.2. `L1() + Box(low, high)` adds limits.
      loss: smooth and strictly convex, one number per sample.
      lams: the strengths, in any order; results come in the order given. None makes a grid of
        `n_lams` from the smallest lam that gives all zeros down to `lam_min_ratio` of it (None:
        1e-4 if there are more samples than features, else 1e-2).
      sample_weight: (n_samples,) frequencies up to scale; 0 is an absent row.
      offset: (n_samples,) known part of eta; (n_samples, k) with k outputs.
      fit_intercept: whether there is a (never penalised) intercept.
      standardize: penalise `scale * coef`, scale the weighted 1/n standard deviation of each
        column. Coefficients are always in original units.
      tol: bound of the relative duality gap; None is 1e-6 in float64, 1e-4 in float32.
      max_deviance_ratio: stop after the block in which the share of the deviance explained reaches
        this, say 0.999, as glmnet does; smaller lambdas are marked NOT_RUN. None never stops.
      progress: True for a bar (tqdm if installed), or a function of (lams done, lams in all).
      feature_names: one per column; None takes those of a DataFrame.

    Returns a `Path` of NumPy arrays, in float32 for float32 data, else in float64, whatever JAX's
    x64 flag says. Ctrl-C returns the lambdas done so far, the rest marked NOT_RUN. Raises
    ValueError or TypeError for bad input, and says what came.

    Memory beyond X: the candidate columns and the square of their number.

    >>> import jreg
    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> jreg.path(X, y, lams=[0.25], fit_intercept=False, standardize=False).coef
    array([[ 2.,  0., -1.,  0.]])
    """
    _check_loss(loss)
    problem, penalty, plan = read_data(
        X,
        y,
        penalty,
        loss,
        lams=lams,
        n_lams=n_lams,
        lam_min_ratio=lam_min_ratio,
        sample_weight=sample_weight,
        offset=offset,
        fit_intercept=fit_intercept,
        standardize=standardize,
        tol=tol,
        feature_names=feature_names,
        keep_absent=False,
    )
    enough = np.inf if max_deviance_ratio is None else float(max_deviance_ratio)
    checks.number("max_deviance_ratio", enough, low=0)
    plan = dataclasses.replace(plan, enough=enough, progress=progress)
    with precision(problem.X.dtype):
        if not takes_penalty(problem, penalty):
            raise TypeError(
                "path needs a separable penalty that says where features enter, or one of groups "
                f"of features; got {type(penalty).__name__}. "
                "Use jreg.sweep(LinearProblem(X, y, loss), ...)"
            )
        return solve_one(problem, penalty, plan)


def _check_loss(loss: Any) -> None:
    """Refuse a loss whose blocks Newton's method cannot solve."""
    if isinstance(loss, type) or not isinstance(loss, Loss | MeanLoss):
        raise TypeError(f"loss must be a member of jreg.losses; got {loss!r}")
    if not takes_loss(loss):
        raise TypeError(
            f"path needs a smooth, strictly convex loss of each sample, which "
            f"{type(loss).__name__} is not; use jreg.sweep(LinearProblem(X, y, loss), ...)"
        )
