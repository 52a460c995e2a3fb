"""Newton's method on the support by conjugate gradients: a solver for blocks of lambdas.

Everything is a product with X or its transpose, so that under `vmap` the lambdas of a block share
each pass over the columns. Most of them are in single precision: Newton directions, of which one
digit is wanted, and moves that are small; a step ends with an image and a gradient in full.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.losses import means
from jreg.losses.means import like_rows
from jreg.path.gathered import Gathered, single
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.solvers.forward_backward import GROWTH, first_step, safe_step
from jreg.typing import Array

ACCURACY = 0.1  # of a Newton direction: the relative residual of its equation
MOST_PRODUCTS = 50  # with the second derivative, for one direction
SUFFICIENT = 1e-4  # of the decrease that the slope promises
SHORTEST = 1e-3


class Seen(NamedTuple):
    """A penalty, and a point's image and gradient."""

    penalty: Any
    image: Array
    gradient: Linear


class State(NamedTuple):
    """What the next step needs."""

    image: Array  # eta at the current point
    gradient: Linear  # of the mean loss there
    squares: Array  # mean squares of the columns, (p,)
    metric: Linear  # of proximal gradient steps
    step: Array  # of the last proximal gradient step


@tree.value_dataclass
class SupportNewton:
    """Minimise a linear model under a convex penalty that is smooth away from zeros.

    A step is two:

    * on the support A (the entries around which the penalty is smooth) a Newton step for the
      intercept and theta_A, `H d = -g` with `H = Z_A' F'' Z_A + penalty''`, by preconditioned
      conjugate gradients; then the longest of t = 1, 1/2, 1/4, ... that lowers the objective
      enough, where units that would turn round are held at 0;
    * a proximal gradient step with a safe length, by which units enter and leave the support.

    Directions are exact to `ACCURACY`: a step divides the error on a known support by some 10. The
    preconditioner is an inverse that the problem has `frozen`; beyond its entries the diagonal D of
    H, and within a group of norm r and strength s the exact inverse of `D + (s / r)(I - u u')`,
    u = theta_g / r: tiny groups are stiff in all directions but their own. size: rows of theta in a
    unit (see `units`). Memory 5 (n + p) a lambda beyond the data.

    Yuan and Lin (2006); Nocedal and Wright (2006), algorithm 7.1, for the truncated step;
    Byrd, Chin, Nocedal and Oztoprak (2016), for supports found by proximal steps.
    """

    size: int = tree.static(default=1)

    needs: ClassVar[tuple[str, ...]] = ("linear", "prox", "curvature", "convex")
    check_every: ClassVar[int] = 1
    max_steps: ClassVar[int] = 100

    def init(self, problem: Gathered, penalty: OnCoef, params: Linear) -> State:
        """The image, the size of columns, and a first step from the curvature."""
        image = problem.image(params)
        metric = problem.metric(params, penalty.separable)
        gradient = problem.gradient(image)
        step = first_step(problem, params, image, gradient, metric)
        bound = 1.0 if problem.loss.smoothness is None else problem.loss.smoothness
        return State(image, gradient, problem.column_curvature() / bound, metric, step)

    def update(
        self, problem: Gathered, penalty: OnCoef, params: Linear, state: State
    ) -> tuple[Linear, State]:
        """Newton on the support, then a proximal gradient step on everything."""
        d, slope = self._direction(problem, penalty.penalty, params, state)
        params, image = self._search(problem, penalty.penalty, params, state.image, d, slope)
        gradient = problem.turned(state.gradient, image, state.image)
        trial = GROWTH * state.step
        new = safe_step(problem, penalty, params, image, gradient, state.metric, trial)
        gradient = problem.gradient(new.image)
        return new.params, state._replace(image=new.image, gradient=gradient, step=new.step)

    def certified(self, penalty: Any, state: State) -> Seen:
        """What the certificate needs and is known."""
        return Seen(penalty, state.image, state.gradient)

    def _direction(
        self, problem: Gathered, penalty: Any, params: Linear, state: State
    ) -> tuple[Linear, Array]:
        """The Newton direction on the support, and the objective's slope along it."""
        w, image, smooth, squares = params.coef, state.image, state.gradient, state.squares
        active = penalty.support(w) & like_rows(squares > 0, w)
        coef = jnp.where(active, smooth.coef + jax.grad(penalty.value)(w), 0)
        gradient = Linear(coef, smooth.intercept)
        size = tree.largest(gradient)
        size = jnp.where(size > 0, size, 1)

        low = problem.low or problem
        unit = jax.tree.map(lambda g: g / size, gradient)
        if problem.low is not None:
            unit, w, image, squares, penalty = jax.tree.map(
                single, (unit, w, image, squares, penalty)
            )
        second = second_derivative(low, penalty, w, image)
        precondition = self._preconditioner(low, penalty, w, image, squares)

        def on_support(d: Linear) -> Linear:
            return d._replace(coef=jnp.where(active, d.coef, 0))

        d = conjugate_gradients(
            lambda d: on_support(second(d)), unit, lambda r: on_support(precondition(r))
        )
        d = jax.tree.map(lambda d, g: size * d.astype(g.dtype), d, gradient)
        return d, tree.total(jnp.multiply, gradient, d)

    def _preconditioner(
        self, problem: Gathered, penalty: Any, w: Array, image: Array, squares: Array
    ) -> Callable[[Linear], Linear]:
        """The inverse of the diagonal of H, and of the curvature of norms within groups; or what
        is frozen."""
        slope, bend_penalty = jax.linearize(jax.grad(penalty.value), w)
        h = means.mean_curvature(problem.loss, image, problem.y, problem.weight)
        total = jnp.sum(h, axis=0)
        D = like_rows(squares, w) * (total if w.ndim == 1 else total[None, :])
        per_intercept = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 1)
        if penalty.separable:
            D = D + jnp.maximum(bend_penalty(jnp.ones_like(w)), 0)
            D = jnp.where(D > 0, D, 1)
            frozen = problem.frozen
            solve = frozen.solve if frozen is not None else lambda _, otherwise: otherwise
            return lambda r: Linear(solve(r.coef, r.coef / D), per_intercept * r.intercept)

        D = self._units(jnp.where(D > 0, D, 1))
        table = self._units(w)
        size = jnp.sum(table**2, axis=1)
        pull = jnp.sum(table * self._units(slope), axis=1)
        stiff = jnp.where(size > 0, pull / jnp.where(size > 0, size, 1), 0)[:, None]
        u = table / jnp.sqrt(jnp.where(size > 0, size, 1))[:, None]
        soft = jnp.sum(u**2 * D / (D + stiff), axis=1)  # 1 - stiff u'(D + stiff)^-1 u
        gain = stiff / jnp.where(soft > 0, soft, 1)[:, None]

        def apply(r: Linear) -> Linear:
            z = self._units(r.coef) / (D + stiff)
            z = z + gain * jnp.sum(u * z, axis=1, keepdims=True) * u / (D + stiff)
            return Linear(z.reshape(r.coef.shape), per_intercept * r.intercept)

        return apply

    def _search(
        self,
        problem: Gathered,
        penalty: Any,
        params: Linear,
        image: Array,
        d: Linear,
        slope: Array,
    ) -> tuple[Linear, Array]:
        """The first of t = 1, 1/2, ... along d that lowers the objective enough, units that would
        turn round being held at 0; the place itself if there is none."""
        w = params.coef
        losses = problem.loss.pointwise(image, problem.y)
        before = penalty.value(w)

        def at(t: Array) -> tuple[Linear, Array, Array]:
            coef = w + t * d.coef
            along = self._units(w * coef)
            along = along if penalty.separable else jnp.sum(along, axis=1, keepdims=True)
            turned = jnp.broadcast_to(along < 0, self._units(w).shape).reshape(w.shape)
            new = Linear(jnp.where(turned, 0, coef), params.intercept + t * d.intercept)
            eta = problem.moved(image, tree.subtract(new, params))
            moved = problem.loss.pointwise(eta, problem.y) - losses
            change = jnp.sum(problem.weight * moved) + penalty.value(new.coef) - before
            return new, eta, change

        def too_far(carry: tuple) -> Array:
            t, _, _, change = carry
            return ~(change <= SUFFICIENT * t * slope) & (t > SHORTEST)

        def shorten(carry: tuple) -> tuple:
            t = carry[0] / 2
            return t, *at(t)

        two, inf = 2 * jnp.ones_like(before), jnp.full_like(before, jnp.inf)
        _, new, eta, change = jax.lax.while_loop(too_far, shorten, (two, params, image, inf))
        lower = change < 0
        return tree.select(lower, new, params), jnp.where(lower, eta, image)

    def _units(self, w: Array) -> Array:
        """(n_units, entries of each)."""
        return w.reshape(w.shape[0] // self.size, -1)


def second_derivative(
    problem: CentredProblem, penalty: Any, w: Array, image: Array
) -> Callable[[Linear], Linear]:
    """d -> H d, of loss and penalty at w; the identity for an intercept that is not fitted."""
    bend_penalty = jax.linearize(jax.grad(penalty.value), w)[1]
    bend_loss = jax.linearize(problem.residual, image)[1]

    def second(d: Linear) -> Linear:
        r = bend_loss(problem.times(d.coef) + d.intercept[None])
        intercept = jnp.where(problem.fit_intercept, jnp.sum(r, axis=0), d.intercept)
        return Linear(problem.transposed_times(r) + bend_penalty(d.coef), intercept)

    return second


def conjugate_gradients(
    second: Callable[[Linear], Linear], gradient: Linear, precondition: Callable[[Linear], Linear]
) -> Linear:
    """d with `second(d) = -gradient` to `ACCURACY`.

    Every iterate is a direction of descent, so it may end anywhere: at a direction without
    curvature, or after `MOST_PRODUCTS`.
    """

    def inner(a: Linear, b: Linear) -> Array:
        return tree.total(jnp.multiply, a, b)

    def step(carry: tuple) -> tuple:
        x, r, p, rho, length, steepest, k, _ = carry
        Ap = second(p)
        bend = inner(p, Ap)
        steepest = jnp.maximum(steepest, bend / jnp.where(length > 0, length, 1))
        flat = ~(bend > 16 * jnp.finfo(rho.dtype).eps * steepest * length)
        t = jnp.where(flat, 0, rho / jnp.where(flat, 1, bend))
        x, r = tree.add_scaled(x, t, p), tree.add_scaled(r, -t, Ap)
        z = precondition(r)
        new = inner(r, z)
        keep = jnp.where(rho > 0, new / jnp.where(rho > 0, rho, 1), 0)
        p = tree.add_scaled(z, keep, p)
        length = new + keep**2 * length  # of p, measured by the preconditioner
        return x, r, p, new, length, steepest, k + 1, flat

    def unfinished(carry: tuple) -> Array:
        _, _, _, rho, _, _, k, flat = carry
        return (rho > ACCURACY**2 * first) & (k < MOST_PRODUCTS) & ~flat

    r = jax.tree.map(jnp.negative, gradient)
    z = precondition(r)
    first = inner(r, z)
    zero = jax.tree.map(jnp.zeros_like, gradient)
    carry = (zero, r, z, first, first, 0 * first, 0, jnp.asarray(False))
    return jax.lax.while_loop(unfinished, step, carry)[0]
