"""Coordinate descent: exact (or majorised) minimisation along one feature after another."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.typing import Array


class State(NamedTuple):
    """What the next sweep needs."""

    curvature: Array  # z_j
    sweeps: Array  # done


@tree.value_dataclass
class CoordinateDescent:
    """Coordinate descent for a linear model under a separable penalty.

    Along coordinate j the objective is, with the other coefficients fixed,

        1/2 z_j w^2 - rho_j w + penalty_j(w) + const,    z_j = x_j . x_j / n,
        rho_j = x_j . (y - X_-j w_-j) / n = x_j . r / n + z_j w_j,    r = y - X w.

    **Unnormalised features.** Setting its subgradient to 0 under the lasso penalty gives
    `w_j = soft(rho_j, lam) / z_j`. **Normalised features** (mean square 1) have z_j = 1, hence
    `w_j = soft(rho_j, lam)`. Both are the one line `w_j = prox(w_j + x_j . r / (n z_j), 1/z_j)`,
    which holds for every separable penalty. The **textbook form** with columns of unit L2 norm,
    objective `|y - Xw|^2 + lam' |w|_1` and `w_j = soft(x_j . (y - X_-j w_-j), lam'/2)` is the
    same problem at `lam = convert_lam(lam', "rss_l1", n)`.

    With sample weights s the means are weighted; under an intercept the columns are centred, which
    removes it. For other losses r is minus the loss's gradient and z_j is multiplied by the loss's
    smoothness, so each step minimises a majoriser and the objective never rises.

    One step is a sweep of as many updates as there are features. Memory n + p beyond the data.

    order: "cyclic"; "shuffled", a new permutation each sweep (`seed`), which no order of the
    columns slows down; or "greedy" (Gauss-Southwell), the coordinate that moves furthest, where a
    few do most of the work. A sweep costs about two passes over X, feature by feature; greedy ones
    cost a pass for each update.

    Friedman, Hastie and Tibshirani (2010), section 2; Tseng (2001); Wright (2015), section 3.1;
    Nutini, Schmidt, Laradji, Friedlander and Koepke (2015), rule GS-r.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=jreg.CoordinateDescent()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    order: str = tree.static(default="cyclic")
    seed: int = tree.static(default=0)

    needs: ClassVar[tuple[str, ...]] = ("linear", "single output", "separable", "smoothness")
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        if self.order not in ("cyclic", "shuffled", "greedy"):
            raise ValueError(f'order is "cyclic", "shuffled" or "greedy"; got {self.order!r}')

    def init(self, problem: CentredProblem, penalty: OnCoef, params: Linear) -> State:
        """The column curvatures z_j, before the first sweep."""
        del penalty, params
        return State(problem.column_curvature(), jnp.zeros((), jnp.int32))

    def update(
        self, problem: CentredProblem, penalty: OnCoef, params: Linear, state: State
    ) -> tuple[Linear, State]:
        """One sweep: every coefficient once (greedy: as many updates), then the intercept."""
        z, n_features = state.curvature, params.coef.size
        inverse_scale = safe_reciprocal(problem.scale)
        steps = safe_reciprocal(z)

        def furthest(theta: Array, eta: Array) -> Array:
            """The coordinate whose update would be longest, measured by the curvature."""
            descent = theta - steps * problem.transposed_times(problem.residual(eta))
            change = jnp.where(z > 0, penalty.penalty.prox(descent, steps) - theta, 0)
            return jnp.argmax(z * change**2)

        def update(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            theta, eta = carry
            j = furthest(theta, eta) if self.order == "greedy" else order[i]
            x = (problem.X[:, j] - problem.mean[j]) * inverse_scale[j]
            descent = theta[j] - steps[j] * dot(x, problem.residual(eta))
            new = penalty.penalty.restrict(j).prox(descent, steps[j])
            change = jnp.where(z[j] > 0, new - theta[j], 0)
            return theta.at[j].add(change), eta + change * x

        order = jnp.arange(n_features)
        if self.order == "shuffled":
            key = jax.random.fold_in(jax.random.key(self.seed), state.sweeps)
            order = jax.random.permutation(key, n_features)
        start = (params.coef, problem.image(params))  # a fresh image: rounding does not pile up
        theta, eta = jax.lax.fori_loop(0, n_features, update, start)
        intercept = params.intercept
        if problem.fit_intercept:
            intercept = intercept - jnp.sum(problem.residual(eta)) / problem.loss.smoothness
        return Linear(theta, intercept), State(z, state.sweeps + 1)
