"""Choosing hyper-parameters by gradient: `tune`, and the criteria that it descends."""

from jreg.tuning.criteria import SURE, ApproximateLeaveOneOut, HeldOut, KFold
from jreg.tuning.tune import Tuned, tune

__all__ = ["SURE", "ApproximateLeaveOneOut", "HeldOut", "KFold", "Tuned", "tune"]
