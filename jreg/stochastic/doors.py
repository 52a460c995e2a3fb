"""What enters a stochastic function: a key, floating arrays, rates, axes; refused by name if wrong.

Shapes, dtypes and concrete numbers raise. A compiled program cannot, so a traced rate out of range
becomes NaN, and with it every result.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks
from jreg.typing import Array, ArrayLike, Scalar


def key(value: Any) -> Array:
    """One random key, of `jax.random.key` or `PRNGKey`."""
    if value is None:
        raise ValueError("a key is needed, say jax.random.key(0), unless deterministic=True")
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", ())
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != jnp.uint32 or len(shape) == 0):
        raise TypeError(f"key must be a random key, say jax.random.key(0); got {value!r}")
    if len(shape) != (0 if typed else 1):
        raise ValueError(
            f"key must be one key; got an array of keys of shape {shape}. "
            "For a draw of each, map over them: jax.vmap(f)(keys, xs)"
        )
    return value


def floats(name: str, value: ArrayLike) -> Array:
    """`value` as an array that keeps its floating dtype, half precision too; others raise."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} must hold floating-point numbers; got dtype {array.dtype}. "
            f"Convert it, for instance with {name}.astype('float32')"
        )
    return array


def wide(dtype: Any) -> Any:
    """The dtype to compute in: half precision would round draws and sums to 8 or 11 bits."""
    return jnp.promote_types(dtype, jnp.float32)


def rate(name: str, value: Scalar) -> Array:
    """A probability in [0, 1), as a constant: what is drawn jumps with it, so it has no derivative.

    1 is refused because `1 / (1 - rate)` is infinite there.
    """
    return jax.lax.stop_gradient(_scalar(name, value, lambda v: (v >= 0) & (v < 1), "[0, 1)"))


def probability(name: str, value: Scalar) -> Array:
    """A probability in [0, 1], as a constant."""
    return jax.lax.stop_gradient(_scalar(name, value, lambda v: (v >= 0) & (v <= 1), "[0, 1]"))


def nonnegative(name: str, value: Scalar) -> Array:
    """A finite number >= 0."""
    return _scalar(name, value, lambda v: (v >= 0) & (v < jnp.inf), "[0, inf)")


def positive(name: str, value: Scalar) -> Array:
    """A finite number > 0."""
    return _scalar(name, value, lambda v: (v > 0) & (v < jnp.inf), "(0, inf)")


def _scalar(name: str, value: Scalar, valid: Callable[[Any], Any], span: str) -> Array:
    """One valid number, of the default floating dtype."""
    if np.ndim(value) > 0:
        raise ValueError(
            f"{name} must be one number; got shape {np.shape(value)}. "
            "For several, map over them with jax.vmap"
        )
    dtype = jnp.result_type(float)
    if checks.is_traced(value):
        traced = jnp.asarray(value, dtype)
        return jnp.where(valid(traced), traced, jnp.nan)
    rounded = np.asarray(value).astype(dtype)  # 1 - 1e-9 is 1 in float32
    if not valid(rounded):
        raise ValueError(f"{name} must be in {span}; got {float(rounded):g}")
    return jnp.asarray(rounded)


def axes(name: str, dims: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Distinct axes of an array of `ndim` axes, as numbers >= 0."""
    given = (dims,) if isinstance(dims, int) else tuple(dims)
    if not all(-ndim <= d < ndim for d in given):
        raise ValueError(f"{name} must be axes of an array of rank {ndim}; got {given}")
    found = tuple(d % ndim for d in given)
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must be distinct axes; got {given} for rank {ndim}")
    return found
