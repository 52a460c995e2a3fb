"""Proximal Newton for linear models: quadratic models on a dense Hessian, or on a Gram matrix."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.linalg import dot, solve_positive_definite
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.solvers.fista import FISTA
from jreg.solvers.smooth import linear_hessian
from jreg.typing import Array, has

NEWTON_STEPS = 3  # on the support, before coordinates may enter again


@tree.value_dataclass
class ProxNewton:
    """Minimise a linear model under a convex penalty through dense quadratic models.

    At (theta, b) with sample curvatures h the model, the intercept eliminated, is

        q(d) = g'd + 1/2 d'H d + penalty(theta + d),    H = Z' diag(h) Z.

    Under a separable penalty it is minimised by sweeps of coordinate descent on H, each followed by
    a Newton step on the support (Cholesky, an active-set method); both only ever lower q. Under any
    other it is minimised by `FISTA`, which costs a product with H a step and none with X. The step
    is then halved until the objective falls. For the squared loss H is computed once and the first
    model is exact. With k outputs theta and d are (p, k) and H is (p k, p k).

    Memory (p k)^2 + n p (the scaled columns while H is formed; with several outputs twice
    (p k)^2). Lee, Sun and Saunders (2014); Yuan, Ho and Lin (2012).

    sweeps: coordinate sweeps before each Newton step on the support.

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> jreg.solve(problem, jreg.L1(0.5), solver=jreg.ProxNewton()).params.coef.round(2)
    Array([ 1.5,  0. , -0.5], dtype=float32)
    """

    sweeps: int = tree.static(default=1)

    needs: ClassVar[tuple[str, ...]] = ("linear", "prox", "curvature", "convex")
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 200

    def prepare(self, problem: CentredProblem) -> CentredProblem:
        """The Gram matrix, for quadratic losses."""
        return problem.with_gram()

    def init(self, problem: CentredProblem, penalty: OnCoef, params: Linear) -> Array:
        """The evaluations so far: all else follows from the parameters. A Hessian, with its n p^2
        multiplications, counts p / 2."""
        del penalty
        made = 0.0 if problem.gram is None else 0.5 * params.coef.size
        return jnp.full_like(problem.weight[0], made)

    def update(
        self, problem: CentredProblem, penalty: OnCoef, params: Linear, state: Array
    ) -> tuple[Linear, Array]:
        """Build the quadratic model, minimise it, search along the way."""
        p = penalty.penalty
        eta = problem.image(params)
        gradient = problem.gradient(eta)
        H, slope, inverse = quadratic_model(problem, eta)
        g_b = gradient.intercept.reshape(-1)
        g = gradient.coef - dot(slope, g_b).reshape(gradient.coef.shape)
        if p.separable and has(p, "restrict"):
            # an L1-type solution has at most rank(X) non-zeros an output in general position
            rank = min(problem.X.shape) * g_b.size if p.homogeneous else g.size
            entries = np.unravel_index(np.arange(g.size), g.shape)
            flat = p if g.ndim == 1 else p.restrict(entries)
            theta = minimise_quadratic(H, g.ravel(), flat, params.coef.ravel(), self.sweeps, rank)
            theta = theta.reshape(g.shape)
        else:
            theta = minimise_accelerated(H, g, p, params.coef)
        d = theta - params.coef
        d_b = (-dot(inverse, g_b) - dot(d.ravel(), slope)).reshape(params.intercept.shape)
        d_b = jnp.where(problem.fit_intercept, d_b, 0)
        d_eta = problem.times(d) + d_b[None]

        losses = problem.loss.pointwise(eta, problem.y)
        penalty_now = p.value(params.coef)
        # the decrease that the model promises; Tseng and Yun (2009), equation 10
        slopes = jnp.sum(gradient.coef * d) + jnp.sum(gradient.intercept * d_b)
        promised = slopes + p.value(theta) - penalty_now

        def objective_change(t: Array) -> Array:
            change = problem.loss.pointwise(eta + t * d_eta, problem.y) - losses
            return jnp.sum(problem.weight * change) + p.value(params.coef + t * d) - penalty_now

        def too_far(t: Array) -> Array:
            rounding = 8 * jnp.finfo(t.dtype).eps * jnp.sum(problem.weight * jnp.abs(losses))
            return (objective_change(t) > 0.1 * t * promised + rounding) & (t > 1e-9)

        t = jnp.ones_like(penalty_now)
        if not problem.loss.quadratic:
            t = jax.lax.while_loop(too_far, lambda t: t / 2, t)
        # t = 1 must give the zeros of theta exactly
        coef = jnp.where(t == 1, theta, params.coef + t * d)
        made = 0.5 * params.coef.size if problem.gram is None else 0.0
        return Linear(coef, params.intercept + t * d_b), state + made + 1.5

    def evaluations(self, state: Array) -> Array:
        """Of the gradient so far."""
        return state


def quadratic_model(problem: CentredProblem, eta: Array) -> tuple[Array, Array, Array]:
    """The Hessian H (p k, p k) in theta with the k intercepts eliminated; slope (p k, k) and
    inverse (k, k): the intercepts move by `-inverse g_b - slope' d`."""
    k = eta[0].size
    if problem.gram is not None:
        identity = jnp.eye(k, dtype=eta.dtype)
        H = jnp.kron(problem.gram, identity)
        return H, jnp.zeros((H.shape[0], k), eta.dtype), identity
    if eta.ndim == 1:
        h = problem.weight * problem.loss.curvature(eta, problem.y)
        H, slope = problem.weighted_gram(h)
        return H, slope[:, None], 1 / jnp.where(jnp.sum(h) > 0, jnp.sum(h), 1)[None, None]
    full = linear_hessian(problem, eta)
    cross = full[:-k, -k:]
    # where a constant added to all outputs changes nothing, they keep their mean
    inverse = jnp.linalg.pinv(full[-k:, -k:], hermitian=True)
    slope = dot(cross, inverse)
    return full[:-k, :-k] - dot(slope, cross.T), slope, inverse


@tree.dataclass
class Quadratic:
    """`g'd + 1/2 d'H d` with d = x - origin, as a problem; its image is (d, H d)."""

    H: Array  # (size, size)
    g: Array  # like x
    origin: Array

    def image(self, x: Array) -> tuple[Array, Array]:
        """(d, H d), like x."""
        d = x - self.origin
        return d, self._times(d)

    def gradient(self, image: tuple[Array, Array]) -> Array:
        """`g + H d`."""
        return self.g + image[1]

    def bregman(self, new: tuple, old: tuple, gradient: Array) -> Array:
        """Half the curvature along the move."""
        del gradient
        return 0.5 * jnp.sum((new[0] - old[0]) * (new[1] - old[1]))

    def curvature_along(self, image: tuple, direction: Array) -> Array:
        """`direction' H direction`."""
        del image
        return jnp.sum(direction * self._times(direction))

    def metric(self, x: Array, separable: bool) -> Array:
        """One number for all entries, the largest curvature along one."""
        del separable
        largest = jnp.max(jnp.diagonal(self.H), initial=0)
        return jnp.broadcast_to(jnp.where(largest > 0, largest, 1), x.shape)

    def _times(self, d: Array) -> Array:
        return dot(self.H, d.ravel()).reshape(d.shape)


def minimise_accelerated(H: Array, g: Array, penalty: Any, theta: Array) -> Array:
    """argmin over x of `g'(x - theta) + 1/2 (x - theta)' H (x - theta) + penalty(x)`, by FISTA.

    H positive semidefinite, of the size of theta and g, which may be matrices. Stops when the KKT
    distance has fallen by a factor of 1000 or for 200 steps no longer falls.
    """
    solver, model = FISTA(), Quadratic(H, g, theta)

    def distance(x: Array, image: Any) -> Array:
        return tree.largest(penalty.kkt_distance(x, model.gradient(image)))

    def improve(state: tuple) -> tuple:
        x, inner, _, best, idle = state
        x, inner = solver.update(model, penalty, x, inner)
        now = distance(x, inner.image)
        return x, inner, now, jnp.minimum(now, best), jnp.where(now < best, 0, idle + 1)

    def unfinished(state: tuple) -> Array:
        _, _, now, _, idle = state
        return (now > 1e-3 * start) & (idle < 200)

    inner = solver.init(model, penalty, theta)
    start = distance(theta, inner.image)
    state = (theta, inner, start, start, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, improve, state)[0]


def minimise_quadratic(
    H: Array, g: Array, penalty: Any, theta: Array, sweeps: int, max_support: int
) -> Array:
    """argmin over x of `g'(x - theta) + 1/2 (x - theta)' H (x - theta) + penalty(x)`.

    H (p, p) positive semidefinite, g and theta (p,). Stops when the KKT distance has fallen by a
    factor of 1000 or no longer falls. Columns with H_jj = 0 stay.
    """

    def distance(x: Array, q: Array) -> Array:
        active = jnp.diagonal(H) > 0
        return jnp.max(jnp.where(active, penalty.kkt_distance(x, q), 0), initial=0)

    def improve(state: tuple) -> tuple:
        x, q, before, best, k = state
        for _ in range(sweeps):
            x, q = _sweep(H, penalty, x, q)
        x, q = _newton_on_support(H, penalty, x, q, max_support)
        after = distance(x, q)
        return x, q, after, jnp.minimum(best, before), k + 1

    def unfinished(state: tuple) -> Array:
        _, _, now, best, k = state
        return (now > 1e-3 * start) & ((now < best) | (k < 5)) & (k < 50)

    start = distance(theta, g)
    state = (theta, g, start, jnp.full_like(start, jnp.inf), 0)
    return jax.lax.while_loop(unfinished, improve, state)[0]


def _sweep(H: Array, penalty: Any, x: Array, q: Array) -> tuple[Array, Array]:
    """Coordinate descent over all features; q is the gradient of the quadratic at x."""
    diagonal = jnp.diagonal(H)
    steps = jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)

    def coordinate(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, q = carry
        new = penalty.restrict(j).prox(x[j] - steps[j] * q[j], steps[j])
        change = jnp.where(diagonal[j] > 0, new - x[j], 0)
        return x.at[j].add(change), q + change * H[j]

    return jax.lax.fori_loop(0, x.size, coordinate, (x, q))


def _newton_on_support(
    H: Array, penalty: Any, x: Array, q: Array, max_support: int
) -> tuple[Array, Array]:
    """Towards the minimiser over the entries of x that are not 0, by an active-set method.

    A few Newton steps with the signs held. Each goes to the minimiser, to the first sign change, or
    all the way with every changed entry at 0; entries at 0 leave. The quadratic never rises. With
    more than `max_support` entries (a singular system) x stays.
    """
    smooth = penalty.support(jnp.zeros_like(x))  # without a kink at 0: never leaves
    jitter = jnp.finfo(x.dtype).eps ** 0.75 * jnp.max(jnp.diagonal(H), initial=0)

    def step(state: tuple) -> tuple:
        x, q, active, _, k = state
        first, second = jax.jvp(jax.grad(penalty.value), (x,), (jnp.ones_like(x),))  # separable
        index = jnp.nonzero(active, size=max_support, fill_value=0)[0]
        count = jnp.sum(active)
        system = H[index][:, index] + jnp.diag(second[index] + jitter)
        small = -solve_positive_definite(system, (q + first)[index], count)
        valid = (jnp.arange(max_support) < count) & jnp.isfinite(small)
        d = jnp.zeros_like(x).at[index].add(jnp.where(valid, small, 0))

        flips = (x != 0) & ~smooth & ((x + d) * x < 0)
        ratio = jnp.where(flips, -x / jnp.where(flips, d, 1), 1)
        reach = jnp.min(ratio, initial=1)
        # to the first sign change, or all the way with every changed entry at 0, if that is better
        trials = jnp.stack(
            [
                jnp.where(flips & (ratio <= reach), 0, x + reach * d),
                jnp.where(flips, 0, x + d),
            ]
        )
        moves = trials - x[None, :]
        products = dot(moves, H)
        change = jnp.sum(moves * (q[None, :] + 0.5 * products), axis=1)
        change = change + jax.vmap(penalty.value)(trials)
        best = jnp.argmin(change)
        allowed = jnp.isfinite(change[best])  # a constraint may forbid both
        new = jnp.where(allowed, trials[best], x)
        active = active & (smooth | (new != 0))
        q = jnp.where(allowed, q + products[best], q)
        return new, q, active, jnp.any(flips) & allowed, k + 1

    def blocked(state: tuple) -> Array:
        _, _, active, more, k = state
        return more & (k < NEWTON_STEPS) & (jnp.sum(active) <= max_support)

    active = penalty.support(x) & (jnp.diagonal(H) > 0)
    state = (x, q, active, jnp.asarray(True), 0)
    x, q, *_ = jax.lax.while_loop(blocked, step, state)
    return x, q
