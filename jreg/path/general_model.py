"""Generalised linear models as a model that `walk` can walk."""

from typing import Any

import jax
import numpy as np

from jreg.path import glms
from jreg.path.condense import Members
from jreg.path.kept_inverse import KeptInverse
from jreg.path.meeting import Multiply
from jreg.path.place import Place
from jreg.path.pool import Pool
from jreg.path.setup import Data
from jreg.path.walk import Outcome

LARGE = 768  # slots beyond which a new Hessian takes longer than a few repetitions more
MOVED = 0.2  # of the weights, root mean square, up to which their Hessian is kept
SETTLED = 1e-3  # of the root of tol: change of the fits at which a block's models agree with them


class GeneralModel:
    """See `walk.Model`. The Hessian is new in every block, but for a large support whose weights
    have moved little; the intercept is a candidate."""

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
        self.kept = KeptInverse()
        self.weight: Any = None  # of the Hessian that is kept

    def try_block(self, members: Members, place: Place, level: np.ndarray, rows: int) -> Outcome:
        """Solve on a guess, certify on everything."""
        pool, data = self.pool, self.data
        middle = (rows + 1) // 2
        if not self.penalty.homogeneous and pool.freeze(place, level[middle]):
            self.kept.renew(None)
        room = pool.room(self.rank, place)
        begin = pool.predicted(place, level)
        frozen, fits = self._freeze(members, begin, rows)
        solved, fits = glms.solve_rows(
            frozen,
            fits,
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
        """The inverse by bordering, if the next block does with the same Hessian."""
        self.kept.update(changed, slots, size)

    def restart(self, support: np.ndarray) -> None:
        """The next block has a Hessian of its own."""
        self.kept.renew(None)

    def _freeze(self, members: Members, begin: np.ndarray, rows: int) -> tuple[glms.Frozen, Any]:
        """A Hessian in the middle of the block, unless the one that is kept is near enough; and the
        fits of the guess."""
        known, problem, edges = self.pool.known, self.data.problem, self.pool.edges()
        large = members.support.size > LARGE
        inverse = self.kept.now() if large and self._near(begin[(rows + 1) // 2]) else None
        if inverse is None:
            self.kept.renew(None)  # no longer two at a time
            frozen, fits = glms.freeze(known, problem, edges, members, begin, np.int32(rows))
            self.kept.renew(frozen.condensed.inverse)
        else:
            frozen, fits = glms.freeze_again(known, edges, self.weight, inverse, members, begin)
        self.kept.used(frozen.condensed, members.slot)
        self.weight = frozen.weight
        return frozen, fits

    def _near(self, coef: np.ndarray) -> bool:
        """Whether the weights at `coef` are near those of the Hessian that is kept."""
        if self.weight is None:
            return False
        return float(glms.moved(self.pool.known, self.data.problem, coef, self.weight)) <= MOVED
