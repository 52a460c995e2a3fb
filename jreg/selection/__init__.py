"""Choosing lambda: cross-validation, criteria, stability, inference."""

from jreg.selection.adaptive import adaptive_lasso, adaptive_weights
from jreg.selection.criteria import Criteria, criteria
from jreg.selection.cross_validation import cross_validate
from jreg.selection.cv_path import CVPath
from jreg.selection.inference import Debiased, debias
from jreg.selection.relaxed import relax
from jreg.selection.stability import Stability, bootstrap_path, stability_selection

__all__ = [
    "CVPath",
    "Criteria",
    "Debiased",
    "Stability",
    "adaptive_lasso",
    "adaptive_weights",
    "bootstrap_path",
    "criteria",
    "cross_validate",
    "debias",
    "relax",
    "stability_selection",
]
