"""`proximal`: any optax optimiser on loss + penalty, with exact zeros and the right fixed point."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import tree
from jreg.transforms import doors, rounding, steps
from jreg.typing import Array, PyTree, Scalar


class ProximalState(NamedTuple):
    """What the next step needs.

    inner_state: of the inner optimiser, in float32 or wider. dual: the subgradient y of the penalty
    that the last prox implied, like params. residue: what bfloat16 or float16 parameters could not
    hold; None for wider ones. step: the prox step last used. travel: lengths of updates and of
    what the inner optimiser saw; their ratio is the effective learning rate. num_steps: so far.
    """

    inner_state: PyTree
    dual: PyTree
    residue: PyTree
    step: PyTree
    travel: steps.Travel
    num_steps: Array


def proximal(
    inner: optax.GradientTransformation, penalty: Any, step: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Minimise loss + penalty with any optimiser: `inner` on the smooth part, then a prox.

        F  = gradient + y                  the inner optimiser sees this instead of the gradient
        u  = inner's update for F          learning rate, momentum, clipping, schedules included
        z  = w + u + step * y
        w' = prox(z, step)                 exact zeros
        y' = (z - w') / step               a subgradient of the penalty at w'

    At rest u = 0. An optimiser that rests only when fed 0 then has F = 0, that is
    `-gradient = y`, an element of the subdifferential: the optimality condition, whatever the
    momentum, preconditioner, clipping and `step`. (A prox put behind the optimiser in a chain has
    another fixed point, wrong by the momentum factor or by Adam's scaling.) With
    `optax.sgd(lr)` and `step = lr` this is proximal gradient; with minibatches, the normal-map
    method of Qiu, Jiang and Milzarek (2023). Robinson (1992) has the equation F = 0.

    **Everything goes inside**: `proximal(optax.chain(clip, adam), penalty)`. A transform chained
    before or after it moves the fixed point. Decoupled weight decay inside (adamw) biases as it
    always does; put ridge in the penalty instead (`ElasticNet`).

    Args:
      inner: an optax transform. It is handed float32 (or wider) gradients, parameters, and `value`,
        if given, with the penalty added. Line searches, L-BFGS and lookahead are refused.
      penalty: anything with `prox(v, step)` and `value(w)`, such as `jreg.L1(1e-3)`, in units of
        the loss; it acts on every leaf unless it says otherwise (`jreg.kernels_only`,
        `jreg.by_path`). Or a function of the number of updates that returns one. Hyper-parameters
        may be traced.
      step: the prox step s > 0, which sets speed and stickiness, not the answer: a number, a
        schedule (a function of the number of updates), or an array or tree like params for
        penalties whose prox takes one; any of them traced. Zero is a dead zone of width 2 s lam.
        Use at least the learning rate. With minibatches, a constant step and a decaying learning
        rate find the support. None: 30 times the effective learning rate so far,
        `30 sum |u|_1 / sum |F|_1`, looked at in the first 64 steps and then in one of 64 (of the
        size of w / y until something moves). That is wrong only if updates start far too small
        (fine-tuning at a tiny rate: give it).

    `update(grads, state, params, strength=c)` uses `penalty.at(c)` for this step.

    Nonconvex penalties: MCP, SCAD and the like need a step below 1 / (weak convexity), and then do
    not depend on it. L0 and other penalties without such a bound need an explicit step; their
    stationary points depend on it.

    Memory: one float32 buffer like params (two for bfloat16 ones) and three numbers. Raises
    TypeError or ValueError, at construction or init, for what cannot be right.

    >>> import jreg
    >>> tx = proximal(optax.adam(0.1), jreg.L1(1.0))
    >>> w = jnp.array([3.0, 0.5])
    >>> state = tx.init(w)
    >>> for _ in range(200):
    ...     updates, state = tx.update(w - jnp.array([2.0, 0.5]), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> w.round(2)
    Array([1., 0.], dtype=float32)
    >>> bool(w[1] == 0)
    True
    """
    inner = doors.inner(inner)
    steps.check(doors.penalty(penalty), step)
    next_step = steps.rule(step)

    def init(params: PyTree) -> ProximalState:
        wide = rounding.wide(params)
        dual, before = start(doors.at(penalty, 0), wide)
        inner_state = inner.init(wide)
        doors.state(inner_state)
        zero = jnp.zeros((), rounding.common_dtype(params))
        first = steps.start(step, before.astype(zero.dtype), wide)
        jax.eval_shape(doors.at(penalty, 0).prox, wide, first)  # refuse shapes here
        residue, travel = rounding.no_residue(params), steps.Travel(zero, zero)
        return ProximalState(inner_state, dual, residue, first, travel, jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree,
        state: ProximalState,
        params: PyTree | None = None,
        *,
        strength: Scalar = None,
        **extra: Any,
    ) -> tuple[PyTree, ProximalState]:
        doors.update("proximal", params, extra)
        f = doors.at(penalty, state.num_steps)
        f = f if strength is None else f.at(strength)
        w = rounding.restore(params, state.residue)
        if extra.get("value") is not None:
            extra["value"] = extra["value"] + finite_value(f, w)

        def fed() -> PyTree:
            return jax.tree.map(jnp.add, tree.cast_like(grads, w), state.dual)

        u, inner_state = inner.update(fed(), state.inner_state, w, **extra)
        s = next_step(state.num_steps, state.travel, state.step, steps.largest_step(f), w)
        z = jax.tree.map(jnp.add, point_of(w, s, state.dual), tree.cast_like(u, w))

        # Given F or u, a look in few steps would make XLA write them out in every step.
        look = lambda: (tree.subtract(z, point_of(w, s, state.dual)), fed())  # noqa: E731
        travel = steps.travelled(state.travel, state.num_steps, look)
        # The sums are never below 0. XLA does not know, so it looks first and overwrites w and y
        # afterwards, in place; it would copy both otherwise.
        s = jax.tree.map(lambda s: jnp.where(travel.fed < 0, 0, s), s)
        target = tree.cast_like(f.prox(z, s), w)
        dual = jax.tree.map(lambda z, q, s: (z - q) * reciprocal(s), z, target, per_leaf(s, w))
        updates, residue = rounding.move(params, target)
        count = optax.safe_increment(state.num_steps)
        return updates, ProximalState(inner_state, dual, residue, s, travel, count)

    return optax.GradientTransformationExtraArgs(init, update)


