"""The squared loss as a model that `walk` can walk."""

from typing import Any

import jax
import numpy as np

from jreg.linalg import safe_reciprocal
from jreg.path import squares
from jreg.path.compiled import compiled
from jreg.path.condense import Members
from jreg.path.kept_inverse import KeptInverse
from jreg.path.meeting import Multiply
from jreg.path.place import Place
from jreg.path.pool import Pool
from jreg.path.setup import Data
from jreg.path.walk import Outcome
from jreg.typing import Array


class SquaredModel:
    """See `walk.Model`. The inverse of the support's Gram matrix is kept and updated."""

    def __init__(self, data: Data, penalty: Any, tol: float, multiply: Multiply) -> None:
        problem = data.problem
        self.data, self.penalty, self.multiply = data, penalty, multiply
        self.pool = pool = Pool(data, penalty)
        n, p = int(np.sum(np.asarray(problem.weight) > 0)), problem.mean.size
        eps = float(np.finfo(problem.weight.dtype).eps)
        self.square = float(data.square)
        self.rank = min(n - problem.fit_intercept, p)
        self.linear = penalty.homogeneous  # is the path, between knots, in lambda
        self.exact = min(max(1e-10, 512 * eps), tol) if self.linear else tol
        settled = max(1e-3 * tol**0.5 if penalty.convex else 0.1 * tol, 10 * eps)
        self.settled = settled * self.square**0.5
        self.drift = float(np.sqrt(eps)) if self.linear else float("inf")
        if problem.gram is not None:
            pool.take_all(_of_unit_columns(problem.gram, pool.norm))
        else:
            pool.open(self.rank, products=True)
        self.kept = KeptInverse()

    def try_block(self, members: Members, place: Place, level: np.ndarray, rows: int) -> Outcome:
        """Solve on a guess, certify on everything."""
        pool, data = self.pool, self.data
        if not self.linear and pool.freeze(place, level[(rows + 1) // 2]):
            self.restart(place.support)
        wanted = pool.of_rows(pool.target)
        room = pool.room(self.rank, place)
        ends = np.int32(rows)
        inverse = self.kept.now()
        common: Any = (pool.known, wanted, pool.edges(), inverse, members, level, ends, room)
        if self.linear:
            solved = squares.solve_rows(*common)
        else:
            solved = squares.solve_rows_repeatedly(
                *common,
                penalty=pool.restricted(),
                unit=pool.of_rows(pool.unit),
                coef=pool.predicted(place, level),
                tol=self.settled,
            )
        self.kept.used(solved.condensed, members.slot)
        where: Any = (pool.features, pool.norm, solved.coef, level[1:])
        if data.problem.gram is not None:
            checked = squares.certify_gram(
                self.penalty, data.null, pool.known, wanted, self.square, *where
            )
        else:
            checked = squares.certify_columns(
                self.multiply, data.problem, self.penalty, data.null, pool.known, *where
            )
        coef, found, checked = jax.device_get((solved.coef, solved.found, checked))
        return Outcome.of(coef, found, checked)

    def update(self, changed: np.ndarray, slots: np.ndarray, size: int) -> None:
        """The inverse by bordering, where the next block does not need another one."""
        self.kept.update(changed, slots, size)

    def restart(self, support: np.ndarray) -> None:
        """The inverse from afresh."""
        if (support < 0).all():
            side = support.size, support.size
            self.kept.renew(np.zeros(side, self.data.problem.weight.dtype))
        else:
            self.kept.renew(squares.fresh_inverse(self.pool.known, self.pool.edges(), support))


@compiled
def _of_unit_columns(gram: Array, norm: Array) -> Array:
    per = safe_reciprocal(norm)
    return gram * per[:, None] * per[None, :]
