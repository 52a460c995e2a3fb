"""Certificates: how far a point is from the optimum, without knowing the optimum.

For a linear model with P(theta, b) = F(Z theta + b + offset) + penalty(theta) and any dual point
u (one number per sample, mean zero under an intercept, orthogonal to unpenalised columns),

    P - P* <= gap = sum_i s_i [l(eta_i) + l*(u_i) - u_i eta_i]
                    + penalty(theta) + penalty*(-z) + z'theta,    z = Z' S u,  S = diag(s).

Both lines are Fenchel-Young terms, each at least 0. The dual point is the loss's gradient, made
feasible and scaled (Fercoq, Gramfort and Salmon 2015, section 2). The gap is reported relative to
the objective of the null model (intercept and unpenalised columns only), and the KKT residual
relative to the null model's gradient, so both are free of the units of X and y.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from jreg import tree
from jreg.linalg import dot, safe_reciprocal
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.typing import Array, PyTree


class NullModel(NamedTuple):
    """The fit without penalised columns, to which certificates are relative."""

    params: Linear
    dual: Array  # the loss's gradient in eta there, (n_samples,)
    gradient: Array  # Z' S dual, (n_features,)
    value: Array  # the objective there
    gradient_scale: Array  # largest |gradient| over the features that may enter
    dual_scale: Array  # root mean square of dual
    curvature: Array  # bound of the curvature along each feature, (n_features,)


class Certificate(NamedTuple):
    """How good a point is."""

    value: Array  # the objective
    gap: Array  # duality gap / null objective; NaN where there is no dual
    residual: Array  # largest KKT distance / size of the null gradient
    gradient: PyTree  # of the smooth part, in the coefficients of a linear model

    @property
    def error(self) -> Array:
        """What `tol` bounds: the gap where it is defined, else the residual."""
        return jnp.where(jnp.isnan(self.gap), self.residual, self.gap)


def null_model(problem: CentredProblem, penalty: Any) -> NullModel:
    """Fit the intercept and the columns of weight 0 by Newton's method with step halving."""
    theta = jnp.zeros_like(problem.mean)
    free = penalty.unpenalized(theta)
    curvature = problem.column_curvature()

    def move(state: tuple) -> tuple:
        params, eta, value, _, k = state
        gradient = _restrict(problem, free, problem.residual(eta))
        h = problem.weight * problem.loss.curvature(eta, problem.y)
        d = _newton_direction(problem, h, gradient, free, curvature)
        d_eta = _image_of(problem, free, d)
        decrement = -tree.total(jnp.multiply, gradient, d)

        def too_far(t: Array) -> Array:
            rounding = 4 * jnp.finfo(value.dtype).eps * jnp.abs(value)
            return (problem.value(eta + t * d_eta) > value + rounding) & (t > 1e-9)

        t = jax.lax.while_loop(too_far, lambda t: t / 2, jnp.ones_like(value))
        eta = eta + t * d_eta
        return tree.add_scaled(params, t, d), eta, problem.value(eta), decrement, k + 1

    def unfinished(state: tuple) -> Array:
        value, decrement, k = state[2:]
        return (decrement > jnp.finfo(value.dtype).eps * jnp.abs(value)) & (k < 50)

    params = Linear(theta, jnp.zeros((), theta.dtype))
    eta = problem.image(params)
    start = (params, eta, problem.value(eta), jnp.full((), jnp.inf, theta.dtype), 0)
    if free is None and not problem.fit_intercept:
        params, eta, value = start[:3]
    else:
        params, eta, value, _, _ = jax.lax.while_loop(unfinished, move, start)

    dual = problem.loss.gradient(eta, problem.y)
    # what rounding alone leaves of a response that the null model fits exactly
    rounding = 8 * jnp.finfo(eta.dtype).eps * jnp.maximum(jnp.abs(eta), jnp.abs(problem.y))
    dual = jnp.where(jnp.abs(dual) <= rounding, 0, dual)
    gradient = problem.transposed_times(problem.weight * dual)
    candidates = penalty.at(0.0).kkt_distance(jnp.zeros_like(theta), gradient)
    return NullModel(
        params=params,
        dual=dual,
        gradient=gradient,
        value=jnp.where(jnp.any(dual != 0), value, 0),
        gradient_scale=tree.largest(candidates),
        dual_scale=jnp.sqrt(jnp.sum(problem.weight * dual**2)),
        curvature=curvature,
    )


