"""scikit-learn: LassoCV (Gram matrices by its own rule) and LogisticRegressionCV with given folds;
for stability selection a loop over `enet_path`."""

from typing import Any

import numpy as np
from path_race.adapters import scikit_learn as path

from cv_race.adapters import Solver, loops
from cv_race.studies import Study

NAME, ENVIRONMENT, TOLERANCES = path.NAME, path.ENVIRONMENT, path.TOLERANCES
DEFAULT = 10.0**-4
LIMIT = 10**6
versions = path.versions


def variants(study: Study) -> list[str] | str:
    if study.folds is None:
        return ["2 processes", "in turn"]
    if study.problem.loss == "logistic":
        return ["liblinear, 2 jobs", "liblinear, 1 job", "saga, 2 jobs"]
    return ["2 jobs", "1 job"]


def prepare(study: Study, variant: str) -> Solver:
    if study.folds is None:
        fit = loops.path_of_rows(study, path, "")
        return (loops.in_turn if variant == "in turn" else loops.two_at_a_time)(study, fit)
    jobs = 2 if "2 jobs" in variant else 1
    if jobs == 2:
        loops.single_thread()
    if study.problem.loss == "logistic":
        return _logistic(study, variant.split(",")[0], jobs)
    return _lasso(study, jobs)


def _lasso(study: Study, jobs: int) -> Solver:
    """LassoCV keeps no coefficients of folds: `fits` lends it a path that notes them."""
    from sklearn.linear_model import LassoCV, lasso_path

    X, y, lams = study.problem.X, study.problem.y, study.problem.lams
    settings = {"alphas": lams, "cv": study.pairs(), "fit_intercept": False, "n_jobs": jobs}
    settings |= {"max_iter": LIMIT, "copy_X": False}
    of_rows = {y[rows].tobytes(): k for k, rows in enumerate(study.train)}

    def whole(tol: float) -> np.ndarray:
        return LassoCV(tol=tol, **settings).fit(X, y).mse_path_.mean(axis=1)

    def fits(tol: float) -> np.ndarray:
        found = np.full((len(study.train), lams.size, X.shape[1]), np.nan)

        def noted(X: np.ndarray, y: np.ndarray, **options: Any) -> tuple:
            result = lasso_path(X, y, **options)
            found[of_rows[y.tobytes()]] = result[1].T
            return result

        class Noting(LassoCV):
            path = staticmethod(noted)

        Noting(tol=tol, **settings).fit(X, y)
        return found

    return Solver(whole, fits)


def _logistic(study: Study, solver: str, jobs: int) -> Solver:
    import joblib
    from sklearn.linear_model import LogisticRegressionCV

    y, lams = study.problem.y, study.problem.lams
    X = np.ascontiguousarray(study.problem.X)
    settings = {"Cs": 1 / (study.train[0].sum() * lams), "cv": study.pairs(), "solver": solver}
    settings |= {"fit_intercept": False, "l1_ratios": (1.0,), "scoring": "neg_log_loss"}
    settings |= {"n_jobs": jobs, "max_iter": LIMIT, "random_state": 0, "refit": True}
    settings |= {"use_legacy_attributes": True}

    def fitted(tol: float) -> Any:
        with joblib.parallel_config("threading"):  # both solvers let go of the interpreter
            return LogisticRegressionCV(tol=tol, **settings).fit(X, y)

    def whole(tol: float) -> np.ndarray:
        (scores,) = fitted(tol).scores_.values()
        return -2 * scores.reshape(len(study.train), lams.size).mean(axis=0)

    def fits(tol: float) -> np.ndarray:
        (coefs,) = fitted(tol).coefs_paths_.values()
        return coefs.reshape(len(study.train), lams.size, -1)

    return Solver(whole, fits)
