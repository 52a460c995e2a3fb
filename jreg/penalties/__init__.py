"""Penalties: frozen pytrees that pair a value with its proximal operator.

Hyper-parameters are traced leaves, so `jax.vmap(jreg.L1)(lams)` is a batch of penalties; a path
varies the strength through `at`.
"""

from jreg.penalties.elastic_net import ElasticNet
from jreg.penalties.l1 import L1
from jreg.penalties.ridge import Ridge

__all__ = ["L1", "ElasticNet", "Ridge"]
