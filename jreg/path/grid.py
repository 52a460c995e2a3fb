"""Lambda grids: where a path starts, and how it falls."""

from typing import Any

import numpy as np

from jreg.typing import ArrayLike, Scalar


def lam_grid(
    lam_max: Scalar, n_lams: int = 100, lam_min_ratio: float | None = None, *, tall: bool = True
) -> np.ndarray:
    """`n_lams` values falling geometrically from `lam_max` to `lam_min_ratio * lam_max`.

    lam_min_ratio: within (0, 1]; None is glmnet's rule, 1e-4 where there are more samples than
    features (`tall`), else 1e-2. Friedman, Hastie and Tibshirani (2010), section 2.5.
    Raises ValueError for other values.

    >>> lam_grid(1.0, 3, 0.01).tolist()
    [1.0, 0.1, 0.01]
    """
    if int(n_lams) != n_lams or n_lams < 1:
        raise ValueError(f"n_lams must be a positive whole number; got {n_lams}")
    ratio = (1e-4 if tall else 1e-2) if lam_min_ratio is None else float(lam_min_ratio)
    if not 0 < ratio <= 1:
        raise ValueError(f"lam_min_ratio must be within (0, 1]; got {lam_min_ratio}")
    lam_max = float(lam_max)
    if n_lams == 1:
        return np.array([lam_max])
    exponents = np.arange(n_lams) / (n_lams - 1)
    return lam_max * ratio**exponents


def start_of_grid(lam_max: Scalar, without_zeros: Scalar, strength: Scalar) -> float:
    """The first lambda of a path.

    `lam_max` where it is finite and positive. Penalties that never give zeros start at
    `without_zeros`, their strength of 1000 times the largest correlation of a feature with the
    response, as glmnet's ridge does. A response that the null model explains fully gives 1, since
    every lambda has the same solution.
    """
    if np.isfinite(lam_max) and lam_max > 0:
        return float(lam_max)
    if lam_max > 0 and float(without_zeros) > 0 and float(strength) > 0:
        return float(without_zeros) / float(strength)
    return 1.0


def check_lams(lams: ArrayLike) -> np.ndarray:
    """Lambdas as a rank-1 array of finite numbers >= 0, or a ValueError that says what came."""
    array = np.atleast_1d(np.asarray(lams, dtype=float))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"lams must be a number or a non-empty 1-D array; got shape {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        wrong: Any = array[~(np.isfinite(array) & (array >= 0))][:3].tolist()
        raise ValueError(f"lams must be finite and at least 0; got {wrong}")
    return array
