"""Penalties for networks: optax gradient transformations with exact zeros.

`proximal(inner, penalty)` is the one to use: it minimises loss + penalty with any optax optimiser.
The others are named for what they solve. `scheduled` and `target_sparsity` move the strength during
training, `inverse_sqrt_schedule` the learning rate; `sparsity_report`, `compact` and `freeze_zeros`
are for afterwards. Ridge alone needs no prox: `optax.add_decayed_weights`;
`transforms.weight_decay` says what each form of it minimises.
"""

from jreg.transforms.adaptive import proximal_adam
from jreg.transforms.after import freeze_zeros, sparsity_report
from jreg.transforms.compact import compact
from jreg.transforms.decoupled import decoupled, proximal_sgd
from jreg.transforms.dual_averaging import linbreg, rda
from jreg.transforms.max_norm import MaxNorm
from jreg.transforms.proximal import (
    ProximalState,
    averaged_params,
    find_state,
    optimality,
    point,
    proximal,
)
from jreg.transforms.schedules import inverse_sqrt_schedule
from jreg.transforms.strength import scheduled, target_sparsity
from jreg.transforms.subgradient import add_penalty_gradient, add_sign
from jreg.transforms.weight_decay import proximal_decay

__all__ = [
    "MaxNorm",
    "ProximalState",
    "add_penalty_gradient",
    "add_sign",
    "averaged_params",
    "compact",
    "decoupled",
    "find_state",
    "freeze_zeros",
    "inverse_sqrt_schedule",
    "linbreg",
    "optimality",
    "point",
    "proximal",
    "proximal_adam",
    "proximal_decay",
    "proximal_sgd",
    "rda",
    "scheduled",
    "sparsity_report",
    "target_sparsity",
]
