"""What losses share in reading responses y: shapes, labels, messages."""

import jax.numpy as jnp
import numpy as np

from jreg.typing import Array, ArrayLike


def refuse(y: ArrayLike, wrong: np.ndarray, message: str) -> None:
    """Raise ValueError `message; n values are NaN or infinite` or `...; got y_i, ...`."""
    y, wrong = np.asarray(y), np.asarray(wrong)
    if not wrong.any():
        return
    bad = y[wrong]
    infinite = int((~np.isfinite(bad)).sum())
    if infinite:
        values = "1 value is" if infinite == 1 else f"{infinite} values are"
        raise ValueError(f"{message}; {values} NaN or infinite")
    raise ValueError(f"{message}; got {shown(bad)}")


def shown(values: np.ndarray) -> str:
    """The first few distinct values, for a message."""
    distinct = np.unique(values)
    return ", ".join(str(v) for v in distinct[:5]) + (", ..." * (len(distinct) > 5))


def check_labels(y: ArrayLike, loss: str) -> None:
    """Raise ValueError unless the labels are within {0, 1} or within {-1, 1}."""
    labels = np.unique(np.asarray(y))
    if not (np.isin(labels, (0, 1)).all() or np.isin(labels, (-1, 1)).all()):
        raise ValueError(
            f"y must hold the labels 0 and 1, or -1 and 1, for {loss}; got {shown(labels)}"
        )


def are_labels(y: Array) -> Array:
    """0 and 1, or -1 and 1; a mixture of 0 and -1 has no meaning."""
    both = jnp.any(y == 0) & jnp.any(y == -1)
    return ((y == 1) | (y == 0) | (y == -1)) & ~both


def positive(y: Array) -> Array:
    """Labels {0, 1} or {-1, 1} as {0, 1}."""
    return (y > 0).astype(y.dtype)


def over_outputs(terms: Array) -> Array:
    """The sum over the outputs of each sample: (n, k) to (n,); (n,) as it is."""
    return terms if terms.ndim < 2 else jnp.sum(terms, axis=-1)
