"""Solvers: frozen dataclasses with `init` and `update`, and the one outer loop, `solve`.

A penalty with a prox: `FISTA`, `ISTA` (with a constraint: projected gradient), `Anderson`,
`ProxLBFGS`, `Subgradient`. A separable one: `OWLQN`; of a linear model: `CoordinateDescent`,
`ProxNewton`. A smooth one, or None: `GradientDescent`, `BFGS`, `LBFGS`, `Newton`, `NewtonCG`,
`LowRankNewton`, `Optax`. One of a linear map, or a sum without a prox: `ADMM`, `PrimalDual`. Any
optimiser of optax under a penalty with kinks: `OptaxProximal`, `OptaxSubgradient`. Any of them on
random rows: `Minibatch`.
"""

from jreg.solvers.admm import ADMM
from jreg.solvers.anderson import Anderson
from jreg.solvers.choice import default_solver
from jreg.solvers.coordinate_descent import CoordinateDescent
from jreg.solvers.fista import FISTA
from jreg.solvers.gradient_descent import GradientDescent
from jreg.solvers.ista import ISTA
from jreg.solvers.minibatch import Minibatch
from jreg.solvers.newton import LowRankNewton, Newton, NewtonCG
from jreg.solvers.optax_solver import Optax, OptaxProximal, OptaxSubgradient
from jreg.solvers.owlqn import OWLQN
from jreg.solvers.primal_dual import PrimalDual
from jreg.solvers.prox_lbfgs import ProxLBFGS
from jreg.solvers.prox_newton import ProxNewton
from jreg.solvers.quasi_newton import BFGS, LBFGS
from jreg.solvers.solve import History, Solution, solve
from jreg.solvers.subgradient import Subgradient

__all__ = [
    "ADMM",
    "BFGS",
    "FISTA",
    "ISTA",
    "LBFGS",
    "OWLQN",
    "Anderson",
    "CoordinateDescent",
    "GradientDescent",
    "History",
    "LowRankNewton",
    "Minibatch",
    "Newton",
    "NewtonCG",
    "Optax",
    "OptaxProximal",
    "OptaxSubgradient",
    "PrimalDual",
    "ProxLBFGS",
    "ProxNewton",
    "Solution",
    "Subgradient",
    "default_solver",
    "solve",
]
