"""Batch normalisation, with its statistics as explicit state.

All other axes than the one of features are averaged over, and `axis_name` averages over a mapped
axis (`vmap`, `pmap`, `shard_map`) as well, as if its parts were one batch. Statistics are computed
in float32 or wider, the deviations around the mean in a second pass: mean squares would cancel.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.stochastic import doors
from jreg.typing import Array, ArrayLike, Scalar


@tree.dataclass
class BatchStats:
    """Mean and variance (divided by n) of each feature, (n_features,) each; a pytree."""

    mean: Array
    var: Array


def initial_stats(n_features: int, dtype: Any = jnp.float32) -> BatchStats:
    """Mean 0 and variance 1, where running statistics start.

    n_features: >= 1, else ValueError. dtype: that of the state, for good.

    >>> initial_stats(2).var
    Array([1., 1.], dtype=float32)
    """
    if n_features < 1:
        raise ValueError(f"n_features must be at least 1; got {n_features}")
    return BatchStats(jnp.zeros(n_features, dtype), jnp.ones(n_features, dtype))


def batch_stats(x: ArrayLike, *, axis: int = -1, axis_name: Any = None) -> BatchStats:
    """`mean = 1/n sum x` and `var = 1/n sum (x - mean)^2` of each feature, over all other axes.

    x: floating, of rank 1 or more; with axis_name rank 1 is one example of the mapped axis. axis:
    that of features. axis_name: the mapped axis, or several, over which to average too. Both
    results are float32, or float64 if x is. Raises ValueError if there is but one number per
    feature, whose variance says nothing; TypeError for integers.

    Ioffe and Szegedy (2015), algorithm 1; over devices, Peng et al. (2018).

    >>> batch_stats(jnp.array([[1.0, 5.0], [3.0, 5.0]]))
    BatchStats(mean=Array([2., 5.], dtype=float32), var=Array([1., 0.], dtype=float32))
    """
    x = doors.floats("x", x)
    (feature,) = doors.axes("axis", axis, x.ndim)
    if axis_name is None and x.size <= x.shape[feature]:
        raise ValueError(
            f"x must have more than one number per feature; got shape {x.shape}, features along "
            f"axis {feature}. Name the mapped axis by axis_name, or use deterministic=True"
        )
    x = jnp.moveaxis(x, feature, -1).astype(doors.wide(x.dtype))

    def average(a: Array) -> Array:
        own = jnp.mean(a, axis=tuple(range(a.ndim - 1)))
        return own if axis_name is None else jax.lax.pmean(own, axis_name)

    mean = average(x)
    return BatchStats(mean, average((x - _last(mean, x.ndim)) ** 2))


def normalize(
    x: ArrayLike,
    stats: BatchStats,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    axis: int = -1,
    eps: float = 1e-5,
) -> Array:
    """`scale (x - mean) / sqrt(var + eps) + shift`, feature by feature.

    Args:
      x: floating; the result has its shape and dtype.
      stats: of each feature, (n_features,).
      scale, shift: (n_features,); 1 and 0 if None. shift has the units of the result.
      axis: that of features.
      eps: > 0, in units of x squared.

    Raises ValueError for shapes that differ or eps <= 0, TypeError for integers. Ioffe and Szegedy
    (2015), algorithm 1.

    >>> normalize(jnp.array([[5.0], [1.0]]), BatchStats(jnp.array([3.0]), jnp.array([4.0])))
    Array([[ 1.],
           [-1.]], dtype=float32)
    """
    x = doors.floats("x", x)
    (feature,) = doors.axes("axis", axis, x.ndim)
    n_features = x.shape[feature]
    _check_sizes(n_features, mean=stats.mean, var=stats.var, scale=scale, shift=shift)
    dtype = doors.wide(x.dtype)
    # the root before the broadcast: one for each feature
    factor = jax.lax.rsqrt(stats.var.astype(dtype) + doors.positive("eps", eps).astype(dtype))
    if scale is not None:
        factor = factor * jnp.asarray(scale, dtype)
    z = jnp.moveaxis(x, feature, -1).astype(dtype)
    z = (z - _last(stats.mean.astype(dtype), z.ndim)) * _last(factor, z.ndim)
    if shift is not None:
        z = z + _last(jnp.asarray(shift, dtype), z.ndim)
    return jnp.moveaxis(z, -1, feature).astype(x.dtype)


def update_stats(running: BatchStats, batch: BatchStats, momentum: Scalar = 0.99) -> BatchStats:
    """`momentum running + (1 - momentum) batch`, in the dtype of `running`.

    momentum: in [0, 1), as in flax (torch calls 1 - momentum so, and Ioffe and Szegedy divide the
    variance by n - 1 here); a traced one outside gives NaN, any other raises ValueError.

    >>> update_stats(initial_stats(1), BatchStats(jnp.array([2.0]), jnp.array([5.0])), 0.75).var
    Array([2.], dtype=float32)
    """
    m = doors.rate("momentum", momentum)

    def average(old: Array, new: Array) -> Array:
        return (m * old + (1 - m) * new).astype(old.dtype)

    return BatchStats(average(running.mean, batch.mean), average(running.var, batch.var))


def batch_norm(
    x: ArrayLike,
    running: BatchStats,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    axis: int = -1,
    momentum: Scalar = 0.99,
    eps: float = 1e-5,
    axis_name: Any = None,
    deterministic: bool = False,
) -> tuple[Array, BatchStats]:
    """`normalize` by the statistics of the batch, and the running statistics after it.

    deterministic=True, for the network in use, normalises by `running` and returns it as it is.
    Derivatives go through the statistics of the batch.

    Args:
      x: floating, (n_samples, ..., n_features) if axis is -1; the result has its shape and dtype.
      running: starts as `initial_stats(n_features)`; carry it from step to step.
      scale, shift: (n_features,), learned; 1 and 0 if None.
      axis, axis_name: as for `batch_stats`.
      momentum: as for `update_stats`.
      eps: > 0, in units of x squared.

    Raises as those functions do. Ioffe and Szegedy (2015), algorithms 1 and 2.

    >>> y, running = batch_norm(jnp.array([[5.0], [1.0]]), initial_stats(1), momentum=0.5)
    >>> y.ravel(), running.mean
    (Array([ 1., -1.], dtype=float32), Array([1.5], dtype=float32))
    """
    if deterministic:
        return normalize(x, running, scale, shift, axis=axis, eps=eps), running
    batch = batch_stats(x, axis=axis, axis_name=axis_name)
    _check_sizes(batch.mean.size, mean=running.mean, var=running.var)
    y = normalize(x, batch, scale, shift, axis=axis, eps=eps)
    return y, update_stats(running, batch, momentum)


def _check_sizes(n_features: int, **named: ArrayLike | None) -> None:
    for name, value in named.items():
        if value is not None and jnp.shape(value) != (n_features,):
            raise ValueError(
                f"{name} must have shape (n_features,) = ({n_features},), as x has; "
                f"got {jnp.shape(value)}"
            )


def _last(v: Array, ndim: int) -> Array:
    """(n_features,) as the last of `ndim` axes."""
    return v.reshape((1,) * (ndim - 1) + v.shape)
