"""Solving a path's lambdas: which way it goes, and the results as a `Path`."""

import dataclasses
import functools
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.path.blocks import BLOCK, Block, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.general_model import GeneralModel
from jreg.path.grid import lam_grid, start_of_grid
from jreg.path.inputs import on_device, precision
from jreg.path.moments import Moments, centred, frame, moments, reduced, reducible
from jreg.path.newton_blocks import solve_path
from jreg.path.progress import progress_bar
from jreg.path.result import Path
from jreg.path.setup import Data, setup, setup_squares
from jreg.path.sparse_newton import solve_sparse, suits
from jreg.path.squared_model import SquaredModel
from jreg.path.sweep import explained, sweep
from jreg.path.units import Units, units_of
from jreg.path.walk import Outcome, walk
from jreg.problem import CentredProblem, Linear, LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.status import Status
from jreg.typing import Array, Progress, has

THREADS = min(8, os.cpu_count() or 1)  # paths solved at the same time on CPUs


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is the same for all paths over one set of lambdas.

    lams: in any order; None makes a grid of n_lams down to lam_min_ratio of the first.
    enough: share of the deviance from which a path stops.
    """

    tol: float
    lams: np.ndarray | None = None
    n_lams: int = 100
    lam_min_ratio: float | None = None
    enough: float = np.inf
    progress: Progress = None
    names: tuple[str, ...] | None = None


def checked(problem: LinearProblem, penalty: Any) -> tuple[LinearProblem, Any]:
    """All but X, which has been read and stays on the host, as arrays of JAX; and the penalty, or
    an error that says what is wrong."""
    narrow = dataclasses.replace(problem, X=problem.X[:, :1])
    found, penalty, _ = check_inputs(narrow, penalty, None)
    return dataclasses.replace(found, X=problem.X), penalty


def takes_loss(loss: Any) -> bool:
    """Whether Newton's method solves blocks of lambdas."""
    return has(loss, "pointwise") and loss.smooth and loss.strictly_convex


def takes_penalty(problem: LinearProblem, penalty: Any) -> bool:
    """Whether it is of single features, or groups of them, that enter at a lambda."""
    n, p = problem.X.shape
    return units_of(penalty, p, problem.outputs(n)) is not None


def fits_of_weights(
    problem: LinearProblem, penalties: Any, plan: Plan, weights: Iterable[np.ndarray]
) -> Iterator[Path]:
    """The paths of a `checked` problem with its rows weighted anew: rows keep their places, so that
    X is shared and little is compiled again. weights: (n,) each; penalties: one, or a list of one
    for each.

    Without lambdas of the plan's own, all take those of the first. On CPUs several paths are solved
    at the same time: each is a chain of small steps that leaves cores idle.
    """
    weights = list(weights)
    several = penalties if isinstance(penalties, list) else [penalties] * len(weights)
    tasks: Iterator[Callable[[Any, Plan], Path]]
    if not (takes_loss(problem.loss) and takes_penalty(problem, several[0])):
        tasks = _swept_with(problem, weights)
    elif reducible(problem):
        tasks = _from_moments(problem, weights)
    else:
        tasks = _from_rows(problem, weights)
    pairs = zip(tasks, several, strict=True)
    task, penalty = next(pairs)
    first = task(penalty, plan)
    yield first
    plan = dataclasses.replace(plan, lams=np.asarray(first.lams, float), progress=None)
    yield from in_threads(pairs, lambda pair: pair[0](pair[1], plan), first.coef.dtype)


