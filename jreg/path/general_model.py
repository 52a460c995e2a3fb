"""Generalised linear models as a model that `walk` can walk."""

from typing import Any

import jax
import numpy as np

from jreg.path import glms
from jreg.path.condense import Members
from jreg.path.meeting import Multiply
from jreg.path.place import Place
from jreg.path.pool import Pool
from jreg.path.setup import Data
from jreg.path.walk import Outcome

SETTLED = 1e-3  # of the root of tol: change of the fits at which a block's models agree with them


class GeneralModel:
    """See `walk.Model`. The Hessian is new in every block; the intercept is a candidate."""

    def __init__(self, data: Data, penalty: Any, tol: float, multiply: Multiply) -> None:
        problem = data.problem
        self.data, self.penalty, self.multiply = data, penalty, multiply
        self.pool = pool = Pool(data, penalty)
        n, p = int(np.sum(np.asarray(problem.weight) > 0)), problem.mean.size
        self.rank = min(n, p + problem.fit_intercept)
        self.linear, self.exact, self.drift = False, tol, float("inf")
        self.settled = max(SETTLED * tol**0.5, 10 * float(np.finfo(problem.X.dtype).eps))
        if problem.fit_intercept:
            pool.low[-1] = pool.high[-1] = 0
        pool.open(self.rank, products=False)

    def try_block(self, members: Members, place: Place, level: np.ndarray, rows: int) -> Outcome:
        """Solve on a guess, certify on everything."""
        pool, data = self.pool, self.data
        if not self.penalty.homogeneous:
            pool.freeze(place, level[(rows + 1) // 2])
        room = pool.room(self.rank, place)
        begin = pool.predicted(place, level)
        solved, fits = glms.solve_rows(
            pool.known,
            data.problem,
            pool.edges(),
            members,
            begin,
            level,
            np.int32(rows),
            room,
            pool.restricted(),
            pool.of_rows(pool.unit),
            self.settled,
        )
        where: Any = (pool.features, pool.norm, solved.coef, fits, level[1:])
        checked = glms.certify_rows(self.multiply, data.problem, self.penalty, data.null, *where)
        coef, found, checked = jax.device_get((solved.coef, solved.found, checked))
        return Outcome.of(coef, found, checked)

    def update(self, changed: np.ndarray, slots: np.ndarray, size: int) -> None:
        """Nothing to do."""

    def restart(self, support: np.ndarray) -> None:
        """Nothing to do."""
