"""FISTA: accelerated proximal gradient with adaptive restart and a safe, scaled step."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.solvers.forward_backward import cost, first_step, inner, safe_step
from jreg.typing import Array, PyTree

GROWTH = 1.03  # of each step: one in twelve must then shrink


class State(NamedTuple):
    """What the next step needs."""

    image: PyTree  # of the current point
    previous: PyTree
    previous_image: PyTree
    metric: PyTree  # positive diagonal; the step for entry j is step / metric_j
    momentum: Array  # t_k of the paper
    step: Array  # of the current point
    trial: Array  # the first length tried for the next
    evaluations: Array  # of the gradient


@tree.value_dataclass
class FISTA:
    """Minimise f + penalty by accelerated proximal gradient steps.

        y = x_k + (t_k - 1)/t_{k+1} (x_k - x_{k-1})
        x_{k+1} = prox(y - step D^-1 grad f(y), step D^-1)

    D is a positive diagonal: the curvature of each column for a linear model under a separable
    penalty (columns of any scale then cost the same), else the identity. The step starts from a
    Rayleigh quotient, shrinks until `f(x) <= f(y) + <grad, x - y> + |x - y|_D^2 / (2 step)` holds
    (for losses with Lipschitz gradients through their smoothness, without cancellation), and tries
    to grow by 3% after each: F may be flatter along the way than anywhere. It has neither
    a floor nor a cap. With it the momentum follows `t_{k+1} (t_{k+1} - 1) step_{k+1} = t_k^2
    step_k`. Momentum restarts when the gradient mapping points backwards.

    Two products with X a step, one more for each that must shrink, and 3 p + 3 n numbers of memory
    beyond the data. Beck and Teboulle (2009), section 4; O'Donoghue and Candes (2015), section 3.2;
    Scheinberg, Goldfarb and Bai (2014), section 3, for momentum under changing steps.

    restart: whether momentum restarts; without it this is the method of 2009.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=jreg.FISTA()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    restart: bool = tree.static(default=True)

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 20_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`, with the step from the curvature along the gradient."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        step = first_step(problem, params, image, problem.gradient(image), metric)
        one = jnp.ones_like(step)
        return State(image, params, image, metric, one, step, step, one)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One accelerated step."""
        t = (1 + jnp.sqrt(1 + 4 * state.momentum**2 * state.step / state.trial)) / 2
        beta = (state.momentum - 1) / t
        y = _extrapolate(params, state.previous, beta)
        y_image = _extrapolate(state.image, state.previous_image, beta)
        gradient = problem.gradient(y_image)
        new, new_image, step, trials = safe_step(
            problem, penalty, y, y_image, gradient, state.metric, state.trial
        )
        backwards = inner(tree.subtract(y, new), tree.subtract(new, params), state.metric) > 0
        restart = backwards & self.restart
        # the t of a step that had to shrink, nearly: it grows like 1 / sqrt(step)
        t = jnp.where(restart, 1.0, t * jnp.sqrt(state.trial / step))
        moved = tree.largest(tree.subtract(new, params)) > 0
        trial = jnp.where(moved, GROWTH * step, step)
        if not penalty.convex:
            # momentum may climb out of a valley: then go back and start without it
            worse = problem.value(new_image) + penalty.value(new)
            worse = worse > problem.value(state.image) + penalty.value(params)
            back = worse & (state.momentum > 1)
            new = tree.select(back, params, new)
            new_image = tree.select(back, state.image, new_image)
            t = jnp.where(back, 1.0, t)
        evaluations = state.evaluations + cost(problem, trials)
        return new, State(new_image, params, state.image, state.metric, t, step, trial, evaluations)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations


def _extrapolate(x: PyTree, previous: PyTree, beta: Array) -> PyTree:
    return jax.tree.map(lambda x, p: x + beta * (x - p), x, previous)
