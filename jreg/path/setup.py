"""What every lambda of a path needs, computed once from the data."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from jreg.certificates import NullModel, null_model, null_model_of_squares
from jreg.losses.means import like_rows
from jreg.path.compiled import compiled
from jreg.path.sweep import null_deviance
from jreg.problem import CentredProblem, LinearProblem
from jreg.typing import Array, has

LARGEST_MODEL = 4096  # features up to which a p x p matrix is formed


class Data(NamedTuple):
    """A problem, its null model, and what follows from both."""

    problem: CentredProblem
    null: NullModel
    null_deviance: Array
    lam_max: Array
    largest_ridge: Array  # strength at which a ridge penalty leaves next to nothing
    entry: Array  # like coef: the lam at which features enter, seen from the null model
    kink: tuple[Array, Array] | None  # (low, high) at lam 1; None where the penalty does not say
    cross: Array  # Z' S y; zeros for other losses than the squared one
    square: Array  # y' S y


def setup(problem: LinearProblem | CentredProblem, penalty: Any) -> Data:
    """`Data` of a checked problem, which shares its X."""
    data = _setup(problem, penalty)
    return data._replace(problem=dataclasses.replace(data.problem, X=problem.X))


@compiled
def _setup(problem: LinearProblem | CentredProblem, penalty: Any) -> Data:
    """All but X: what a compiled program returns is a copy."""
    centred = problem.centred() if isinstance(problem, LinearProblem) else problem
    n, p = problem.X.shape
    if penalty.separable and centred.outputs == () and n >= p and p <= LARGEST_MODEL:
        centred = centred.with_gram()
    else:
        centred = dataclasses.replace(centred, gram=None)
    null = null_model(centred, penalty)
    cross, square = jnp.zeros_like(null.gradient), jnp.zeros_like(null.value)
    if centred.loss.quadratic:
        free = penalty.unpenalized(null.gradient) is not None
        weighted = like_rows(centred.weight, centred.y) * centred.y
        cross = centred.transposed_times(weighted) if free else -null.gradient
        square = jnp.sum(weighted * centred.y)
    deviance = null_deviance(centred)
    centred = dataclasses.replace(centred, X=None)
    return _described(centred, penalty, null, deviance, cross, square)


@compiled
def setup_squares(problem: CentredProblem, penalty: Any, cross: Array, square: Array) -> Data:
    """The same for a squared loss that is known by `problem.gram`, cross and square alone, and a
    penalty without free columns."""
    null = null_model_of_squares(problem, penalty, cross, square)
    return _described(problem, penalty, null, square, cross, square)


def _described(
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    deviance: Array,
    cross: Array,
    square: Array,
) -> Data:
    entry = penalty.entry(null.gradient)
    # a ridge of this strength moves eta by 1e-3 of the size of the null model's residual
    norms = jnp.sqrt(null.curvature / (problem.loss.smoothness or 1.0))
    largest_ridge = (
        1e3 * jnp.max(like_rows(norms, null.gradient) * jnp.abs(null.gradient)) / null.dual_scale
    )
    kink = penalty.kink(null.gradient) if has(penalty, "kink") else None
    largest = jnp.max(entry)
    return Data(problem, null, deviance, largest, largest_ridge, entry, kink, cross, square)
