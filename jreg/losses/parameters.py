"""Hyper-parameters of losses: numbers inside an open interval, traced or not."""

from math import inf
from typing import Any

import jax.numpy as jnp
import numpy as np

from jreg.typing import Array, Scalar


def check_inside(name: str, value: Any, low: float, high: float = inf) -> None:
    """Raise ValueError for a concrete number outside the open interval (low, high).

    Safe in `__post_init__` of a pytree: tracers, axis numbers and the like pass.
    """
    if not isinstance(value, float | int | np.number) or isinstance(value, bool):
        return
    if not low < value < high:
        span = "positive and finite" if high == inf else f"between {low:g} and {high:g} (exclusive)"
        raise ValueError(f"{name} must be {span}; got {value!r}")


def inside(value: Scalar, low: float, high: float = inf) -> Array:
    """The number, NaN where it is outside the open interval: traced mistakes are not hidden."""
    value = jnp.asarray(value)
    return jnp.where((value > low) & (value < high), value, jnp.nan)
