"""adelie: a loop over its paths, since `cv_grpnet` draws folds and lambdas itself.

"weights": held-out rows of the one X get weight 0, as in `cv_grpnet`. "rows": paths on copies of
the rows. "Gram": its covariance method, the Gram matrix of a fold being that of all rows less that
of those held out.
"""

from typing import Any

import numpy as np
from path_race.adapters import adelie as path

from cv_race.adapters import Solver, loops
from cv_race.studies import Study, rows_of

NAME, ENVIRONMENT, TOLERANCES = path.NAME, path.ENVIRONMENT, path.TOLERANCES
DEFAULT = 10.0**-7
THREADS = path.THREADS
versions = path.versions


def variants(study: Study) -> list[str] | str:
    n, p = study.problem.X.shape
    found = ["rows, 2 processes", "rows, in turn"]
    if study.folds is not None:
        found.append("weights")
        if study.problem.loss == "squared" and n > p:
            found.append("Gram")
    return found


def prepare(study: Study, variant: str) -> Solver:
    if variant == "weights":
        return loops.in_turn(study, _weighted(study))
    if variant == "Gram":
        return _from_grams(study)
    if variant == "rows, in turn":
        return loops.in_turn(study, loops.path_of_rows(study, path, f"{THREADS} threads"))
    return loops.two_at_a_time(study, loops.path_of_rows(study, path, "1 thread"))


def _options(study: Study) -> dict[str, Any]:
    options = {"lmda_path": study.problem.lams, "early_exit": False, "progress_bar": False}
    return options | {"n_threads": THREADS, "max_iters": 10**9}


def _dense(study: Study, state: Any) -> np.ndarray:
    """NaN for lambdas that it did not come to."""
    found = np.full((study.problem.lams.size, study.problem.X.shape[1]), np.nan)
    coefs = state.betas.toarray()
    found[: len(coefs)] = coefs
    return found


def _weighted(study: Study) -> loops.Fit:
    import adelie

    matrix = adelie.matrix.dense(study.problem.X, method="naive", n_threads=THREADS)
    family = {"squared": "gaussian", "logistic": "binomial"}[study.problem.loss]
    options = _options(study) | {"intercept": False, "irls_max_iters": 10**6}

    def fit(k: int, tol: float) -> np.ndarray:
        rows = study.train[k]
        glm = getattr(adelie.glm, family)(study.problem.y, weights=rows / rows.sum())
        return _dense(study, adelie.grpnet(matrix, glm, tol=tol, irls_tol=tol, **options))

    return fit


def _from_grams(study: Study) -> Solver:
    import adelie

    grams: list[tuple[np.ndarray, np.ndarray]] = []

    def multiply() -> None:
        """Products of the held-out rows of every fold: one pass over X."""
        held = [rows_of(study.problem, ~rows) for rows in study.train]
        grams[:] = [(fold.X.T @ fold.X, fold.X.T @ fold.y) for fold in held]

    def fit(k: int, tol: float) -> np.ndarray:
        n = study.train[k].sum()
        A, v = (
            sum(part for i, part in enumerate(parts) if i != k) / n
            for parts in zip(*grams, strict=True)
        )
        return _dense(study, adelie.solver.gaussian_cov(A, v, tol=tol, **_options(study)))

    solver = loops.in_turn(study, fit)

    def whole(tol: float) -> np.ndarray:
        multiply()
        return solver.whole(tol)

    def fits(tol: float) -> np.ndarray:
        multiply()
        return solver.fits(tol)

    return Solver(whole, fits)
