"""The subgradient method: what there was before proximal steps, and why they are better."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.linalg import safe_reciprocal
from jreg.solvers.forward_backward import cost, first_step, norm2
from jreg.typing import Array, PyTree, Scalar


class State(NamedTuple):
    """What the next step needs."""

    point: PyTree  # the current point; params are the best one met so far
    image: PyTree
    best: Array  # objective at params
    best_image: PyTree
    metric: PyTree  # positive diagonal D
    reach: Array  # length of the first step, in the metric
    num_steps: Array
    evaluations: Array  # of the gradient


@tree.value_dataclass
class Subgradient:
    """Minimise f + penalty by projected subgradient steps; keeps the best point met.

        x_{k+1} = project(x_k - t_k D^-1 g_k),    g_k = grad f(x_k) + an element of d penalty(x_k)

    with `project` on the domain of the penalty (`prox` at step 0), D as in `FISTA`, and
    |g|^2 = sum g_j^2 / D_j. Two rules for the step:

    * diminishing (default): `t_k = length * c / (sqrt(k) |g_k|)`. c is |g| at the start over the
      curvature of f along its gradient there, which is near the length of the best first step;
      `length` then has no units.
    * Polyak: `t_k = (F(x_k) - optimum) / |g_k|^2`, if the optimal value is known. A value too low
      leaves the steps too long, one too high ends them early.

    The best of k objectives is within O(1/sqrt(k)) of the optimum (log k / sqrt(k) for the first
    rule), and no method that sees only subgradients does better. Expect 2 or 3 digits: **it does
    not reach the default `tol`**, and ends in `Status.MAX_STEPS` or `Status.NO_DESCENT`. Iterates
    jump over kinks, so **no coefficient is ever exactly 0** but those that stay at their start.
    A step of `FISTA` costs the same; this is for teaching, and for comparison.

    Two products with X a step and 2 n + 2 p numbers of memory beyond the data. Shor (1985), chapter
    2; Polyak (1987), section 5.3; Nesterov (2018), theorem 3.2.2.

    length: factor > 0 of the diminishing steps. optimum: the optimal objective for Polyak's rule,
    None for diminishing steps.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> solution = jreg.solve(problem, jreg.L1(0.5), solver=Subgradient(), max_steps=400)
    >>> solution.params.coef.round(1) + 0.0
    Array([ 1.5,  0. , -0.5], dtype=float32)
    >>> bool((solution.params.coef == 0).any())
    False
    """

    length: Scalar = 1.0
    optimum: Scalar | None = None

    needs: ClassVar[tuple[str, ...]] = ("prox", "convex")
    check_every: ClassVar[int] = 500  # between two of these the best point as a rule improves
    max_steps: ClassVar[int] = 5_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`, with the length of the first step."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        gradient = problem.gradient(image)
        step = first_step(problem, params, image, gradient, metric)
        g = _subgradient(penalty, params, gradient)
        reach = step * jnp.sqrt(_dual_norm2(g, metric))
        value = problem.value(image) + penalty.value(params)
        zero, one = jnp.zeros((), jnp.int32), jnp.ones_like(reach)
        return State(params, image, value, image, metric, reach, zero, one)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One subgradient step."""
        point, count = state.point, state.num_steps + 1
        g = _subgradient(penalty, point, problem.gradient(state.image))
        size = jnp.sqrt(_dual_norm2(g, state.metric))
        if self.optimum is None:
            t = self.length * state.reach / jnp.sqrt(count.astype(size.dtype))
        else:
            value = problem.value(state.image) + penalty.value(point)
            t = jnp.maximum(value - self.optimum, 0) * safe_reciprocal(size)
        t = t * safe_reciprocal(size)
        moved = jax.tree.map(lambda x, g, d: x - t / d * g, point, g, state.metric)
        moved = penalty.prox(moved, jnp.zeros_like(t))
        image = problem.image(moved)
        value = problem.value(image) + penalty.value(moved)
        better = value < state.best
        params = tree.select(better, moved, params)
        best_image = tree.select(better, image, state.best_image)
        best = jnp.where(better, value, state.best)
        # after an overflow go on, more slowly, from the best point
        finite = value < jnp.inf
        point, image = tree.select(finite, (moved, image), (params, best_image))
        made = state.evaluations + cost(problem, 1)
        return params, State(point, image, best, best_image, state.metric, state.reach, count, made)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations


def _subgradient(penalty: Any, point: PyTree, gradient: PyTree) -> PyTree:
    """The gradient of f plus the derivative of the penalty, by rules that give a subgradient."""
    return jax.tree.map(jnp.add, gradient, jax.grad(penalty.value)(point))


def _dual_norm2(g: PyTree, metric: PyTree) -> Array:
    """`sum_j g_j^2 / D_j`."""
    return norm2(jax.tree.map(jnp.divide, g, metric), metric)
