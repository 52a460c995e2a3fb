"""What is minimised: a smooth function of parameters, or data with a loss.

`Problem(fun, args)` is any differentiable function. `LinearProblem` is a linear model as data plus
a loss; `LinearProblem.centred()` gives the form that solvers work on,

    F(eta) + penalty(theta),    eta = Z theta + b + offset,    Z = (X - mean) / scale,

with theta = scale * coef and b the intercept at the column means. Z is never formed: its products
are those of X, corrected. Both forms answer the same few questions, so that a method is written
once: `image(params)` (linear: eta, or the parameters themselves), and `value`, `gradient` and
`bregman` at an image. Images may be extrapolated like parameters, which saves passes over X.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, linalg, tree
from jreg.linalg import dot
from jreg.losses import Squared
from jreg.typing import Array, ArrayLike, Loss, PyTree


class Linear(NamedTuple):
    """Parameters of a linear model: coef (n_features,) and a scalar intercept."""

    coef: ArrayLike
    intercept: ArrayLike


@tree.dataclass
class Problem:
    """A smooth function `fun(params, *args)` of a pytree of parameters.

    `fun` is part of the structure: the same function object with new `args` compiles once.

    >>> Problem(lambda w, a: jnp.sum((w - a) ** 2), (1.0,)).value(jnp.zeros(2))
    Array(2., dtype=float32)
    """

    fun: Callable[..., Array] = tree.static()
    args: tuple = ()

    def image(self, params: PyTree) -> PyTree:
        """The parameters themselves."""
        return params

    def value(self, image: PyTree) -> Array:
        """`fun` there."""
        return self.fun(image, *self.args)

    def gradient(self, image: PyTree) -> PyTree:
        """Gradient of `fun` there."""
        return jax.grad(self.fun)(image, *self.args)

    def bregman(self, new: PyTree, old: PyTree, gradient: PyTree) -> Array:
        """`fun(new) - fun(old) - <gradient, new - old>`, or 0 if that is within rounding."""
        before, after = self.value(old), self.value(new)
        slope = tree.total(jnp.multiply, gradient, tree.subtract(new, old))
        rounding = 8 * jnp.finfo(before.dtype).eps * (jnp.abs(before) + jnp.abs(after))
        gap = after - before - slope
        return jnp.where(gap <= rounding, 0, gap)

    def metric(self, params: PyTree, separable: bool) -> PyTree:
        """The identity."""
        del separable
        return jax.tree.map(jnp.ones_like, params)


@tree.dataclass
class LinearProblem:
    """Data and a loss: `sum_i s_i loss(eta_i, y_i) / sum_i s_i`, eta = X coef + intercept + offset.

    Args:
      X: (n_samples, n_features) array.
      y: (n_samples,) response in the domain of the loss.
      loss: a member of `jreg.losses`.
      sample_weight: (n_samples,) frequencies up to scale; weight 0 is an absent row. None: equal.
      offset: (n_samples,) known part of the linear predictor. None: 0.
      fit_intercept: whether the (never penalised) intercept is free, else it is 0.
      standardize: whether the penalty sees `scale * coef`, scale being the weighted 1/n standard
        deviation of each column; a constant column then has coefficient 0.

    Data are leaves of the pytree, so `jax.vmap` over y, weights or X batches problems.
    """

    X: ArrayLike
    y: ArrayLike
    loss: Any = Squared()
    sample_weight: ArrayLike = None
    offset: ArrayLike = None
    fit_intercept: bool = tree.static(default=True)
    standardize: bool = tree.static(default=False)

    def checked(self) -> "LinearProblem":
        """The problem with arrays of one floating dtype, or an error that says what is wrong."""
        X = checks.floating("X", self.X)
        checks.matrix("X", X)
        if isinstance(self.loss, type) or not isinstance(self.loss, Loss):
            raise TypeError(f"loss must be a member of jreg.losses; got {self.loss!r}")

        def column(name: str, value: ArrayLike, default: float = 0) -> Array:
            if value is None:
                return jnp.full(X.shape[0], default, X.dtype)
            checks.refuse_sparse(name, value)
            checks.vector(name, value, X.shape[0])
            return checks.floating(name, value).astype(X.dtype)

        y = column("y", self.y)
        weight = column("sample_weight", self.sample_weight, 1)
        offset = column("offset", self.offset)
        if not checks.is_traced(y, weight):
            self._check_response(np.asarray(y), np.asarray(weight))
        return dataclasses.replace(self, X=X, y=y, sample_weight=weight, offset=offset)

    def _check_response(self, y: np.ndarray, weight: np.ndarray) -> None:
        """Weights are frequencies; the rows present lie in the loss's domain and, under an
        intercept, hold more than one class (or it would run off to infinity)."""
        checks.number("sample_weight", weight, low=0)
        present = y[weight > 0]
        if present.size == 0:
            raise ValueError("sample_weight must have a positive entry; all are 0")
        self.loss.check(present)
        classes = hasattr(self.loss, "classify") and self.fit_intercept
        if classes and np.unique(present).size < 2:
            raise ValueError(
                f"y has a single class ({present[0]:g}), so the best intercept is infinite; "
                "give both classes, or fit_intercept=False"
            )

    def centred(self) -> "CentredProblem":
        """The form that solvers work on; call it on a `checked` problem."""
        X: Array = self.X
        offset: Array = self.offset
        weight = jnp.where(self.sample_weight >= 0, self.sample_weight, jnp.nan)
        weight = weight / jnp.sum(weight)
        mean = linalg.column_mean(X, weight)
        deviation = linalg.column_scale(X, weight, mean)
        if self.standardize:
            scale = deviation
        else:  # under an intercept a constant column is a second intercept: leave it out
            scale = jnp.where(self.fit_intercept & (deviation == 0), 0, jnp.ones_like(mean))
        y = jnp.where(weight == 0, 0, self.y)  # an absent row may hold anything
        y = jnp.where(self.loss.in_domain(self.y) | (weight == 0), y, jnp.nan)
        level = jnp.zeros((), X.dtype)
        if self.loss.translates:  # work near 0, where floating point is dense
            y, offset = jnp.where(weight == 0, 0, linalg.difference(y, offset)), jnp.zeros_like(y)
            if self.fit_intercept:
                level = dot(weight, y)
                y = linalg.difference(y, jnp.broadcast_to(level, y.shape))
        return CentredProblem(
            X=X,
            y=y,
            weight=weight,
            offset=offset,
            level=level,
            mean=mean if self.fit_intercept else jnp.zeros_like(mean),
            scale=scale,
            loss=self.loss,
            fit_intercept=self.fit_intercept,
        )


@tree.dataclass
class CentredProblem:
    """A `LinearProblem` in the variables theta = scale * coef, b = intercept + mean . coef - level.

    weight sums to 1; a column with scale 0 takes no part; level is what was taken from y (its mean,
    for losses of eta - y, which take in the offset too); gram is Z' S Z once a solver that wants it
    has asked (quadratic losses only).
    """

    X: Array
    y: Array
    weight: Array
    offset: Array
    level: Array
    mean: Array
    scale: Array
    loss: Any
    gram: Array | None = None
    fit_intercept: bool = tree.static(default=True)

    def times(self, theta: Array) -> Array:
        """`Z theta`, (n_samples,)."""
        coef = theta * linalg.safe_reciprocal(self.scale)
        return dot(self.X, coef) - dot(self.mean, coef)

    def transposed_times(self, r: Array) -> Array:
        """`Z' r`, (n_features,)."""
        return (dot(r, self.X) - self.mean * jnp.sum(r)) * linalg.safe_reciprocal(self.scale)

    def image(self, params: Linear) -> Array:
        """The linear predictor eta."""
        return self.times(params.coef) + params.intercept + self.offset

    def value(self, image: Array) -> Array:
        """Weighted mean loss."""
        return jnp.sum(self.weight * self.loss.pointwise(image, self.y))

    def residual(self, image: Array) -> Array:
        """Derivative of the mean loss in eta, sample by sample: weight * loss'."""
        return self.weight * self.loss.gradient(image, self.y)

    def gradient(self, image: Array) -> Linear:
        """Gradient in (theta, b)."""
        r = self.residual(image)
        return Linear(self.transposed_times(r), jnp.where(self.fit_intercept, jnp.sum(r), 0))

    def bregman(self, new: Array, old: Array, gradient: Linear) -> Array:
        """An upper bound of the Bregman distance of F: from the smoothness, hence free of
        cancellation, where the loss has one."""
        if self.loss.smoothness is not None:
            return 0.5 * self.loss.smoothness * jnp.sum(self.weight * (new - old) ** 2)
        slope = self.loss.gradient(old, self.y) * (new - old)
        difference = self.loss.pointwise(new, self.y) - self.loss.pointwise(old, self.y) - slope
        return jnp.sum(self.weight * jnp.maximum(difference, 0))

    def column_curvature(self) -> Array:
        """Bound of the second derivative of F along each theta_j: smoothness * mean of Z_j^2."""
        Z2 = jnp.where(self.weight[:, None] > 0, self.X - self.mean[None, :], 0) ** 2
        squares = jnp.sum(self.weight[:, None] * Z2, axis=0)
        return self._bound() * squares * linalg.safe_reciprocal(self.scale) ** 2

    def metric(self, params: Linear, separable: bool) -> Linear:
        """Positive diagonal for scaled steps: per column if the penalty is separable."""
        curvature = self.column_curvature()
        largest = jnp.max(curvature)
        largest = jnp.where(largest > 0, largest, 1)
        coef = curvature if separable else jnp.broadcast_to(largest, curvature.shape)
        return Linear(jnp.where(coef > 0, coef, largest), jnp.asarray(self._bound(), coef.dtype))

    def with_gram(self) -> "CentredProblem":
        """With `gram = Z' S Z` computed, if the curvature is constant and it is not there yet."""
        if not self.loss.quadratic or self.gram is not None:
            return self
        return dataclasses.replace(self, gram=self.weighted_gram(self.weight)[0])

    def weighted_gram(self, h: Array) -> tuple[Array, Array]:
        """(p, p) curvature in theta for sample curvatures h (n,), with the intercept eliminated,
        and the slope (p,) of the intercept: b moves by -slope . d theta."""
        Z = (self.X - self.mean[None, :]) * linalg.safe_reciprocal(self.scale)[None, :]
        slope = dot(h, Z) / jnp.where(self.fit_intercept, jnp.sum(h), 1)
        slope = jnp.where(self.fit_intercept, slope, 0)
        root = jnp.sqrt(h)[:, None] * (Z - slope[None, :])
        return dot(root.T, root), slope

    def restrict(self, index: Array) -> "CentredProblem":
        """The problem on the columns `index`."""
        return dataclasses.replace(
            self,
            X=self.X[:, index],
            mean=self.mean[index],
            scale=self.scale[index],
            gram=None if self.gram is None else self.gram[index][:, index],
        )

    def from_original(self, params: Linear) -> Linear:
        """(theta, b) of (coef, intercept)."""
        intercept = params.intercept + dot(self.mean, params.coef) - self.level
        return Linear(self.scale * params.coef, jnp.where(self.fit_intercept, intercept, 0))

    def to_original(self, params: Linear) -> Linear:
        """(coef, intercept) of (theta, b)."""
        coef = params.coef * linalg.safe_reciprocal(self.scale)
        intercept = params.intercept - dot(self.mean, coef) + self.level
        return Linear(coef, jnp.where(self.fit_intercept, intercept, 0))

    def _bound(self) -> float:
        return 1.0 if self.loss.smoothness is None else self.loss.smoothness


@tree.dataclass
class OnCoef:
    """A penalty of `params.coef`: what the penalty of a linear model means to a solver."""

    penalty: Any

    @property
    def separable(self) -> bool:
        """As the penalty."""
        return self.penalty.separable

    def value(self, w: Linear) -> Array:
        """The penalty of the coefficients."""
        return self.penalty.value(w.coef)

    def prox(self, v: Linear, step: PyTree) -> Linear:
        """The prox of the coefficients; the intercept passes."""
        step = tree.broadcast(step, v)
        return Linear(self.penalty.prox(v.coef, step.coef), v.intercept)

    def kkt_distance(self, w: Linear, grad: Linear) -> Linear:
        """KKT distance of the coefficients, and the gradient of the intercept."""
        return Linear(self.penalty.kkt_distance(w.coef, grad.coef), jnp.abs(grad.intercept))
