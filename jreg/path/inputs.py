"""Input as people have it (DataFrames, lists, integers) as arrays of one dtype, or an error.

Only host code comes here: values are concrete, so every check can look at them.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, sparse
from jreg.design import Design
from jreg.problem import LinearProblem
from jreg.typing import ArrayLike, has

ALIGNMENT = 64  # bytes
LARGE = 2**24  # bytes, from which several threads copy
COPIERS = min(8, os.cpu_count() or 1)


def precision(dtype: Any) -> AbstractContextManager:
    """A scope in which JAX computes in `dtype`, whatever the x64 flag says."""
    return jax.enable_x64(True) if np.dtype(dtype) == np.float64 else nullcontext()


def read_design(X: ArrayLike, names: Any = None) -> tuple[Any, tuple[str, ...] | None]:
    """As `read_matrix`; a SciPy matrix or array stays sparse, compressed by rows (CSR)."""
    if not sparse.is_scipy(X):
        return read_matrix(X, names)
    csr = sparse.compressed("X", X)
    if not np.isfinite(csr.data).all():
        wrong = np.nonzero(~np.isfinite(csr.data))[0]
        row = np.searchsorted(csr.indptr, wrong[0], side="right") - 1
        raise _not_finite(wrong.size, row, csr.indices[wrong[0]])
    return csr, _names(names, None, csr.shape[1])


def read_matrix(X: ArrayLike, names: Any = None) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """X (n_samples, n_features) as finite float32 or float64, and the feature names.

    Names are those given, or the columns of a DataFrame, or None. Raises TypeError or ValueError
    that names the columns or rows at fault.
    """
    checks.refuse_sparse("X", X)
    columns = getattr(X, "columns", None)
    if columns is not None:
        columns = [str(name) for name in columns]
        _refuse_non_numeric(X)
    array = _floating("X", X)
    checks.matrix("X", array)
    if not _all_finite(array):
        rows, cols = np.nonzero(~np.isfinite(array))
        raise _not_finite(rows.size, rows[0], columns[cols[0]] if columns else cols[0])
    return array, _names(names, columns, array.shape[1])


def _all_finite(X: np.ndarray) -> bool:
    """Whether all entries are finite. So they are if their sum is, which takes less time; that of
    large ones may overflow all the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()) or np.isfinite(X).all())


def _not_finite(count: int, row: Any, column: Any) -> ValueError:
    return ValueError(
        f"X must be finite; {count} of its entries are NaN or infinite, the first in "
        f"row {row}, column {column}. Drop or impute them first."
    )


def _names(given: Any, columns: list[str] | None, n_features: int) -> tuple[str, ...] | None:
    chosen = columns if given is None else [str(name) for name in given]
    if chosen is not None and len(chosen) != n_features:
        raise ValueError(
            f"feature_names must have {n_features} entries, one per column; got {len(chosen)}"
        )
    return None if chosen is None else tuple(chosen)


def on_device(X: Any) -> Design:
    """X as a JAX array, or as a `Sparse` of JAX arrays. CPUs take over memory that is aligned as
    XLA wants it; an aligned copy is made by NumPy several times faster than by XLA."""
    if sparse.is_scipy(X):
        return jax.device_put(sparse.from_compressed(X))
    if X.ctypes.data % ALIGNMENT or not X.flags.c_contiguous:
        X = _aligned(X)
    return jax.device_put(X)


