"""scikit-learn: `enet_path` (Gram matrix where it chooses so) and `LogisticRegression`."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "scikit-learn"
ENVIRONMENT = "sklearn"
TOLERANCES = [10.0**-k for k in range(2, 14)]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    if kind in (("squared", "l1"), ("squared", "elastic net")):
        # by default it forms the Gram matrix where n > p
        return ["", "no Gram"] if n > p and not sparse else [""]
    if kind == ("logistic", "l1"):
        return ["liblinear", "saga"]
    if kind == ("multinomial", "l1"):
        return ["saga"]
    return "has no such path"


def versions() -> str:
    import sklearn

    return f"scikit-learn {sklearn.__version__}, numpy {np.__version__}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    from sklearn.linear_model import LogisticRegression, enet_path

    X, y, lams = problem.X, problem.y, problem.lams
    if problem.loss == "squared":
        options: dict[str, Any] = {"copy_X": False, "max_iter": 10**6}
        if variant == "no Gram":
            options["precompute"] = False

        def solve(tol: float) -> np.ndarray:
            _, coefs, _ = enet_path(
                X, y, l1_ratio=problem.l1_ratio, alphas=lams, tol=tol, **options
            )
            return np.ascontiguousarray(coefs.T)

        return solve
    n = len(y)
    X = np.ascontiguousarray(X)

    def solve_each(tol: float) -> np.ndarray:
        model = LogisticRegression(
            l1_ratio=1.0,
            solver=variant,
            fit_intercept=False,
            tol=tol,
            max_iter=10**6,
            warm_start=True,
            random_state=0,
        )
        found = []
        for lam in lams:
            model.set_params(C=1 / (n * lam)).fit(X, y)
            found.append(model.coef_.copy())
        stacked = np.stack(found)
        return stacked[:, 0] if problem.loss == "logistic" else stacked.transpose(0, 2, 1)

    return solve_each
