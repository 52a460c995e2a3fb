"""ISTA: the proximal gradient method, forward-backward splitting without momentum."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from jreg import tree
from jreg.solvers.forward_backward import GROWTH, cost, first_step, safe_step
from jreg.typing import Array, PyTree


class State(NamedTuple):
    """What the next step needs."""

    image: PyTree  # of the current point
    metric: PyTree  # positive diagonal; the step for entry j is step / metric_j
    step: Array
    evaluations: Array  # of the gradient


@tree.value_dataclass
class ISTA:
    """Minimise f + penalty by proximal gradient steps.

        x_{k+1} = prox(x_k - step D^-1 grad f(x_k), step D^-1)

    Under a constraint (`Box`, `NonNegative`, `conjugate(Linf(radius))` for the L1 ball) the prox
    is a projection and this is the **projected gradient method**; with a smooth f alone it is
    gradient descent. D and the safe step are those of `FISTA`, without floor, cap or reset; the
    step may grow a little at each iteration, so it follows the curvature along the way.

    The objective never rises, also for nonconvex penalties, whose stationary points it finds. The
    error is O(1/k), or falls by a constant factor under strong convexity: `FISTA` takes about the
    square root of the number of steps. For teaching, for comparison, and where descent matters.

    Two products with X a step and n + p numbers of memory beyond the data. Goldstein (1964) for
    constraints; Daubechies, Defrise and De Mol (2004); Combettes and Wajs (2005), section 3; Beck
    and Teboulle (2009), section 3.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=ISTA()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 100_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`, with the step from the curvature along the gradient."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        step = first_step(problem, params, image, problem.gradient(image), metric)
        return State(image, metric, step, jnp.ones_like(step))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One proximal gradient step."""
        gradient = problem.gradient(state.image)
        new, image, step, trials = safe_step(
            problem, penalty, params, state.image, gradient, state.metric, state.step
        )
        moved = tree.largest(tree.subtract(new, params)) > 0
        step = jnp.where(moved, GROWTH * step, step)
        evaluations = state.evaluations + cost(problem, trials)
        return new, State(image, state.metric, step, evaluations)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations
