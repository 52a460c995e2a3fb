"""Data and options at the doors of `path`, and of all that is built on paths."""

from typing import Any

from jreg import checks
from jreg.path.along import Plan
from jreg.path.drive import checked
from jreg.path.grid import check_lams
from jreg.path.inputs import precision, read_problem, without_absent
from jreg.problem import LinearProblem
from jreg.typing import ArrayLike, Loss, Penalty


def read_data(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty,
    loss: Loss,
    *,
    lams: ArrayLike | None = None,
    n_lams: int = 100,
    lam_min_ratio: float | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    standardize: bool = True,
    tol: float | None = None,
    feature_names: Any = None,
    keep_absent: bool = True,
) -> tuple[LinearProblem, Any, Plan]:
    """The checked problem, whose X stays on the host, the checked penalty and the plan.

    keep_absent: whether rows of weight 0 keep their places, as folds need it.
    """
    if checks.is_traced(X, y, penalty, loss, lams, sample_weight, offset, tol):
        raise TypeError(
            "jreg drives paths from the host, so this cannot run inside jit, vmap or grad. "
            "Use jreg.sweep there, for folds with sample_weight under vmap."
        )
    problem, names = read_problem(
        X, y, loss, sample_weight, offset, feature_names, fit_intercept, standardize
    )
    problem = problem if keep_absent else without_absent(problem)
    plan = Plan(
        tol=float(checks.tolerance(tol, problem.X.dtype)),
        lams=None if lams is None else check_lams(lams),
        n_lams=n_lams,
        lam_min_ratio=lam_min_ratio,
        names=names,
    )
    with precision(problem.X.dtype):
        return *checked(problem, penalty), plan
