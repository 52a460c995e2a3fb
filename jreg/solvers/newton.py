"""Newton's method in three sizes: the Hessian formed, only multiplied, or in a subspace."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.linalg import dot, norm_l2, solve_positive_definite
from jreg.problem import CentredProblem
from jreg.solvers.smooth import PATIENCE, Objective, Point, Progress, line_search, scaling
from jreg.typing import Array, PyTree, Scalar

CURVATURE = 0.9  # of the line search


class State(NamedTuple):
    """What the next step needs."""

    root: Array  # sqrt(D)
    point: Point
    memory: Any  # a method's own
    progress: Progress


@tree.value_dataclass
class Newton:
    """Minimise a smooth objective by Newton's method, with a **dense** Hessian of p^2 numbers.

        d = -(H + tau I)^-1 grad F(x),    x <- x + t d

    tau is 0 where H is safely positive definite, else the first of a geometric sequence that makes
    it so: then d descends at saddles and in concave regions too. t satisfies the strong Wolfe
    conditions, 1 being tried first. Variables are those in which the columns of a linear model
    have curvature 1.

    H of a linear model with k outputs has the blocks `Z' diag(h_ab) Z`, n p^2 operations a step for
    each of the k^2, and for the squared loss one computed once for all steps; otherwise p products
    with H, 32 at a time. A Cholesky factorisation a step. 4 p^2 + n p numbers beyond the data, with
    several outputs 4 (p k)^2 + n p. Nocedal and Wright (2006), algorithms 3.2 and 3.3.

    damped: False is the pure method, t = 1 and tau = 0. It may diverge, converge to a saddle or a
    maximum, or meet a singular H, which ends in `Status.NOT_FINITE`.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(2), jnp.array([3.0, 1.0]), fit_intercept=False)
    >>> solution = jreg.solve(problem, jreg.Ridge(0.5), solver=Newton())
    >>> solution.params.coef.round(2), int(solution.num_steps)
    (Array([1.5, 0.5], dtype=float32), 1)
    """

    damped: bool = tree.static(default=True)

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 500

    def prepare(self, problem: Any) -> Any:
        """The Gram matrix, for quadratic losses."""
        return problem.with_gram() if isinstance(problem, CentredProblem) else problem

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`."""
        state = _init(problem, penalty, params, lambda point: ())
        if getattr(problem, "gram", None) is None:
            return state
        made = 0.5 * state.point.x.size  # see `Objective.hessian_cost`
        return state._replace(progress=state.progress.after(state.point, made))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """Form H, factorise it, search along the step."""
        objective = Objective.around(problem, penalty, params, state.root)
        H, g = objective.hessian(state.point), state.point.gradient
        cost = objective.hessian_cost(state.point)
        if self.damped:
            return _search(objective, params, state, descent_direction(H, g), (), cost)
        point = objective.at(state.point.x - jnp.linalg.solve(H, g))  # H may be indefinite
        progress = state.progress.after(point, cost + 1)
        return objective.params(point.x), state._replace(point=point, progress=progress)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations


