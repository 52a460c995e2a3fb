"""Regularised optimisation for JAX: penalties, certified solvers, whole lambda paths.

minimise over (coef, intercept)

    sum_i s_i loss(eta_i, y_i) / sum_i s_i + penalty(scale * coef)
    eta = X coef + intercept + offset

`path` is the one call for data; `sweep` and `solve` are pure functions to jit, vmap and compose.
"""

from jreg import linalg, losses, norms, penalties, plots, projections, prox, solvers
from jreg.conventions import convert_lam
from jreg.implicit import kink_distance
from jreg.losses import Cox, Gamma, Logistic, Multinomial, Poisson, Squared
from jreg.path import Path, lam_grid, path, path_sensitivity, sweep
from jreg.penalties import (
    L0,
    L1,
    MCP,
    SCAD,
    SLOPE,
    Box,
    ElasticNet,
    FusedLasso,
    GroupLasso,
    Groups,
    NonNegative,
    Nuclear,
    Ridge,
    SparseGroupLasso,
    TotalVariation,
    by_path,
    kernels_only,
)
from jreg.problem import Linear, LinearProblem, Problem
from jreg.solvers import FISTA, CoordinateDescent, ProxNewton, Solution, default_solver, solve
from jreg.status import Status
from jreg.tuning import SURE, ApproximateLeaveOneOut, HeldOut, KFold, tune

__version__ = "0.1.0"

__all__ = [
    "FISTA",
    "L0",
    "L1",
    "MCP",
    "SCAD",
    "SLOPE",
    "SURE",
    "ApproximateLeaveOneOut",
    "Box",
    "CoordinateDescent",
    "Cox",
    "ElasticNet",
    "FusedLasso",
    "Gamma",
    "GroupLasso",
    "Groups",
    "HeldOut",
    "KFold",
    "Linear",
    "LinearProblem",
    "Logistic",
    "Multinomial",
    "NonNegative",
    "Nuclear",
    "Path",
    "Poisson",
    "Problem",
    "ProxNewton",
    "Ridge",
    "Solution",
    "SparseGroupLasso",
    "Squared",
    "Status",
    "TotalVariation",
    "by_path",
    "convert_lam",
    "default_solver",
    "kernels_only",
    "kink_distance",
    "lam_grid",
    "linalg",
    "losses",
    "norms",
    "path",
    "path_sensitivity",
    "penalties",
    "plots",
    "projections",
    "prox",
    "solve",
    "solvers",
    "sweep",
    "tune",
]
