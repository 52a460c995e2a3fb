"""Certificates: how far a point is from the optimum, without knowing the optimum.

For a linear model with P(theta, b) = F(Z theta + b + offset) + penalty(theta) and any dual point
u (one number per sample, mean zero under an intercept, orthogonal to unpenalised columns),

    P - P* <= gap = sum_i s_i [l(eta_i) + l*(u_i) - u_i eta_i]
                    + penalty(theta) + penalty*(-z) + z'theta,    z = Z' S u,  S = diag(s).

Both lines are Fenchel-Young terms, each at least 0. The dual point is the loss's gradient, made
feasible and scaled (Fercoq, Gramfort and Salmon 2015, section 2). The gap is reported relative to
the objective of the null model (intercept and unpenalised columns only), and the KKT residual
relative to the null model's gradient, so both are free of the units of X and y. Objectives of
null models are counted from the saturated model, where a loss has one that is not 0.

There is no gap (NaN) where the penalty is not convex or has neither conjugate nor polar, or the
loss is known as a mean only; the residual then decides.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from jreg import tree
from jreg.linalg import dot, safe_reciprocal
from jreg.losses import means
from jreg.losses.means import like_rows
from jreg.penalties import has_prox
from jreg.problem import CentredProblem, Linear, OnCoef
from jreg.typing import Array, PyTree, has


class NullModel(NamedTuple):
    """The fit without penalised columns, to which certificates are relative."""

    params: Linear
    dual: Array  # the loss's gradient in eta there, like eta (for a mean loss its derivative)
    gradient: Array  # Z' S dual, like theta
    value: Array  # the objective there, above the saturated model's
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
    params = problem.zero()
    free = penalty.unpenalized(params.coef)
    curvature = problem.column_curvature()

    def move(state: tuple) -> tuple:
        params, eta, value, _, k = state
        gradient = _restrict(problem, free, problem.residual(eta))
        d = _newton_direction(problem, _curvature_at(problem, eta), gradient, free, curvature)
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
        limit = 50 if problem.loss.strictly_convex else 500
        return (decrement > jnp.finfo(value.dtype).eps * jnp.abs(value)) & (k < limit)

    if problem.fit_intercept:
        params = params._replace(intercept=_first_intercept(problem))
    eta = problem.image(params)
    start = (params, eta, problem.value(eta), jnp.full((), jnp.inf, eta.dtype), 0)
    if free is not None or problem.fit_intercept:
        params, eta, *_ = jax.lax.while_loop(unfinished, move, start)

    if has(problem.loss, "mean"):
        dual = problem.residual(eta)
        gradient = problem.transposed_times(dual)
    else:
        dual = problem.loss.gradient(eta, problem.y)
        dual = jnp.where(jnp.abs(dual) <= _rounding(problem, eta), 0, dual)
        gradient = problem.transposed_times(like_rows(problem.weight, dual) * dual)
    value = 0.5 * means.mean_deviance(problem.loss, eta, problem.y, problem.weight)
    return NullModel(
        params=params,
        dual=dual,
        gradient=gradient,
        value=jnp.where(jnp.any(dual != 0), value, 0),
        gradient_scale=_size_of_entering(penalty, gradient),
        dual_scale=jnp.sqrt(jnp.sum(like_rows(problem.weight, dual) * dual**2)),
        curvature=curvature,
    )


def null_model_of_squares(
    problem: CentredProblem, penalty: Any, cross: Array, square: Array
) -> NullModel:
    """The same for the squared loss from `problem.gram`, cross = Z' S y and square = y' S y, where
    no column is without a penalty: all parameters are 0. Its dual point is not told."""
    return NullModel(
        params=problem.zero(),
        dual=jnp.zeros(0, cross.dtype),
        gradient=-cross,
        value=0.5 * square,
        gradient_scale=_size_of_entering(penalty, -cross),
        dual_scale=jnp.sqrt(square),
        curvature=problem.column_curvature(),
    )


def _size_of_entering(penalty: Any, gradient: Array) -> Array:
    """The largest |gradient| of the entries that may enter."""
    candidates = jnp.abs(gradient)
    if has_prox(penalty):  # a constraint has no strength to take away: all its entries may
        candidates = penalty.at(0.0).kkt_distance(jnp.zeros_like(gradient), gradient)
    size = tree.largest(jnp.where(jnp.isinf(candidates), jnp.abs(gradient), candidates))
    return jnp.where(size > 0, size, tree.largest(gradient))


def certify(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    null: NullModel,
    eta: Array | None = None,
) -> Certificate:
    """Value, gap and KKT residual of (theta, b): one product with X and one with its transpose.

    eta: the image of params, where that is known already."""
    eta = problem.image(params) if eta is None else eta
    dual, residuals = to_multiply(problem, penalty, params, null, eta)
    products = jax.vmap(problem.transposed_times)(residuals)
    return certify_products(problem, penalty, params, null, eta, dual, residuals, products)


def to_multiply(
    problem: CentredProblem, penalty: Any, params: Linear, null: NullModel, eta: Array
) -> tuple[Array | None, Array]:
    """The first half of `certify`: the dual point, None where there is no dual; and what is to be
    multiplied by Z', the slopes of the loss and, where it is not the same, the dual, stacked."""
    free, slopes = penalty.unpenalized(params.coef), problem.residual(eta)
    if not _has_dual(problem.loss, penalty):
        return None, slopes[None]
    dual = _feasible(problem, free, problem.loss.gradient(eta, problem.y), null.curvature)
    if free is None and not problem.fit_intercept:  # the dual is the gradient as it is
        return dual, slopes[None]
    return dual, jnp.stack([slopes, like_rows(problem.weight, dual) * dual])


