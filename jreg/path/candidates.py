"""The columns that matter: gathered, standardised, with unit norm, and their Gram matrix.

Of a path's p columns a few hundred or thousand are ever looked at. They are kept as contiguous rows
in the order in which they were first chosen, with the products of each with each, and both grow as
the path goes on; a product with all of X is made by certificates alone. Of a sparse X the columns
need not be kept: their products are made from what X stores of them.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jreg import design
from jreg.linalg import dot, safe_reciprocal
from jreg.path.compiled import compiled
from jreg.problem import CentredProblem
from jreg.sparse import Sparse
from jreg.typing import Array

CHUNK = 256  # rows multiplied together: growing costs what is filled, not what is reserved


class Candidates(NamedTuple):
    """The first `count` rows are in use, the others 0. Either may be of size 0, if not wanted."""

    rows: Array  # (capacity, n) columns of Z over their norms; (0, n) for products alone
    gram: Array  # (capacity, capacity) their products, rows S rows'


@partial(compiled, donate_argnums=0)
def grow(
    known: Candidates,
    problem: CentredProblem,
    norm: Array,
    features: Array,
    index: Array,
    used: Array,
    count: Array,
) -> Candidates:
    """With the columns `index` (k,), of which `used` count, as rows `count`, `count + 1`, ...

    features: (capacity,) of all rows, the new ones among them, p + 1 for none.
    """
    new = _columns(problem, norm, index) * (jnp.arange(index.size) < used)[:, None]
    weighted = new * problem.weight[None, :]
    if known.rows.size == 0:
        product = _products(problem, norm, features, weighted)
        gram = jax.lax.dynamic_update_slice(known.gram, product.T, (count, jnp.zeros_like(count)))
        gram = jax.lax.dynamic_update_slice(gram, product, (jnp.zeros_like(count), count))
        return Candidates(known.rows, gram)
    rows = jax.lax.dynamic_update_slice(known.rows, new, (count, jnp.zeros_like(count)))
    if known.gram.size == 0:
        return Candidates(rows, known.gram)

    def multiply(i: Array, gram: Array) -> Array:
        start = i * CHUNK
        chunk = jax.lax.dynamic_slice_in_dim(rows, start, CHUNK)
        product = dot(weighted, chunk.T)
        gram = jax.lax.dynamic_update_slice(gram, product, (count, start))
        return jax.lax.dynamic_update_slice(gram, product.T, (start, count))

    chunks = (count + used + CHUNK - 1) // CHUNK
    return Candidates(rows, jax.lax.fori_loop(0, chunks, multiply, known.gram))


def _columns(problem: CentredProblem, norm: Array, index: Array) -> Array:
    """Columns of Z over their norms, as rows; ones for the intercept, feature p."""
    p = norm.size
    at = jnp.minimum(index, p - 1)
    rows = design.columns(problem.X, at).T - problem.mean[at][:, None]
    rows = jnp.where(problem.weight[None, :] > 0, rows, 0)
    rows = rows * safe_reciprocal(problem.scale[at] * norm[at])[:, None]
    return jnp.where((index == p)[:, None], 1, rows)


def _products(problem: CentredProblem, norm: Array, features: Array, r: Array) -> Array:
    """Products of columns of Z over their norms with r (k, n): (features, k); 0 beyond the last."""
    assert isinstance(problem.X, Sparse)
    at = jnp.minimum(features, norm.size - 1)
    per = jnp.where(features < norm.size, safe_reciprocal(problem.scale[at] * norm[at]), 0)
    raw = problem.X.columns.chosen_times(features, r.T)
    return (raw - problem.mean[at][:, None] * jnp.sum(r, axis=1)[None, :]) * per[:, None]