def aligned_memory(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array in C order, not filled, that JAX takes over as it is on CPUs."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(count + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + count].view(dtype).reshape(shape)


def _aligned(X: np.ndarray) -> np.ndarray:
    """A copy in C order whose memory starts where XLA wants it; a large one by several threads,
    since new memory comes page by page."""
    copy = aligned_memory(X.shape, X.dtype)
    ends = np.linspace(0, len(X), 1 + (COPIERS if X.nbytes > LARGE else 1)).astype(int)

    def fill(rows: slice) -> None:
        np.copyto(copy[rows], X[rows])

    with ThreadPoolExecutor(COPIERS) as threads:
        list(threads.map(fill, map(slice, ends[:-1], ends[1:])))
    return copy


def read_problem(
    X: ArrayLike,
    y: ArrayLike,
    loss: Any,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    feature_names: Any,
    fit_intercept: bool,
    standardize: bool,
) -> tuple[LinearProblem, tuple[str, ...] | None]:
    """The data in the dtype of X, in NumPy (or SciPy), and the names of the features."""
    X, names = read_design(X, feature_names)
    n = X.shape[0]
    y = _read_rows("y", y, n, X.dtype, loss)
    if offset is not None:
        offset = _read_rows("offset", offset, n, X.dtype, loss)
    if sample_weight is not None:
        sample_weight = read_weight(sample_weight, n, X.dtype)
    return LinearProblem(X, y, loss, sample_weight, offset, fit_intercept, standardize), names


def without_absent(problem: LinearProblem) -> LinearProblem:
    """The problem without the rows of weight 0."""
    weight, offset = problem.sample_weight, problem.offset
    if weight is None or np.all(weight > 0):
        return problem
    X, y, weight = (rows[weight > 0] for rows in (problem.X, problem.y, weight))
    offset = None if offset is None else offset[problem.sample_weight > 0]
    return dataclasses.replace(problem, X=X, y=y, sample_weight=weight, offset=offset)


def _read_rows(name: str, v: ArrayLike, n: int, dtype: Any, loss: Any) -> np.ndarray:
    """A vector (n,), or a matrix (n, k) for a loss of several outputs."""
    shape = np.shape(v)
    if not has(loss, "outputs") or len(shape) != 2 or shape[0] != n or shape[1] < 2:
        return read_vector(name, v, n, dtype)
    columns = [read_vector(name, column, n, dtype) for column in np.asarray(v).T]
    return np.stack(columns, axis=1)


def read_vector(name: str, v: ArrayLike, n_samples: int, dtype: Any) -> np.ndarray:
    """A finite vector (n_samples,) in `dtype`."""
    checks.refuse_sparse(name, v)
    array = _floating(name, v)
    checks.vector(name, array, n_samples)
    if not np.isfinite(array).all():
        row = int(np.nonzero(~np.isfinite(array))[0][0])
        raise ValueError(f"{name} must be finite; the first NaN or infinite entry is in row {row}")
    return array.astype(dtype)


def read_weight(weight: ArrayLike, n_samples: int, dtype: Any) -> np.ndarray:
    """Sample weights (n_samples,), at least 0 and not all 0."""
    array = read_vector("sample_weight", weight, n_samples, dtype)
    checks.number("sample_weight", array, low=0)
    if not (array > 0).any():
        raise ValueError("sample_weight must have a positive entry; all are 0")
    return array


def _floating(name: str, value: ArrayLike) -> np.ndarray:
    """Integers and booleans become float64, half precision float32; anything else is refused."""
    # a view: JAX may remember the very array in float32, from a jit where x64 was off
    array = np.asarray(value).view()
    if array.dtype == object:
        try:  # extension types have missing values of their own
            missing = {"na_value": np.nan} if hasattr(value, "isna") else {}
            array = value.to_numpy(float, **missing) if missing else array.astype(float)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must hold numbers; {error}") from error
    if array.dtype.kind in "biu":
        from_jax = isinstance(value, jax.Array)
        return array.astype(jnp.result_type(float) if from_jax else np.float64)
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize == 2:
        return array.astype(np.float32)
    raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")


def _refuse_non_numeric(frame: Any) -> None:
    """Columns of text or categories cannot be guessed at: name them."""
    kinds = [(str(name), dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    wrong = [f"{name} ({dtype})" for name, dtype in kinds if not _is_numeric(dtype)]
    if wrong:
        raise TypeError(
            f"X has columns that are not numbers: {', '.join(wrong[:5])}"
            f"{', ...' * (len(wrong) > 5)}. Encode them first, as pandas.get_dummies does."
        )


def _is_numeric(dtype: Any) -> bool:
    kind = getattr(dtype, "kind", None)  # NumPy and pandas extension dtypes
    if kind is not None:
        return kind in "biuf"
    is_numeric = getattr(dtype, "is_numeric", None)  # polars
    return bool(is_numeric()) if callable(is_numeric) else True
