"""What a linear model asks of its design X (n, p), dense or sparse."""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jreg import checks, linalg
from jreg.linalg import dot
from jreg.sparse import Sparse, compressed, from_compressed, is_scipy
from jreg.typing import Array, ArrayLike

Design: TypeAlias = Array | Sparse


def checked(name: str, X: ArrayLike) -> Any:
    """X as a floating matrix of JAX, or the `Sparse` of SciPy's; else an error that says why."""
    if isinstance(X, Sparse):
        return X
    if is_scipy(X):
        found = from_compressed(compressed(name, X, jnp.result_type(float)))
        return jax.tree.map(jnp.asarray, found)
    X = checks.floating(name, X)
    checks.matrix(name, X)
    return X


def entries(X: Design) -> Array:
    """A dense X; TypeError for a sparse one."""
    if isinstance(X, Sparse):
        raise TypeError(
            "X is sparse, and this method reads its columns: use FISTA() or ProxLBFGS(), which "
            "need products with X alone, or X.toarray() if it fits in memory"
        )
    return X


def times(X: Design, w: Array) -> Array:
    """`X w` for w (p,) or (p, k)."""
    return X.times(w) if isinstance(X, Sparse) else dot(X, w)


def transposed_times(X: Design, r: Array) -> Array:
    """`X' r` for r (n,) or (n, k)."""
    return X.transposed_times(r) if isinstance(X, Sparse) else dot(r.T, X).T


def columns(X: Design, index: Array) -> Array:
    """The columns `index` (k,) as a dense (n, k) array."""
    return X.columns.dense(index).T if isinstance(X, Sparse) else X[:, index]


def column_mean(X: Design, weight: Array) -> Array:
    """Weighted mean of each column, (p,), for a weight (n,) with sum 1."""
    return transposed_times(X, weight)


def column_scale(X: Design, weight: Array, mean: Array) -> Array:
    """Weighted 1/n standard deviation of each column, (p,); see `linalg.deviation`."""
    return linalg.deviation(*column_moments(X, weight, mean))


def column_moments(X: Design, weight: Array, centre: Array) -> tuple[Array, Array]:
    """`sum_i weight_i (X_ij - centre_j)^2`, `max_i |X_ij|` over rows of positive weight; (p,)."""
    of = X.column_moments if isinstance(X, Sparse) else partial(linalg.column_moments, X)
    return of(weight, centre)


def column_sum(X: Design, weight: Array, centre: Array) -> Array:
    """`sum_i weight_i (X_ij - centre_j)`, without the cancellation of two large sums; (p,)."""
    of = X.column_sum if isinstance(X, Sparse) else partial(linalg.column_sum, X)
    return of(weight, centre)


def gram(X: Design, weight: Array, centre: Array) -> Array:
    """`sum_i weight_i (X_i - centre)(X_i - centre)'`, (p, p), for weights >= 0."""
    of = X.gram if isinstance(X, Sparse) else partial(linalg.gram, X)
    return of(weight, centre)
