"""Subgradients of the penalty added to the gradient: what there is without a prox."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import checks, tree
from jreg.penalties import NonNegativeGroupLasso, SparseGroupLasso
from jreg.penalties.radial import Radial
from jreg.penalties.tree_wise import ByPath, Masked
from jreg.problem import OnCoef
from jreg.transforms import doors, rounding
from jreg.typing import Array, PyTree, Scalar


class PenaltyGradientState(NamedTuple):
    """num_steps so far, of which a schedule is a function."""

    num_steps: Array


def add_penalty_gradient(penalty: Any) -> optax.GradientTransformation:
    """Add the penalty's subgradient that makes `gradient + subgradient` shortest.

        g_j <- g_j + lam sign(w_j)                     where w_j != 0          (L1)
        g_j <- sign(g_j) max(|g_j| - lam, 0)           where w_j = 0

    Early in a chain, before the optimiser: `chain(add_penalty_gradient(L1(lam)), adam(1e-3))`. For
    a smooth penalty (ridge, Huber) this is exact and all one needs. At a kink, 0 stays 0 as long as
    that is optimal, but weights that are not 0 **jump over it and chatter** with the size of a
    step: exact zeros do not arise. That is `proximal`'s work. Shor (1985), section 2.1.

    penalty: of single entries or of groups (`L1`, `MCP`, `GroupLasso`, `SparseGroupLasso`, ...),
    on trees too, or a function of the number of updates that returns one; TypeError for others,
    whose shortest subgradient has no such rule, ValueError for hyper-parameters out of range. The
    state is that number. What comes earlier in the chain sees the gradient of the loss alone.
    Nothing here keeps weights within the bounds of a penalty that has some.

    >>> import jreg
    >>> tx = add_penalty_gradient(jreg.L1(1.0))
    >>> w = jnp.array([2.0, 0.0, 0.0])
    >>> tx.update(jnp.array([0.5, 0.5, -3.0]), tx.init(w), w)[0]
    Array([ 1.5,  0. , -2. ], dtype=float32)
    """
    first = doors.at(penalty, 0)
    if isinstance(first, type) or not hasattr(first, "kkt_distance"):
        raise TypeError(f"penalty must be a member of jreg.penalties; got {first!r}")
    if not has_shortest_subgradient(first):
        raise TypeError(
            f"the shortest subgradient of {type(first).__name__} is not that of single entries "
            "or groups; use proximal"
        )
    checks.ranges(first)

    def init(params: PyTree) -> PenaltyGradientState:
        del params
        return PenaltyGradientState(jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree, state: PenaltyGradientState, params: PyTree = None
    ) -> tuple[PyTree, PenaltyGradientState]:
        doors.update("add_penalty_gradient", params, {})
        w, g = rounding.wide(params), rounding.wide(grads)
        if jax.tree.leaves(w):
            grads = tree.cast_like(shortest(doors.at(penalty, state.num_steps), w, g), grads)
        return grads, PenaltyGradientState(optax.safe_increment(state.num_steps))

    return optax.GradientTransformation(init, update)


def shortest(penalty: Any, w: PyTree, gradient: PyTree) -> PyTree:
    """The shortest element of `gradient + d penalty(w)`, trees of float32 or wider, for a penalty
    that `has_shortest_subgradient`.

    >>> import jreg
    >>> shortest(jreg.L1(1.0), jnp.array([2.0, 0.0]), jnp.array([0.5, -3.0]))
    Array([ 1.5, -2. ], dtype=float32)
    """
    distance = penalty.kkt_distance(w, gradient)
    guess = jax.tree.map(lambda g, d: jnp.where(g < 0, -d, d), gradient, distance)
    # 0 where the sign is right, twice the distance where it is not
    left = penalty.kkt_distance(w, tree.subtract(gradient, guess))
    return jax.tree.map(lambda v, d, left: jnp.where(left > d, -v, v), guess, distance, left)


def add_sign(lam: Scalar) -> optax.GradientTransformation:
    """Add `lam sign(w)`: the first thing people try for L1.

        g <- g + lam sign(w),    sign(0) = 0

    At w = 0 it adds nothing, so the loss moves a weight away from 0 and lam moves it back: the
    weight chatters with amplitude `learning_rate * lam` and **is never exactly 0**. It is here to
    be compared with: `add_penalty_gradient` keeps a zero that is optimal, `proximal` makes zeros.

    lam: strength >= 0, in units of the loss per unit of w. ValueError for a negative one.

    >>> w = jnp.array([2.0, 0.0])
    >>> tx = add_sign(0.5)
    >>> tx.update(jnp.array([1.0, 0.1]), tx.init(w), w)[0]
    Array([1.5, 0.1], dtype=float32)
    """
    checks.concrete_number("lam", lam, low=0)

    def update(grads: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        doors.update("add_sign", params, {})
        added = jax.tree.map(
            lambda g, w: g + jnp.asarray(lam, g.dtype) * jnp.sign(w).astype(g.dtype), grads, params
        )
        return added, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def has_shortest_subgradient(penalty: Any) -> bool:
    """Whether `add_penalty_gradient` knows the rule: for penalties of single entries or of groups,
    and trees of them."""
    match penalty:
        case Masked() | OnCoef():
            return has_shortest_subgradient(penalty.penalty)
        case ByPath():
            members = [f for f in (*penalty.penalties, penalty.default) if f is not None]
            return all(map(has_shortest_subgradient, members))
        case Radial() | SparseGroupLasso() | NonNegativeGroupLasso():
            return True
    return penalty.separable
