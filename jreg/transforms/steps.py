"""The prox step of `proximal`: how large it may be, and what to use if none is given."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.penalties import MCP, SCAD, GroupMCP, LogSum
from jreg.penalties.calculus import Fixed, Scaled, Tilted, Translated
from jreg.penalties.duality import Envelope
from jreg.penalties.spectral_lift import Spectral
from jreg.penalties.sum import Sum
from jreg.penalties.tree_wise import ByPath, Masked
from jreg.problem import OnCoef
from jreg.transforms.rounding import common_dtype
from jreg.typing import Array, PyTree, Scalar

# The automatic step in units of the learning rate: large enough for zeros to stay zero under noisy
# gradients, small enough for the dual to follow within tens of steps.
EFFECTIVE_STEPS = 30.0

_LIMIT_NAMES = {MCP: "gamma", GroupMCP: "gamma", SCAD: "gamma - 1"}


class Travel(NamedTuple):
    """Sums over all steps so far of |update|_1 and of |what the inner optimiser was fed|_1, from
    the steps looked at."""

    moved: Array
    fed: Array


def largest_step(penalty: Any) -> Scalar:
    """The reciprocal of the weak convexity: below it the prox is continuous and single-valued.

    inf for a convex penalty; 0 for one that no quadratic makes convex, or not known to be so.
    """
    if penalty.convex:
        return jnp.inf
    match penalty:
        case MCP() | GroupMCP():
            return penalty.gamma
        case SCAD():
            return penalty.gamma - 1
        case LogSum():
            weight = 1 if penalty.weights is None else tree.largest(penalty.weights)
            strongest = penalty.lam * weight
            if not checks.is_traced(strongest) and strongest == 0:
                return jnp.inf
            return penalty.epsilon**2 / strongest
        case Envelope():
            return penalty.mu
        case Scaled():
            return largest_step(penalty.penalty) / penalty.c
        case Translated() | Tilted() | Fixed() | Spectral() | Masked() | OnCoef():
            return largest_step(penalty.penalty)
        case ByPath():
            members = [f for f in (*penalty.penalties, penalty.default) if f is not None]
            limits = [jnp.asarray(largest_step(f)) for f in members]
            return jnp.min(jnp.stack(limits))
        case Sum():
            limits = [jnp.asarray(largest_step(f)) for f in penalty.terms]
            return 1 / sum(1 / limit for limit in limits)
    return 0.0


def check(penalty: Any, step: Any) -> None:
    """A concrete step is positive and below the penalty's limit, and given if there is no limit."""
    name, limit = type(penalty).__name__, largest_step(penalty)
    known = not checks.is_traced(limit)
    if step is None:
        if known and not limit > 0:
            raise ValueError(
                f"{name} is not weakly convex: its stationary points depend on the prox step. "
                "Give step=, e.g. 10 times the learning rate."
            )
        return
    if callable(step) or checks.is_traced(step):
        return
    for leaf in jax.tree.leaves(step):
        if not np.all(np.asarray(leaf) > 0):
            raise ValueError(
                f"step must be > 0; got {_show(leaf)}. Leave it out to have it estimated."
            )
        if known and limit > 0 and not np.all(np.asarray(leaf) < float(limit)):
            label = _LIMIT_NAMES.get(type(penalty), "1 / (its weak convexity)")
            raise ValueError(
                f"step must be below {label} = {float(limit)} for {name}; got {_show(leaf)}."
            )


def start(step: Any, before: Array, params: PyTree) -> PyTree:
    """What stands for the last step before the first, shaped as the steps will be: `before` if
    steps are estimated, else 0."""
    if step is None:
        return before
    if callable(step):
        return jnp.zeros((), common_dtype(params))
    return jax.tree.map(jnp.zeros_like, given(step, params))


def given(step: Any, params: PyTree) -> PyTree:
    """A scalar or tree of steps in the dtypes of params."""
    if jax.tree.structure(step) == jax.tree.structure(0.0) and jnp.ndim(step) == 0:
        return jnp.asarray(step, common_dtype(params))
    return tree.cast_like(tree.broadcast(step, params), params)


def estimated(travel: Travel, before: Array, limit: Scalar) -> Array:
    """`30 |updates|_1 / |fed|_1`, at most half the limit; `before` as long as nothing has moved."""
    ratio = travel.moved / jnp.where(travel.fed > 0, travel.fed, 1)
    found = jnp.minimum(EFFECTIVE_STEPS * ratio, jnp.asarray(limit, ratio.dtype) / 2)
    return jnp.where(travel.moved > 0, found, before)


# How many steps one look stands for, after as many looks.
STRIDE = 64


def looks(count: Array) -> Array:
    """Whether a step is looked at: the first 64, then one in 64.

    The sums of a small network take as long as a quarter of its step. The multiples of an
    irrational number, modulo 1, choose (here of the golden ratio, in 32 bits; Knuth 1998, section
    6.4): they fall on every step of a cycle alike, such as that of accumulated gradients.
    """
    return (count < STRIDE) | (count.astype(jnp.uint32) * jnp.uint32(2654435769) < 2**32 // STRIDE)


def travelled(travel: Travel, count: Array, look: Callable[[], tuple[PyTree, PyTree]]) -> Travel:
    """The sums with those of `look() = (updates, fed)`, if the step is looked at and finite."""

    def longer() -> Travel:
        moved, fed = (tree.total(jnp.abs, t).astype(travel.moved.dtype) for t in look())
        finite = jnp.isfinite(moved) & jnp.isfinite(fed)
        weight = jnp.where(finite, jnp.where(count < STRIDE, 1, STRIDE), 0)
        weight = weight.astype(travel.moved.dtype)
        moved, fed = (jnp.where(finite, length, 0) for length in (moved, fed))
        return Travel(travel.moved + weight * moved, travel.fed + weight * fed)

    if not checks.is_traced(count):  # outside jit, where a `cond` would be compiled in every step
        return longer() if looks(count) else travel
    return jax.lax.cond(looks(count), longer, lambda: travel)


def rule(step: Any) -> Callable[..., PyTree]:
    """`f(count, travel, before, limit, params)`: the step for this update."""
    if step is None:
        return lambda count, travel, before, limit, params: estimated(travel, before, limit)
    if callable(step):
        return lambda count, travel, before, limit, params: given(step(count), params)
    return lambda count, travel, before, limit, params: given(step, params)


def _show(value: Any) -> str:
    value = np.asarray(value)
    return str(value.item()) if value.ndim == 0 else f"an array of shape {value.shape}"
