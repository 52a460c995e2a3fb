"""Gradient descent with steps from the last change of the gradient, and a line search."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from jreg import tree
from jreg.linalg import dot
from jreg.solvers.smooth import Objective, Point, Progress, first_step, line_search, scaling
from jreg.typing import Array, PyTree

RECENT = 10  # values that a step may rise to
PATIENCE = 100  # idle steps


class State(NamedTuple):
    """What the next step needs."""

    root: Array  # sqrt(D)
    point: Point
    step: Array  # the first trial
    recent: Array  # the last objectives
    progress: Progress


@tree.value_dataclass
class GradientDescent:
    """Minimise a smooth objective along its gradient.

        w_{k+1} = w_k - t D^-1 grad F(w_k)

    D is a positive diagonal: for a linear model the curvature of each column, else the identity.
    The first trial of t is `s's / s'y`, s the last step and y the change of the gradient (in the
    metric D): Barzilai and Borwein (1988). It must fall below the largest of the last 10 objectives
    (Grippo, Lampariello and Lucidi 1986; Raydan 1997), else it shrinks. t has neither a cap nor a
    floor.

    Two products with X a trial, of which a step seldom takes more than one; 8 p + 3 n numbers
    beyond the data.

    barzilai_borwein: False is the textbook's method: the first trial is twice the last step, and
    the objective falls every time (Armijo 1966).

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(2), jnp.array([3.0, 1.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.Ridge(0.5), solver=GradientDescent()).params.coef.round(2)
    Array([1.5, 0.5], dtype=float32)
    """

    barzilai_borwein: bool = tree.static(default=True)

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 20_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`, with the step from the curvature along the gradient."""
        root = scaling(problem, penalty, params)
        objective = Objective.around(problem, penalty, params, root)
        point = objective.start(params)
        recent = jnp.full(RECENT if self.barzilai_borwein else 1, point.value)
        return State(root, point, first_step(objective, point), recent, Progress.of(point))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step down the gradient."""
        objective = Objective.around(problem, penalty, params, state.root)
        old = state.point
        new, t, trials = line_search(
            objective,
            old,
            -old.gradient,
            state.step,
            curvature=jnp.full_like(state.step, jnp.inf),
            ceiling=jnp.max(state.recent),
            allowed=state.progress.idle < PATIENCE,
        )
        step = jnp.where(t > 0, 2 * t, state.step)
        if self.barzilai_borwein:
            s, y = new.x - old.x, new.gradient - old.gradient
            curved = dot(s, y) > 0
            step = jnp.where(curved, dot(s, s) / jnp.where(curved, dot(s, y), 1), step)
        recent = jnp.roll(state.recent, 1).at[0].set(new.value)
        state = State(state.root, new, step, recent, state.progress.after(new, trials))
        return tree.select(t > 0, objective.params(new.x), params), state

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations
