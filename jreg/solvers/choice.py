"""Which solver fits a problem, and which one `solve` takes when none is named."""

import math
from collections.abc import Iterator
from typing import Any

from jreg import tree
from jreg.penalties import NonNegative, NonNegativeGroupLasso, NonNegativeL1, has_prox, is_smooth
from jreg.penalties.box import Box
from jreg.penalties.calculus import Fixed, Scaled, Tilted
from jreg.penalties.duality import Conjugate
from jreg.penalties.parts import has_parts
from jreg.penalties.separable import Separable
from jreg.penalties.sum import Sum
from jreg.penalties.tree_wise import ByPath, Masked
from jreg.problem import LinearProblem
from jreg.solvers.admm import ADMM
from jreg.solvers.anderson import Anderson
from jreg.solvers.coordinate_descent import CoordinateDescent, blocks
from jreg.solvers.fista import FISTA
from jreg.solvers.gradient_descent import GradientDescent
from jreg.solvers.ista import ISTA
from jreg.solvers.newton import LowRankNewton, Newton, NewtonCG
from jreg.solvers.optax_solver import Optax, OptaxProximal, OptaxSubgradient
from jreg.solvers.owlqn import OWLQN
from jreg.solvers.primal_dual import PrimalDual
from jreg.solvers.prox_lbfgs import ProxLBFGS
from jreg.solvers.prox_newton import ProxNewton
from jreg.solvers.quasi_newton import BFGS, LBFGS
from jreg.solvers.subgradient import Subgradient
from jreg.transforms import steps
from jreg.transforms.subgradient import has_shortest_subgradient
from jreg.typing import Solver, has

# in the order in which a message recommends them
SOLVERS: tuple[Any, ...] = (
    ProxNewton,
    FISTA,
    CoordinateDescent,
    ProxLBFGS,
    Anderson,
    OWLQN,
    ISTA,
    LBFGS,
    NewtonCG,
    Newton,
    BFGS,
    LowRankNewton,
    GradientDescent,
    ADMM,
    PrimalDual,
    Subgradient,
    Optax,
    OptaxProximal,
    OptaxSubgradient,
)
RECOMMENDED = 3  # as many at most are named in a message

_MEANING = {
    "prox": "a penalty with a proximal operator",
    "smooth penalty": "a penalty without kinks (None, Ridge, Huber, an envelope)",
    "separable": "a penalty of single entries",
    "subgradient": "a penalty of single entries or of groups",
    "kinks at 0": "a penalty with kinks and bounds at 0 alone",
    "finite": "a penalty that is finite everywhere",
    "parts": "a penalty of a linear map, or a sum of penalties that have proximal operators",
    "linear": "a LinearProblem",
    "blocks": "a penalty of single entries or of groups of rows",
    "smoothness": "a loss whose gradient is Lipschitz",
    "convex": "a convex penalty",
    "curvature": "a loss of each sample with positive curvature",
}

_WRAPPERS = (Sum, Scaled, Tilted, Fixed, Masked, ByPath)
_KINKS_AT_0 = (Separable, NonNegative, *_WRAPPERS)
_BOUNDED = (Box, NonNegativeL1, NonNegativeGroupLasso, Conjugate)


def default_solver(problem: Any, penalty: Any) -> Solver:
    """The rule behind `solver=None`.

    `ProxNewton`, where its needs are met (a linear problem, a convex penalty, a loss with positive
    curvature), for separable penalties of one output, and for groups where there are at least as
    many samples as coefficients, while a matrix of all pairs of coefficients is cheap: up to 1000
    coefficients for a quadratic loss; else up to 500 and 1e6 entries of X (it forms the scaled
    columns at each step). `ADMM` for penalties without a prox, which it takes apart. Else `LBFGS`
    where the penalty is smooth, and `FISTA` for everything else.
    """
    known = provided(problem, penalty)
    if set(ProxNewton.needs) <= known and "blocks" in known:
        n, p = problem.X.shape
        size = p * math.prod(problem.outputs(n))
        suits = problem.outputs(n) == () if penalty.separable else size <= n
        few = size <= 1000 if problem.loss.quadratic else size <= 500 and n * size <= 1_000_000
        if suits and few:
            return ProxNewton()
    if not has_prox(penalty) and has_parts(penalty):
        return ADMM()
    return LBFGS() if is_smooth(penalty) else FISTA()


def check_needs(solver: Any, problem: Any, penalty: Any) -> None:
    """Raise TypeError naming what is missing and which solvers would do, and ValueError for a prox
    step that is too large for the penalty."""
    if isinstance(solver, type) or not isinstance(solver, Solver):
        raise TypeError(
            f"solver must be a member of jreg.solvers, such as FISTA(), or follow "
            f"jreg.typing.Solver; got {solver!r}"
        )
    if isinstance(problem, LinearProblem) and not problem.loss.smooth:
        raise TypeError(
            f"{type(solver).__name__} needs a smooth loss, and {type(problem.loss).__name__} has a "
            "kink: use SmoothedPinball(quantile, width) with a small width instead"
        )
    known = provided(problem, penalty)
    missing = [need for need in solver.needs if need not in known]
    if missing:
        others = [s.__name__ for s in SOLVERS if set(s.needs) <= known][:RECOMMENDED]
        raise TypeError(
            f"{type(solver).__name__} needs {' and '.join(_MEANING[m] for m in missing)}; for this "
            f"problem and penalty use {' or '.join(others) if others else 'another penalty'}"
        )
    inner = getattr(solver, "solver", solver)  # of `Minibatch`
    if isinstance(inner, OptaxProximal):
        steps.check(penalty.at(0.0), inner.step)  # no strength has a larger limit


def provided(problem: Any, penalty: Any) -> set[str]:
    """What a problem and a penalty provide, in the words of `Solver.needs`."""
    found = set()
    if has_prox(penalty):
        found.add("prox")
    if has_parts(penalty):
        found.add("parts")
    if is_smooth(penalty):
        found.add("smooth penalty")
    if penalty.convex:
        found.add("convex")
    if penalty.separable:
        found.add("separable")
    if has_shortest_subgradient(penalty):
        found.add("subgradient")
    if all(isinstance(f, _KINKS_AT_0) for f in kinked(penalty)):
        found.add("kinks at 0")
    if not any(isinstance(f, _BOUNDED) for f in kinked(penalty)):
        found.add("finite")
    if isinstance(problem, LinearProblem):
        found.add("linear")
        loss = problem.loss
        if loss.smoothness is not None:
            found.add("smoothness")
        if loss.strictly_convex and has(loss, "pointwise"):
            found.add("curvature")
        if blocks(penalty, (problem.X.shape[1], *problem.outputs(problem.X.shape[0]))) is not None:
            found.add("blocks")
    return found


def kinked(penalty: Any) -> Iterator[Any]:
    """The penalties with kinks or bounds among those that one is made of, itself the first.

    >>> from jreg.penalties import L1, Ridge
    >>> [type(f).__name__ for f in kinked(L1() + Ridge())]
    ['Sum', 'L1']
    """
    if is_smooth(penalty):
        return
    yield penalty
    for inside in tree.inside(penalty, "prox"):
        yield from kinked(inside)
