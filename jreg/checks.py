"""Checks of input at public doors: each raises an error that says what came and what to do.

They look at shapes, dtypes and concrete numbers only. A traced value passes (its defects end in
`Status`), because a compiled program cannot raise.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.typing import ArrayLike


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a tracer, that is: we are inside jit, vmap or grad."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def number(name: str, value: Any, *, low: float, high: float = np.inf) -> None:
    """A concrete number (or array of numbers) within [low, high]; anything else passes.

    Safe in `__post_init__` of a pytree, which also sees tracers, shape structs and axis numbers.
    """
    if not isinstance(value, (float, int, np.ndarray, np.number)) or isinstance(value, bool):
        return
    array = np.asarray(value)
    if array.dtype.kind in "fiu" and not np.all((array >= low) & (array <= high)):
        span = f"at least {low:g}" if high == np.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} must be {span}; got {_show(array)}")


def concrete_number(name: str, value: Any, *, low: float, high: float = np.inf) -> None:
    """As `number`, also for JAX arrays that are not traced."""
    if isinstance(value, jax.Array) and not is_traced(value):
        value = np.asarray(value)
    number(name, value, low=low, high=high)


def whole_number(name: str, value: Any, *, low: float, high: float = np.inf) -> None:
    """As `concrete_number`, of numbers without a fraction."""
    concrete_number(name, value, low=low, high=high)
    if isinstance(value, (float, np.floating)) and value % 1 != 0:
        raise ValueError(f"{name} must be a whole number; got {value}")


def ordered(low_name: str, low: Any, high_name: str, high: Any) -> None:
    """Concrete numbers or arrays with low <= high entry by entry; anything else passes."""
    kinds = (float, int, np.ndarray, np.number)
    if not (isinstance(low, kinds) and isinstance(high, kinds)):
        return
    low, high = np.asarray(low), np.asarray(high)
    if low.dtype.kind in "fiu" and high.dtype.kind in "fiu" and not np.all(low <= high):
        raise ValueError(
            f"{low_name} must be at most {high_name}; got {_show(low)} and {_show(high)}"
        )


def ranges(member: Any) -> None:
    """Every hyper-parameter of a penalty, and of penalties inside it, within the interval that its
    `ranges` gives it."""
    intervals = getattr(member, "ranges", {})
    if "lam" in intervals and np.ndim(member.lam) > 0:
        raise ValueError(
            f"lam must be one number; got shape {np.shape(member.lam)}. Factors for each feature "
            "are `weights`; a batch of penalties goes through jax.vmap, a path through sweep"
        )
    for name, (low, high) in intervals.items():
        for leaf in jax.tree.leaves(getattr(member, name)):
            concrete_number(name, leaf, low=low, high=high)
    for inside in tree.inside(member, "ranges"):
        ranges(inside)


def tolerance(tol: Any, dtype: Any) -> Any:
    """The tolerance to use: 1e-6 in float64 and 1e-4 in float32 for None.

    Raises ValueError for one below ten times the rounding unit of `dtype`, which no computation
    in that dtype can certify.
    """
    eps = float(jnp.finfo(dtype).eps)
    if tol is None:
        return 1e-6 if eps < 1e-10 else 1e-4
    if is_traced(tol):
        return tol
    if not float(tol) >= 10 * eps:
        hint = "" if eps < 1e-10 else "; use float64 data for a smaller one"
        raise ValueError(
            f"tol must be at least {10 * eps:.1e} in {jnp.dtype(dtype).name}; got {tol}{hint}"
        )
    return tol


def floating(name: str, value: ArrayLike) -> Any:
    """`value` as a float32 or float64 array (integers and booleans become the default float).

    Raises TypeError for strings, objects, complex, half precision and sparse matrices.
    """
    refuse_sparse(name, value)
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.dtype.kind in "biu":
        return jnp.asarray(array, jnp.result_type(float))
    if jnp.dtype(array.dtype) not in (jnp.dtype("float32"), jnp.dtype("float64")):
        raise TypeError(
            f"{name} must hold float32 or float64 numbers; got dtype {array.dtype}. "
            f"Convert it, for instance with {name}.astype('float32')."
        )
    return jnp.asarray(array)


def refuse_sparse(name: str, value: Any) -> None:
    """Raise TypeError for a SciPy or JAX sparse matrix."""
    if hasattr(value, "todense") and not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} is a sparse {type(value).__name__}; only the X of path and of LinearProblem "
            "may be sparse, as a matrix or array of SciPy. "
            f"Use {name}.toarray() or {name}.todense() if it fits in memory."
        )


def matrix(name: str, X: Any) -> None:
    """X must have rank 2, at least one row and at least one column."""
    shape = np.shape(X)
    if len(shape) != 2:
        hint = f" Use {name}[:, None] for one feature." if len(shape) == 1 else ""
        raise ValueError(f"{name} must have shape (n_samples, n_features); got {shape}.{hint}")
    if 0 in shape:
        raise ValueError(f"{name} must have at least one row and one column; got shape {shape}")


def vector(name: str, v: Any, n_samples: int) -> None:
    """`v` must have shape (n_samples,)."""
    shape = np.shape(v)
    if shape != (n_samples,):
        hint = f" Use {name}.ravel()." if int(np.prod(shape)) == n_samples else ""
        raise ValueError(
            f"{name} must have shape (n_samples,) = ({n_samples},); got {shape}.{hint}"
        )


def _show(array: np.ndarray) -> str:
    return f"{array.item()!r}" if array.size == 1 else f"values from {array.min()} to {array.max()}"
