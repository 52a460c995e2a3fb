"""skglm: its solver for each problem, from one lambda's solution to the next.

Its tolerance is a distance to the subdifferential; here it is relative to lam_max.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "skglm"
ENVIRONMENT = "sklearn"
TOLERANCES = [10.0**-k for k in range(2, 13)]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    if kind[0] == "multinomial":
        return "has no multinomial loss"
    if kind == ("squared", "group lasso"):
        return ["GroupBCD"]
    if kind[0] == "squared":
        return ["AndersonCD"]
    return {"logistic": ["ProxNewton", "AndersonCD"], "poisson": ["ProxNewton"]}[kind[0]]


def versions() -> str:
    import importlib.metadata

    import numba

    version = importlib.metadata.version("skglm")
    return f"skglm {version}, numba {numba.__version__} with {numba.get_num_threads()} threads"


def terms(problem: Any) -> tuple[Any, Any]:
    """The datafit and the penalty."""
    from skglm import datafits, penalties

    p, size = problem.X.shape[1], problem.group_size
    if problem.penalty == "group lasso":
        ends = np.arange(0, p + 1, size, dtype=np.int32)
        order = np.arange(p, dtype=np.int32)
        weights = np.full(p // size, np.sqrt(size))
        return (
            datafits.QuadraticGroup(ends, order),
            penalties.WeightedGroupL2(1.0, weights, ends, order),
        )
    datafit = {
        "squared": datafits.Quadratic,
        "logistic": datafits.Logistic,
        "poisson": datafits.Poisson,
    }[problem.loss]()
    penalty = {
        "l1": lambda: penalties.L1(1.0),
        "elastic net": lambda: penalties.L1_plus_L2(1.0, problem.l1_ratio),
        "mcp": lambda: penalties.MCPenalty(1.0, problem.gamma),
    }[problem.penalty]()
    return datafit, penalty


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    from skglm import solvers
    from skglm.utils.jit_compilation import compiled_clone

    X, lams = problem.X, problem.lams
    y = 2 * problem.y - 1 if problem.loss == "logistic" else problem.y
    limits = {
        "AndersonCD": {"max_iter": 1000, "max_epochs": 10**6},
        "ProxNewton": {"max_iter": 1000, "max_pn_iter": 10**4},
        "GroupBCD": {"max_iter": 1000, "max_epochs": 10**5},
    }[variant]

    def solve(tol: float) -> np.ndarray:
        datafit, penalty = (compiled_clone(term) for term in terms(problem))
        solver = getattr(solvers, variant)(tol=tol * lams[0], fit_intercept=False, **limits)
        w, eta = np.zeros(X.shape[1]), np.zeros(X.shape[0])
        found = np.empty((lams.size, X.shape[1]))
        for k, lam in enumerate(lams):
            penalty.alpha = lam
            solver.p0 = max(10, int((w != 0).sum()))
            w = solver.solve(X, y, datafit, penalty, w, eta)[0]  # eta = X w is kept in place
            found[k] = w
        return found

    return solve