def certify(problem: CentredProblem, penalty: Any, params: Linear, null: NullModel) -> Certificate:
    """Value, gap and KKT residual of (theta, b): one product with X and one with its transpose."""
    eta = problem.image(params)
    gradient_in_eta = problem.loss.gradient(eta, problem.y)
    free = penalty.unpenalized(params.coef)
    dual = _feasible(problem, free, gradient_in_eta, null.curvature)
    both = jnp.stack([problem.weight * gradient_in_eta, problem.weight * dual])
    gradient, z = jax.vmap(problem.transposed_times)(both)

    kkt = tree.largest(penalty.kkt_distance(params.coef, gradient))
    residual = _ratio(kkt, null.gradient_scale)
    if problem.fit_intercept:
        slope = jnp.abs(jnp.sum(both[0]))
        residual = jnp.maximum(residual, _ratio(slope, null.dual_scale))

    if free is None:
        gap = _gap(problem, penalty, params, eta, dual, z)
    else:
        gap = _blended_gap(problem, penalty, params, eta, dual, z, free, null)
    gap = _ratio(jnp.maximum(gap, 0), null.value)
    value = problem.value(eta) + penalty.value(params.coef)
    return Certificate(value, jnp.where(jnp.isfinite(gap), gap, jnp.nan), residual, gradient)


def certify_smooth(problem: Any, penalty: Any, params: PyTree, scale: Array) -> Certificate:
    """The same for any smooth function, where no dual is known; `scale` is a gradient's size."""
    image = problem.image(params)
    gradient = problem.gradient(image)
    kkt = penalty.kkt_distance(params, gradient)
    value = problem.value(image) + penalty.value(params)
    nan = jnp.full((), jnp.nan, value.dtype)
    return Certificate(value, nan, _ratio(tree.largest(kkt), scale), gradient)


def gradient_scale(problem: Any, params: PyTree) -> Array:
    """The size of the gradient at 0 and at the start, to which `certify_smooth` is relative."""
    zero = jax.tree.map(jnp.zeros_like, params)
    at_zero = tree.largest(problem.gradient(problem.image(zero)))
    return jnp.maximum(at_zero, tree.largest(problem.gradient(problem.image(params))))


def on_coef(problem: Any, penalty: Any) -> Any:
    """The penalty as a solver sees it: of `coef` for a linear model."""
    return OnCoef(penalty) if isinstance(problem, CentredProblem) else penalty


def _gap(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    eta: Array,
    dual: Array,
    z: Array,
) -> Array:
    """Duality gap at the better of two feasible points: the dual scaled until the conjugate is 0
    and, if the penalty is not homogeneous, the dual itself. inf where neither is feasible."""

    def at(c: Array, conjugate: Array) -> Array:
        data = jnp.sum(problem.weight * problem.loss.fenchel_young(eta, problem.y, c * dual))
        return data + penalty.value(params.coef) + conjugate + c * dot(z, params.coef)

    polar = penalty.polar(z)
    scaled = at(1 / jnp.maximum(polar, 1), jnp.zeros_like(polar))
    gap = jnp.where(jnp.isfinite(polar), scaled, jnp.inf)
    if not penalty.homogeneous:
        unscaled = at(jnp.ones_like(polar), penalty.conjugate(-z))
        gap = jnp.minimum(gap, jnp.where(jnp.isnan(unscaled), jnp.inf, unscaled))
    return gap


