"""Penalties: frozen pytrees that pair a value with its proximal operator.

Hyper-parameters are traced leaves, so `jax.vmap(jreg.L1)(lams)` is a batch of penalties; a path
varies the strength through `at`. New penalties are made of members by `+`, `scaled`, `translated`,
`tilted`, `conjugate`, `envelope`, `spectral`, `of_map`, and put on trees by `masked`, `by_path`,
`by_label`, `kernels_only`.
"""

from jreg.penalties.addable import has_prox, is_smooth
from jreg.penalties.box import Box, NonNegative
from jreg.penalties.calculus import fixed, scaled, tilted, translated
from jreg.penalties.duality import conjugate, envelope
from jreg.penalties.elastic_net import ElasticNet
from jreg.penalties.group_sparse import NonNegativeGroupLasso, SparseGroupLasso
from jreg.penalties.groups import Groups
from jreg.penalties.isotonic import Isotonic
from jreg.penalties.l1 import L1, AsymmetricL1, NonNegativeL1
from jreg.penalties.linear_map import of_map
from jreg.penalties.linf import Linf
from jreg.penalties.nonconvex import L0, MCP, SCAD, CappedL1, LHalf, LogSum
from jreg.penalties.nuclear import Nuclear
from jreg.penalties.radial import GroupL0, GroupLasso, GroupMCP
from jreg.penalties.rank import Rank
from jreg.penalties.ridge import Huber, Ridge
from jreg.penalties.slope import SLOPE, slope_weights
from jreg.penalties.spectral_lift import spectral
from jreg.penalties.sum import add
from jreg.penalties.total_variation import FusedLasso, TotalVariation
from jreg.penalties.tree_wise import by_label, by_path, kernels_only, masked

__all__ = [
    "L0",
    "L1",
    "MCP",
    "SCAD",
    "SLOPE",
    "AsymmetricL1",
    "Box",
    "CappedL1",
    "ElasticNet",
    "FusedLasso",
    "GroupL0",
    "GroupLasso",
    "GroupMCP",
    "Groups",
    "Huber",
    "Isotonic",
    "LHalf",
    "Linf",
    "LogSum",
    "NonNegative",
    "NonNegativeGroupLasso",
    "NonNegativeL1",
    "Nuclear",
    "Rank",
    "Ridge",
    "SparseGroupLasso",
    "TotalVariation",
    "add",
    "by_label",
    "by_path",
    "conjugate",
    "envelope",
    "fixed",
    "has_prox",
    "is_smooth",
    "kernels_only",
    "masked",
    "of_map",
    "scaled",
    "slope_weights",
    "spectral",
    "tilted",
    "translated",
]
