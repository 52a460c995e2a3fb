"""The forward-backward (proximal gradient) step with a safe length, which several methods share.

    T(w) = prox(w - step D^-1 grad f(w), step D^-1),    D a positive diagonal.

Lengths of moves are measured in D: `|a|^2 = sum_j D_j a_j^2` has the units of the loss, whatever
those of the columns.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.typing import Array, PyTree, Scalar, has

GROWTH = 1.1  # of a step after one that was safe, for methods that try anew all the time
SHRINKAGE = 0.7  # of a step that was not


class Step(NamedTuple):
    """A point reached, its image, the step that was safe, and how many were tried."""

    params: PyTree
    image: PyTree
    step: Array
    trials: Array


def inner(a: PyTree, b: PyTree, metric: PyTree) -> Array:
    """`sum_j D_j a_j b_j`."""
    return tree.total(lambda a, b, d: d * a * b, a, b, metric)


def norm2(a: PyTree, metric: PyTree) -> Array:
    """`|a|^2` in the metric."""
    return inner(a, a, metric)


def first_step(
    problem: Any, params: PyTree, image: PyTree, gradient: PyTree, metric: PyTree
) -> Array:
    """1 / the Rayleigh quotient of the second derivative of f along the scaled gradient.

    At least 1 / the largest curvature, so it may have to shrink; 1 where the gradient vanishes.
    """
    direction = jax.tree.map(jnp.divide, gradient, metric)
    reach = norm2(direction, metric)
    # a trial as long as the parameters, so that rounding in them does not decide
    size = (1 + norm2(params, metric)) / jnp.where(reach > 0, reach, 1)
    length = jnp.minimum(jnp.sqrt(size), 1)
    if has(problem, "curvature_along"):
        move = jax.tree.map(lambda d: length * d, direction)
        distance, curvature = norm2(move, metric), problem.curvature_along(image, move)
    else:
        trial = tree.add_scaled(params, length, direction)
        distance = norm2(tree.subtract(trial, params), metric)
        curvature = 2 * problem.bregman(problem.image(trial), image, gradient)
    usable = (curvature > 0) & (distance > 0) & jnp.isfinite(curvature)
    return jnp.where(usable, distance / jnp.where(usable, curvature, 1), 1)


def cost(problem: Any, trials: Scalar) -> Scalar:
    """What a step is worth in gradient evaluations: of a linear model one half for the gradient at
    a known image and one for the image of each trial; else 1 and one half for each value."""
    return 0.5 * (1 + trials) if has(problem, "curvature_times") else 1 + 0.5 * trials


def forward(point: PyTree, gradient: PyTree, metric: PyTree, step: Array) -> PyTree:
    """The gradient step `w - step D^-1 grad`."""
    return jax.tree.map(lambda w, g, d: w - step / d * g, point, gradient, metric)


def backward(penalty: Any, point: PyTree, metric: PyTree, step: Array) -> PyTree:
    """The proximal step `prox(w, step D^-1)`."""
    steps = jax.tree.map(lambda d: step / d, metric)
    # a penalty that is not separable has one metric for all its entries
    return penalty.prox(point, steps if penalty.separable else jax.tree.map(jnp.min, steps))


def curvature_ratio(
    problem: Any,
    point: PyTree,
    image: PyTree,
    gradient: PyTree,
    new: PyTree,
    new_image: PyTree,
    metric: PyTree,
    step: Array,
) -> Array:
    """The curvature of f from w to `new`, times the step: a step is safe where it is at most 1,

        f(new) <= f(w) + <grad, new - w> + |new - w|^2 / (2 step).

    0 for moves within rounding of w, which cannot be tested; NaN or inf after an overflow.
    """
    eps = jnp.finfo(step.dtype).eps
    moved = norm2(tree.subtract(new, point), metric)
    excess = problem.bregman(new_image, image, gradient)
    untestable = moved <= (16 * eps) ** 2 * norm2(point, metric)
    return jnp.where(untestable, 0, 2 * step * excess / jnp.where(untestable, 1, moved))


def gave_up(step: Array, first: Array) -> Array:
    """NaN data or strengths are never safe: end the search, and let the status say so."""
    return step < 1e-25 * first


def safe_step(
    problem: Any,
    penalty: Any,
    point: PyTree,
    image: PyTree,
    gradient: PyTree,
    metric: PyTree,
    step: Array,
) -> Step:
    """T(w) with the first of `step`, 0.7 step, 0.49 step, ... that is safe."""

    def attempt(trial: tuple) -> tuple:
        length, trials = trial[1], trial[-2]
        new = backward(penalty, forward(point, gradient, metric, length), metric, length)
        new_image = problem.image(new)
        ratio = curvature_ratio(problem, point, image, gradient, new, new_image, metric, length)
        done = (ratio <= 1 + 8 * jnp.finfo(ratio.dtype).eps) | gave_up(length, step)
        return length, SHRINKAGE * length, new, new_image, trials + 1, done

    first = (step, step, point, image, jnp.zeros((), jnp.int32), jnp.asarray(False))
    length, _, new, image, trials, _ = jax.lax.while_loop(lambda t: ~t[-1], attempt, first)
    return Step(new, image, length, trials)
