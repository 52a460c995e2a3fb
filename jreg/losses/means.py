"""The weighted mean of any loss over the samples, and its derivatives.

Most losses are one number per sample, and the mean is a sum of `weight * pointwise`. A `MeanLoss`
(Cox's partial likelihood) defines the mean itself. Weights sum to 1; a sample of weight 0 is
absent: whatever its eta, it adds exactly 0.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jreg.typing import Array, has


def prepare(loss: Any, y: Array) -> Any:
    """What of the response can be computed ahead of all predictors."""
    return loss.prepare(y) if has(loss, "prepare") else y


def of_present(y: Array, weight: Array) -> Array:
    """y with that of a present row in rows of weight 0, which may hold anything, NaN too."""
    return jnp.where(like_rows(weight == 0, y), y[jnp.argmax(weight)][None], y)


def mean(loss: Any, eta: Array, y: Any, weight: Array) -> Array:
    """`sum_i s_i loss(eta_i, y_i)`, a scalar; s (n,) sums to 1.

    >>> from jreg.losses import Squared
    >>> mean(Squared(), jnp.zeros(2), jnp.array([1.0, 3.0]), jnp.array([0.5, 0.5]))
    Array(2.5, dtype=float32)
    """
    if has(loss, "mean"):
        return loss.mean(eta, y, weight)
    return jnp.sum(weight * loss.pointwise(present(eta, weight), y))


def mean_gradient(loss: Any, eta: Array, y: Any, weight: Array) -> Array:
    """Derivative of `mean` in eta, like eta."""
    if has(loss, "mean"):
        return loss.mean_gradient(eta, y, weight)
    return like_rows(weight, eta) * loss.gradient(present(eta, weight), y)


def mean_curvature(loss: Any, eta: Array, y: Any, weight: Array) -> Array:
    """Second derivative of `mean` in each entry of eta; for a `MeanLoss` a diagonal bound."""
    if has(loss, "mean"):
        return loss.mean_curvature(eta, y, weight)
    return like_rows(weight, eta) * loss.curvature(present(eta, weight), y)


def mean_deviance(loss: Any, eta: Array, y: Any, weight: Array) -> Array:
    """Weighted mean deviance, a scalar."""
    if has(loss, "mean"):
        return loss.mean_deviance(eta, y, weight)
    return jnp.sum(weight * loss.deviance(present(eta, weight), y))


def mean_hessian_times(loss: Any, eta: Array, y: Any, weight: Array, d: Array) -> Array:
    """Second derivative of `mean` times d, like eta."""
    if eta.ndim == 1 and not has(loss, "mean"):
        return mean_curvature(loss, eta, y, weight) * d
    return jax.jvp(lambda eta: mean_gradient(loss, eta, y, weight), (eta,), (d,))[1]


def mean_bregman(loss: Any, new: Array, old: Array, y: Any, weight: Array) -> Array:
    """`mean(new) - mean(old) - <mean_gradient(old), new - old>`, or a bound of it from above.

    Free of cancellation where the loss has a smoothness or a `bregman` of its own; else differences
    within rounding count as 0.
    """
    change = new - old
    if not has(loss, "mean") and loss.smoothness is not None:
        return 0.5 * loss.smoothness * jnp.sum(like_rows(weight, new) * change**2)
    if has(loss, "bregman"):
        return jnp.sum(weight * loss.bregman(present(new, weight), present(old, weight), y))
    before, after = mean(loss, old, y, weight), mean(loss, new, y, weight)
    excess = after - before - jnp.sum(mean_gradient(loss, old, y, weight) * change)
    rounding = 8 * jnp.finfo(before.dtype).eps * (jnp.abs(before) + jnp.abs(after))
    return jnp.where(excess <= rounding, 0, excess)


def like_rows(rows: Array, array: Array) -> Array:
    """One number per row, (m,), shaped to multiply an array (m,) or (m, k)."""
    return rows if array.ndim == 1 else rows[:, None]


def present(eta: Array, weight: Array) -> Array:
    """eta, and 0 for absent samples, where it may have overflowed."""
    return jnp.where(like_rows(weight, eta) == 0, 0, eta)