def start(penalty: Any, w: PyTree) -> tuple[PyTree, Array]:
    """(y, s): a subgradient near w, so that the first step does not shrink everything by
    `step * lam`, and a prox step for as long as nothing is known of the updates.

    y is that of two tiny steps of size e, at the point of the second; e is relative, such that
    `e y` is of the order of 1e-3 w. s is 1000 e, at which zeros hold. Both are 0 for a penalty that
    is not weakly convex.
    """
    if not jax.tree.leaves(w):
        return w, jnp.ones(())
    value = jnp.abs(finite_value(penalty, w))
    size2 = tree.total(jnp.square, w)
    s = jnp.where(value > 0, size2 / jnp.where(value > 0, value, 1), 1)
    limit = jnp.asarray(steps.largest_step(penalty), s.dtype) / 2
    e, s = jnp.minimum(1e-3 * s, limit), jnp.minimum(s, limit)
    tiny = jnp.where(e > 0, e, 1)
    near = penalty.prox(w, tiny)  # feasible
    nearer = penalty.prox(near, tiny)
    return jax.tree.map(lambda a, b: (a - b) * reciprocal(e).astype(a.dtype), near, nearer), s


def reciprocal(step: Array) -> Array:
    """`1 / step`, and 0 for a step of 0."""
    return jnp.where(step > 0, 1 / jnp.where(step > 0, step, 1), 0)


def finite_value(penalty: Any, w: PyTree) -> Array:
    """The penalty, and 0 where w is outside its domain (by rounding, or at the start)."""
    value = penalty.value(w)
    return jnp.where(jnp.isposinf(value), 0, value)


def per_leaf(step: PyTree, like: PyTree) -> PyTree:
    """The steps as a tree like the parameters."""
    return tree.cast_like(tree.broadcast(step, like), like)


def point_of(w: PyTree, step: PyTree, dual: PyTree) -> PyTree:
    """`w + step * y`."""
    return jax.tree.map(lambda w, s, y: w + s * y, w, per_leaf(step, w), dual)


def find_state(state: PyTree) -> ProximalState:
    """The one `ProximalState` in the state of a chain or wrapper; ValueError unless one is.

    >>> import jreg
    >>> tx = optax.chain(optax.identity(), proximal(optax.sgd(0.1), jreg.L1(1.0)))
    >>> find_state(tx.init(jnp.ones(2))).dual.round(3)
    Array([1., 1.], dtype=float32)
    """
    leaves = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, ProximalState))
    found = [leaf for leaf in leaves if isinstance(leaf, ProximalState)]
    if len(found) != 1:
        raise ValueError(f"expected the state of one proximal transform; found {len(found)}")
    return found[0]


def optimality(grads: PyTree, state: PyTree) -> Array:
    """`|gradient + y|_2`, an upper bound on the KKT distance of the parameters, for free.

    grads: the gradients at the current parameters. state: of `proximal`, or of a chain or wrapper
    with one in it. In units of the loss per unit of w; 0 at a solution; of minibatch gradients it
    stays at their noise. Raises ValueError unless the state has one `proximal`.

    >>> import jreg
    >>> tx, w = proximal(optax.sgd(0.1), jreg.L1(1.0)), jnp.array([1.0, -2.0])
    >>> optimality(jnp.array([-1.0, 1.0]), tx.init(w)) < 1e-3  # -gradient is a subgradient at w
    Array(True, dtype=bool)
    """
    dual = find_state(state).dual
    F = jax.tree.map(jnp.add, tree.cast_like(grads, dual), dual)
    return jnp.sqrt(tree.total(jnp.square, F))


def point(params: PyTree, state: PyTree) -> PyTree:
    """`z = w + step * y`, like params in float32 or wider: what to average under gradient noise.

    An average of params has no zeros left; `averaged_params` of an average of z has them. state: as
    in `optimality`.

    >>> import jreg
    >>> tx, w = proximal(optax.sgd(0.5), jreg.L1(1.0), 1.0), jnp.array([2.0, 0.0])
    >>> updates, state = tx.update(jnp.array([-1.0, 0.5]), tx.init(w), w)
    >>> point(optax.apply_updates(w, updates), state).round(2)
    Array([ 3.  , -0.25], dtype=float32)
    """
    state = find_state(state)
    return point_of(rounding.restore(params, state.residue), state.step, state.dual)


def averaged_params(average: PyTree, penalty: Any, step: PyTree) -> PyTree:
    """`prox(average, step)`, with exact zeros, of an average of `point(params, state)`.

    step: that of the run: the number given to `proximal`, or `state.step`.

    >>> import jreg
    >>> averaged_params(jnp.array([3.0, -0.25]), jreg.L1(1.0), 1.0)
    Array([2., 0.], dtype=float32)
    """
    return penalty.prox(average, step)
