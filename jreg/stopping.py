"""Early stopping: when a measure on other data no longer improves, and what was best by then."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.typing import Array, ArrayLike, PyTree, Scalar


@tree.dataclass
class Stopping:
    """The state of an `EarlyStopping`; a pytree of fixed structure, for the carry of a loop.

    stop: whether the patience is at its end. best_params: those of the best value, the start until
    there is one. best_value: that value; inf (-inf for mode "max") until there is one. best_step:
    the update that brought it, counted from 0; -1 until there is one. step: updates seen.
    waited: updates since the last improvement that counts. reference: the value then.
    """

    stop: Array
    best_params: PyTree
    best_value: Array
    best_step: Array
    step: Array
    waited: Array
    reference: Array


@tree.value_dataclass
class EarlyStopping:
    """Stop after `patience` updates in a row without an improvement of at least `min_delta`.

        improved:  value < reference - min_delta          (relative: min_delta * |reference|)
        then:      reference <- value,  waited <- 0,      else  waited <- waited + 1
        stop:      waited >= patience

    The best is the smallest value of all, also where it improved by less than `min_delta`: the
    minimum improvement is for the patience alone. Small improvements add up, since `reference` is
    the value at the last one that counted. A value that is NaN or infinite is no improvement and
    never the best. Once stopped, a state no longer changes, so a `scan` over all steps ends as a
    `while_loop` that breaks off.

    Stopped early, descent is a regulariser: gradient descent from 0 on least squares stays near the
    ridge path, at the strength 1 / (number of steps * step). Prechelt (1998), section 2; Ali,
    Kolter and Tibshirani (2019), section 4.

    patience: updates, at least 1. min_delta: in units of the measure, or a share of it; at least 0.
    relative: which of the two. mode: "min" or "max", what is better. Raises ValueError for others.

    `init(params)` makes the state, `update(state, value, params)` the next one; both are pure,
    under jit, vmap and scan. `solve(..., stop=, measure=)` runs one over the steps of any solver,
    and `best_along` along a lambda path.

    >>> early = EarlyStopping(patience=2)
    >>> state = early.init(jnp.array(0.0))
    >>> for step, error in enumerate([3.0, 1.0, 2.0, jnp.nan, 0.5]):
    ...     state = early.update(state, error, jnp.array(float(step)))
    >>> bool(state.stop), float(state.best_params), float(state.best_value), int(state.step)
    (True, 1.0, 1.0, 4)
    """

    patience: Scalar = 10
    min_delta: Scalar = 0.0
    relative: bool = tree.static(default=False)
    mode: str = tree.static(default="min")

    def __post_init__(self) -> None:
        checks.number("patience", self.patience, low=1)
        checks.number("min_delta", self.min_delta, low=0)
        if self.mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max"; got {self.mode!r}')

    def init(self, params: PyTree, dtype: Any = None) -> Stopping:
        """The state before the first update; params are what `best_params` starts from.

        dtype: of the values; None: float32, or that of params if it is wider.
        """
        params = jax.tree.map(jnp.asarray, params)
        if dtype is None:
            dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        worst = jnp.asarray(-jnp.inf if self.mode == "max" else jnp.inf, dtype)
        zero = jnp.zeros((), jnp.int32)
        return Stopping(
            stop=jnp.zeros((), bool),
            best_params=params,
            best_value=worst,
            best_step=zero - 1,
            step=zero,
            waited=zero,
            reference=worst,
        )

    def update(self, state: Stopping, value: Scalar, params: PyTree) -> Stopping:
        """The state after one more value, a scalar, measured at params (like those of `init`).

        Raises ValueError for a value that is not a scalar.
        """
        value = jnp.asarray(value, state.best_value.dtype)
        if value.ndim:
            raise ValueError(f"value must be a scalar; got shape {value.shape}")
        sign = -1 if self.mode == "max" else 1
        known = jnp.isfinite(value)
        best = known & (sign * value < sign * state.best_value)
        size = jnp.abs(state.reference) if self.relative else 1
        started = jnp.isfinite(state.reference)
        delta = jnp.where(started, jnp.asarray(self.min_delta, value.dtype) * size, 0)
        improved = known & (sign * value < sign * state.reference - delta)
        waited = jnp.where(improved, 0, state.waited + 1)
        new = Stopping(
            stop=waited >= self.patience,
            best_params=tree.select(best, params, state.best_params),
            best_value=jnp.where(best, value, state.best_value),
            best_step=jnp.where(best, state.step, state.best_step),
            step=state.step + 1,
            waited=waited,
            reference=jnp.where(improved, value, state.reference),
        )
        return tree.select(state.stop, state, new)


class Along(NamedTuple):
    """Where a rule stops along a path.

    lam: the best lambda met by then. row: its place in `lams`; -1, with lam NaN, if no value was
    finite. stopped_at: the row at which the patience was at its end; the last one if it never was.
    """

    lam: Array
    row: Array
    stopped_at: Array


def best_along(lams: ArrayLike, values: ArrayLike, early: EarlyStopping) -> Along:
    """The lambda at which `early` would have stopped on the way from the largest lambda down.

    lams: (n_lams,) in any order, as `Path.lams`. values: (n_lams,), the measure of each row, such
    as a validation error. Pure: under jit and vmap too. Raises ValueError if the shapes differ.
    A smaller lambda takes the part of a longer training: Prechelt (1998), section 2.

    >>> found = best_along([4.0, 2.0, 1.0, 0.5], [9.0, 3.0, 5.0, 1.0], EarlyStopping(patience=1))
    >>> float(found.lam), int(found.row), int(found.stopped_at)
    (2.0, 1, 2)
    """
    if np.ndim(lams) != 1 or np.shape(lams) != np.shape(values) or not np.size(lams):
        raise ValueError(
            "lams and values must be vectors of one length, at least 1; "
            f"got shapes {np.shape(lams)} and {np.shape(values)}"
        )
    lams, values = checks.floating("lams", lams), checks.floating("values", values)
    falling = jnp.argsort(-lams, stable=True)

    def look(state: Stopping, row: Array) -> tuple[Stopping, None]:
        return early.update(state, values[row], row), None

    start = early.init(jnp.full((), -1, falling.dtype), values.dtype)
    state, _ = jax.lax.scan(look, start, falling)
    row = state.best_params
    return Along(
        lam=jnp.where(row >= 0, lams[row], jnp.nan),
        row=row,
        stopped_at=falling[state.step - 1],
    )
