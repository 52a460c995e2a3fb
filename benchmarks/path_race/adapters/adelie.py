"""adelie: `grpnet` with and without threads, and its covariance method for tall data."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "adelie"
ENVIRONMENT = "adelie"
TOLERANCES = [10.0**-k for k in range(4, 23)]
THREADS = 2


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    loss, penalty = kind
    if penalty == "mcp":
        return "has no such penalty"
    if loss == "multinomial":
        return "groups the classes of a feature: another penalty"
    tall = loss == "squared" and n > p and not sparse
    return ["2 threads", "1 thread", *(["covariance"] if tall else [])]


def versions() -> str:
    import adelie

    return f"adelie {adelie.__version__}, numpy {np.__version__}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    import adelie

    X, y, lams = problem.X, problem.y, problem.lams
    n, p = X.shape
    size = problem.group_size
    threads = 1 if variant == "1 thread" else THREADS
    options = {
        "groups": np.arange(0, p, size),
        "alpha": problem.l1_ratio,
        "lmda_path": lams,
        "early_exit": False,  # neither adev_tol nor ddev_tol then counts
        "progress_bar": False,
        "n_threads": threads,
        "max_iters": 10**9,
    }

    def dense(state: Any) -> np.ndarray:
        found = np.full((lams.size, p), np.nan)  # for lambdas that it did not come to
        coefs = state.betas.toarray()
        found[: len(coefs)] = coefs
        return found

    if variant == "covariance":

        def solve_gram(tol: float) -> np.ndarray:
            return dense(adelie.solver.gaussian_cov(X.T @ X / n, X.T @ y / n, tol=tol, **options))

        return solve_gram
    family = {"squared": "gaussian", "logistic": "binomial", "poisson": "poisson"}[problem.loss]
    options |= {"intercept": False, "irls_max_iters": 10**6}

    def solve(tol: float) -> np.ndarray:
        if problem.sparse:
            matrix = adelie.matrix.sparse(X, method="naive", n_threads=threads)
        else:
            matrix = adelie.matrix.dense(X, method="naive", n_threads=threads)
        glm = getattr(adelie.glm, family)(y)
        return dense(adelie.grpnet(matrix, glm, tol=tol, irls_tol=tol, **options))

    return solve
