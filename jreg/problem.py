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
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, design, linalg, tree
from jreg.design import Design
from jreg.linalg import dot
from jreg.losses import Squared, means
from jreg.losses.means import like_rows
from jreg.typing import Array, ArrayLike, Loss, MeanLoss, PyTree, has


class Linear(NamedTuple):
    """Parameters of a linear model: coef (n_features,) and a scalar intercept, or for several
    outputs coef (n_features, n_outputs) and intercept (n_outputs,)."""

    coef: ArrayLike
    intercept: ArrayLike


@tree.dataclass
class Problem:
    """A smooth function `fun(params, *args)` of a pytree of parameters.

    `fun` is part of the structure: the same function object with new `args` compiles once.

    has_aux: whether fun returns (value, aux); `Solution.aux` has that of the solution.
    value_and_grad: whether fun returns (value, gradient), or ((value, aux), gradient): for
    gradients of your own. Newton steps and implicit derivatives differentiate that gradient.

    >>> Problem(lambda w, a: jnp.sum((w - a) ** 2), (1.0,)).value(jnp.zeros(2))
    Array(2., dtype=float32)
    """

    fun: Callable[..., Array] = tree.static()
    args: tuple = ()
    has_aux: bool = tree.static(default=False)
    value_and_grad: bool = tree.static(default=False)
    captured: int = tree.static(default=0)  # of args: the last ones, added by `closed`

    def closed(self, params: PyTree) -> "Problem":
        """The same, the tracers that `fun` captures being arguments, for derivatives in them."""
        if not _captures_tracers(self.fun):
            return self
        fun, more = jax.closure_convert(self.fun, params, *self.args)
        args = (*self.args, *more)
        return dataclasses.replace(self, fun=fun, args=args, captured=len(more))

    @property
    def n_rows(self) -> int:
        """The leading axis that all arrays in args have; TypeError unless there is one."""
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(self._data())]
        lengths = {shape[0] if shape else -1 for shape in shapes}
        if len(lengths) != 1 or -1 in lengths:
            raise TypeError(
                "minibatches need a Problem(fun, args) whose arrays in args have rows, all the "
                f"same number of them; got shapes {shapes} (bind other data by functools.partial)"
            )
        return lengths.pop()

    def rows(self, index: Array) -> "Problem":
        """The problem on some rows of its data."""
        data = jax.tree.map(lambda a: a[index], self._data())
        return dataclasses.replace(self, args=(*data, *self.args[len(data) :]))

    def _data(self) -> tuple:
        return self.args[: len(self.args) - self.captured]

    def image(self, params: PyTree) -> PyTree:
        """The parameters themselves."""
        return params

    def value(self, image: PyTree) -> Array:
        """`fun` there."""
        return self._value_and_aux(image)[0]

    def aux(self, params: PyTree) -> PyTree:
        """What `fun` returns beside its value; None without has_aux."""
        return self._value_and_aux(params)[1]

    def gradient(self, image: PyTree) -> PyTree:
        """Gradient of `fun` there."""
        if self.value_and_grad:
            return self.fun(image, *self.args)[1]
        return jax.grad(self.value)(image)

    def _value_and_aux(self, params: PyTree) -> tuple[Array, PyTree]:
        found: Any = self.fun(params, *self.args)
        found = found[0] if self.value_and_grad else found
        return found if self.has_aux else (found, None)

    def hessian_times(self, image: PyTree, d: PyTree) -> PyTree:
        """Second derivative of `fun` there, times d."""
        return jax.jvp(self.gradient, (image,), (d,))[1]

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


def _captures_tracers(fun: Any, seen: tuple[int, ...] = ()) -> bool:
    """Whether a function, one that it calls by name, or a bound object holds a tracer."""
    held = [getattr(fun, "__self__", None), getattr(fun, "__defaults__", None)]
    if isinstance(fun, partial):
        held += [fun.func, fun.args, fun.keywords]
    held += [c.cell_contents for c in getattr(fun, "__closure__", None) or () if _is_filled(c)]
    seen = (*seen, id(fun))
    inner = [h for h in held if callable(h) and id(h) not in seen]
    return checks.is_traced(held) or any(_captures_tracers(h, seen) for h in inner)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@tree.dataclass