def certify_products(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    null: NullModel,
    eta: Array,
    dual: Array | None,
    residuals: Array,
    products: Array,
) -> Certificate:
    """The second half: no product with X, unless some columns are without a penalty."""
    free, slopes, gradient = penalty.unpenalized(params.coef), residuals[0], products[0]
    gap = jnp.full((), jnp.nan, gradient.dtype)
    if dual is not None:
        gap = _best_gap(problem, penalty, params, eta, dual, products[-1], free, null)
        gap = _ratio(jnp.maximum(gap, 0), null.value)
        gap = jnp.where(jnp.isfinite(null.value), gap, jnp.nan)

    kkt = tree.largest(penalty.kkt_distance(params.coef, gradient))
    residual = _ratio(kkt, null.gradient_scale)
    if problem.fit_intercept:
        slope = tree.largest(jnp.sum(slopes, axis=0))
        residual = jnp.maximum(residual, _ratio(slope, null.dual_scale))
    value = problem.value(eta) + penalty.value(params.coef)
    return Certificate(value, jnp.where(jnp.isfinite(gap), gap, jnp.nan), residual, gradient)


def certify_squares(
    penalty: Any, coef: Array, gradient: Array, loss: Array, null: NullModel
) -> Certificate:
    """The same for the squared loss and one output from its gradient Z' S (eta - y) and its value
    at coef, the intercept being the best one: whoever has these needs no product with X."""
    # 1/2 (eta - y - u)^2 at u = c (eta - y)
    free = penalty.unpenalized(coef)
    z, feasible = gradient, jnp.array(True)
    if free is not None:
        rounding = 256 * jnp.finfo(coef.dtype).eps * jnp.sqrt(2 * loss * null.curvature)
        feasible = jnp.all(jnp.where(free, jnp.abs(z) <= rounding, True))
        z = jnp.where(free, 0, z)
    gap = jnp.full((), jnp.nan, coef.dtype)
    if penalty.convex and (has(penalty, "polar") or has(penalty, "conjugate")):
        gap = _gap_of(lambda c: (1 - c) ** 2 * loss, penalty, coef, z)
        gap = _ratio(jnp.maximum(jnp.where(feasible, gap, jnp.inf), 0), null.value)
    residual = _ratio(tree.largest(penalty.kkt_distance(coef, gradient)), null.gradient_scale)
    value = loss + penalty.value(coef)
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


def _has_dual(loss: Any, penalty: Any) -> bool:
    """Whether a duality gap is known."""
    known = has(penalty, "polar") or has(penalty, "conjugate")
    return penalty.convex and known and has(loss, "fenchel_young")


def _best_gap(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    eta: Array,
    dual: Array,
    z: Array,
    free: Array | None,
    null: NullModel,
) -> Array:
    """The gap at the dual point, which a projection may have pushed out of the loss's domain."""
    if free is None and (eta.ndim == 1 or not problem.fit_intercept):
        return _gap(problem, penalty, params, eta, dual, z)
    return _blended_gap(problem, penalty, params, eta, dual, z, free, null)


