"""One path's lambdas: which way they are solved, and the results as a `Path`."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jreg.path import whole
from jreg.path.blocks import BLOCK, Block, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.general_model import GeneralModel
from jreg.path.grid import lam_grid, start_of_grid
from jreg.path.meeting import Multiply
from jreg.path.newton_blocks import solve_path
from jreg.path.progress import progress_bar
from jreg.path.result import Path
from jreg.path.ridge import solve_ridge
from jreg.path.ridge import suits as suits_ridge
from jreg.path.setup import Data
from jreg.path.sparse_newton import solve_sparse, suits
from jreg.path.squared_model import SquaredModel
from jreg.path.sweep import explained
from jreg.path.units import Units, units_of
from jreg.path.walk import Outcome, walk
from jreg.path.wide_ridge import solve_wide_ridge
from jreg.path.wide_ridge import suits as suits_wide_ridge
from jreg.problem import CentredProblem, Linear, LinearProblem
from jreg.status import Status
from jreg.typing import Array, Progress


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is the same for all paths over one set of lambdas.

    lams: in any order; None makes a grid of n_lams down to lam_min_ratio of the first.
    enough: share of the deviance from which a path stops. watched: whether somebody sees lambdas
    arrive, or may interrupt: blocks are short then.
    """

    tol: float
    lams: np.ndarray | None = None
    n_lams: int = 100
    lam_min_ratio: float | None = None
    enough: float = np.inf
    progress: Progress = None
    watched: bool = True
    names: tuple[str, ...] | None = None


class Task(NamedTuple):
    """A path to be solved.

    data: what a walk needs; with_rows: the same with an X, for all other ways.
    whole: knows how parameters look in original units. multiply: products of rows with X.
    """

    data: Data
    with_rows: Callable[[], Data]
    whole: CentredProblem
    multiply: Multiply