class LinearProblem:
    """Data and a loss: `sum_i s_i loss(eta_i, y_i) / sum_i s_i`, eta = X coef + intercept + offset.

    Args:
      X: (n_samples, n_features) array, or a SciPy sparse matrix or array, which `checked` turns
        into a `Sparse`. It is never made dense, so solvers that read columns refuse it
        (`CoordinateDescent`; `Newton` and `ProxNewton` without a Gram matrix for several outputs).
      y: (n_samples,) response in the domain of the loss; (n_samples, n_outputs) for several
        responses under `Squared`, (n_samples, 2 or 3) for `Cox`.
      loss: a member of `jreg.losses`.
      sample_weight: (n_samples,) frequencies up to scale; weight 0 is an absent row. None: equal.
      offset: known part of the linear predictor, (n_samples,) or (n_samples, n_outputs). None: 0.
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
        X = design.checked("X", self.X)
        if isinstance(self.loss, type) or not isinstance(self.loss, Loss | MeanLoss):
            raise TypeError(f"loss must be a member of jreg.losses; got {self.loss!r}")
        n_samples = X.shape[0]
        checks.refuse_sparse("y", self.y)
        outputs = self.outputs(n_samples)

        def column(name: str, value: ArrayLike, default: float, shape: tuple[int, ...]) -> Array:
            if value is None:
                return jax.device_put(np.full(shape, default, X.dtype))
            checks.refuse_sparse(name, value)
            if len(shape) == 1:
                checks.vector(name, value, n_samples)
            elif np.shape(value) != shape:
                raise ValueError(
                    f"{name} must have shape (n_samples, n_outputs) = {shape}; "
                    f"got {np.shape(value)}"
                )
            return checks.floating(name, value).astype(X.dtype)

        y = checks.floating("y", self.y).astype(X.dtype)
        weight = column("sample_weight", self.sample_weight, 1, (n_samples,))
        offset = column("offset", self.offset, 0, (n_samples, *outputs))
        if not checks.is_traced(y, weight):
            self._check_response(np.asarray(y), np.asarray(weight))
        loss = tree.cast(self.loss, X.dtype)
        return dataclasses.replace(self, X=X, y=y, loss=loss, sample_weight=weight, offset=offset)

    def outputs(self, n_samples: int) -> tuple[int, ...]:
        """The shape of one row of eta: (), or (n_outputs,). ValueError if y does not fit."""
        shape = np.shape(self.y)
        found: tuple[int, ...] | None = () if shape[1:] == () else None
        if has(self.loss, "outputs"):
            found = self.loss.outputs(shape[1:])
        if found is not None and shape[:1] == (n_samples,):
            return found
        if has(self.loss, "pointwise"):  # y is a vector, as a rule
            checks.vector("y", self.y, n_samples)
        raise ValueError(f"y must have n_samples = {n_samples} rows; got shape {shape}")

    def _check_response(self, y: np.ndarray, weight: np.ndarray) -> None:
        """Weights are frequencies; the rows present lie in the loss's domain and, under an
        intercept, do not make it run off to infinity."""
        checks.number("sample_weight", weight, low=0)
        present = y[weight > 0]
        if present.shape[0] == 0:
            raise ValueError("sample_weight must have a positive entry; all are 0")
        self.loss.check(present)
        if self.fit_intercept and has(self.loss, "check_intercept"):
            self.loss.check_intercept(present)

    def centred(self) -> "CentredProblem":
        """The form that solvers work on; call it on a `checked` problem."""
        X: Design = self.X
        offset: Array = self.offset
        weight = jnp.where(self.sample_weight >= 0, self.sample_weight, jnp.nan)
        weight = weight / jnp.sum(weight)
        mean, scale = jnp.zeros(X.shape[1], X.dtype), jnp.ones(X.shape[1], X.dtype)
        if self.fit_intercept or self.standardize:
            mean = design.column_mean(X, weight)
            deviation = design.column_scale(X, weight, mean)
            # under an intercept a constant column is a second intercept: leave it out
            scale = deviation if self.standardize else jnp.where(deviation == 0, 0, scale)
        y = means.of_present(self.y, weight)
        y = jnp.where(self.loss.in_domain(y), y, jnp.nan)
        level = jnp.zeros(offset.shape[1:], X.dtype)
        if self.loss.translates:  # work near 0, where floating point is dense
            absent = like_rows(weight == 0, y)
            y, offset = jnp.where(absent, 0, linalg.difference(y, offset)), jnp.zeros_like(y)
            if self.fit_intercept:
                level = dot(weight, y)
                y = linalg.difference(y, jnp.broadcast_to(level, y.shape))
        y = means.prepare(self.loss, y)
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

    X is an array or a `Sparse`. weight sums to 1; a column with scale 0 takes no part; level is
    what was taken from y (its mean, for losses of eta - y, which take in the offset too); gram is
    Z' S Z once a solver that wants it has asked (quadratic losses only). With several outputs theta
    is (n_features, n_outputs), b and level are (n_outputs,), eta and offset (n_samples, n_outputs).
    """

    X: Any
    y: Any
    weight: Array
    offset: Array
    level: Array
    mean: Array
    scale: Array
    loss: Any
    gram: Array | None = None
    fit_intercept: bool = tree.static(default=True)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of one row of eta."""
        return self.offset.shape[1:]

    def zero(self) -> Linear:
        """Parameters that are all 0."""
        p, dtype = self.mean.shape[0], self.mean.dtype
        return Linear(jnp.zeros((p, *self.outputs), dtype), jnp.zeros(self.outputs, dtype))

    def times(self, theta: Array) -> Array:
        """`Z theta`, like eta."""
        coef = theta * like_rows(linalg.safe_reciprocal(self.scale), theta)
        return design.times(self.X, coef) - dot(self.mean, coef)[None]

    def transposed_times(self, r: Array) -> Array:
        """`Z' r`, like theta; r like eta."""
        return self.standardized(design.transposed_times(self.X, r), r)

    def standardized(self, product: Array, r: Array) -> Array:
        """`Z' r` from `X' r`."""
        mean = like_rows(self.mean, r) * jnp.sum(r, axis=0)[None]
        return (product - mean) * like_rows(linalg.safe_reciprocal(self.scale), r)

    def image(self, params: Linear) -> Array:
        """The linear predictor eta."""
        return self.times(params.coef) + params.intercept[None] + self.offset

    def value(self, image: Array) -> Array:
        """Weighted mean loss."""
        return means.mean(self.loss, image, self.y, self.weight)

    def residual(self, image: Array) -> Array:
        """Derivative of the mean loss in eta, sample by sample: weight * loss'."""
        return means.mean_gradient(self.loss, image, self.y, self.weight)

    def curvature_times(self, image: Array, d: Array) -> Array:
        """Second derivative of the mean loss in eta, times d; like eta."""
        return means.mean_hessian_times(self.loss, image, self.y, self.weight, d)

    def gradient(self, image: Array) -> Linear:
        """Gradient in (theta, b)."""
        r = self.residual(image)
        slope = jnp.where(self.fit_intercept, jnp.sum(r, axis=0), 0)
        return Linear(self.transposed_times(r), slope)

    def hessian_times(self, image: Array, d: Linear) -> Linear:
        """Second derivative in (theta, b) times d: one product with X, one with its transpose."""
        intercept = jnp.where(self.fit_intercept, d.intercept, 0)
        r = self.curvature_times(image, self.times(d.coef) + intercept[None])
        slope = jnp.where(self.fit_intercept, jnp.sum(r, axis=0), 0)
        return Linear(self.transposed_times(r), slope)

    def bregman(self, new: Array, old: Array, gradient: Linear) -> Array:
        """The Bregman distance of F or an upper bound: from the smoothness, or in the loss's own
        form, both free of cancellation, where the loss has one."""
        del gradient
        return means.mean_bregman(self.loss, new, old, self.y, self.weight)

    def curvature_along(self, image: Array, direction: Linear) -> Array:
        """Second derivative of F along a direction, or its bound by the smoothness."""
        d = self.times(direction.coef) + direction.intercept[None]
        if self.loss.smoothness is not None:
            return self.loss.smoothness * jnp.sum(like_rows(self.weight, d) * d**2)
        return jnp.sum(d * self.curvature_times(image, d))

    def column_curvature(self) -> Array:
        """Bound of the second derivative of F along each theta_j: smoothness * mean of Z_j^2."""
        if self.gram is not None:
            return self._bound() * jnp.diagonal(self.gram)
        squares, _ = design.column_moments(self.X, self.weight, self.mean)
        return self._bound() * squares * linalg.safe_reciprocal(self.scale) ** 2

    def metric(self, params: Linear, separable: bool) -> Linear:
        """Positive diagonal for scaled steps: per column if the penalty is separable."""
        curvature = self.column_curvature()
        largest = jnp.max(curvature)
        largest = jnp.where(largest > 0, largest, 1)
        rows = curvature if separable else jnp.broadcast_to(largest, curvature.shape)
        rows = jnp.where(rows > 0, rows, largest)
        coef = jnp.broadcast_to(like_rows(rows, params.coef), params.coef.shape)
        return Linear(coef, jnp.broadcast_to(self._bound(), params.intercept.shape))

    def with_gram(self) -> "CentredProblem":
        """With `gram = Z' S Z` computed, if the curvature is constant and it is not there yet."""
        if not self.loss.quadratic or self.gram is not None:
            return self
        return dataclasses.replace(self, gram=self.weighted_gram(self.weight)[0])

    def weighted_gram(self, h: Array) -> tuple[Array, Array]:
        """(p, p) curvature in theta for sample curvatures h (n,), with the intercept eliminated,
        and the slope (p,) of the intercept: b moves by -slope . d theta."""
        per = linalg.safe_reciprocal(self.scale)
        total = jnp.where(self.fit_intercept, jnp.sum(h), 1)
        slope = design.column_sum(self.X, h, self.mean) / total
        slope = jnp.where(self.fit_intercept, slope, 0)
        gram = design.gram(self.X, h, self.mean + slope)
        return gram * per[:, None] * per[None, :], slope * per

    @property
    def n_rows(self) -> int:
        """The number of samples."""
        return self.weight.shape[0]

    def rows(self, index: Array) -> "CentredProblem":
        """The problem on the rows `index`, whose mean loss is, for rows drawn evenly, an unbiased
        estimate of that of all. TypeError for a loss of all samples at once."""
        if has(self.loss, "mean"):
            raise TypeError(f"{type(self.loss).__name__} is a loss of all rows together")
        return dataclasses.replace(
            self,
            X=design.entries(self.X)[index],
            y=self.y[index],
            weight=self.weight[index] * (self.n_rows / index.size),
            offset=self.offset[index],
            gram=None,
        )

    def restrict(self, index: Array) -> "CentredProblem":
        """The problem on the columns `index`, dense."""
        return dataclasses.replace(
            self,
            X=design.columns(self.X, index),
            mean=self.mean[index],
            scale=self.scale[index],
            gram=None if self.gram is None else self.gram[index][:, index],
        )

    def from_original(self, params: Linear) -> Linear:
        """(theta, b) of (coef, intercept)."""
        intercept = params.intercept + dot(self.mean, params.coef) - self.level
        theta = like_rows(self.scale, params.coef) * params.coef
        return Linear(theta, jnp.where(self.fit_intercept, intercept, 0))

    def to_original(self, params: Linear) -> Linear:
        """(coef, intercept) of (theta, b)."""
        coef = params.coef * like_rows(linalg.safe_reciprocal(self.scale), params.coef)
        intercept = params.intercept - dot(self.mean, coef) + self.level
        return Linear(coef, jnp.where(self.fit_intercept, intercept, 0))

    def _bound(self) -> Array:
        bound = 1.0 if self.loss.smoothness is None else self.loss.smoothness
        return jnp.asarray(bound, self.weight.dtype)


@tree.dataclass
class OnCoef:
    """A penalty of `params.coef`: what the penalty of a linear model means to a solver."""

    penalty: Any

    @property
    def separable(self) -> bool:
        """As the penalty."""
        return self.penalty.separable

    @property
    def convex(self) -> bool:
        """As the penalty."""
        return self.penalty.convex

    def value(self, w: Linear) -> Array:
        """The penalty of the coefficients."""
        return self.penalty.value(w.coef)

    def prox(self, v: Linear, step: PyTree) -> Linear:
        """The prox of the coefficients; the intercept passes."""
        step = tree.broadcast(step, v)
        return Linear(self.penalty.prox(v.coef, step.coef), v.intercept)

    def support(self, w: Linear) -> Linear:
        """That of the coefficients; the intercept is in it."""
        return Linear(self.penalty.support(w.coef), jnp.ones_like(w.intercept, bool))

    def kkt_distance(self, w: Linear, grad: Linear) -> Linear:
        """KKT distance of the coefficients, and the gradient of the intercept."""
        return Linear(self.penalty.kkt_distance(w.coef, grad.coef), jnp.abs(grad.intercept))
