"""What the transforms refuse, and why."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jreg import checks
from jreg.penalties import has_prox
from jreg.typing import PyTree, Scalar

_LINE_SEARCH = (
    "a line search would see the loss without the penalty: use an inner optimiser without one."
)
_MEMORY = (
    "L-BFGS remembers parameter differences and cannot run under proximal. "
    "Use jreg.solve(..., solver=jreg.ProxLBFGS())."
)
_LOOKAHEAD = "lookahead averages parameters, which destroys exact zeros and the dual."
_REFUSED_STATES = {
    optax.ScaleByLBFGSState: _MEMORY,
    optax.LookaheadState: _LOOKAHEAD,
    optax.ScaleByBacktrackingLinesearchState: _LINE_SEARCH,
    optax.ScaleByZoomLinesearchState: _LINE_SEARCH,
}


def inner(transform: Any) -> optax.GradientTransformationExtraArgs:
    """The transform, taking extra arguments. TypeError for what is none."""
    if not isinstance(transform, optax.GradientTransformation):
        if callable(transform):
            name = getattr(transform, "__name__", repr(transform))
            raise TypeError(
                f"inner must be an optax transform; got the function {name}. "
                f"Call it: optax.{name}(1e-3)."
            )
        raise TypeError(f"inner must be an optax transform; got {type(transform).__name__}")
    return optax.with_extra_args_support(transform)


def at(given: Any, count: Scalar) -> Any:
    """The penalty, or a schedule's at `count`."""
    scheduled = callable(given) and not isinstance(given, type) and not hasattr(given, "prox")
    return given(count) if scheduled else given


def penalty(given: Any) -> Any:
    """The penalty, or a schedule's at 0. TypeError for what has no prox, ValueError for concrete
    hyper-parameters out of range."""
    given = at(given, 0)
    if isinstance(given, type):
        raise TypeError(
            f"penalty must have prox(v, step); got the class {given.__name__}. Call it."
        )
    if not hasattr(given, "prox"):
        raise TypeError(
            f"penalty must have prox(v, step); got {type(given).__name__}. "
            "For an L1 of strength 0.1 write jreg.L1(0.1)."
        )
    if not has_prox(given):
        raise TypeError(
            f"penalty must have prox(v, step); this {type(given).__name__} has none by a known "
            "rule (see jreg.penalties.add)."
        )
    checks.ranges(given)
    return given


def schedule(name: str, given: Any) -> Callable[[Scalar], Any]:
    """A schedule as it is, a number as a constant one. ValueError for a number below 0."""
    if callable(given):
        return given
    checks.concrete_number(name, given, low=0)
    return lambda count: given


def state(inner_state: PyTree) -> None:
    """TypeError for inner states that depend on parameter differences or on values of the loss."""
    kinds = tuple(_REFUSED_STATES)
    for leaf in jax.tree.leaves(inner_state, is_leaf=lambda s: isinstance(s, kinds)):
        if isinstance(leaf, kinds):
            raise TypeError(_REFUSED_STATES[type(leaf)])


def update(name: str, params: Any, extra: dict[str, Any]) -> None:
    """ValueError without params; TypeError for arguments of line searches."""
    if params is None:
        raise ValueError(f"{name} needs params: call tx.update(grads, state, params).")
    if "value_fn" in extra or "grad" in extra:
        raise TypeError(_LINE_SEARCH)
