"""Choosing lambda: cross-validation, criteria, stability, inference."""

from jreg.selection.criteria import Criteria, criteria
from jreg.selection.cross_validation import CVPath, cross_validate

__all__ = ["CVPath", "Criteria", "criteria", "cross_validate"]