def _gap(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    eta: Array,
    dual: Array,
    z: Array,
) -> Array:
    """Duality gap for a dual point orthogonal to the intercept; z = Z' S dual."""

    def data(c: Array) -> Array:
        terms = problem.loss.fenchel_young(eta, problem.y, c * dual)
        return jnp.sum(problem.weight * jnp.where(problem.weight == 0, 0, terms))

    return _gap_of(data, penalty, params.coef, z)


def _gap_of(data: Callable[[Array], Array], penalty: Any, coef: Array, z: Array) -> Array:
    """Duality gap at the better of two feasible points: the dual scaled until the conjugate is 0
    and, if the penalty is not homogeneous, the dual itself. inf where neither is feasible.

    data: the loss's Fenchel-Young terms at c * dual, summed."""

    def at(c: Array, conjugate: Array) -> Array:
        return data(c) + penalty.value(coef) + conjugate + c * dot(z.ravel(), coef.ravel())

    gap = jnp.full((), jnp.inf, z.dtype)
    if has(penalty, "polar"):
        polar = penalty.polar(-z)
        scaled = at(1 / jnp.maximum(polar, 1), jnp.zeros_like(polar))
        gap = jnp.where(jnp.isfinite(polar), scaled, jnp.inf)
    if has(penalty, "conjugate") and not (penalty.homogeneous and has(penalty, "polar")):
        unscaled = at(jnp.ones_like(gap), penalty.conjugate(-z))
        gap = jnp.minimum(gap, jnp.where(jnp.isnan(unscaled), jnp.inf, unscaled))
    return gap


def _blended_gap(
    problem: CentredProblem,
    penalty: Any,
    params: Linear,
    eta: Array,
    dual: Array,
    z: Array,
    free: Array | None,
    null: NullModel,
) -> Array:
    """The gap with unpenalised columns or several intercepts, inf where the projection failed.

    Projection may push the dual out of the loss's domain; the null model's dual lies inside it and
    is feasible, so a little of it brings the point back.
    """
    rounding = 256 * jnp.finfo(z.dtype).eps * like_rows(jnp.sqrt(null.curvature), z)

    def at(share: Array) -> Array:
        blend = (1 - share) * dual + share * null.dual
        z_blend = (1 - share) * z + share * null.gradient
        if free is None:
            return _gap(problem, penalty, params, eta, blend, z_blend)
        size = jnp.sqrt(jnp.sum(like_rows(problem.weight, blend) * blend**2))
        feasible = jnp.all(jnp.where(free, jnp.abs(z_blend) <= rounding * size, True))
        z_blend = jnp.where(free, 0, z_blend)
        gap = _gap(problem, penalty, params, eta, blend, z_blend)
        return jnp.where(feasible, gap, jnp.inf)

    return jnp.min(jax.vmap(at)(jnp.array([0, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3], z.dtype)))


def _feasible(problem: CentredProblem, free: Array | None, dual: Array, curvature: Array) -> Array:
    """A dual point near `dual` that is orthogonal to the intercept and to unpenalised columns."""
    if free is not None:
        weight = like_rows(problem.weight, dual)
        gradient = _restrict(problem, free, weight * dual)
        d = _newton_direction(problem, lambda v: weight * v, gradient, free, curvature)
        return dual + _image_of(problem, free, d)
    if not problem.fit_intercept:
        return dual
    if dual.ndim == 2:
        return dual - dot(problem.weight, dual)[None]
    # scale the heavier sign down: stays inside any domain that is a product of intervals around 0
    up = jnp.sum(problem.weight * jnp.maximum(dual, 0))
    down = jnp.sum(problem.weight * jnp.maximum(-dual, 0))
    level = jnp.minimum(up, down)
    side = jnp.where(dual > 0, up, down)
    return dual * jnp.where(side > 0, level * safe_reciprocal(side), 1)


def _first_intercept(problem: CentredProblem) -> Array:
    """Where Newton's method for the null model starts."""
    loss, eta = problem.loss, problem.offset
    if has(loss, "shift"):
        return loss.shift(means.present(eta, problem.weight), problem.y, problem.weight)
    if not loss.strictly_convex:
        return _best_constant(problem)
    return jnp.zeros(problem.outputs, eta.dtype)


