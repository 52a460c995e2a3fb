"""A part of an inverse second derivative, made once for a block of lambdas.

It preconditions the conjugate gradients of all lambdas of the block at every step: from one lambda
and one step to the next the second derivative changes little, and what it gets wrong costs a few
more products. For coefficients that mix (the classes of a multinomial model) four products then do
what takes twenty with a diagonal.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg.linalg import dot
from jreg.losses.means import like_rows
from jreg.path.gathered import Gathered, single
from jreg.path.inverse import support_inverse
from jreg.problem import Linear
from jreg.typing import Array

TOGETHER = 32  # rows made at a time
RIDGE = 1e-3  # of the diagonal, added before inverting: softmax is flat along shifts of all classes


class Frozen(NamedTuple):
    """The inverse of a second derivative, somewhere nearby, on some entries of theta."""

    entries: Array  # (m,) which; their number for none
    slot: Array  # of every entry of theta, where it is among them; m for none
    inverse: Array  # (m, m)

    def solve(self, r: Array, otherwise: Array) -> Array:
        """`inverse r` on these entries, else as given."""
        part = r.ravel().at[self.entries].get(mode="fill", fill_value=0)
        solved = dot(self.inverse, part).at[self.slot].get(mode="fill", fill_value=0)
        inside = self.slot < self.entries.size
        return jnp.where(inside, solved, otherwise.ravel()).reshape(r.shape)


def freeze(problem: Gathered, penalty: Any, params: Linear, index: Array, used: Array) -> Gathered:
    """`problem` with the inverse of H at `params` on the first `used` entries of `index` (m,), m a
    multiple of `TOGETHER`."""
    w, image, low = params.coef, problem.image(params), problem.low or problem
    if problem.low is not None:
        w, image, penalty = jax.tree.map(single, (w, image, penalty))
    m, outputs = index.size, w.size // w.shape[0]
    filled = jnp.arange(m) < used
    index = jnp.where(filled, index, w.size)
    bend_loss = jax.linearize(low.residual, image)[1]
    each = jnp.eye(outputs, dtype=w.dtype).reshape(outputs, 1, *w.shape[1:])
    bends = jax.vmap(lambda e: bend_loss(jnp.broadcast_to(e, image.shape)))(each)

    def row(j: Array) -> Array:
        """Of the second derivative of the loss: a product with a column of Z, and a class."""
        column = low.times(jnp.zeros_like(w[:, 0] if w.ndim > 1 else w).at[j // outputs].set(1))
        r = like_rows(column, image) * bends[j % outputs]
        return low.transposed_times(r).ravel().at[index].get(mode="fill", fill_value=0)

    def write(i: Array, H: Array) -> Array:
        some = jax.lax.dynamic_slice_in_dim(index, i * TOGETHER, TOGETHER)
        return jax.lax.dynamic_update_slice_in_dim(H, jax.vmap(row)(some), i * TOGETHER, axis=0)

    parts = (used + TOGETHER - 1) // TOGETHER
    H = jax.lax.fori_loop(0, parts, write, jnp.zeros((m, m), w.dtype))
    bend = jax.jvp(jax.grad(penalty.value), (w,), (jnp.ones_like(w),))[1]  # it is separable
    D = jnp.diagonal(H)
    D = RIDGE * D + bend.ravel().at[index].get(mode="fill", fill_value=0)
    held = filled & (jnp.diagonal(H) > 0)
    inverse = support_inverse(0.5 * (H + H.T) + jnp.diag(D), held)
    slot = jnp.full(w.size, m).at[jnp.where(held, index, w.size)].set(jnp.arange(m), mode="drop")
    frozen = Frozen(index, slot, inverse)
    if problem.low is None:
        return dataclasses.replace(problem, frozen=frozen)
    return dataclasses.replace(problem, low=dataclasses.replace(low, frozen=frozen))
