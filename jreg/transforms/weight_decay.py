"""Weight decay in all its forms, and which penalty each of them minimises.

lam is in units of the loss, the mean over samples. m is the number of samples, lr the learning
rate, b an accumulated momentum, `D_i = rms(g_i) + eps` what Adam divides by.

**Coupled**: `g + lam w` enters the optimiser: `chain(optax.add_decayed_weights(lam), inner)`, or
`add_penalty_gradient(Ridge(lam))`. Minimises `loss + lam/2 |w|^2`, with any inner optimiser. So
does `proximal(inner, Ridge(lam))`; with L1 beside it, `proximal(inner, ElasticNet(...))`.

**Decoupled**: `w <- (1 - lr lam) w + u`: `optax.adamw(lr, weight_decay=lam)`. With plain SGD as
coupled; with momentum `loss + (1 - b) lam/2 |w|^2`; with Adam `loss + lam/2 sum_i D_i w_i^2`, which
on full batches, where D_i is |g_i|, is the bound `max |w_i| <= 1 / lam` instead (Xie and Li, 2024).

**Proximal**: `w <- (w + u) / (1 + lr lam)`: `proximal_decay`. Minimises what the decoupled form
does, to first order in lr (exactly, for SGD), and is stable for every lr lam. Zhuang et al. (2022).

**Textbook**: `w <- (1 - lr lam/m) w - lr grad`, for `(1/m) sum of losses + lam/(2m) |w|^2`: that
lam is m times ours, so `chain(optax.add_decayed_weights(lam / m), optax.sgd(lr))`;
`jreg.convert_lam` has other people's conventions.

Loshchilov and Hutter (2019) compare the first two.
"""

from typing import Any

import optax

from jreg.penalties import Ridge
from jreg.transforms.decoupled import decoupled
from jreg.typing import Scalar


def proximal_decay(
    inner: optax.GradientTransformation, lam: Scalar, learning_rate: Any
) -> optax.GradientTransformationExtraArgs:
    """Weight decay as a prox: `w <- (w + u) / (1 + learning_rate * lam)`, u the inner's update.

    Where `(1 - learning_rate * lam) w + u` flips signs, above `learning_rate * lam = 1`, this still
    shrinks. It is `decoupled(inner, Ridge(lam), learning_rate)`: with Adam it minimises
    `loss + lam/2 sum_i D_i w_i^2`, D_i = rms(g_i), not ridge; this module's docstring has the table
    of all forms. lam: strength >= 0, in units of the loss. learning_rate: as inner's, or a
    schedule.

    >>> import jax.numpy as jnp
    >>> tx = proximal_decay(optax.sgd(0.5), 2.0, 0.5)
    >>> w = jnp.array([1.0])
    >>> optax.apply_updates(w, tx.update(jnp.array([0.0]), tx.init(w), w)[0])
    Array([0.5], dtype=float32)
    """
    return decoupled(inner, Ridge(lam), learning_rate)
