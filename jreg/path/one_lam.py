"""`fit_at`: one lambda, for callers who want a fit and not a path."""

import dataclasses
from typing import Any

import numpy as np

from jreg.path.drive import fits_of_weights
from jreg.path.grid import check_lams, lam_grid
from jreg.path.inputs import precision
from jreg.path.reading import read_data
from jreg.path.result import Path
from jreg.typing import ArrayLike, Scalar

PER_DECADE = 25  # lambdas on the way, as many as a path's own grid has
LONGEST = 1e-4  # the share of lam_max down to which there are lambdas on the way


def fit_at(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Any,
    loss: Any,
    lam: Scalar,
    **options: Any,
) -> Path:
    """A path that falls to `lam`, its last lambda, from the smallest one of all zeros.

    Walking is the quicker way to a small lam than a jump, and for a penalty that is not convex it
    says which of the stationary points is meant. A lam with all zeros is a path of its own.
    Arguments and options are those of `jreg.path`; also losses and penalties that only
    `jreg.sweep` takes. Raises ValueError for a lam that is not one number >= 0, and what
    `jreg.path` raises.

    >>> from jreg import L1, Squared
    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> fit_at(X, y, L1(), Squared(), 0.25, fit_intercept=False, standardize=False).coef[-1]
    array([ 2.,  0., -1.,  0.])
    """
    wanted = check_lams(lam)
    if wanted.size != 1:
        raise ValueError(f"lam must be one number; got shape {np.shape(lam)}")
    problem, penalty, plan = read_data(X, y, penalty, loss, keep_absent=False, **options)
    with precision(problem.X.dtype):

        def along(**lams: Any) -> Path:
            one = dataclasses.replace(plan, **lams)
            return next(fits_of_weights(problem, penalty, one, [problem.sample_weight])).path

        start = float(along(n_lams=1).lams[0])
        ratio = max(wanted[0] / start, LONGEST)
        if ratio >= 1:
            return along(lams=wanted)
        count = 1 + int(np.ceil(-PER_DECADE * np.log10(ratio)))
        grid = lam_grid(start, count, ratio)
        return along(lams=np.append(grid[grid > wanted[0]], wanted))
