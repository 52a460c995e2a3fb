"""Tall least squares as few rows: the same losses, gradients and gaps from a triangular factor."""

import dataclasses
import math

import jax.numpy as jnp

from jreg.path.compiled import compiled
from jreg.path.setup import LARGEST_MODEL, Data
from jreg.sparse import Sparse

TALL = 2  # rows for each row that is left, at least


def compressed(data: Data) -> Data:
    """`data` on m = n_features + n_outputs rows, where these are few enough, X is dense and
    the loss quadratic; else as it is.

    With the factor R of `sqrt(s) [X - mean, y] = Q R`, s the weights, m rows `sqrt(m) R` of weight
    1 / m have the same `|sqrt(s)(Z theta - y)|` for every theta; y and Z being centred, the
    intercept is 0 and may be left out. Takes a copy of X and n (p + k)^2 multiplications, once.
    Golub and Van Loan (2013), section 5.3.
    """
    n, p = data.problem.X.shape
    rows = p + math.prod(data.problem.outputs)
    dense = not isinstance(data.problem.X, Sparse)
    suits = dense and data.problem.loss.quadratic and p <= LARGEST_MODEL
    return _compress(data) if suits and n >= TALL * rows else data


@compiled
def _compress(data: Data) -> Data:
    problem = data.problem
    p, outputs = problem.mean.size, problem.outputs
    root = jnp.sqrt(problem.weight)[:, None]
    y = problem.y.reshape(problem.y.shape[0], -1)
    both = jnp.concatenate([problem.X - problem.mean[None, :], y], axis=1)
    R = jnp.linalg.qr(root * both, mode="r")
    m = R.shape[0]
    R = math.sqrt(m) * R
    y = R[:, p:].reshape(m, *outputs)
    problem = dataclasses.replace(
        problem,
        X=R[:, :p],
        y=y,
        weight=jnp.full(m, 1 / m, R.dtype),
        offset=jnp.zeros_like(y),
        mean=jnp.zeros_like(problem.mean),
        gram=None,
        fit_intercept=False,
    )
    params = data.null.params._replace(intercept=jnp.zeros(outputs, R.dtype))
    null = data.null._replace(params=params, dual=problem.image(params) - y)
    return data._replace(problem=problem, null=null)