def along(task: Task, problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a problem."""
    n, p = problem.X.shape
    outputs, data = problem.outputs(n), task.data
    units: Any = units_of(penalty, p, outputs)
    lams = grid_of(data, problem, penalty, plan) if plan.lams is None else plan.lams
    falling, back = np.unique(-lams, return_inverse=True)
    rows = _Rows.empty(-falling, (p, *outputs), problem.X.dtype)
    try:
        with progress_bar(plan.progress, falling.size) as report:
            null = float(data.null_deviance)
            for done in _fill(rows, task, penalty, units, plan):
                report(done)
                if null - rows.deviance[done - 1] >= plan.enough * null:
                    break
    except KeyboardInterrupt:
        print("interrupted: the remaining lambdas are marked NOT_RUN", file=sys.stderr)
    return _assemble(rows, back.ravel(), lams, task, problem, penalty, plan.names)


def grid_of(data: Data, problem: LinearProblem, penalty: Any, plan: Plan) -> np.ndarray:
    """The lambdas of a plan that has none of its own."""
    n, p = problem.X.shape
    strength = float(getattr(penalty, "lam", 1.0))
    first = start_of_grid(data.lam_max, data.largest_ridge, strength)
    return lam_grid(first, plan.n_lams, plan.lam_min_ratio, tall=n > p)


class _Rows(NamedTuple):
    """Results in (theta, b), filled from the top; one row per distinct falling lambda."""

    lams: np.ndarray
    theta: np.ndarray
    intercept: np.ndarray
    gap: np.ndarray
    residual: np.ndarray
    deviance: np.ndarray
    num_steps: np.ndarray
    status: np.ndarray

    @classmethod
    def empty(cls, lams: np.ndarray, shape: tuple[int, ...], dtype: Any) -> "_Rows":
        """NaN everywhere and NOT_RUN."""
        k = lams.size
        nan = np.full(k, np.nan, dtype)
        return cls(
            lams=lams.astype(dtype),
            theta=np.full((k, *shape), np.nan, dtype),
            intercept=np.full((k, *shape[1:]), np.nan, dtype),
            gap=nan.copy(),
            residual=nan.copy(),
            deviance=nan.copy(),
            num_steps=np.zeros(k, int),
            status=np.full(k, int(Status.NOT_RUN)),
        )

    def write(self, k: int, block: Block) -> None:
        """Copy a block into the rows k, k + 1, ..."""
        into = slice(k, k + block.status.size)
        self.theta[into], self.intercept[into] = block.params.coef, block.params.intercept
        self.gap[into], self.residual[into] = block.certificate.gap, block.certificate.residual
        self.deviance[into] = block.deviance
        self.num_steps[into], self.status[into] = block.num_steps, block.status


def _fill(rows: _Rows, task: Task, penalty: Any, units: Units, plan: Plan) -> Iterator[int]:
    """Solve every lambda, writing into `rows`; yields how many are done."""
    tol = plan.tol
    single = task.data.entry.ndim == 1
    walks = single and can_walk(task.data)
    sparse = walks and suits(task.data, penalty)
    if walks and not sparse:
        yield from _walk(rows, task, penalty, units, plan)
        return
    data = task.with_rows()
    point, k = first_point(data), 0
    in_blocks = penalty.convex and units.divisible and not (single and penalty.separable)
    way = None
    if sparse:
        way = solve_sparse
    elif in_blocks:
        way = solve_path
    elif single and suits_ridge(data, penalty):
        way = solve_ridge
    elif single and suits_wide_ridge(data, penalty):
        way = solve_wide_ridge
    if way is not None:
        for block in way(data, penalty, units, rows.lams[rows.lams > 0], tol):
            rows.write(k, block)
            point = block.last(point)
            k += block.status.size
            yield k
    while k < rows.lams.size:
        block = solve_block(data, penalty, units, rows.lams[k : k + BLOCK], point, tol)
        rows.write(k, block)
        point = block.last(point)
        k += block.status.size
        yield k


def can_walk(data: Data) -> bool:
    """Whether the penalty of single entries has a kink at 0 and slopes elsewhere."""
    if data.kink is None:
        return False
    low, high = map(np.asarray, data.kink)
    free = (low == 0) & (high == 0)
    excluded = np.isinf(low) & np.isinf(high)
    return bool(np.all(free | ((high > 0) & (low < 0))) and not np.all(free | excluded))


def _walk(rows: _Rows, task: Task, penalty: Any, units: Units, plan: Plan) -> Iterator[int]:
    """The same by the homotopy, and by single blocks where that finds no way."""
    data, tol = task.data, plan.tol
    kind = SquaredModel if data.problem.loss.quadratic else GeneralModel
    model = kind(data, penalty, tol, task.multiply)
    pool, unit = model.pool, model.pool.unit[:-1]

    def accept(k: int, count: int, found: Outcome) -> None:
        into = slice(k, k + count)
        features = pool.index != unit.size
        rows.theta[into] = 0
        rows.theta[into, pool.index[features]] = found.coef[1 : count + 1, np.nonzero(features)[0]]
        rows.theta[into] *= unit[None, :]
        rows.intercept[into] = found.intercept[:count]
        rows.gap[into], rows.residual[into] = found.gap[:count], found.residual[:count]
        rows.deviance[into] = found.deviance[:count]
        rows.num_steps[into], rows.status[into] = found.knots, Status.CONVERGED

    def plain(k: int) -> tuple[np.ndarray, np.ndarray]:
        point = first_point(data)
        if k and np.isfinite(rows.gap[k - 1]):
            point = point._replace(params=Linear(rows.theta[k - 1], rows.intercept[k - 1]))
        block = solve_block(task.with_rows(), penalty, units, rows.lams[k : k + 1], point, tol)
        rows.write(k, block)
        params = Linear(block.params.coef[0], block.params.intercept[0])
        return pool.coefficients(params), pool.correlations(block.gradient[0])

    done = int(np.sum(rows.lams > 0))
    lams, place, k = rows.lams[:done], None, 0
    if isinstance(model, SquaredModel) and whole.suits(model):
        k, place = yield from whole.walk_whole(model, lams, accept, plan.watched)
    yield from walk(model, lams, tol, accept, plain, k, place)
    for k in range(done, rows.lams.size):
        plain(k)
        yield k + 1


@compiled
def _finish(
    whole: CentredProblem, null: Array, theta: Array, intercept: Array, deviance: Array
) -> tuple[Linear, Array]:
    """Coefficients in original units, and deviance ratios."""
    params = jax.vmap(whole.to_original)(Linear(theta, intercept))
    return params, explained(deviance, null)


def _assemble(
    rows: _Rows,
    back: np.ndarray,
    lams: np.ndarray,
    task: Task,
    problem: LinearProblem,
    penalty: Any,
    names: tuple[str, ...] | None,
) -> Path:
    """The `Path`, in the order in which the lambdas came."""
    whole = dataclasses.replace(task.whole, X=None, gram=None, y=None)
    params, ratio = _finish(
        whole, task.data.null_deviance, rows.theta, rows.intercept, rows.deviance
    )
    params, ratio, scale = jax.tree.map(np.asarray, (params, ratio, whole.scale))
    nonzero = (params.coef > 0) | (params.coef < 0)  # not NaN
    return Path(
        lams=np.asarray(lams, rows.lams.dtype),
        coef=params.coef[back],
        intercept=params.intercept[back],
        gap=rows.gap[back],
        residual=rows.residual[back],
        num_steps=rows.num_steps[back],
        status=rows.status[back],
        n_nonzero=np.sum(nonzero.reshape(rows.lams.size, -1), axis=1)[back],
        deviance_ratio=ratio[back],
        scale=scale if problem.standardize else np.ones_like(scale),
        penalty=jax.tree.map(np.asarray, penalty),
        loss=problem.loss,
        feature_names=names,
        fit_intercept=problem.fit_intercept,
        standardize=problem.standardize,
    )
