"""A prox behind the optimiser: right for plain gradient steps, another problem for all others."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import checks, tree
from jreg.transforms import doors, rounding
from jreg.typing import Array, PyTree


class DecoupledState(NamedTuple):
    """inner_state; residue, as in `ProximalState`; num_steps so far."""

    inner_state: PyTree
    residue: PyTree
    num_steps: Array


def decoupled(
    inner: optax.GradientTransformation, penalty: Any, learning_rate: Any
) -> optax.GradientTransformationExtraArgs:
    """`w <- prox(w + u, learning_rate)`, u the inner optimiser's update: decoupled regularisation.

    **It solves another problem than loss + penalty, unless inner is plain SGD.** At rest the
    optimiser's update for the gradient g balances `learning_rate * d penalty(w)`:

    | inner | what is minimised, for L1 of strength lam |
    | --- | --- |
    | sgd, or an EMA of gradients | loss + lam sum_i abs(w_i) |
    | heavy ball, Nesterov, momentum b | loss + (1 - b) lam sum_i abs(w_i) |
    | Adam, RMSProp | loss + lam sum_i D_i abs(w_i), D_i = rms(g_i) + eps over recent gradients |
    | Lion, sign of gradients | the loss alone if lam < 1, else all weights go to 0 |

    With full batches, Adam's D_i is |g_i| itself and for lam < 1 there is no penalty left. With
    minibatches the strength of each weight is multiplied by the noise of its gradient, which frees
    lam of the units of the loss; some want that. `proximal` minimises loss + penalty.

    inner: an optax transform, learning rate included. penalty: with a prox. learning_rate: the
    prox step, a number or a schedule, as given to inner; traced or not. Arrays of any shapes.
    TypeError for an inner that is no transform or a penalty without a prox, ValueError for a
    negative rate, or an update without params.

    Loshchilov and Hutter (2019) for ridge; Zhuang et al. (2022).

    >>> import jreg
    >>> tx = decoupled(optax.sgd(0.5), jreg.L1(1.0), 0.5)
    >>> w = jnp.array([1.0, 0.2])
    >>> updates, _ = tx.update(jnp.array([0.5, 0.0]), tx.init(w), w)
    >>> optax.apply_updates(w, updates)
    Array([0.25, 0.  ], dtype=float32)
    """
    inner = doors.inner(inner)
    doors.penalty(penalty)
    schedule = doors.schedule("learning_rate", learning_rate)

    def init(params: PyTree) -> DecoupledState:
        wide = rounding.wide(params)
        residue = rounding.no_residue(params)
        return DecoupledState(inner.init(wide), residue, jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree, state: DecoupledState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, DecoupledState]:
        doors.update("decoupled", params, extra)
        w = rounding.restore(params, state.residue)
        g = tree.cast_like(grads, w)
        u, inner_state = inner.update(g, state.inner_state, w, **extra)
        rate = schedule(state.num_steps)
        rate = jnp.asarray(rate, rounding.common_dtype(params))
        moved = jax.tree.map(jnp.add, w, tree.cast_like(u, w))
        target = doors.at(penalty, state.num_steps).prox(moved, rate)
        updates, residue = rounding.move(params, tree.cast_like(target, w))
        return updates, DecoupledState(inner_state, residue, optax.safe_increment(state.num_steps))

    return optax.GradientTransformationExtraArgs(init, update)


def proximal_sgd(
    learning_rate: Any, penalty: Any, momentum: float | None = None
) -> optax.GradientTransformationExtraArgs:
    """Proximal stochastic gradient, `w <- prox(w - learning_rate * m, learning_rate)`.

    m is the gradient, or its exponential average `m <- momentum m + (1 - momentum) g`, with which
    the fixed point is loss + penalty too (an accumulated momentum `m + g` would divide the strength
    by 1 / (1 - momentum)). Duchi and Singer (2009); Yang, Yuan, Ye, Zhang and Pontil (2020).

    With minibatches it never settles on a support, as each step has its own gradient noise against
    a threshold of the same size; `proximal(optax.sgd(learning_rate), penalty)` does.

    learning_rate: number or schedule. penalty: with a prox. momentum: in [0, 1), or None. Raises as
    `decoupled`, and ValueError for a concrete momentum out of its range.

    >>> import jreg
    >>> tx = proximal_sgd(0.5, jreg.L1(1.0))
    >>> w = jnp.array([1.0, 0.2])
    >>> optax.apply_updates(w, tx.update(jnp.array([0.5, 0.0]), tx.init(w), w)[0])
    Array([0.25, 0.  ], dtype=float32)
    """
    steps = [optax.scale_by_learning_rate(learning_rate)]
    if momentum is not None:
        if not checks.is_traced(momentum) and not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum}")
        steps.insert(0, optax.ema(momentum, debias=False))
    return decoupled(optax.chain(*steps), penalty, learning_rate)
