"""Lambda paths: `path` (host driver), `sweep` (pure function), and what they return."""

from jreg.path.engine import path
from jreg.path.grid import lam_grid
from jreg.path.result import Path
from jreg.path.sensitivity import PathSensitivity, path_sensitivity
from jreg.path.sweep import sweep

__all__ = ["Path", "PathSensitivity", "lam_grid", "path", "path_sensitivity", "sweep"]
