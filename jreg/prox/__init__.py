"""Proximal operators as plain functions: `prox(v, t) = argmin_z t f(z) + 1/2 |z - v|^2`.

`v` has any shape; the threshold `t >= 0` is a scalar or like `v` (a diagonal metric, or a strength
per feature) unless a function says otherwise. An infinite threshold means the limit.
"""

from jreg.linalg import plus_zero
from jreg.prox.elementwise import (
    asymmetric_soft_threshold,
    elastic_net,
    huber,
    keep_where,
    nonnegative_soft_threshold,
    ridge,
    soft_threshold,
)
from jreg.prox.groups import l2, l2_in_metric, norm_l2, radial_ratio
from jreg.prox.matrices import nuclear, rank, spectral
from jreg.prox.nonconvex import capped_l1, l0, l_half, log_sum, mcp, scad
from jreg.prox.ordered import fused_lasso, linf, sorted_l1, total_variation

__all__ = [
    "asymmetric_soft_threshold",
    "capped_l1",
    "elastic_net",
    "fused_lasso",
    "huber",
    "keep_where",
    "l0",
    "l2",
    "l2_in_metric",
    "l_half",
    "linf",
    "log_sum",
    "mcp",
    "nonnegative_soft_threshold",
    "norm_l2",
    "nuclear",
    "plus_zero",
    "radial_ratio",
    "rank",
    "ridge",
    "scad",
    "soft_threshold",
    "sorted_l1",
    "spectral",
    "total_variation",
]
