"""The rows that count, for what is computed from a finished fit."""

from typing import Any

import numpy as np

from jreg.path.inputs import read_vector, read_weight


def present_rows(
    X: Any, y: Any, sample_weight: Any, offset: Any
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """X (n, p), which has been read, with y, weights and offsets in float64, all without the rows
    of weight 0. Raises ValueError or TypeError for vectors that do not fit."""
    n = X.shape[0]
    y = read_vector("y", y, n, np.float64)
    offset = np.zeros(n) if offset is None else read_vector("offset", offset, n, np.float64)
    if sample_weight is None:
        return X, y, np.ones(n), offset
    weight = read_weight(sample_weight, n, np.float64)
    present = weight > 0
    return X[present], y[present], weight[present], offset[present]
