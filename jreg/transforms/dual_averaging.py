"""Methods that step in a dual variable and read the parameters off by a prox: LinBreg, RDA."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import checks, tree
from jreg.transforms import doors, rounding
from jreg.transforms.proximal import start
from jreg.typing import Array, PyTree, Scalar


class LinBregState(NamedTuple):
    """inner_state; dual: v, like params in float32 or wider; num_steps so far."""

    inner_state: PyTree
    dual: PyTree
    num_steps: Array


def linbreg(
    inner: optax.GradientTransformation, penalty: Any, delta: Scalar = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Linearised Bregman iteration: weights enter one after the other, from a sparse start.

        v <- v + u                         u = inner's update for the gradient of the loss
        w <- prox(delta * v, delta)

    **It minimises the loss alone**, in the limit; the penalty decides in which order weights enter,
    and early stopping is the regulariser. Start at zero or very sparse weights: it grows the
    network instead of pruning it. At rest the gradient is 0. With `inner = optax.adam(...)` it is
    AdaBreg.

    inner: an optax transform, learning rate included. penalty: convex, with a prox; its strength is
    the size that v must reach before a weight enters. delta: step of the prox > 0, the slope of
    weights in v. ValueError for a nonconvex penalty or delta <= 0. Memory: one float32 buffer like
    params. Osher, Burger, Goldfarb, Xu and Yin (2005); Bungert, Roith, Tenbrinck and Burger (2022),
    algorithm 1.

    >>> import jreg
    >>> tx = linbreg(optax.sgd(0.4), jreg.L1(1.0))
    >>> w = jnp.zeros(2)
    >>> state = tx.init(w)
    >>> for _ in range(2):  # the weight with the larger gradient enters first
    ...     updates, state = tx.update(w - jnp.array([2.0, 0.5]), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> w
    Array([0.6, 0. ], dtype=float32)
    """
    inner = doors.inner(inner)
    if not doors.penalty(penalty).convex:
        raise ValueError(f"linbreg needs a convex penalty; got {type(penalty).__name__}")
    checks.concrete_number("delta", delta, low=1e-30)

    def init(params: PyTree) -> LinBregState:
        w = rounding.wide(params)
        subgradient, _ = start(doors.at(penalty, 0), w)
        dual = jax.tree.map(lambda w, y: w / jnp.asarray(delta, w.dtype) + y, w, subgradient)
        return LinBregState(inner.init(w), dual, jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree, state: LinBregState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LinBregState]:
        doors.update("linbreg", params, extra)
        w = rounding.wide(params)
        g = tree.cast_like(grads, w)
        u, inner_state = inner.update(g, state.inner_state, w, **extra)
        dual = jax.tree.map(jnp.add, state.dual, tree.cast_like(u, w))
        step = jnp.asarray(delta, rounding.common_dtype(params))
        scaled = jax.tree.map(lambda v: step.astype(v.dtype) * v, dual)
        target = doors.at(penalty, state.num_steps).prox(scaled, step)
        updates, _ = rounding.move(params, tree.cast_like(target, w))
        return updates, LinBregState(inner_state, dual, optax.safe_increment(state.num_steps))

    return optax.GradientTransformationExtraArgs(init, update)


class RDAState(NamedTuple):
    """mean: of all gradients so far; anchor: the start; both in float32 or wider. num_steps."""

    mean: PyTree
    anchor: PyTree
    num_steps: Array


def rda(gamma: Scalar, penalty: Any) -> optax.GradientTransformation:
    """Regularised dual averaging: the prox sees the mean of all gradients so far.

        w_{k+1} = argmin_w <mean gradient, w> + penalty(w) + gamma / (2 sqrt(k)) |w - w_0|^2
                = prox(w_0 - t mean gradient, t),    t = sqrt(k) / gamma

    The minimiser of loss + penalty in the limit, with a support that settles under gradient noise;
    slow: errors fall like 1 / sqrt(k). It is a whole optimiser (no inner one). Xiao (2010),
    algorithm 1.

    gamma: > 0, in units of gradient over weight; too small diverges, too large is slow. penalty:
    convex, with a prox. ValueError for a nonconvex one or gamma <= 0. Memory: two float32 buffers
    like params.

    >>> import jreg
    >>> tx = rda(1.0, jreg.L1(1.0))
    >>> w = jnp.zeros(2)
    >>> state = tx.init(w)
    >>> for _ in range(300):
    ...     updates, state = tx.update(w - jnp.array([2.0, 0.5]), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> w.round(1)
    Array([1., 0.], dtype=float32)
    """
    if not doors.penalty(penalty).convex:
        raise ValueError(f"rda needs a convex penalty; got {type(penalty).__name__}")
    checks.concrete_number("gamma", gamma, low=1e-30)

    def init(params: PyTree) -> RDAState:
        w = rounding.wide(params)
        return RDAState(jax.tree.map(jnp.zeros_like, w), w, jnp.zeros((), jnp.int32))

    def update(grads: PyTree, state: RDAState, params: PyTree = None) -> tuple[PyTree, RDAState]:
        doors.update("rda", params, {})
        count = optax.safe_increment(state.num_steps)
        k = count.astype(rounding.common_dtype(params))
        mean = jax.tree.map(
            lambda m, g: m + (g.astype(m.dtype) - m) / k.astype(m.dtype), state.mean, grads
        )
        t = jnp.sqrt(k) / jnp.asarray(gamma, k.dtype)
        moved = jax.tree.map(lambda a, m: a - t.astype(a.dtype) * m, state.anchor, mean)
        target = doors.at(penalty, state.num_steps).prox(moved, t)
        updates, _ = rounding.move(params, tree.cast_like(target, state.anchor))
        return updates, RDAState(mean, state.anchor, count)

    return optax.GradientTransformation(init, update)
