"""Regularised optimisation for JAX: penalties, certified solvers, whole lambda paths.

minimise over (coef, intercept)

    sum_i s_i loss(eta_i, y_i) / sum_i s_i + penalty(scale * coef)
    eta = X coef + intercept + offset

`path` is the one call for data; `sweep` and `solve` are pure functions to jit, vmap and compose.
"""

from jreg import losses, penalties, plots, prox, solvers
from jreg.conventions import convert_lam
from jreg.losses import Logistic, Squared
from jreg.path import Path, lam_grid, path, sweep
from jreg.penalties import L1, ElasticNet, Ridge
from jreg.problem import Linear, LinearProblem, Problem
from jreg.solvers import FISTA, CoordinateDescent, ProxNewton, Solution, default_solver, solve
from jreg.status import Status

__version__ = "0.1.0"

__all__ = [
    "FISTA",
    "L1",
    "CoordinateDescent",
    "ElasticNet",
    "Linear",
    "LinearProblem",
    "Logistic",
    "Path",
    "Problem",
    "ProxNewton",
    "Ridge",
    "Solution",
    "Squared",
    "Status",
    "convert_lam",
    "default_solver",
    "lam_grid",
    "losses",
    "path",
    "penalties",
    "plots",
    "prox",
    "solve",
    "solvers",
    "sweep",
]
