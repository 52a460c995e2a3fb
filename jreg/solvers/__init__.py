"""Solvers: frozen dataclasses with `init` and `update`, and the one outer loop, `solve`."""

from jreg.solvers.choice import default_solver
from jreg.solvers.coordinate_descent import CoordinateDescent
from jreg.solvers.fista import FISTA
from jreg.solvers.prox_newton import ProxNewton
from jreg.solvers.solve import Solution, solve

__all__ = ["FISTA", "CoordinateDescent", "ProxNewton", "Solution", "default_solver", "solve"]
