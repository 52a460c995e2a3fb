"""Regularisation by chance: pure functions of a key and arrays, for networks in any library.

All work under jit, vmap and grad, keep the dtype of their arrays, and do nothing random with
`deterministic=True`. Penalties for networks, and weight decay, are in `jreg.transforms`.
"""

from jreg.stochastic.augment import cutout, gaussian_noise, mixup, random_crop, random_flip
from jreg.stochastic.batch_norm import (
    BatchStats,
    batch_norm,
    batch_stats,
    initial_stats,
    normalize,
    update_stats,
)
from jreg.stochastic.depth import linear_decay, stochastic_depth
from jreg.stochastic.dropout import dropout, spatial_dropout
from jreg.stochastic.fractional_pooling import (
    fractional_avg_pool,
    fractional_max_pool,
    pooled_size,
    pseudo_random_boundaries,
    random_boundaries,
)

__all__ = [
    "BatchStats",
    "batch_norm",
    "batch_stats",
    "cutout",
    "dropout",
    "fractional_avg_pool",
    "fractional_max_pool",
    "gaussian_noise",
    "initial_stats",
    "linear_decay",
    "mixup",
    "normalize",
    "pooled_size",
    "pseudo_random_boundaries",
    "random_boundaries",
    "random_crop",
    "random_flip",
    "spatial_dropout",
    "stochastic_depth",
    "update_stats",
]