@tree.value_dataclass
class NewtonCG:
    """Minimise a smooth objective by Newton's method with conjugate gradients for the step.

        H d = -grad F(x)  until  |H d + grad F| <= forcing |grad F|,    x <- x + t d

    H is never formed: each inner iteration multiplies it once. Inner iterations end at a direction
    of negative curvature (Steihaug 1983), which is itself taken if it is the first. The forcing
    term follows the fall of the gradient, `0.9 (|g_k| / |g_{k-1}|)^2`, at most 1/2, so that early
    steps are cheap and the last ones quadratic: Eisenstat and Walker (1996), choice 2. t satisfies
    the strong Wolfe conditions, 1 being tried first.

    Two products with X an inner iteration and two a trial; 12 p + 4 n numbers beyond the data.
    Dembo and Steihaug (1983); Nocedal and Wright (2006), algorithm 7.1.

    max_inner: limit of inner iterations in one step.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(2), jnp.array([3.0, 1.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.Ridge(0.5), solver=NewtonCG()).params.coef.round(2)
    Array([1.5, 0.5], dtype=float32)
    """

    max_inner: int = tree.static(default=250)

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if self.max_inner < 1:
            raise ValueError(f"max_inner must be at least 1; got {self.max_inner}")

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`; the memory is the forcing term."""
        return _init(problem, penalty, params, lambda point: jnp.full_like(point.value, 0.5))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """Solve for the step as precisely as it deserves, and search along it."""
        objective = Objective.around(problem, penalty, params, state.root)
        old, forcing = state.point, state.memory
        d, products = truncated_cg(
            lambda v: objective.hessian_times(old, v), old.gradient, forcing, self.max_inner
        )
        params, state = _search(objective, params, state, d, forcing, 2 * products)
        before, after = norm_l2(old.gradient, None), norm_l2(state.point.gradient, None)
        fall = 0.9 * (after / jnp.where(before > 0, before, 1)) ** 2
        floor = 0.9 * forcing**2  # a lucky step does not ask for a precise one at once
        fall = jnp.where(floor > 0.1, jnp.maximum(fall, floor), fall)
        return params, state._replace(memory=jnp.minimum(fall, 0.5))

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations


class Subspace(NamedTuple):
    """What spans the steps of `LowRankNewton`."""

    sketch: Array  # (rank, p), towards the leading eigenvectors of H
    last: Array  # (p,) the last step


@tree.value_dataclass
class LowRankNewton:
    """Minimise a smooth objective by Newton steps in a small subspace.

        d = -B' (B H B')^-1 B grad F(x),    rows of B: an orthonormal basis of
            span{Q, grad F, last step}

    The rows of Q (rank, p) approach the leading eigenvectors of H: random at the start, multiplied
    by H at every step (block power iteration). So B' (B H B') B is a low-rank approximation of H,
    good where H is large, and the gradient and the last step (as in conjugate gradients) deal with
    the rest. B H B' is made positive definite as in `Newton`. t satisfies the strong Wolfe
    conditions, 1 being tried first. For Hessians whose eigenvalues decay, and where products with
    H come cheaper by the dozen.

    rank + 2 products with H a step, all at once, and two with X a trial; 3 rank p + rank n numbers
    beyond the data. Halko, Martinsson and Tropp (2011), section 4.5; Narkiss and Zibulevsky
    (2005) for the subspace.

    rank: rows of Q. seed: of Q at the start.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(2), jnp.array([3.0, 1.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.Ridge(0.5), solver=LowRankNewton()).params.coef.round(2)
    Array([1.5, 0.5], dtype=float32)
    """

    rank: int = tree.static(default=10)
    seed: int = tree.static(default=0)

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 2000

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1; got {self.rank}")

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """State at `params`, with a random sketch."""

        def subspace(point: Point) -> Subspace:
            shape = (min(self.rank, point.x.size), point.x.size)
            sketch = jax.random.normal(jax.random.key(self.seed), shape, point.x.dtype)
            return Subspace(sketch, jnp.zeros_like(point.x))

        return _init(problem, penalty, params, subspace)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """Minimise the quadratic model in the subspace, and search along the step."""
        objective = Objective.around(problem, penalty, params, state.root)
        old, memory = state.point, state.memory
        g = old.gradient
        B = orthonormal_rows(jnp.concatenate([g[None], memory.last[None], memory.sketch]))
        HB = jax.vmap(lambda v: objective.hessian_times(old, v))(B)
        T = dot(B, HB.T)
        T = T + jnp.diag(jnp.where(jnp.any(B != 0, axis=1), 0, jnp.max(jnp.abs(T))))
        d = dot(descent_direction(0.5 * (T + T.T), dot(B, g)), B)
        sketch = HB[2:] / jnp.where(jnp.max(jnp.abs(T)) > 0, jnp.max(jnp.abs(T)), 1)
        memory = memory._replace(sketch=sketch)
        params, state = _search(objective, params, state, d, memory, 2 * B.shape[0])
        moved = state.point.x - old.x
        return params, state._replace(memory=state.memory._replace(last=moved))

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.progress.evaluations


def descent_direction(H: Array, g: Array) -> Array:
    """`-(H + tau I)^-1 g` (p,) with the smallest tau of 0, c, 10 c, ... that makes H safely
    positive definite; H (p, p) symmetric, g (p,), c about the rounding of H.

    Safely: the curvature along the result is not negligible beside the size of H. Nocedal and
    Wright (2006), algorithm 3.3.
    """
    size = jnp.max(jnp.sum(jnp.abs(H), axis=1))
    size = jnp.where(size > 0, size, 1)
    floor = jnp.finfo(H.dtype).eps ** 0.75 * size
    identity, count = jnp.eye(g.size, dtype=g.dtype), jnp.asarray(g.size)

    def solve(tau: Array) -> tuple[Array, Array]:
        d = -solve_positive_definite(H + tau * identity, g, count)
        return d, -dot(g, d) >= 0.5 * floor * dot(d, d)

    def unsafe(carry: tuple) -> Array:
        tau, _, safe = carry
        return ~safe & (tau <= 2 * size)

    def shift(carry: tuple) -> tuple:
        tau = jnp.maximum(10 * carry[0], floor)
        return tau, *solve(tau)

    zero = jnp.zeros_like(size)
    return jax.lax.while_loop(unsafe, shift, (zero, *solve(zero)))[1]


def truncated_cg(
    times: Callable[[Array], Array], g: Array, forcing: Array, limit: int
) -> tuple[Array, Array]:
    """About `-H^-1 g`, (p,), by conjugate gradients from 0 until the residual is within forcing
    |g|; and the number of products with H.

    Ends at negative curvature with what it has, at the first iteration with a multiple of -g.
    """
    size = norm_l2(g, None)
    eps = jnp.finfo(g.dtype).eps

    def step(carry: tuple) -> tuple:
        d, r, v, _, k = carry
        Hv = times(v)
        rr, curvature = dot(r, r), dot(v, Hv)
        concave = curvature <= eps * norm_l2(v, None) * norm_l2(Hv, None)
        a = rr / jnp.where(curvature == 0, 1, jnp.abs(curvature))
        d = jnp.where(concave & (k > 0), d, d + a * v)
        r = r - a * Hv
        v = r + dot(r, r) / jnp.where(rr > 0, rr, 1) * v
        return d, r, v, concave, k + 1

    def unfinished(carry: tuple) -> Array:
        _, r, _, concave, k = carry
        return (norm_l2(r, None) > forcing * size) & ~concave & (k < limit)

    carry = (jnp.zeros_like(g), -g, -g, jnp.asarray(False), jnp.zeros((), jnp.int32))
    d, *_, products = jax.lax.while_loop(unfinished, step, carry)
    return d, products


def orthonormal_rows(A: Array) -> Array:
    """Orthonormal rows with the span of the rows of A (m, p), in their order; a row that depends
    on those before it becomes 0.

    Gram-Schmidt, each row twice: products only (see `solve_positive_definite` for why not LAPACK).
    """

    def row(j: Array, Q: Array) -> Array:
        v = A[j]
        v = v / jnp.where(jnp.any(v != 0), jnp.max(jnp.abs(v)), 1)
        before, eps = norm_l2(v, None), jnp.finfo(v.dtype).eps
        for _ in range(2):
            v = v - dot(dot(Q, v), Q)  # rows from j on are 0
        after = norm_l2(v, None)
        dependent = after <= 32 * eps * before
        return Q.at[j].set(jnp.where(dependent, 0, v / jnp.where(dependent, 1, after)))

    return jax.lax.fori_loop(0, A.shape[0], row, jnp.zeros_like(A))


def _init(problem: Any, penalty: Any, params: PyTree, memory: Callable[[Point], Any]) -> State:
    root = scaling(problem, penalty, params)
    point = Objective.around(problem, penalty, params, root).start(params)
    return State(root, point, memory(point), Progress.of(point))


def _search(
    objective: Objective, params: PyTree, state: State, d: Array, memory: Any, cost: Scalar
) -> tuple[PyTree, State]:
    """Search along d, the first trial being all of it; d took evaluations worth `cost`."""
    one = jnp.ones_like(state.point.value)
    new, t, trials = line_search(
        objective,
        state.point,
        d,
        one,
        curvature=CURVATURE * one,
        allowed=state.progress.idle < PATIENCE,
    )
    state = State(state.root, new, memory, state.progress.after(new, cost + trials))
    return tree.select(t > 0, objective.params(new.x), params), state
