"""Adam with the prox in its own metric."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import tree
from jreg.transforms import doors, rounding
from jreg.typing import Array, PyTree, Scalar


class ProximalAdamState(NamedTuple):
    """Adam's state; residue, as in `ProximalState`; num_steps so far."""

    adam: PyTree
    residue: PyTree
    num_steps: Array


def proximal_adam(
    learning_rate: Any,
    penalty: Any,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    floor: Scalar = 1e-3,
) -> optax.GradientTransformation:
    """Adam with the proximal step in its metric (ProxGen).

        w <- argmin_z <m, z> + penalty(z) + 1/(2 lr) (z - w)' D (z - w)
           = prox(w - lr D^-1 m, lr D^-1)

    m and v are Adam's bias-corrected moments and `D = max(sqrt(v), floor * mean(sqrt(v))) + eps`,
    the mean over each array: without the floor, a weight whose gradients vanish has a step, and a
    threshold, of lr / eps. A fixed point minimises loss + penalty for every D > 0. At a constant
    learning rate on full batches it converges further than `proximal(optax.adam(lr), penalty)`;
    under gradient noise its support does not settle, and the latter's does. Use that one if in
    doubt, and for clipping, weight decay or any other optimiser.

    learning_rate: number or schedule. penalty: one whose prox takes a step per entry: a penalty of
    single entries, or `GroupLasso`; TypeError at init for others. b1, b2, eps: as in
    `optax.adam`. floor: cap of the steps, relative.

    Memory: Adam's. Yun, Lozano and Yang (2021), algorithm 1.

    >>> import jreg
    >>> tx = proximal_adam(0.1, jreg.L1(1.0))
    >>> w = jnp.array([3.0, 0.5])
    >>> state = tx.init(w)
    >>> for _ in range(200):
    ...     updates, state = tx.update(w - jnp.array([2.0, 0.5]), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> w.round(2)
    Array([1., 0.], dtype=float32)
    """
    doors.penalty(penalty)
    schedule = doors.schedule("learning_rate", learning_rate)
    moments = optax.scale_by_adam(b1, b2, eps)

    def init(params: PyTree) -> ProximalAdamState:
        w = rounding.wide(params)
        jax.eval_shape(doors.at(penalty, 0).prox, w, w)  # a step per entry, or an error here
        residue = rounding.no_residue(params)
        return ProximalAdamState(moments.init(w), residue, jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree, state: ProximalAdamState, params: PyTree = None
    ) -> tuple[PyTree, ProximalAdamState]:
        doors.update("proximal_adam", params, {})
        w = rounding.restore(params, state.residue)
        _, adam = moments.update(tree.cast_like(grads, w), state.adam, w)
        rate = schedule(state.num_steps)
        k = adam.count.astype(rounding.common_dtype(params))

        def step_size(v: Array) -> Array:
            size = jnp.sqrt(v / (1 - b2**k).astype(v.dtype))
            return jnp.asarray(rate, v.dtype) / (jnp.maximum(size, floor * jnp.mean(size)) + eps)

        step = jax.tree.map(step_size, adam.nu)
        moved = jax.tree.map(
            lambda w, m, s: w - s * m / (1 - b1**k).astype(w.dtype), w, adam.mu, step
        )
        target = doors.at(penalty, state.num_steps).prox(moved, step)
        updates, residue = rounding.move(params, tree.cast_like(target, w))
        return updates, ProximalAdamState(adam, residue, optax.safe_increment(state.num_steps))

    return optax.GradientTransformation(init, update)
