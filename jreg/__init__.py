"""Regularised optimisation for JAX: penalties, certified solvers, whole lambda paths.

minimise over (coef, intercept)

    sum_i s_i loss(eta_i, y_i) / sum_i s_i + penalty(scale * coef)
    eta = X coef + intercept + offset

`path` is the one call for data; `sweep` and `solve` are pure functions to jit, vmap and compose;
`proximal` gives any optax optimiser a penalty.
"""

from jreg import (
    linalg,
    losses,
    norms,
    penalties,
    plots,
    projections,
    prox,
    solvers,
    stochastic,
    transforms,
)
from jreg.conventions import convert_lam
from jreg.gradients import check_gradient
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
from jreg.selection import Criteria, CVPath, criteria, cross_validate
from jreg.solvers import (
    ADMM,
    BFGS,
    FISTA,
    ISTA,
    LBFGS,
    Anderson,
    CoordinateDescent,
    GradientDescent,
    LowRankNewton,
    Newton,
    NewtonCG,
    Optax,
    PrimalDual,
    ProxLBFGS,
    ProxNewton,
    Solution,
    Subgradient,
    default_solver,
    solve,
)
from jreg.status import Status
from jreg.stopping import EarlyStopping, best_along
from jreg.transforms import add_penalty_gradient, proximal, sparsity_report
from jreg.tuning import SURE, ApproximateLeaveOneOut, HeldOut, KFold, tune

__version__ = "0.1.0"

__all__ = [
    "ADMM",
    "BFGS",
    "FISTA",
    "ISTA",
    "L0",
    "L1",
    "LBFGS",
    "MCP",
    "SCAD",
    "SLOPE",
    "SURE",
    "Anderson",
    "ApproximateLeaveOneOut",
    "Box",
    "CVPath",
    "CoordinateDescent",
    "Cox",
    "Criteria",
    "EarlyStopping",
    "ElasticNet",
    "FusedLasso",
    "Gamma",
    "GradientDescent",
    "GroupLasso",
    "Groups",
    "HeldOut",
    "KFold",
    "Linear",
    "LinearProblem",
    "Logistic",
    "LowRankNewton",
    "Multinomial",
    "Newton",
    "NewtonCG",
    "NonNegative",
    "Nuclear",
    "Optax",
    "Path",
    "Poisson",
    "PrimalDual",
    "Problem",
    "ProxLBFGS",
    "ProxNewton",
    "Ridge",
    "Solution",
    "SparseGroupLasso",
    "Squared",
    "Status",
    "Subgradient",
    "TotalVariation",
    "add_penalty_gradient",
    "best_along",
    "by_path",
    "check_gradient",
    "convert_lam",
    "criteria",
    "cross_validate",
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
    "proximal",
    "solve",
    "solvers",
    "sparsity_report",
    "stochastic",
    "sweep",
    "transforms",
    "tune",
]
