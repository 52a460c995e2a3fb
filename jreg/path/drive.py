"""Paths of a problem, and of the same rows weighted anew: what is computed once for all of them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.path.along import Plan, Task, along, grid_of
from jreg.path.cells import Cells, added, with_few_cells
from jreg.path.compiled import compiled
from jreg.path.inputs import on_device
from jreg.path.meeting import Meeting, Multiply, product
from jreg.path.moments import centred, frame, moments, reduced, reducible
from jreg.path.result import Path
from jreg.path.setup import Data, setup, setup_squares
from jreg.path.sweep import sweep
from jreg.path.threads import THREADS, in_threads
from jreg.path.units import units_of
from jreg.problem import CentredProblem, LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.typing import Array, has

TOGETHER = 11  # paths that meet for their products with X, of which THREADS compute at a time
ROOM = 2**29  # bytes that these may take beyond the size of X
CACHED = 2**22  # bytes of an X that is read so quickly that waiting for others takes longer


class Fit(NamedTuple):
    """A path on some of the rows; for least squares also the cells of which these are a union."""

    path: Path
    cells: Cells | None


class Ready(NamedTuple):
    """All but the lambdas of a path."""

    grid: Callable[[Plan], np.ndarray]
    path: Callable[[Plan], Path]

    @classmethod
    def walk(cls, task: Task, problem: LinearProblem, penalty: Any) -> "Ready":
        """Block by block."""
        grid = partial(grid_of, task.data, problem, penalty)
        return cls(grid, partial(along, task, problem, penalty))


Prepare = Callable[[Any], Ready]  # of a penalty


def checked(problem: LinearProblem, penalty: Any) -> tuple[LinearProblem, Any]:
    """All but X, which has been read and stays on the host, as arrays of JAX; and the penalty, or
    an error that says what is wrong."""
    arrays = {
        "X": np.zeros((problem.X.shape[0], 1), problem.X.dtype),
        "y": problem.y,
        "sample_weight": problem.sample_weight,
        "offset": problem.offset,
    }
    narrow = dataclasses.replace(problem, **jax.device_put(arrays))  # `jnp.asarray` would compile
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
) -> Iterator[Fit]:
    """The paths of a `checked` problem with its rows weighted anew: rows keep their places, so that
    X is shared and little is compiled again. weights: (n,) each; penalties: one, or a list of one
    for each.

    Without lambdas of the plan's own, all take those of the first. On CPUs several paths are solved
    at the same time: each is a chain of small steps that leaves cores idle.
    """
    weights = list(weights)
    several = penalties if isinstance(penalties, list) else [penalties] * len(weights)
    cpu = jax.default_backend() == "cpu"
    threads, meeting = THREADS if cpu else 1, None
    tasks: Iterator[tuple[Prepare, Cells | None]]
    if not (takes_loss(problem.loss) and takes_penalty(problem, several[0])):
        tasks = _swept_with(problem, weights)
    elif reducible(problem):
        tasks = _from_moments(problem, weights)
    else:
        problem = dataclasses.replace(problem, X=on_device(problem.X))
        place = Meeting(problem.X, threads)
        tasks = _from_rows(problem, weights, place)
        if cpu and _size(problem) > CACHED:
            threads, meeting = _together(problem, len(weights)), place
    pairs = zip(tasks, several, strict=True)
    first, cells = _prepared(next(pairs))
    if plan.lams is None:
        plan = dataclasses.replace(plan, lams=first.grid(plan))
    if len(weights) == 1:
        yield Fit(first.path(plan), cells)
        return
    plan = dataclasses.replace(plan, watched=False)
    items = itertools.chain([lambda: (first, cells)], (partial(_prepared, pair) for pair in pairs))

    def solve(item: Callable[[], tuple[Ready, Cells | None]]) -> Fit:
        ready, cells = item()
        return Fit(ready.path(plan), cells)

    yield from in_threads(items, solve, problem.y.dtype, threads, meeting)


def _prepared(pair: tuple[tuple[Prepare, Cells | None], Any]) -> tuple[Ready, Cells | None]:
    (prepare, cells), penalty = pair
    return prepare(penalty), cells


def _together(problem: LinearProblem, fits: int) -> int:
    """How many paths may be under way at the same time: each keeps its candidates, their products,
    the inverse on its support, and a second copy of what it changes."""
    each = 6 * min(problem.X.shape) ** 2 * problem.y.dtype.itemsize
    return max(THREADS, min(TOGETHER, fits, (_size(problem) + ROOM) // max(each, 1)))


def _size(problem: LinearProblem) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(problem.X))


def _swept_with(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[tuple[Prepare, None]]:
    problem = dataclasses.replace(problem, X=on_device(problem.X))

    def prepare(one: LinearProblem, penalty: Any) -> Ready:
        grid = lambda plan: grid_of(setup(one, penalty), one, penalty, plan)  # noqa: E731
        return Ready(grid, partial(_swept, one, penalty))

    for weight in weights:
        yield (
            partial(prepare, dataclasses.replace(problem, sample_weight=jnp.asarray(weight))),
            None,
        )


def _swept(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    found = sweep(problem, penalty, plan.lams, tol=plan.tol)
    found = jax.tree.map(np.asarray, found)
    return dataclasses.replace(found, feature_names=plan.names)


def solve_one(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a `checked` problem."""
    if reducible(problem):
        return _of_rows(problem, np.arange(problem.X.shape[0]), penalty).path(plan)
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    return _multiplied_by(partial(product, problem.X), problem, penalty).path(plan)


