"""The strength of the penalty over training: schedules, and a controller of the sparsity."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import checks, tree
from jreg.transforms import doors, rounding
from jreg.transforms.proximal import ProximalState, proximal
from jreg.typing import Array, PyTree, Scalar


def scheduled(penalty: Any, schedule: Callable[[Array], Scalar]) -> Callable[[Array], Any]:
    """The penalty at a strength that follows a schedule: `penalty.at(schedule(count))`.

    For `proximal(inner, scheduled(L1(1e-3), schedule))` and the other transforms of a penalty.
    schedule: a function of the number of updates with factors >= 0, such as optax's. A warm-up is
    `optax.linear_schedule(0.0, 1.0, steps)`; the cubic ramp of Zhu and Gupta (2017), fast first and
    slow at the end, is `optax.polynomial_schedule(0.0, 1.0, power=3, transition_steps=steps)`.
    TypeError for a schedule that is no function.

    >>> import jreg
    >>> penalty = scheduled(jreg.L1(0.5), optax.linear_schedule(0.0, 1.0, 10))
    >>> penalty(5).lam
    Array(0.25, dtype=float32...)
    """
    if not callable(schedule):
        raise TypeError(f"schedule must be a function of the number of updates; got {schedule!r}")
    return lambda count: penalty.at(schedule(count))


class TargetState(NamedTuple):
    """proximal: the state of the transform; strength: the factor of the penalty's own strength;
    sparsity: the share of exact zeros after the last update."""

    proximal: ProximalState
    strength: Array
    sparsity: Array


def target_sparsity(
    inner: optax.GradientTransformation,
    penalty: Any,
    target: Any,
    rate: Scalar = 0.01,
    step: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """`proximal` with a strength that steers the share of exact zeros to a target.

        c <- c * exp(rate * (target - sparsity)),    penalty.at(c) in the next step

    The sparsity is that of the entries that the penalty acts on. An integral controller of log c:
    at rest the target is met. Choose 1 / rate longer than it takes the parameters to follow (1e-2:
    at an error of 0.5 the strength doubles in 140 steps); too large a rate oscillates.

    inner, penalty, step: as in `proximal`; the penalty's strength is where c = 1 starts. target: in
    [0, 1], a number or a schedule (`optax.polynomial_schedule(0, 0.9, 3, 10_000)` is the cubic ramp
    of gradual pruning). Read `state.strength` and `state.sparsity`; fix the strength found and go
    on with `proximal` for a result that minimises one objective. ValueError for a target outside
    [0, 1] or a negative rate; the rest as `proximal`.

    >>> import jreg
    >>> tx = target_sparsity(optax.sgd(0.2), jreg.L1(0.1), 0.5, rate=0.1)
    >>> w = jnp.arange(1.0, 5.0)
    >>> state = tx.init(w)
    >>> for _ in range(300):
    ...     updates, state = tx.update(w - jnp.arange(1.0, 5.0), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> int((w == 0).sum())
    2
    """
    if not callable(target):
        checks.concrete_number("target", target, low=0, high=1)
    checks.concrete_number("rate", rate, low=0)
    regularised = proximal(inner, penalty, step)

    def init(params: PyTree) -> TargetState:
        one = jnp.ones((), rounding.common_dtype(params))
        f = doors.at(penalty, 0)
        return TargetState(regularised.init(params), one, zeros_share(f, params).astype(one.dtype))

    def update(
        grads: PyTree, state: TargetState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, TargetState]:
        doors.update("target_sparsity", params, extra)
        c, count = state.strength, state.proximal.num_steps
        updates, inner_state = regularised.update(
            grads, state.proximal, params, strength=c, **extra
        )
        moved = optax.apply_updates(params, updates)
        found = zeros_share(doors.at(penalty, count), moved).astype(c.dtype)
        aim = jnp.asarray(target(count) if callable(target) else target, c.dtype)
        c = c * jnp.exp(jnp.asarray(rate, c.dtype) * (aim - found))
        return updates, TargetState(inner_state, c, found)

    return optax.GradientTransformationExtraArgs(init, update)


def zeros_share(penalty: Any, params: PyTree) -> Array:
    """The share of exact zeros among the entries that the penalty acts on; 0 if there are none."""
    free = penalty.unpenalized(params)
    if free is None:
        free = jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), bool), params)
    count = tree.total(lambda free: ~free, free)
    zeros = tree.total(lambda w, free: (w == 0) & ~free, params, free)
    return zeros / jnp.maximum(count, 1)