def _blended_gap(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    eta: Array,
    dual: Array,
    z: Array,
    free: Array,
    null: NullModel,
) -> Array:
    """The gap with unpenalised columns, inf where the projection on them failed.

    Projection may push the dual out of the loss's domain; the null model's dual lies inside it and
    is feasible, so a little of it brings the point back.
    """
    rounding = 256 * jnp.finfo(z.dtype).eps * jnp.sqrt(null.curvature)

    def at(share: Array) -> Array:
        blend = (1 - share) * dual + share * null.dual
        z_blend = (1 - share) * z + share * null.gradient
        size = jnp.sqrt(jnp.sum(problem.weight * blend**2))
        feasible = jnp.all(jnp.where(free, jnp.abs(z_blend) <= rounding * size, True))
        z_blend = jnp.where(free, 0, z_blend)
        gap = _gap(problem, penalty, params, eta, blend, z_blend)
        return jnp.where(feasible, gap, jnp.inf)

    return jnp.min(jax.vmap(at)(jnp.array([0, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3], z.dtype)))


def _feasible(problem: CentredProblem, free: Array | None, dual: Array, curvature: Array) -> Array:
    """A dual point near `dual` that is orthogonal to the intercept and to unpenalised columns."""
    if free is not None:
        gradient = _restrict(problem, free, problem.weight * dual)
        d = _newton_direction(problem, problem.weight, gradient, free, curvature)
        return dual + _image_of(problem, free, d)
    if not problem.fit_intercept:
        return dual
    # scale the heavier sign down: stays inside any domain that is a product of intervals around 0
    up = jnp.sum(problem.weight * jnp.maximum(dual, 0))
    down = jnp.sum(problem.weight * jnp.maximum(-dual, 0))
    level = jnp.minimum(up, down)
    side = jnp.where(dual > 0, up, down)
    return dual * jnp.where(side > 0, level * safe_reciprocal(side), 1)


def _newton_direction(
    problem: CentredProblem,
    h: Array,
    gradient: Linear,
    free: Array | None,
    columns: Array,
) -> Linear:
    """Minimiser of <gradient, d> + 1/2 sum_i h_i (Z d)_i^2 over intercept and free columns, by
    conjugate gradients on the normal equations (one step for the intercept alone)."""
    if free is None:
        return Linear(
            jnp.zeros_like(problem.mean), -gradient.intercept * safe_reciprocal(jnp.sum(h))
        )

    def product(d: Linear) -> Linear:
        inside = _restrict(problem, free, h * _image_of(problem, free, d))
        outside = jnp.where(free, 0, d.coef)  # identity elsewhere keeps the system definite
        return Linear(inside.coef + outside, inside.intercept)

    diagonal = jnp.where(free & (columns > 0), columns, 1)

    def precondition(d: Linear) -> Linear:
        return Linear(d.coef / diagonal, d.intercept)

    right = jax.tree.map(jnp.negative, gradient)
    tol = 4 * jnp.finfo(h.dtype).eps
    return cg(product, right, tol=tol, maxiter=200, M=precondition)[0]


def _restrict(problem: CentredProblem, free: Array | None, r: Array) -> Linear:
    """`(Z' r, sum r)` with 0 for what is not in the null model."""
    total = jnp.where(problem.fit_intercept, jnp.sum(r), 0)
    if free is None:
        return Linear(jnp.zeros_like(problem.mean), total)
    return Linear(jnp.where(free, problem.transposed_times(r), 0), total)


def _image_of(problem: CentredProblem, free: Array | None, d: Linear) -> Array:
    """`Z d + b` over the columns of the null model."""
    intercept = jnp.where(problem.fit_intercept, d.intercept, 0)
    if free is None:
        return jnp.broadcast_to(intercept, problem.weight.shape)
    return problem.times(jnp.where(free, d.coef, 0)) + intercept


def _ratio(a: Array, b: Array) -> Array:
    """a / b for a, b >= 0, with 0/0 = 0."""
    return jnp.where(a == 0, 0, jnp.where(b == 0, jnp.inf, a / jnp.where(b == 0, 1, b)))
