"""celer: `celer_path` with pruned working sets, as its estimators set it."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "celer"
ENVIRONMENT = "sklearn"
TOLERANCES = [10.0**-k for k in range(2, 14)]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    if kind in (("squared", "l1"), ("squared", "elastic net"), ("squared", "group lasso")):
        return [""]
    if kind == ("logistic", "l1"):
        return ["proximal Newton", "coordinate descent"]
    return "has no such path"


def versions() -> str:
    import celer

    return f"celer {celer.__version__}, numpy {np.__version__}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    from celer import celer_path

    n = len(problem.y)
    name, y, lams = "lasso", problem.y, problem.lams
    options: dict[str, Any] = {"max_iter": 1000, "max_epochs": 10**6, "prune": 1}
    if problem.loss == "logistic":
        name, y = "logreg", 2 * y - 1
        lams = n * lams  # its loss is a sum
        options["use_PN"] = variant == "proximal Newton"
    elif problem.penalty == "group lasso":
        size = problem.group_size
        name = "grouplasso"
        options |= {
            "groups": size,
            "weights": np.full(problem.X.shape[1] // size, np.sqrt(size)),
        }
    elif problem.penalty == "elastic net":
        options["l1_ratio"] = problem.l1_ratio
    X = problem.X

    def solve(tol: float) -> np.ndarray:
        _, coefs, _ = celer_path(X, y, name, alphas=lams, tol=tol, **options)
        return np.ascontiguousarray(coefs.T)

    return solve
