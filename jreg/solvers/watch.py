"""What an early stopping rule watches while a solver runs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jreg import checks, design, tree
from jreg.losses import means
from jreg.problem import CentredProblem, Linear, LinearProblem, Problem
from jreg.stopping import EarlyStopping
from jreg.typing import Array, PyTree


@tree.dataclass
class Watch:
    """A rule and its measure, a checked `LinearProblem` or a `Problem`."""

    stop: EarlyStopping
    measure: Any

    def value(self, problem: Any, params: PyTree) -> Array:
        """The measure at params in the variables of the problem that is solved."""
        if isinstance(problem, CentredProblem):
            params = problem.to_original(params)
        if not isinstance(self.measure, LinearProblem):
            return self.measure.value(params)
        return mean_loss(self.measure, predictor(self.measure, params))


def read(problem: LinearProblem, dtype: Any) -> LinearProblem:
    """The problem `checked`, its numbers in `dtype`; the places of a sparse X stay integers."""
    cast = lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a  # noqa: E731
    return jax.tree.map(cast, problem.checked())


def predictor(problem: LinearProblem, params: Linear) -> Array:
    """`X coef + intercept + offset` of a `checked` problem, one for each row."""
    return design.times(problem.X, params.coef) + params.intercept[None] + problem.offset


def mean_loss(problem: LinearProblem, eta: Array) -> Array:
    """`sum_i s_i loss(eta_i, y_i) / sum_i s_i` over the rows of a `checked` problem.

    Rows of weight 0 are absent, and their y may be anything, NaN too.
    """
    weight = problem.sample_weight / jnp.sum(problem.sample_weight)
    y = means.prepare(problem.loss, means.of_present(problem.y, weight))
    return means.mean(problem.loss, eta, y, weight)


def check_watch(
    stop: EarlyStopping | None,
    measure: Problem | LinearProblem | Callable[..., Array] | None,
    problem: Any,
    params: PyTree | None,
) -> Watch | None:
    """The two arguments of `solve` at its door; None if there is nothing to watch."""
    if stop is None and measure is None:
        return None
    if not isinstance(stop, EarlyStopping) or measure is None:
        raise TypeError(
            "stop, an EarlyStopping, and measure, what it watches, come together; "
            f"got stop={stop!r} and measure={type(measure).__name__}"
        )
    if isinstance(measure, LinearProblem):
        if not isinstance(problem, LinearProblem):
            raise TypeError("a LinearProblem measures the parameters of a LinearProblem only")
        measure = read(measure, problem.X.dtype)
        shapes = [(p.X.shape[1], p.outputs(p.X.shape[0])) for p in (measure, problem)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "measure must have the features and outputs of the problem, "
                f"{shapes[1]}; got {shapes[0]}"
            )
    elif not isinstance(measure, Problem):
        if not callable(measure):
            raise TypeError(
                "measure must be a LinearProblem, a Problem or a function of the parameters; "
                f"got {type(measure).__name__}"
            )
        measure = Problem(measure)
    if isinstance(measure, Problem):
        measure = measure.closed(_like(problem) if params is None else params)
    checks.concrete_number("patience", stop.patience, low=1)
    return Watch(stop, measure)


def _like(problem: Any) -> Linear:
    """Parameters of a linear problem, to know their shapes."""
    outputs = problem.outputs(problem.X.shape[0])
    shape = (problem.X.shape[1], *outputs)
    return Linear(jnp.zeros(shape, problem.X.dtype), jnp.zeros(outputs, problem.X.dtype))
