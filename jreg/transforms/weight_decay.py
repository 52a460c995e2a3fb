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

**Textbook**: `J = 1/m sum of losses + sum_l lam_l/(2m) |W_l|_F^2`, whose gradient step is
`W_l <- (1 - lr lam_l/m) W_l - lr grad`. Those lam are m times ours: `jreg.convert_lam` turns them,
and L1's of `lam_l/(2m) |W_l|_1`. One lam for each layer is `by_path`, one for all `kernels_only`; m
counts the training set, also where gradients are of minibatches.

>>> import jax, jreg, jax.numpy as jnp
>>> lams, m = {"hidden": 8.0, "head": 2.0}, 4
>>> rows = {layer: jreg.convert_lam(lam, "mean_l2_over_2m", m) for layer, lam in lams.items()}
>>> decay = jreg.by_path({f"{layer}/kernel": Ridge(lam) for layer, lam in rows.items()})
>>> layer = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
>>> params = {"hidden": layer, "head": layer}
>>> decay.value(params)  # what J adds to the mean loss: 8/8 |1|^2 + 2/8 |1|^2
Array(1.25, dtype=float32)
>>> jax.grad(decay.value)(params)["hidden"]  # lam/m W
{'bias': Array([0.], dtype=float32), 'kernel': Array([[2.]], dtype=float32)}

So `jax.grad(J)` with plain SGD is the textbook's update, and so are
`chain(add_penalty_gradient(decay), optax.sgd(lr))` and, for one lam on all,
`chain(optax.add_decayed_weights(lam / m), optax.sgd(lr))`.

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
    schedule. ValueError for a negative number. Zhuang et al. (2022).

    >>> import jax.numpy as jnp
    >>> tx = proximal_decay(optax.sgd(0.5), 2.0, 0.5)
    >>> w = jnp.array([1.0])
    >>> optax.apply_updates(w, tx.update(jnp.array([0.0]), tx.init(w), w)[0])
    Array([0.5], dtype=float32)
    """
    return decoupled(inner, Ridge(lam), learning_rate)