def in_threads(items: Iterator[Any], of: Callable[[Any], Any], dtype: Any) -> Iterator[Any]:
    """`of(item)` of each item in turn, some ahead of others."""
    workers = THREADS if jax.default_backend() == "cpu" else 1

    def one(item: Any) -> Any:
        with precision(dtype):  # it is known to one thread alone
            return of(item)

    with ThreadPoolExecutor(workers) as threads:
        ahead: deque = deque()
        try:
            for item in items:
                ahead.append(threads.submit(one, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def _swept_with(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[Callable[[Any, Plan], Path]]:
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield partial(_swept, one)


def _swept(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    if plan.lams is None:
        lams = _grid(setup(problem, penalty), problem, penalty, plan)
        plan = dataclasses.replace(plan, lams=lams)
    found = sweep(problem, penalty, plan.lams, tol=plan.tol)
    found = jax.tree.map(np.asarray, found)
    return dataclasses.replace(found, feature_names=plan.names)


def solve_one(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a `checked` problem."""
    if reducible(problem):
        origin, (sums,) = moments(problem, [np.arange(problem.X.shape[0])])
        return _along(_of_moments(problem, penalty, origin, sums), problem, penalty, plan)
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    return _along(_of_rows(problem, penalty), problem, penalty, plan)


def _from_rows(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[Callable[[Any, Plan], Path]]:
    problem = dataclasses.replace(problem, X=on_device(problem.X))

    def solve(one: LinearProblem, penalty: Any, plan: Plan) -> Path:
        return _along(_of_rows(one, penalty), one, penalty, plan)

    for weight in weights:
        yield partial(solve, dataclasses.replace(problem, sample_weight=jnp.asarray(weight)))


class Task(NamedTuple):
    """A path to be solved.

    data: what a walk needs; with_rows: the same with an X, for all other ways.
    whole: knows how parameters look in original units.
    """

    data: Data
    with_rows: Callable[[], Data]
    whole: CentredProblem


def _of_rows(problem: LinearProblem, penalty: Any) -> Task:
    data = setup(problem, penalty)
    return Task(data, lambda: data, data.problem)


def _of_moments(problem: LinearProblem, penalty: Any, origin: Any, sums: Moments) -> Task:
    """Least squares by its moments alone where the lambdas can be walked; else on few rows."""
    p = problem.X.shape[1]
    intercept, standard = problem.fit_intercept, problem.standardize
    found = centred(sums, origin, p, fit_intercept=intercept, standardize=standard)
    whole = frame(problem, found)
    with_rows = functools.cache(lambda: setup(reduced(whole, found), penalty))
    single = whole.outputs == () and penalty.separable
    if single and penalty.unpenalized(whole.mean) is None:
        return Task(setup_squares(whole, penalty, found.cross, found.square), with_rows, whole)
    return Task(with_rows(), with_rows, whole)


def _from_moments(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[Callable[[Any, Plan], Path]]:
    """Where weights are those of the problem or 0, as in cross-validation, each cell of rows that
    go together is multiplied once, and the moments of a fold are those of its cells added up."""

    def solve(
        one: LinearProblem, origin: np.ndarray, parts: list[Moments], penalty: Any, plan: Plan
    ) -> Path:
        task = _of_moments(one, penalty, origin, Moments.total(parts))
        return _along(task, one, penalty, plan)

    base = np.asarray(problem.sample_weight)
    members = np.stack([weight > 0 for weight in weights])
    plain = all(
        np.array_equal(weight, np.where(inside, base, 0))
        for weight, inside in zip(weights, members, strict=True)
    )
    cells, cell = np.unique(members, axis=1, return_inverse=True)
    if plain and cells.shape[1] <= len(weights) + 1:
        sets = [np.nonzero(cell.ravel() == c)[0] for c in range(cells.shape[1])]
        origin, parts = moments(problem, sets)
        for row in cells:
            yield partial(solve, problem, origin, [parts[c] for c in np.nonzero(row)[0]])
        return
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=weight)
        yield partial(solve, one, *moments(one, [np.nonzero(weight > 0)[0]]))


def _along(task: Task, problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a problem."""
    n, p = problem.X.shape
    outputs, data = problem.outputs(n), task.data
    units: Any = units_of(penalty, p, outputs)
    lams = _grid(data, problem, penalty, plan) if plan.lams is None else plan.lams
    falling, back = np.unique(-lams, return_inverse=True)
    rows = _Rows.empty(-falling, (p, *outputs), problem.X.dtype)
    try:
        with progress_bar(plan.progress, falling.size) as report:
            null = float(data.null_deviance)
            for done in _fill(rows, task, penalty, units, plan.tol):
                report(done)
                if null - rows.deviance[done - 1] >= plan.enough * null:
                    break
    except KeyboardInterrupt:
        print("interrupted: the remaining lambdas are marked NOT_RUN", file=sys.stderr)
    return _assemble(rows, back.ravel(), lams, task, problem, penalty, plan.names)


def _grid(data: Data, problem: LinearProblem, penalty: Any, plan: Plan) -> np.ndarray:
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


def _fill(rows: _Rows, task: Task, penalty: Any, units: Units, tol: float) -> Iterator[int]:
    """Solve every lambda, writing into `rows`; yields how many are done."""
    single = task.data.entry.ndim == 1
    walks = single and can_walk(task.data)
    sparse = walks and suits(task.data, penalty)
    if walks and not sparse:
        yield from _walk(rows, task, penalty, units, tol)
        return
    data = task.with_rows()
    point, k = first_point(data), 0
    in_blocks = penalty.convex and units.divisible and not (single and penalty.separable)
    if sparse or in_blocks:
        way = solve_sparse if sparse else solve_path
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
    return bool(np.all(free | ((high > 0) & (low < 0))) and np.any(~free))


def _walk(rows: _Rows, task: Task, penalty: Any, units: Units, tol: float) -> Iterator[int]:
    """The same by the homotopy, and by single blocks where that finds no way."""
    data = task.data
    model = (SquaredModel if data.problem.loss.quadratic else GeneralModel)(data, penalty, tol)
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
    yield from walk(model, rows.lams[:done], tol, accept, plain)
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
    nonzero = np.nan_to_num(params.coef) != 0
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
