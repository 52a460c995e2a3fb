"""Proximal gradient with Anderson acceleration: extrapolation from the last few steps."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import tree
from jreg.linalg import dot, safe_reciprocal, solve_positive_definite
from jreg.solvers.forward_backward import (
    GROWTH,
    SHRINKAGE,
    backward,
    cost,
    curvature_ratio,
    first_step,
    forward,
    gave_up,
)
from jreg.typing import Array, PyTree

DESCENT = 1e-3  # share of a plain step's descent that an extrapolation must reach


class State(NamedTuple):
    """What the next step needs. Vectors (d,) are scaled by the root of the metric: the usual inner
    product then is that of the metric."""

    image: PyTree  # of the current point x
    value: Array  # objective there
    last: tuple[Array, Array, Array]  # x, gradient and residual r of the step before, (d,)
    memory: tuple[Array, Array, Array]  # their differences (memory_size, d), newest first
    fresh: Array  # whether there was no step before
    metric: PyTree  # positive diagonal D
    step: Array
    evaluations: Array  # of the gradient


@tree.value_dataclass
class Anderson:
    """Minimise f + penalty by proximal gradient steps with Anderson acceleration.

    Let T(x) = prox(x - step D^-1 grad f(x), step D^-1), r(x) = (x - T(x)) / step, and dX, dG, dR
    the last differences of x, of grad f and of r. The plain step from x is T(x). The extrapolated
    one is T at the combination of the last points at which r is smallest, where a quadratic f needs
    no new gradient:

        prox(x - dX c - step D^-1 (grad f(x) - dG c), step D^-1),    c = argmin_c |r(x) - dR c|^2.

    It is taken if the objective falls by a share of what the plain step promises; else the plain
    step is, and the memory is cleared. Extrapolation comes before the prox, so zeros are exact. On
    the final support r is linear, whatever the step, and there this acts like a Krylov method.
    Often a third of the steps of `FISTA`, and fewer the worse the problem is conditioned. The least
    squares problem for c is regularised and has no units (columns of dR have length 1). D, and the
    safe step of plain steps, are those of `ISTA`.

    The objective never rises, also for nonconvex penalties, whose stationary points it finds. From
    a start where the curvature is many orders above that at the solution (a Poisson mean of e^50)
    steps may become too short to move, which ends in `Status.NO_DESCENT`: take `ISTA` there.

    Two products with X a step, three or more where the extrapolation is refused, and
    `3 memory_size p + 4 p + n` numbers of memory beyond the data. Anderson (1965); Mai and
    Johansson (2020), for the guarded extrapolation before the prox; Bertrand and Massias (2021),
    who extrapolate coordinate descent.

    memory_size: number of differences kept.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=Anderson()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    memory_size: int = tree.static(default=5)

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 20_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params` without memory, with the step from the curvature there."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        gradient = problem.gradient(image)
        step = first_step(problem, params, image, gradient, metric)
        point = ravel_pytree(params)[0]
        nothing = jnp.zeros((self.memory_size, point.size), point.dtype)
        value = problem.value(image) + penalty.value(params)
        fresh = jnp.asarray(True)
        last, memory = (point,) * 3, (nothing,) * 3
        return State(image, value, last, memory, fresh, metric, step, jnp.ones_like(step))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step: extrapolated if that lowers the objective enough, else plain."""
        metric, h = state.metric, state.step
        unflatten = ravel_pytree(params)[1]
        root = jnp.sqrt(ravel_pytree(metric)[0])

        gradient = problem.gradient(state.image)
        plain = backward(penalty, forward(params, gradient, metric, h), metric, h)
        move = root * ravel_pytree(tree.subtract(params, plain))[0]
        promised = jnp.sum(move**2) / (2 * h)
        now = root * ravel_pytree(params)[0], ravel_pytree(gradient)[0] / root, move / h
        memory = jax.tree.map(
            lambda rows, new, old: _remember(rows, new - old, state.fresh),
            state.memory, now, state.last,
        )  # fmt: skip
        c = _coefficients(memory[2], now[2])
        x = unflatten((now[0] - dot(c, memory[0])) / root)
        g = unflatten((now[1] - dot(c, memory[1])) * root)

        def attempt(trial: tuple) -> tuple:
            k, step, *_ = trial
            extrapolated = k == 0
            step = jnp.where(k > 1, SHRINKAGE * step, step)
            start, slope = tree.select(extrapolated, (x, g), (params, gradient))
            new = backward(penalty, forward(start, slope, metric, step), metric, step)
            image = problem.image(new)
            value = problem.value(image) + penalty.value(new)
            ratio = curvature_ratio(
                problem, params, state.image, gradient, new, image, metric, step
            )
            safe = ratio <= 1 + 8 * jnp.finfo(ratio.dtype).eps
            lower = value <= state.value - DESCENT * promised
            done = jnp.where(extrapolated, lower, safe) | gave_up(step, h)
            return k + 1, step, new, image, value, safe, done

        no = jnp.asarray(False)
        first = (jnp.zeros((), jnp.int32), h, params, state.image, state.value, no, no)
        k, step, new, image, value, safe, _ = jax.lax.while_loop(
            lambda trial: ~trial[-1], attempt, first
        )
        memory = jax.tree.map(lambda rows: jnp.where(k > 1, 0, rows), memory)
        grows = safe & (tree.largest(tree.subtract(new, params)) > 0)
        step = jnp.where(grows, GROWTH * step, step)
        evaluations = state.evaluations + cost(problem, k)
        return new, State(image, value, now, memory, no, metric, step, evaluations)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations


def _remember(memory: Array, new: Array, skip: Array) -> Array:
    """`new` in front, the oldest row leaves; nothing changes where `skip`."""
    return jnp.where(skip, memory, jnp.concatenate([new[None, :], memory[:-1]]))


def _coefficients(changes: Array, residual: Array) -> Array:
    """The regularised least squares solution c of `c changes = residual`; zero rows are out.

    Rows are scaled to length 1, which makes the system free of units.
    """
    m = changes.shape[0]
    scale = safe_reciprocal(jnp.sqrt(jnp.sum(changes**2, axis=1)))
    unit = scale[:, None] * changes
    ridge = 10 * m * jnp.finfo(residual.dtype).eps
    system = dot(unit, unit.T) + jnp.diag(jnp.where(scale > 0, ridge, 1))
    c = scale * solve_positive_definite(system, dot(unit, residual), jnp.asarray(m))
    return jnp.where(jnp.isfinite(c), c, 0)
