"""Where a walk down a path stands."""

from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """An exact solution, and how it moves with lambda. Arrays of NumPy, of unit columns."""

    lam: float
    support: np.ndarray  # (m,) rows of the candidates, -1 in empty slots
    edge: np.ndarray  # (m,) where each is held; 0 for free features
    coef: np.ndarray  # (m,)
    coef_rate: np.ndarray  # (m,) per lambda
    correlation: np.ndarray  # (p,)
    correlation_rate: np.ndarray  # (p,)
