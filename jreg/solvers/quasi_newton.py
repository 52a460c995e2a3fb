"""Quasi-Newton methods: curvature from the changes of the gradient."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.linalg import dot, norm_l2
from jreg.solvers.smooth import (
    PATIENCE,
    Objective,
    Point,
    Progress,
    first_step,
    line_search,
    scaling,
)
from jreg.typing import Array, PyTree, Scalar


class State(NamedTuple):
    """What the next step needs."""

    root: Array  # sqrt(D)
    point: Point
    memory: Any  # `Inverse` of BFGS or `Pairs` of L-BFGS
    step: Array  # the first trial; 1 once there is a memory
    progress: Progress


class Inverse(NamedTuple):
    """The inverse Hessian of BFGS."""

    H: Array  # (p, p)
    empty: Array  # still the identity


class Pairs(NamedTuple):
    """The last steps of L-BFGS, oldest first; rho is 0 where there is none yet."""

    s: Array  # (memory_size, p) steps
    y: Array  # (memory_size, p) changes of the gradient
    rho: Array  # (memory_size,) 1 / s'y
    gamma: Array  # H_0 = gamma I
    empty: Array


@tree.value_dataclass
class BFGS:
    """Minimise a smooth objective by BFGS, with a **dense** inverse Hessian of p^2 numbers.

        d = -H grad F(x),    s = t d,    y = grad F(x + s) - grad F(x),
        H <- (I - rho s y') H (I - rho y s') + rho s s',    rho = 1 / s'y.

    t satisfies the strong Wolfe conditions, so s'y > 0 and H stays positive definite. H starts as
    the identity, in variables in which the columns of a linear model have curvature 1, and is
    scaled by `s'y / y'y` before its first update. When no step is found, H starts again.

    Two products with X a trial, of which a step seldom takes more than one, and two passes over
    H; p^2 + 9 p + 3 n numbers beyond the data. For more than a few thousand parameters use
    `LBFGS`. Nocedal and Wright (2006), algorithm 6.1.

    curvature: bound of the slope at the end of a step relative to that at its start, in (0, 1);
    small values search exactly.

    >>> import jreg
    >>> fun = lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
    >>> start = jnp.array([-1.2, 1.0])
    >>> jreg.solve(fun, None, start, solver=BFGS()).params.round(2)
    Array([1., 1.], dtype=float32)
    """

    curvature: Scalar = 0.9

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 5
    max_steps: ClassVar[int] = 5000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`: H is the identity."""
        return _init(problem, penalty, params, _identity)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step, and one update of H."""
        d = -dot(state.memory.H, state.point.gradient)
        return _step(problem, penalty, params, state, d, self.curvature, _identity, _update_inverse)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations


@tree.value_dataclass
class LBFGS:
    """Minimise a smooth objective by limited-memory BFGS.

    As `BFGS`, but H is the product of the last `memory_size` updates of `gamma I`, applied by the
    two-loop recursion and never formed. gamma is `s'y / y'y` of the newest pair.

    Two products with X a trial, of which a step seldom takes more than one; (2 memory_size + 9) p
    + 3 n numbers beyond the data. Nocedal (1980); Liu and Nocedal (1989); Nocedal and Wright
    (2006), algorithms 7.4 and 7.5.

    memory_size: pairs kept. rescale: False keeps gamma of the first pair; with a memory for all
    steps this is then BFGS, iterate by iterate. curvature: as in `BFGS`.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(2), jnp.array([3.0, 1.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.Ridge(0.5), solver=LBFGS()).params.coef.round(2)
    Array([1.5, 0.5], dtype=float32)
    """

    memory_size: int = tree.static(default=10)
    rescale: bool = tree.static(default=True)
    curvature: Scalar = 0.9

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 5
    max_steps: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        if self.memory_size < 1:
            raise ValueError(f"memory_size must be at least 1; got {self.memory_size}")

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`: no pairs."""
        return _init(problem, penalty, params, self.no_pairs)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step, and one more pair."""
        d = -two_loop(state.memory, state.point.gradient)
        return _step(
            problem, penalty, params, state, d, self.curvature, self.no_pairs, self.remember
        )

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations

    def no_pairs(self, x: Array) -> Pairs:
        """None yet, for variables like x (p,)."""
        rows, one = jnp.zeros((self.memory_size, x.size), x.dtype), jnp.ones((), x.dtype)
        return Pairs(rows, rows, jnp.zeros_like(rows[:, 0]), one, jnp.asarray(True))

    def remember(self, pairs: Pairs, s: Array, y: Array) -> Pairs:
        """The newest pair in, the oldest out."""
        append = lambda rows, row: jnp.concatenate([rows[1:], row[None]])  # noqa: E731
        gamma = dot(s, y) / dot(y, y)
        if not self.rescale:
            gamma = jnp.where(pairs.empty, gamma, pairs.gamma)
        return Pairs(
            append(pairs.s, s),
            append(pairs.y, y),
            append(pairs.rho, 1 / dot(s, y)),
            gamma,
            jnp.asarray(False),
        )


def two_loop(pairs: Pairs, g: Array) -> Array:
    """H g for the inverse Hessian H of the pairs; g (p,). Nocedal (1980)."""

    def backward(q: Array, pair: tuple) -> tuple[Array, Array]:
        s, y, rho = pair
        a = rho * dot(s, q)
        return q - a * y, a

    def forward(r: Array, pair: tuple) -> tuple[Array, None]:
        s, y, rho, a = pair
        return r + (a - rho * dot(y, r)) * s, None

    kept = (pairs.s, pairs.y, pairs.rho)
    q, a = jax.lax.scan(backward, g, kept, reverse=True)
    return jax.lax.scan(forward, pairs.gamma * q, (*kept, a))[0]


def _identity(x: Array) -> Inverse:
    return Inverse(jnp.eye(x.size, dtype=x.dtype), jnp.asarray(True))


def _update_inverse(inverse: Inverse, s: Array, y: Array) -> Inverse:
    """`(I - rho s y') H (I - rho y s') + rho s s'`."""
    H = jnp.where(inverse.empty, dot(s, y) / dot(y, y), 1) * inverse.H
    rho = 1 / dot(s, y)
    Hy = dot(H, y)
    cross = s[:, None] * Hy[None, :]
    H = H - rho * (cross + cross.T) + rho * (1 + rho * dot(y, Hy)) * s[:, None] * s[None, :]
    return Inverse(H, jnp.asarray(False))


def _init(problem: Any, penalty: Any, params: PyTree, forget: Any) -> State:
    root = scaling(problem, penalty, params)
    objective = Objective.around(problem, penalty, params, root)
    point = objective.start(params)
    step = first_step(objective, point)
    return State(root, point, forget(point.x), step, Progress.of(point))


def _step(
    problem: Any,
    penalty: Any,
    params: PyTree,
    state: State,
    d: Array,
    curvature: Scalar,
    forget: Any,
    learn: Any,
) -> tuple[PyTree, State]:
    """Search along d; then put the step into the memory, or start a new one where none is found."""
    objective = Objective.around(problem, penalty, params, state.root)
    old = state.point
    new, t, trials = line_search(
        objective,
        old,
        d,
        state.step,
        curvature=jnp.asarray(curvature),
        allowed=state.progress.idle < PATIENCE,
    )
    s, y = new.x - old.x, new.gradient - old.gradient
    curved = dot(s, y) > jnp.finfo(s.dtype).eps * norm_l2(s, None) * norm_l2(y, None)
    memory = tree.select(curved, learn(state.memory, s, y), state.memory)
    memory = tree.select(t > 0, memory, forget(old.x))
    step = jnp.where(memory.empty, state.step, 1)
    state = State(state.root, new, memory, step, state.progress.after(new, trials))
    return tree.select(t > 0, objective.params(new.x), params), state
