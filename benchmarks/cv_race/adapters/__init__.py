"""One file per solver. An adapter is a module of this package with

NAME, ENVIRONMENT, TOLERANCES, versions(), says(): as in `path_race.adapters`.
DEFAULT: the tolerance that it has by itself.
variants(study): the settings worth trying, or a string that says why there is none. Called without
    the solver being installed.
prepare(study, variant): a `Solver`, from NumPy arrays in the layout that the solver likes best.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

NAMES = ("jreg_cv", "glmnet", "adelie", "celer", "scikit_learn")


class Solver(NamedTuple):
    """whole(tol): the selection as it is timed; gives its mean curve (n_lams,).
    fits(tol): the coefficients (n_sets, n_lams, p) of the fits that it makes."""

    whole: Callable[[float], np.ndarray]
    fits: Callable[[float], np.ndarray]
