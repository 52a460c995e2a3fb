"""Euclidean projections on convex sets and a few others: `argmin_{z in C} |z - v|`.

Own code rather than `optax.projections` throughout: that sums an uncentred simplex in float32,
and has no capped simplex, L0 ball, box section or derivatives at ties and repeated eigenvalues.
"""

from jreg.projections.balls import (
    l0_ball,
    l1_ball,
    l1_sphere,
    l2_ball,
    l2_sphere,
    linf_ball,
    linf_sphere,
)
from jreg.projections.linear import (
    AffineSet,
    affine,
    box,
    halfspace,
    hyperplane,
    hyperslab,
    nonnegative,
)
from jreg.projections.matrices import max_norm, psd, unit_rows
from jreg.projections.order import isotonic
from jreg.projections.section import box_section, capped_simplex, simplex

__all__ = [
    "AffineSet",
    "affine",
    "box",
    "box_section",
    "capped_simplex",
    "halfspace",
    "hyperplane",
    "hyperslab",
    "isotonic",
    "l0_ball",
    "l1_ball",
    "l1_sphere",
    "l2_ball",
    "l2_sphere",
    "linf_ball",
    "linf_sphere",
    "max_norm",
    "nonnegative",
    "psd",
    "simplex",
    "unit_rows",
]
