"""`tune`: hyper-parameters by gradient descent on a criterion, through the solution's derivative.

The criterion is a smooth function of the logarithm of the strengths except at kinks, where the
support changes. Its gradient comes from `jreg.implicit`, at the cost of some products with X,
however many strengths there are: a grid has a handful, a gradient a thousand. Foo, Do and Ng
(2007); Bertrand et al. (2022), section 3.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks
from jreg.problem import Linear, LinearProblem
from jreg.solvers import default_solver, solve
from jreg.solvers.choice import check_needs
from jreg.solvers.solve import check_inputs
from jreg.status import is_solved
from jreg.typing import Array, Scalar, Solver

GROW, SHRINK = 1.2, 0.5  # of a step, while its derivative keeps or changes its sign
LARGEST = 2.0  # step in log units
LOOSEST = 1e-3  # tolerance of the first fits


class Tuned(NamedTuple):
    """The best hyper-parameters found, and how the search went.

    penalty: with the best ones. params: the fit to all data there, in original units. score: the
    criterion there. The trace has one row for each evaluation, the last being the best point at the
    final tolerance: scores (k,), settings (a dict of arrays with k first), num_steps (k,) of the
    inner solver over all fits, tols (k,). converged: whether the steps became smaller than `xtol`
    within `max_steps`.
    """

    penalty: Any
    params: Linear
    score: float
    scores: np.ndarray
    settings: dict[str, np.ndarray]
    num_steps: np.ndarray
    tols: np.ndarray
    converged: bool


def tune(
    problem: LinearProblem,
    penalty: Any,
    criterion: Any,
    *,
    vary: tuple[str, ...] = ("lam",),
    max_steps: int = 50,
    xtol: float = 1e-2,
    tol: Scalar | None = None,
    solver: Solver | None = None,
) -> Tuned:
    """Minimise a criterion over hyper-parameters of the penalty, in log units.

    Args:
      problem: a `LinearProblem`.
      penalty: where the search starts; well below lam_max, where the derivative is not 0.
      criterion: `HeldOut(validation)`, `KFold(folds)`, `ApproximateLeaveOneOut()` or `SURE(sigma)`.
      vary: names of the penalty's fields: "lam"; "weights" for a strength for each feature or group
        (the penalty must have some to start from); "l1_ratio" and others that lie between two
        limits move on the logit scale.
      max_steps: evaluations of the criterion with its gradient.
      xtol: relative change of the hyper-parameters at which to stop.
      tol: of the last fits, as for `solve`; the first ones are looser.
      solver: as for `solve`.

    Each hyper-parameter has its own step, which grows while its derivative keeps the sign and
    halves when it changes (Rprop, Riedmiller and Braun 1993): no scale is needed, and a kink is a
    sign change like any other. Fits are warm-started. Drives its loop from the host; TypeError
    inside jit, for an unknown field or one that is None. ValueError if the derivative is 0 at the
    start.

    >>> import jreg
    >>> X, y = np.eye(4), np.array([3.0, 0.1, -2.0, 0.1])
    >>> problem = jreg.LinearProblem(X, y, fit_intercept=False)
    >>> held = jreg.HeldOut(jreg.LinearProblem(X, np.array([2.0, 0.0, -1.0, 0.0])))
    >>> found = jreg.tune(problem, jreg.L1(0.1), held)
    >>> round(float(found.penalty.lam), 2)  # each coefficient is y shrunk by 4 lam: 1 is best
    0.25
    """
    if checks.is_traced(problem, penalty, criterion):
        raise TypeError(
            "tune drives its loop from the host: it cannot run inside jit, vmap or grad"
        )
    problem, penalty, _ = check_inputs(problem, penalty, None)
    for name in vary:
        if getattr(penalty, name, None) is None:
            raise TypeError(f"{type(penalty).__name__} has no {name} to start from")
    solver = default_solver(problem, penalty) if solver is None else solver
    check_needs(solver, problem, penalty)
    dtype = problem.X.dtype
    final = float(checks.tolerance(tol, dtype))

    def evaluate(z: dict[str, Array], starts: Linear, tol: float) -> _Point:
        found = _evaluate(
            problem, penalty, criterion, solver, vary, starts, z, jnp.asarray(tol, dtype)
        )
        return _Point(z, tol, *jax.tree.map(np.asarray, found))

    fits, n = criterion.variants(problem)[0].shape
    shapes = ((fits, problem.X.shape[1], *problem.outputs(n)), (fits, *problem.outputs(n)))
    starts = Linear(*(jnp.zeros(shape, dtype) for shape in shapes))
    here = evaluate({name: _free(penalty, name) for name in vary}, starts, LOOSEST)
    if not here.sound:
        raise ValueError("the fits at the start do not converge, so they have no derivative")
    if not any(np.any(slope) for slope in here.slope.values()):
        raise ValueError("the derivative at the start is 0, as beyond lam_max; start lower")

    trace = [here]
    step = {name: np.full(np.shape(z), 0.5) for name, z in here.z.items()}
    while _widest(step, here.slope) >= xtol and len(trace) < max_steps:
        z = {name: here.z[name] - np.sign(here.slope[name]) * step[name] for name in vary}
        there = evaluate(z, here.starts, max(final, LOOSEST * 0.5 ** len(trace)))
        trace.append(there)
        if there.sound and there.score <= here.score:
            step = {name: _adapt(step[name], there.slope[name], here.slope[name]) for name in vary}
            here = there
        else:
            step = {name: SHRINK * step[name] for name in vary}
    converged = _widest(step, here.slope) < xtol

    trace.append(evaluate(here.z, here.starts, final))
    best = _at(penalty, here.z)
    start = Linear(*(leaf[0] for leaf in trace[-1].starts))
    tried = [_at(penalty, point.z) for point in trace]
    return Tuned(
        penalty=best,
        params=solve(problem, best, start, solver=solver, tol=tol).params,
        score=float(trace[-1].score),
        scores=np.array([point.score for point in trace]),
        settings={n: np.stack([np.asarray(getattr(p, n)) for p in tried]) for n in vary},
        num_steps=np.array([point.num_steps for point in trace]),
        tols=np.array([point.tol for point in trace]),
        converged=converged,
    )


class _Point(NamedTuple):
    """An evaluation of the criterion; z are the hyper-parameters in log units."""

    z: dict[str, Array]
    tol: float
    score: np.ndarray
    slope: dict[str, np.ndarray]
    starts: Linear  # its solutions, to start the next ones from
    solved: np.ndarray
    num_steps: np.ndarray

    @property
    def sound(self) -> bool:
        """Whether all fits converged and all numbers are finite."""
        return bool(self.solved) and all(
            np.isfinite(a).all() for a in (self.score, *self.slope.values())
        )


@partial(jax.jit, static_argnames="vary")
def _evaluate(
    problem: LinearProblem,
    penalty: Any,
    criterion: Any,
    solver: Any,
    vary: tuple[str, ...],
    starts: Linear,
    z: dict[str, Array],
    tol: Array,
) -> tuple[Array, dict[str, Array], Linear, Array, Array]:
    """(score, its gradient in z, solutions, whether all converged, inner steps)."""
    weights, ys = criterion.variants(problem)

    def score(z: dict[str, Array]) -> tuple[Array, Any]:
        strong = _at(penalty, z)

        def fit(weight: Array, y: Array, start: Linear) -> Any:
            one = dataclasses.replace(problem, sample_weight=weight, y=y)
            return solve(one, strong, start, solver=solver, tol=tol)

        found = jax.vmap(fit)(weights, ys, starts)
        return criterion.score(problem, strong, found.params), found

    (value, found), slope = jax.value_and_grad(score, has_aux=True)(z)
    solved = jnp.all(is_solved(found.status))
    return value, slope, found.params, solved, jnp.sum(found.num_steps)


def _limits(penalty: Any, name: str) -> tuple[float, float]:
    return penalty.ranges.get(name, (0.0, np.inf))


def _free(penalty: Any, name: str) -> Array:
    """The logarithm of a field, or its logit between two limits."""
    low, high = _limits(penalty, name)
    value = jnp.asarray(getattr(penalty, name))
    above = jnp.maximum(value - low, jnp.finfo(value.dtype).tiny)
    return jnp.log(above) if high > 1e20 else jnp.log(above) - jnp.log(high - value)


def _at(penalty: Any, z: dict[str, Array]) -> Any:
    """The penalty with fields at z."""

    def field(name: str, z: Array) -> Array:
        low, high = _limits(penalty, name)
        return low + (jnp.exp(z) if high > 1e20 else (high - low) * jax.nn.sigmoid(z))

    return dataclasses.replace(penalty, **{name: field(name, z) for name, z in z.items()})


def _adapt(step: np.ndarray, slope: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Longer steps where the derivative keeps its sign, shorter ones where it changes."""
    kept = slope * before
    factor = np.where(kept > 0, GROW, np.where(kept < 0, SHRINK, 1.0))
    return np.minimum(step * factor, LARGEST)


def _widest(step: dict[str, np.ndarray], slope: dict[str, np.ndarray]) -> float:
    """The longest step that a derivative asks for."""
    return max(float(np.max(np.where(slope[n] != 0, step[n], 0))) for n in step)
