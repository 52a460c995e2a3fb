"""Orthant-wise quasi-Newton: L-BFGS for penalties with a kink at 0, such as L1."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import tree
from jreg.linalg import dot, norm_l2
from jreg.penalties import Ridge
from jreg.solvers.quasi_newton import LBFGS, Pairs, two_loop
from jreg.solvers.smooth import PATIENCE, Objective, Point, Progress, first_step, scaling
from jreg.transforms.subgradient import shortest
from jreg.typing import Array, PyTree

TRIALS = 40  # of a line search
DESCENT = 1e-4  # share of the promised descent that a step must reach


class State(NamedTuple):
    """What the next step needs."""

    root: Array  # sqrt(D)
    point: Point  # of the smooth part f alone
    pairs: Pairs
    step: Array  # the first trial; 1 once there is a pair
    progress: Progress  # of F


@tree.value_dataclass
class OWLQN:
    """Minimise f + penalty by L-BFGS within one orthant at a time (OWL-QN).

        v = the shortest element of grad f(x) + d penalty(x)
        d = -H v,  0 where it does not descend, d_j v_j >= 0
        x <- project(x + t d),    an entry that would change its sign becomes 0

    On the orthant of sign(x), and of -sign(v) where x is 0, the objective is smooth; its curvature
    is that of f, which H holds: the pairs are steps and changes of grad f. t is the first of 1,
    1/2, 1/4, ... at which the objective falls by 1e-4 of `v'(x_new - x)`. Zeros are exact. D scales
    the variables as in `LBFGS`.

    Two products with X a trial, of which a step seldom takes more than one; (2 memory_size + 9) p
    + 3 n numbers beyond the data. Andrew and Gao (2007). Convex penalties of single entries, with
    kinks and bounds at 0 alone; `ProxLBFGS` takes more.

    memory_size: pairs kept.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=OWLQN()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    memory_size: int = tree.static(default=10)

    needs: ClassVar[tuple[str, ...]] = ("prox", "separable", "convex", "kinks at 0")
    check_every: ClassVar[int] = 5
    max_steps: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        LBFGS(self.memory_size)  # says what is wrong with it

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`: no pairs."""
        smooth = Ridge(0.0)
        root = scaling(problem, smooth, params)
        objective = Objective.around(problem, smooth, params, root)
        point = objective.start(params)
        step = first_step(objective, point)
        whole = _whole(objective, penalty, point)
        return State(
            root, point, LBFGS(self.memory_size).no_pairs(point.x), step, Progress.of(whole)
        )

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step, and one more pair."""
        objective = Objective.around(problem, Ridge(0.0), params, state.root)
        old = _whole(objective, penalty, state.point)
        x, v = old.x, old.gradient
        d = -two_loop(state.pairs, v)
        d = jnp.where(d * v < 0, d, 0)
        kinked = ~ravel_pytree(penalty.support(jax.tree.map(jnp.zeros_like, params)))[0]
        orthant = jnp.where(x != 0, jnp.sign(x), -jnp.sign(v))

        def attempt(carry: tuple) -> tuple:
            _, t, k, _ = carry
            new = x + t * d
            new = jnp.where(kinked & (new * orthant <= 0), 0, new)
            point = objective.at(new)
            value = point.value + penalty.value(objective.params(new))
            promised = dot(v, new - x)
            rounding = 8 * jnp.finfo(value.dtype).eps * jnp.abs(old.value)
            falls = value <= old.value + DESCENT * promised
            level = (value <= old.value + rounding) & (jnp.abs(promised) <= rounding)
            return point, t / 2, k + 1, (falls | level) & (promised < 0)

        def unfinished(carry: tuple) -> Array:
            _, _, k, done = carry
            return ~done & (k < TRIALS) & (state.progress.idle < PATIENCE)

        zero = jnp.zeros((), jnp.int32)
        start = (state.point, state.step, zero, jnp.asarray(False))
        point, _, trials, found = jax.lax.while_loop(unfinished, attempt, start)
        point = tree.select(found, point, state.point)

        s, y = point.x - x, point.gradient - state.point.gradient
        curved = dot(s, y) > jnp.finfo(s.dtype).eps * norm_l2(s, None) * norm_l2(y, None)
        lbfgs = LBFGS(self.memory_size)
        pairs = tree.select(curved, lbfgs.remember(state.pairs, s, y), state.pairs)
        pairs = tree.select(found, pairs, lbfgs.no_pairs(x))
        step = jnp.where(pairs.empty, state.step, 1)
        progress = state.progress.after(_whole(objective, penalty, point), trials)
        params = tree.select(found, objective.params(point.x), params)
        return params, State(state.root, point, pairs, step, progress)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations


def _whole(objective: Objective, penalty: Any, point: Point) -> Point:
    """The objective with the penalty, and its shortest subgradient, both in x."""
    w = objective.params(point.x)
    gradient = objective.params(point.gradient * objective.root**2)  # in w
    v = ravel_pytree(shortest(penalty, w, gradient))[0] / objective.root
    return point._replace(value=point.value + penalty.value(w), gradient=v)