def _best_constant(problem: CentredProblem) -> Array:
    """The best intercept alone, by bisection: where the curvature may be 0, Newton may stall."""

    def slope(b: Array) -> Array:
        return jnp.sum(problem.residual(problem.offset + b))

    def outside(b: Array) -> Array:  # the slope rises; at most the range of floating point
        return (slope(-b) > 0) | (slope(b) < 0)

    one = jnp.ones((), problem.offset.dtype)
    reach = jax.lax.while_loop(lambda b: outside(b) & (b < 1e30), lambda b: 2 * b, one)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        left = slope(middle) >= 0
        return jnp.where(left, low, middle), jnp.where(left, middle, high)

    low, high = jax.lax.fori_loop(0, 100, halve, (-reach, reach))
    return jnp.where(jnp.isnan(slope(high)), jnp.nan, 0.5 * (low + high))


def _curvature_at(problem: CentredProblem, eta: Array) -> Callable[[Array], Array]:
    """Second derivative of F in eta as a function, or the smoothness where that may vanish."""
    if problem.loss.strictly_convex:
        return lambda d: problem.curvature_times(eta, d)
    return lambda d: problem.loss.smoothness * like_rows(problem.weight, d) * d


def _rounding(problem: CentredProblem, eta: Array) -> Array:
    """What rounding alone leaves of a response that the null model fits exactly."""
    if problem.loss.translates or (problem.loss.smoothness is not None and eta.ndim == 1):
        size = jnp.maximum(jnp.abs(eta), jnp.abs(problem.y))
    else:
        size = (1 + jnp.abs(eta)) * problem.loss.curvature(eta, problem.y)
    return 8 * jnp.finfo(eta.dtype).eps * size


def _newton_direction(
    problem: CentredProblem,
    curvature: Callable[[Array], Array],
    gradient: Linear,
    free: Array | None,
    columns: Array,
) -> Linear:
    """Minimiser of <gradient, d> + 1/2 <Z d, curvature(Z d)> over intercepts and free columns, by
    conjugate gradients on the normal equations (directly for intercepts alone)."""
    if free is None and problem.outputs == ():
        total = jnp.sum(curvature(jnp.ones_like(problem.offset)))
        return Linear(jnp.zeros_like(problem.mean), -gradient.intercept * safe_reciprocal(total))
    if free is None and problem.fit_intercept:
        each = jnp.eye(problem.outputs[0], dtype=problem.offset.dtype)
        ones = jnp.ones_like(problem.offset)
        H = jax.vmap(lambda e: jnp.sum(curvature(ones * e[None]), axis=0))(each)
        # softmax has no curvature along the ones: rounding must not be divided by it
        damping = jnp.sqrt(jnp.finfo(H.dtype).eps) * jnp.trace(H)
        H = H + jnp.where(damping > 0, damping, 1) * each
        d = -jnp.linalg.solve(H, gradient.intercept)
        return Linear(problem.zero().coef, d)

    def product(d: Linear) -> Linear:
        inside = _restrict(problem, free, curvature(_image_of(problem, free, d)))
        # the identity elsewhere keeps the system definite
        outside = d.coef if free is None else jnp.where(free, 0, d.coef)
        intercept = inside.intercept if problem.fit_intercept else d.intercept
        return Linear(inside.coef + outside, intercept)

    rows = like_rows(columns, gradient.coef)
    diagonal = 1 if free is None else jnp.where(free & (rows > 0), rows, 1)

    def precondition(d: Linear) -> Linear:
        return Linear(d.coef / diagonal, d.intercept)

    right = jax.tree.map(jnp.negative, gradient)
    tol = 4 * jnp.finfo(columns.dtype).eps
    return cg(product, right, tol=tol, maxiter=200, M=precondition)[0]


def _restrict(problem: CentredProblem, free: Array | None, r: Array) -> Linear:
    """`(Z' r, sum r)` with 0 for what is not in the null model."""
    total = jnp.where(problem.fit_intercept, jnp.sum(r, axis=0), 0)
    if free is None:
        return problem.zero()._replace(intercept=total)
    return Linear(jnp.where(free, problem.transposed_times(r), 0), total)


def _image_of(problem: CentredProblem, free: Array | None, d: Linear) -> Array:
    """`Z d + b` over the columns of the null model."""
    intercept = jnp.where(problem.fit_intercept, d.intercept, 0)
    if free is None:
        return jnp.broadcast_to(intercept, problem.offset.shape)
    return problem.times(jnp.where(free, d.coef, 0)) + intercept[None]


def _ratio(a: Array, b: Array) -> Array:
    """a / b for a, b >= 0, with 0/0 = 0."""
    return jnp.where(a == 0, 0, jnp.where(b == 0, jnp.inf, a / jnp.where(b == 0, 1, b)))
