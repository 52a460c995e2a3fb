"""Proximal L-BFGS: quasi-Newton directions for the proximal gradient map."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import tree
from jreg.linalg import dot, safe_reciprocal
from jreg.solvers.forward_backward import (
    GROWTH,
    SHRINKAGE,
    backward,
    cost,
    curvature_ratio,
    first_step,
    forward,
    gave_up,
    norm2,
)
from jreg.typing import Array, PyTree, has

CURVATURE = 0.95  # of f along a step, at most, as a share of 1 / step
DESCENT = 0.1  # share of the guaranteed descent of the envelope that is asked for
FAR = 10.0  # curvature at which the point is to blame, not the step
TINY = 1e-6  # curvature that a step much too short meets, after a start in a steep place
NEAREST = 1 / 16  # part of the way to the quasi-Newton point that is tried before a plain step


class State(NamedTuple):
    """What the next step needs. params are z = T(x), which has exact zeros."""

    point: PyTree  # x
    image: PyTree  # of z
    residual: Array  # (d,) r(x), times the root of the metric
    envelope: Array  # forward-backward envelope at x
    moves: Array  # (memory, d) differences of x, newest first, scaled alike
    changes: Array  # (memory, d) the same of the residual
    metric: PyTree  # positive diagonal D
    step: Array
    evaluations: Array  # of the gradient


@tree.value_dataclass
class ProxLBFGS:
    """Minimise f + penalty by limited-memory quasi-Newton steps on the proximal gradient map.

    A solution is a zero of r(x) = (x - T(x)) / step, T(x) = prox(x - step D^-1 grad f(x),
    step D^-1). L-BFGS turns the last differences of x and r into an approximate inverse H of the
    derivative of r. The next point lies between z = T(x) and the quasi-Newton point,

        x_{k+1} = z + tau (q - z),    q = x - H r(x), and 0 where z is 0,    tau = 1, 1/2, ..., 0,

    and is the first at which the step is safe and the forward-backward envelope falls, a function
    with the same minimisers that is finite everywhere:

        E(x) = f(x) + <grad f(x), z - x> + |z - x|_D^2 / (2 step) + penalty(z).

    tau = 0 is a plain step, so it converges where those do; once the support is found it is L-BFGS
    on a smooth function, and fast. Reported is z, so zeros are exact. It needs the prox alone:
    penalties of groups, constraints and nonconvex ones (a stationary point) will do, as will losses
    without a smoothness constant, the step being tested at each trial and free to grow. D is that
    of `FISTA`.

    This is the method known as PANOC but for q, whose support is that of z, which makes r there
    independent of the step. (`OWLQN` is another one, for separable penalties.)

    Three products with X a step, two or three more for each trial refused (tau halved, or the step
    shortened), and `2 memory_size p + 3 p + n` numbers of memory beyond the data. Stella, Themelis,
    Sopasakis and Patrinos (2017), algorithm 1; De Marchi and Themelis (2022) for the step; Liu and
    Nocedal (1989) for L-BFGS.

    memory_size: number of differences kept.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=ProxLBFGS()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    memory_size: int = tree.static(default=10)

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    check_every: ClassVar[int] = 5
    max_steps: ClassVar[int] = 10_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params` without memory; the first step is plain and sets the envelope."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        gradient = problem.gradient(image)
        step = first_step(problem, params, image, gradient, metric)
        nothing = jnp.zeros_like(ravel_pytree(params)[0])
        memory = jnp.zeros((self.memory_size, nothing.size), nothing.dtype)
        unknown = jnp.full_like(step, jnp.inf)
        one = jnp.ones_like(step)
        return State(params, image, nothing, unknown, memory, memory, metric, step, one)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One quasi-Newton step, or the plain one."""
        metric, h = state.metric, state.step
        first = jnp.isinf(state.envelope)  # x is the start, and its T is not known yet
        unflatten = ravel_pytree(params)[1]
        root = jnp.sqrt(ravel_pytree(metric)[0])
        newton = _inverse_hessian_times(state.moves, state.changes, state.residual, h)
        target = jax.tree.map(
            lambda x, d, z: jnp.where(z == 0, 0, x - d),
            state.point,
            unflatten(newton / root),
            params,
        )
        target_image = problem.image(target)
        guaranteed = (1 - CURVATURE) * h / 2 * jnp.sum(state.residual**2)
        rounding = 4 * jnp.finfo(h.dtype).eps * jnp.abs(state.envelope)
        enough = state.envelope - DESCENT * guaranteed + rounding

        def attempt(trial: tuple) -> tuple:
            tau, step, _, evaluations, _ = trial
            x = _between(params, target, tau)
            image = _between(state.image, target_image, tau)
            gradient = problem.gradient(image)
            z = backward(penalty, forward(x, gradient, metric, step), metric, step)
            z_image = problem.image(z)
            move = tree.subtract(z, x)
            envelope = (
                problem.value(image)
                + tree.total(jnp.multiply, gradient, move)
                + norm2(move, metric) / (2 * step)
                + penalty.value(z)
            )
            ratio = curvature_ratio(problem, x, image, gradient, z, z_image, metric, step)
            safe = ratio <= CURVATURE * (1 + 8 * jnp.finfo(h.dtype).eps)
            lower = envelope <= enough
            done = (safe & (lower | (tau == 0))) | gave_up(step, h)
            # curvature that is too large asks for a shorter step, far too large for a nearer point
            shorter = ~safe & ((tau == 0) | (lower & (ratio < FAR)))
            factor = jnp.where(ratio < FAR, jnp.minimum(SHRINKAGE, CURVATURE / ratio), 1 / FAR)
            nearer = jnp.where(tau > NEAREST, tau / 2, 0)
            return (
                jnp.where(shorter, tau, nearer),
                jnp.where(shorter, factor * step, step),
                (x, z, z_image, envelope, step, ratio),
                evaluations + cost(problem, 1),
                done,
            )

        tau = jnp.where(first, 0, jnp.ones_like(h))
        start = (state.point, params, state.image, state.envelope, h, h)
        # the image of the target takes a product with X
        before = state.evaluations + (0.5 if has(problem, "curvature_times") else 0)
        *_, (x, z, image, envelope, step, ratio), evaluations, _ = jax.lax.while_loop(
            lambda trial: ~trial[-1], attempt, (tau, h, start, before, jnp.asarray(False))
        )
        s = root * ravel_pytree(tree.subtract(x, state.point))[0]
        residual = root * ravel_pytree(tree.subtract(x, z))[0] / step
        y = residual - state.residual
        moves, changes = _remember(state.moves, state.changes, s, y, first)
        # long steps make the prox of a nonconvex penalty jump
        grows = penalty.convex & (ratio < 0.5) & jnp.any(residual != 0)
        step = jnp.where(grows, jnp.where(ratio < TINY, 10.0, GROWTH) * step, step)
        return z, State(x, image, residual, envelope, moves, changes, metric, step, evaluations)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations


def _between(a: PyTree, b: PyTree, tau: Array) -> PyTree:
    """`a + tau (b - a)`, exactly a at 0."""
    return jax.tree.map(lambda a, b: jnp.where(tau == 0, a, a + tau * (b - a)), a, b)


def _remember(moves: Array, changes: Array, s: Array, y: Array, skip: Array) -> tuple[Array, Array]:
    """The pair (s, y) in front, the oldest leaves; nothing changes without positive curvature, or
    where `skip`."""
    eps = jnp.finfo(s.dtype).eps
    keep = jnp.sum(s * y) > eps * jnp.sqrt(jnp.sum(s**2) * jnp.sum(y**2))

    def pushed(rows: Array, new: Array) -> Array:
        return jnp.where(keep & ~skip, jnp.concatenate([new[None, :], rows[:-1]]), rows)

    return pushed(moves, s), pushed(changes, y)


def _inverse_hessian_times(moves: Array, changes: Array, r: Array, step: Array) -> Array:
    """`H r` by the two loops of L-BFGS, pairs newest first; rows of zeros are out.

    H is the step where there is no pair.

    Nocedal and Wright (2006), algorithm 7.4.
    """
    curvatures = jnp.sum(moves * changes, axis=1)
    rho = safe_reciprocal(curvatures)

    def back(q: Array, pair: tuple) -> tuple[Array, Array]:
        s, y, rho = pair
        a = rho * dot(s, q)
        return q - a * y, a

    def forth(q: Array, pair: tuple) -> tuple[Array, None]:
        s, y, rho, a = pair
        return q + (a - rho * dot(y, q)) * s, None

    q, a = jax.lax.scan(back, r, (moves, changes, rho))
    scale = curvatures[0] * safe_reciprocal(jnp.sum(changes[0] ** 2))
    q = jnp.where(curvatures[0] > 0, scale, step) * q
    return jax.lax.scan(forth, q, (moves, changes, rho, a), reverse=True)[0]