def _from_rows(
    problem: LinearProblem, weights: list[np.ndarray], meeting: Meeting
) -> Iterator[tuple[Prepare, None]]:
    for k, weight in enumerate(weights):
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield partial(_multiplied_by, partial(meeting.product, k), one), None


def _multiplied_by(multiply: Multiply, problem: LinearProblem, penalty: Any) -> Ready:
    data = setup(problem, penalty)
    return Ready.walk(Task(data, lambda: data, data.problem, multiply), problem, penalty)


def _of_moments(
    problem: LinearProblem, penalty: Any, origin: np.ndarray, parts: Array, own: np.ndarray
) -> Task:
    """Least squares by the moments of sets of rows, of those that are `own`: by these alone where
    the lambdas can be walked; else on few rows."""
    (n, p), loss, intercept = problem.X.shape, problem.loss, problem.fit_intercept
    outputs = problem.outputs(n)
    options = {"fit_intercept": intercept, "standardize": problem.standardize}

    @functools.cache
    def on_rows() -> tuple[CentredProblem, Data]:
        found = centred(added(parts, own), origin, p, **options)
        whole = frame(found, loss, outputs=outputs, fit_intercept=intercept)
        return whole, setup(reduced(whole, found), penalty)

    if outputs == () and penalty.separable and penalty.unpenalized(origin[:p]) is None:
        data = _squares(parts, own, origin, loss, penalty, **options)
        return Task(data, lambda: on_rows()[1], data.problem, partial(product, None))
    whole, data = on_rows()
    return Task(data, lambda: data, whole, partial(product, data.problem.X))


@partial(compiled, static_argnames=("fit_intercept", "standardize"))
def _squares(
    parts: Array,
    own: Array,
    origin: Array,
    loss: Any,
    penalty: Any,
    *,
    fit_intercept: bool,
    standardize: bool,
) -> Data:
    """What a walk needs, in one program: each step of it is short."""
    found = centred(
        added(parts, own),
        origin,
        origin.size - 1,
        fit_intercept=fit_intercept,
        standardize=standardize,
    )
    whole = frame(found, loss, outputs=(), fit_intercept=fit_intercept)
    return setup_squares(whole, penalty, found.cross, found.square)


def _from_moments(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[tuple[Prepare, Cells | None]]:
    """Where weights are those of the problem or 0, as in cross-validation, each cell of rows that
    go together is multiplied once, and the moments of a fold are those of its cells added up."""
    base = np.asarray(problem.sample_weight)
    if all(np.all((weight == base) | (weight == 0)) for weight in weights):
        for members, kind in with_few_cells(np.stack([weight > 0 for weight in weights])):
            cells = Cells.of(problem, kind)
            for member in members:
                yield partial(_of_cells, problem, cells, member[cells.first]), cells
        return
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=weight)
        yield partial(_of_rows, one, np.nonzero(weight > 0)[0]), None


def _of_cells(problem: LinearProblem, cells: Cells, own: np.ndarray, penalty: Any) -> Ready:
    task = _of_moments(problem, penalty, cells.origin, cells.parts, own)
    return Ready.walk(task, problem, penalty)


def _of_rows(problem: LinearProblem, rows: np.ndarray, penalty: Any) -> Ready:
    task = _of_moments(problem, penalty, *moments(problem, [rows]), np.ones(1, bool))
    return Ready.walk(task, problem, penalty)
