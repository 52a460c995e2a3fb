"""Coordinate descent: exact (or majorised) minimisation along one block of features after another.

A block is a feature under a separable penalty, a group under a penalty of groups.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import design, tree
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.typing import Array, has

INNER = 3  # proximal gradient steps on the model of a block of several rows


class State(NamedTuple):
    """What the next sweep needs."""

    curvature: Array  # L_g, (n_blocks,)
    hessian: Array | None  # H_g of blocks of several rows, (n_blocks, size, size)
    sweeps: Array  # done


@tree.value_dataclass
class CoordinateDescent:
    """Coordinate descent for a linear model, feature by feature or group by group.

    Along coordinate j the objective is, with the other coefficients fixed,

        1/2 z_j w^2 - rho_j w + penalty_j(w) + const,    z_j = x_j . x_j / n,
        rho_j = x_j . (y - X_-j w_-j) / n = x_j . r / n + z_j w_j,    r = y - X w.

    **Unnormalised features.** Setting its subgradient to 0 under the lasso penalty gives
    `w_j = soft(rho_j, lam) / z_j`. **Normalised features** (mean square 1) have z_j = 1, hence
    `w_j = soft(rho_j, lam)`. Both are the one line `w_j = prox(w_j + x_j . r / (n z_j), 1/z_j)`,
    which holds for every separable penalty. The **textbook form** with columns of unit L2 norm,
    objective `|y - Xw|^2 + lam' |w|_1` and `w_j = soft(x_j . (y - X_-j w_-j), lam'/2)` is the
    same problem at `lam = convert_lam(lam', "rss_l1", n)`.

    **Groups.** Under a penalty of groups (`GroupLasso` and its kin) a coordinate is a group g. The
    quadratic in w_g has the matrix H_g = X_g' X_g / n, and three proximal gradient steps lower it,

        w_g <- prox(w_g + (X_g' r / n - H_g d) / L_g, 1/L_g),    L_g = largest eigenvalue of H_g,

    d being what the steps before have changed; the first is exact if the columns of the group are
    orthonormal. With several outputs a coordinate is a row (or several rows) of the coefficients.

    With sample weights s the means are weighted; under an intercept the columns are centred, which
    removes it. For other losses r is minus the loss's gradient and z_j or H_g is multiplied by the
    loss's smoothness, so each step lowers a majoriser and the objective never rises.

    One step is a sweep of as many updates as there are blocks. Memory n + 2 p beyond the data (n
    and p times the number of outputs); for G groups of at most m features also G (m^2 + m) + n m.

    order: "cyclic"; "shuffled", a new permutation each sweep (`seed`), which no order of the
    columns slows down; or "greedy" (Gauss-Southwell), the block that moves furthest, where a
    few do most of the work. A sweep costs about two passes over X, block by block; greedy ones
    cost a pass for each update.

    Friedman, Hastie and Tibshirani (2010), section 2; Tseng (2001); Wright (2015), section 3.1;
    Yang and Zou (2015) for groups; Nutini, Schmidt, Laradji, Friedlander and Koepke (2015), rule
    GS-r.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=jreg.CoordinateDescent()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    >>> penalty = jreg.GroupLasso(0.5, groups=jreg.Groups([0, 0, 1]))
    >>> jreg.solve(problem, penalty, solver=jreg.CoordinateDescent()).params.coef.round(2)
    Array([ 0.99,  0.33, -0.5 ], dtype=float32)
    """

    order: str = tree.static(default="cyclic")
    seed: int = tree.static(default=0)

    needs: ClassVar[tuple[str, ...]] = ("linear", "blocks", "smoothness")
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        if self.order not in ("cyclic", "shuffled", "greedy"):
            raise ValueError(f'order is "cyclic", "shuffled" or "greedy"; got {self.order!r}')

    def init(self, problem: CentredProblem, penalty: OnCoef, params: Linear) -> State:
        """The curvatures, before the first sweep."""
        rows = np.asarray(blocks(penalty.penalty, params.coef.shape))
        return State(*block_curvature(problem, rows), jnp.zeros((), jnp.int32))

    def update(
        self, problem: CentredProblem, penalty: OnCoef, params: Linear, state: State
    ) -> tuple[Linear, State]:
        """One sweep: every block once (greedy: as many updates), then the intercept."""
        rows = jnp.asarray(blocks(penalty.penalty, params.coef.shape))
        steps = safe_reciprocal(state.curvature)

        def move(g: Array, theta: Array, gradient: Array) -> Array:
            """What a step changes in block g, given theta and the gradient there."""
            of_block = _block(penalty.penalty, g)

            def step(change: Array) -> Array:
                slope = gradient
                if state.hessian is not None:
                    slope = slope + dot(state.hessian[g], change)
                return of_block.prox(theta + change - steps[g] * slope, steps[g]) - theta

            change = jnp.zeros_like(theta)
            for _ in range(1 if state.hessian is None else INNER):
                change = step(change)
            return jnp.where(state.curvature[g] > 0, change, 0)

        def furthest(theta: Array, eta: Array) -> Array:
            """The block whose step would be longest, measured by the curvature."""
            gradient = problem.transposed_times(problem.residual(eta))
            every = jnp.arange(rows.shape[0])
            moves = jax.vmap(move)(every, _take(theta, rows), _take(gradient, rows))
            lengths = jnp.sum(moves.reshape(moves.shape[0], -1) ** 2, axis=1)
            return jnp.argmax(state.curvature * lengths)

        def update(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            theta, eta = carry
            g = furthest(theta, eta) if self.order == "greedy" else order[i]
            Z = columns(problem, rows[g])
            change = move(g, _take(theta, rows[g]), dot(Z.T, problem.residual(eta)))
            return theta.at[rows[g]].add(change, mode="drop"), eta + _times(Z, change)

        order = jnp.arange(rows.shape[0])
        if self.order == "shuffled":
            key = jax.random.fold_in(jax.random.key(self.seed), state.sweeps)
            order = jax.random.permutation(key, rows.shape[0])
        start = (params.coef, problem.image(params))  # a fresh image: rounding does not pile up
        theta, eta = jax.lax.fori_loop(0, rows.shape[0], update, start)
        intercept = params.intercept
        if problem.fit_intercept:
            slope = jnp.sum(problem.residual(eta), axis=0)
            intercept = intercept - slope / problem.loss.smoothness
        return Linear(theta, intercept), state._replace(sweeps=state.sweeps + 1)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far: 3/2 a sweep, which reads each column twice, after a fresh image.
        A greedy update looks at them all."""
        n_updates = state.curvature.shape[0]
        return (1.5 + 0.5 * n_updates if self.order == "greedy" else 1.5) * state.sweeps


def blocks(penalty: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Rows of the coefficients that `penalty` treats together: (n_blocks,) if each is one row,
    (n_blocks, size) filled up with their number, or None where it mixes them otherwise."""
    if penalty.separable:
        return np.arange(shape[0]) if has(penalty, "restrict") else None
    return penalty.blocks(shape) if has(penalty, "blocks") else None


def block_curvature(problem: CentredProblem, rows: np.ndarray) -> tuple[Array, Array | None]:
    """Bounds of the second derivative of F within each block: smoothness times the largest
    eigenvalue of Z_g' S Z_g, (n_blocks,), and for blocks of several rows times that matrix."""
    if rows.ndim == 1:
        return problem.column_curvature(), None

    def hessian(rows: Array) -> Array:
        Z = jnp.where(problem.weight[:, None] > 0, columns(problem, rows), 0)
        gram = dot(Z.T, problem.weight[:, None] * Z)
        return problem.loss.smoothness * gram

    H = jax.lax.map(hessian, jnp.asarray(rows))
    rounding = 1 + 8 * rows.shape[1] * jnp.finfo(H.dtype).eps
    return rounding * jnp.linalg.eigvalsh(H)[:, -1], H


def columns(problem: CentredProblem, rows: Array) -> Array:
    """The columns of Z that belong to some rows of theta, (n,) or (n, size); 0 beyond the last."""
    X = design.entries(problem.X).at[:, rows].get(mode="fill", fill_value=0)
    return (X - _take(problem.mean, rows)[None]) * _take(safe_reciprocal(problem.scale), rows)[None]


def _block(penalty: Any, g: Array) -> Any:
    return penalty.restrict(g) if penalty.separable else penalty.block(g)


def _take(theta: Array, rows: Array) -> Array:
    return theta.at[rows].get(mode="fill", fill_value=0)


def _times(Z: Array, change: Array) -> Array:
    """`Z change` for one column (n,) or several, one output or several."""
    return jnp.tensordot(Z, change, axes=Z.ndim - 1, precision=jax.lax.Precision.HIGHEST)
