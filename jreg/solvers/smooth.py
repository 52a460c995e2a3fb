"""What the methods for smooth objectives share: the objective as a function of one vector, a line
search on slopes, and when to stop at the floor of the dtype.

Methods see `F(x) = f(w) + penalty(w)` in `x = sqrt(D) w`, all parameters in one vector. D is a
positive diagonal: for a linear model the curvature of each column, of the data and of a separable
penalty; else the identity. In x a column costs the same whatever its units.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import design, tree
from jreg.linalg import dot, norm_l2, safe_reciprocal
from jreg.problem import CentredProblem, Problem
from jreg.typing import Array, PyTree, Scalar, has

TRIALS = 40  # of a line search, each with two products
PATIENCE = 20  # idle steps, see `Progress`
BLOCK = 32  # columns of a Hessian that are computed at once


class Point(NamedTuple):
    """The objective somewhere."""

    x: Array  # (p,)
    image: PyTree  # eta of a linear model, else the parameters
    value: Array
    gradient: Array  # in x, (p,)


@dataclasses.dataclass(frozen=True)
class Objective:
    """`problem + penalty` as a function of x (p,); `root` (p,) is the diagonal of sqrt(D)."""

    problem: Any
    penalty: Any
    root: Array
    unravel: Callable[[Array], PyTree]

    @classmethod
    def around(cls, problem: Any, penalty: Any, params: PyTree, root: Array) -> "Objective":
        """For parameters like `params`; root as `scaling` gave it."""
        return cls(problem, penalty, root, ravel_pytree(params)[1])

    def params(self, x: Array) -> PyTree:
        """w = x / sqrt(D) as a tree."""
        return self.unravel(x / self.root)

    def start(self, params: PyTree) -> Point:
        """The point with these parameters."""
        return self.at(self.root * ravel_pytree(params)[0])

    def at(self, x: Array) -> Point:
        """Value and gradient at x: two products with X for a linear model."""
        w = self.params(x)
        image, value, gradient = evaluate(self.problem, self.penalty, w)
        return Point(x, image, value, self._vector(gradient))

    def hessian_times(self, point: Point, v: Array) -> Array:
        """The Hessian at a point times v (p,): two products with X for a linear model."""
        d = self.params(v)
        product = self.problem.hessian_times(point.image, d)
        if isinstance(self.problem, CentredProblem) and not self.problem.fit_intercept:
            product = product._replace(intercept=d.intercept)  # the identity keeps it definite
        return self._vector(product) + self._penalty_times(point, v)

    def hessian(self, point: Point) -> Array:
        """The Hessian at a point, (p, p)."""
        basis = jnp.eye(point.x.size, dtype=point.x.dtype)
        problem = self.problem
        if isinstance(problem, CentredProblem) and not has(problem.loss, "mean"):
            scale = self.root[:, None] * self.root[None, :]
            H = linear_hessian(problem, point.image) / scale
            return H + _rows(lambda v: self._penalty_times(point, v), basis)
        return _rows(lambda v: self.hessian_times(point, v), basis)

    def hessian_cost(self, point: Point) -> float:
        """Gradient evaluations that `hessian` is worth: 2 a product, or for a linear model the n
        p^2 multiplications over the 2 n p of a gradient."""
        linear = isinstance(self.problem, CentredProblem) and not has(self.problem.loss, "mean")
        if not linear:
            return 2.0 * point.x.size
        return 0.0 if self.problem.gram is not None else 0.5 * point.x.size

    def _penalty_times(self, point: Point, v: Array) -> Array:
        w, d = self.params(point.x), self.params(v)
        return self._vector(jax.jvp(jax.grad(self.penalty.value), (w,), (d,))[1])

    def _vector(self, gradient: PyTree) -> Array:
        """A gradient in w as one in x."""
        return ravel_pytree(gradient)[0] / self.root


def evaluate(problem: Any, penalty: Any, params: PyTree) -> tuple[PyTree, Array, PyTree]:
    """Image, objective, and its gradient like the parameters."""
    image = problem.image(params)
    if isinstance(problem, Problem) and not problem.value_and_grad:
        value, gradient = jax.value_and_grad(problem.value)(image)  # in one pass
    else:
        value, gradient = problem.value(image), problem.gradient(image)
    extra, slope = jax.value_and_grad(penalty.value)(params)
    return image, value + extra, tree.add_scaled(gradient, 1, slope)


def scaling(problem: Any, penalty: Any, params: PyTree) -> Array:
    """sqrt(D) for every parameter, (p,): positive, and with the units of 1/w for a linear model."""
    D = problem.metric(params, True)
    if isinstance(problem, CentredProblem) and penalty.separable:
        ones = jax.tree.map(jnp.ones_like, params)
        extra = jax.jvp(jax.grad(penalty.value), (params,), (ones,))[1]
        D = jax.tree.map(lambda d, e: d + jnp.maximum(e, 0), D, extra)
    return jnp.sqrt(ravel_pytree(D)[0])


def first_step(objective: Objective, point: Point) -> Array:
    """Length t of a first step -t * gradient: to the minimum of the quadratic model for a linear
    model, else a hundredth of the size of the parameters; the line search does the rest."""
    g = point.gradient
    if has(objective.problem, "curvature_times"):
        curvature = dot(g, objective.hessian_times(point, g))
        usable = (curvature > 0) & jnp.isfinite(curvature)
        return jnp.where(usable, dot(g, g) / jnp.where(usable, curvature, 1), 1)
    return 0.01 * (1 + norm_l2(point.x, None)) * _reciprocal_or_one(norm_l2(g, None))


def line_search(
    objective: Objective,
    start: Point,
    d: Array,
    first: Array,
    *,
    curvature: Array,
    ceiling: Array | None = None,
    allowed: Array | bool = True,
) -> tuple[Point, Array, Array]:
    """A point `start.x + t d` with a lower objective and a flatter slope; t, which is 0 if none was
    found; and the number of trials.

    With phi(t) = F(x + t d) it asks for

        phi(t) <= ceiling + 1e-4 t phi'(0),    |phi'(t)| <= curvature |phi'(0)|,

    the strong Wolfe conditions. Where the decrease is within rounding of F, slopes decide: then
    phi'(t) <= 0.8 |phi'(0)| stands for the first condition. A trial that is infinite or NaN is too
    long. From `first` the step grows at most tenfold, or the bracket shrinks, each time to the
    root of the secant through the slopes: for a quadratic the second trial is exact. It ends after
    40 trials. Nocedal and Wright (2006), section 3.5; Hager and Zhang (2005), section 2.1, for the
    approximate condition.

    Args:
      d: direction (p,); nothing is done unless it descends and `allowed`.
      first: length of the first trial.
      curvature: bound of the slope, in (0, 1); inf asks for the decrease alone.
      ceiling: what F must fall below; None: its value at the start.
    """
    slope_0 = dot(start.gradient, d)
    level = start.value if ceiling is None else ceiling
    rounding = 8 * jnp.finfo(slope_0.dtype).eps * jnp.abs(start.value)
    zero, inf = jnp.zeros_like(slope_0), jnp.full_like(slope_0, jnp.inf)

    def attempt(carry: tuple) -> tuple:
        t, k, _, (low, low_slope, best), (high, high_slope) = carry
        trial = objective.at(start.x + t * d)
        slope = dot(trial.gradient, d)
        finite = jnp.isfinite(trial.value) & jnp.isfinite(slope)
        enough = trial.value <= level + 1e-4 * t * slope_0
        flat = (jnp.abs(trial.value - start.value) <= rounding) & (slope <= -0.8 * slope_0)
        falls = finite & (enough | flat)
        short = falls & (slope < curvature * slope_0)
        long = ~falls | (slope > -curvature * slope_0)

        # the next trial: the root of a secant, well inside the bracket or well beyond the trial
        rise = slope - low_slope
        ahead = t - slope * (t - low) / jnp.where(rise > 0, rise, 1)
        ahead = jnp.where(rise > 0, jnp.clip(ahead, 2 * t, 10 * t), 10 * t)
        new_low = jnp.where(long, low, t)
        new_low_slope = jnp.where(long, low_slope, slope)
        high = jnp.where(long, t, high)
        high_slope = jnp.where(long, slope, high_slope)
        width = high - new_low
        rise = high_slope - new_low_slope
        root = new_low - new_low_slope * width / jnp.where(rise > 0, rise, 1)
        # a quadratic that does not fall has its minimum in the first half
        reach = jnp.where(long & ~falls, 0.5, 0.9)
        root = jnp.clip(root, new_low + 0.1 * width, new_low + reach * width)
        middle = new_low + jnp.where(long & ~finite, 0.1, 0.5) * width
        inside = jnp.where((high_slope > 0) & jnp.isfinite(high_slope), root, middle)
        following = jnp.where(jnp.isinf(high), ahead, inside)

        accepted = ~short & ~long
        kept = tree.select(long, best, trial)
        return following, k + 1, accepted, (new_low, new_low_slope, kept), (high, high_slope)

    def unfinished(carry: tuple) -> Array:
        _, k, accepted, (low, *_), (high, _) = carry
        apart = jnp.isinf(high) | (high - low > 4 * jnp.finfo(high.dtype).eps * high)
        return ~accepted & (k < TRIALS) & apart & (slope_0 < 0) & allowed

    carry = (
        first,
        jnp.zeros((), jnp.int32),
        jnp.asarray(False),
        (zero, slope_0, start),
        (inf, inf),
    )
    _, trials, _, (step, _, point), _ = jax.lax.while_loop(unfinished, attempt, carry)
    return point, step, trials


class Progress(NamedTuple):
    """How long ago the objective or its gradient was at its smallest, and what it took."""

    value: Array
    norm: Array
    idle: Array  # steps since then
    evaluations: Array  # of gradients

    @classmethod
    def of(cls, point: Point) -> "Progress":
        """At the start."""
        zero = jnp.zeros((), jnp.int32)
        return cls(point.value, norm_l2(point.gradient, None), zero, jnp.ones_like(point.value))

    def after(self, point: Point, evaluations: Scalar) -> "Progress":
        """With one more point, found by so many more evaluations. At the floor of the dtype value
        and norm fluctuate, and records become rare: a method that stays put after some idle steps
        lets the outer loop end."""
        norm = norm_l2(point.gradient, None)
        better = (point.value < self.value) | (norm < self.norm)
        value, norm = jnp.minimum(point.value, self.value), jnp.minimum(norm, self.norm)
        idle = jnp.where(better, 0, self.idle + 1)
        return Progress(value, norm, idle, self.evaluations + evaluations)


def linear_hessian(problem: CentredProblem, eta: Array) -> Array:
    """The Hessian of a `Linear` written as one vector, the intercepts last.

    For k outputs (p k + k, p k + k), of the blocks `[Z, 1]' diag(h_ab) [Z, 1]`, h_ab being the
    second derivative of each sample in its outputs a and b; with `gram` they are not computed.
    Without an intercept its rows are those of the identity.
    """
    k = eta[0].size
    if problem.gram is not None:  # centred columns: orthogonal to the intercept
        identity = jnp.eye(k, dtype=eta.dtype)
        gram, corner = jnp.kron(problem.gram, identity), identity
        cross = jnp.zeros((gram.shape[0], k), eta.dtype)
    else:
        Z = design.entries(problem.X) - problem.mean[None, :]
        Z = jnp.where(problem.weight[:, None] > 0, Z, 0) * safe_reciprocal(problem.scale)[None, :]
        Z = jnp.concatenate([Z, jnp.ones((Z.shape[0], 1), Z.dtype)], axis=1)
        unit = jnp.eye(k, dtype=eta.dtype).reshape(k, *problem.outputs)
        h = jax.vmap(lambda e: problem.curvature_times(eta, jnp.broadcast_to(e, eta.shape)))(unit)
        h = jnp.moveaxis(h.reshape(k, -1, k), 2, 1).reshape(k * k, -1)
        H = jax.lax.map(lambda h: dot(Z.T, h[:, None] * Z), h).reshape(k, k, *Z.T.shape[:1] * 2)
        H = H.transpose(2, 0, 3, 1).reshape(Z.shape[1] * k, -1)
        gram, cross, corner = H[:-k, :-k], H[:-k, -k:], H[-k:, -k:]
    cross = jnp.where(problem.fit_intercept, cross, 0)
    corner = jnp.where(problem.fit_intercept, corner, jnp.eye(k, dtype=eta.dtype))
    return jnp.block([[gram, cross], [cross.T, corner]])


def _rows(times: Callable[[Array], Array], basis: Array) -> Array:
    """`times` of every row, some rows at once."""
    return jax.lax.map(times, basis, batch_size=min(BLOCK, basis.shape[0]))


def _reciprocal_or_one(a: Array) -> Array:
    return jnp.where(a > 0, 1 / jnp.where(a > 0, a, 1), 1)
