"""Paths of a problem, and of the same rows weighted anew: what is computed once for all of them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.path.along import Plan, Task, along, grid_of
from jreg.path.cells import Cells, added, with_few_cells
from jreg.path.inputs import on_device
from jreg.path.meeting import Meeting, Multiply, product
from jreg.path.moments import centred, frame, moments, reduced, reducible
from jreg.path.result import Path
from jreg.path.setup import setup, setup_squares
from jreg.path.sweep import sweep
from jreg.path.threads import THREADS, in_threads
from jreg.path.units import units_of
from jreg.problem import LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.typing import Array, has

TOGETHER = 10  # paths that meet for their products with X, of which THREADS compute at a time
ROOM = 2**29  # bytes that these may take beyond the size of X
CACHED = 2**22  # bytes of an X that is read so quickly that waiting for others takes longer


class Fit(NamedTuple):
    """A path on some of the rows; for least squares also the cells of which these are a union."""

    path: Path
    cells: Cells | None


Solve = Callable[[Any, Plan], Path]  # of a penalty


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
    tasks: Iterator[tuple[Solve, Cells | None]]
    if not (takes_loss(problem.loss) and takes_penalty(problem, several[0])):
        tasks = _swept_with(problem, weights)
    elif reducible(problem):
        tasks = _from_moments(problem, weights)
    else:
        problem = dataclasses.replace(problem, X=on_device(problem.X))
        place = Meeting(problem.X, threads)
        tasks = _from_rows(problem, weights, place)
        if cpu and _size(problem) > CACHED:
            threads, meeting = _together(problem, len(weights) - 1), place
    pairs = zip(tasks, several, strict=True)
    first = _fit(next(pairs), plan)
    yield first
    plan = dataclasses.replace(plan, lams=np.asarray(first.path.lams, float), progress=None)
    of = lambda pair: _fit(pair, plan)  # noqa: E731
    yield from in_threads(pairs, of, first.path.coef.dtype, threads, meeting)


def _fit(pair: tuple[tuple[Solve, Cells | None], Any], plan: Plan) -> Fit:
    (solve, cells), penalty = pair
    return Fit(solve(penalty, plan), cells)


def _together(problem: LinearProblem, fits: int) -> int:
    """How many paths may be under way at the same time: each keeps its candidates, their products,
    the inverse on its support, and a second copy of what it changes."""
    each = 6 * min(problem.X.shape) ** 2 * problem.y.dtype.itemsize
    return max(THREADS, min(TOGETHER, fits, (_size(problem) + ROOM) // max(each, 1)))


def _size(problem: LinearProblem) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(problem.X))


def _swept_with(problem: LinearProblem, weights: list[np.ndarray]) -> Iterator[tuple[Solve, None]]:
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield partial(_swept, one), None


def _swept(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    if plan.lams is None:
        lams = grid_of(setup(problem, penalty), problem, penalty, plan)
        plan = dataclasses.replace(plan, lams=lams)
    found = sweep(problem, penalty, plan.lams, tol=plan.tol)
    found = jax.tree.map(np.asarray, found)
    return dataclasses.replace(found, feature_names=plan.names)


def solve_one(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a `checked` problem."""
    if reducible(problem):
        return _solve_moments(problem, np.arange(problem.X.shape[0]), penalty, plan)
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    return _solve_rows(problem, partial(product, problem.X), penalty, plan)


def _from_rows(
    problem: LinearProblem, weights: list[np.ndarray], meeting: Meeting
) -> Iterator[tuple[Solve, None]]:
    for k, weight in enumerate(weights):
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield partial(_solve_rows, one, partial(meeting.product, k)), None


def _solve_rows(problem: LinearProblem, multiply: Multiply, penalty: Any, plan: Plan) -> Path:
    data = setup(problem, penalty)
    return along(Task(data, lambda: data, data.problem, multiply), problem, penalty, plan)


def _of_moments(problem: LinearProblem, penalty: Any, origin: Any, sums: Array) -> Task:
    """Least squares by its moments alone where the lambdas can be walked; else on few rows."""
    p = problem.X.shape[1]
    intercept, standard = problem.fit_intercept, problem.standardize
    found = centred(sums, origin, p, fit_intercept=intercept, standardize=standard)
    outputs = problem.outputs(problem.X.shape[0])
    whole = frame(found, problem.loss, outputs=outputs, fit_intercept=intercept)
    with_rows = functools.cache(lambda: setup(reduced(whole, found), penalty))
    single = outputs == () and penalty.separable
    if single and penalty.unpenalized(whole.mean) is None:
        data = setup_squares(whole, penalty, found.cross, found.square)
    else:
        data = with_rows()
    return Task(data, with_rows, whole, partial(product, data.problem.X))


def _from_moments(
    problem: LinearProblem, weights: list[np.ndarray]
) -> Iterator[tuple[Solve, Cells | None]]:
    """Where weights are those of the problem or 0, as in cross-validation, each cell of rows that
    go together is multiplied once, and the moments of a fold are those of its cells added up."""
    base = np.asarray(problem.sample_weight)
    if all(np.all((weight == base) | (weight == 0)) for weight in weights):
        for members, kind in with_few_cells(np.stack([weight > 0 for weight in weights])):
            cells = Cells.of(problem, kind)
            for member in members:
                yield partial(_solve_cells, problem, cells, member[cells.first]), cells
        return
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=weight)
        yield partial(_solve_moments, one, np.nonzero(weight > 0)[0]), None


def _solve_cells(
    problem: LinearProblem, cells: Cells, own: np.ndarray, penalty: Any, plan: Plan
) -> Path:
    task = _of_moments(problem, penalty, cells.origin, added(cells.parts, own))
    return along(task, problem, penalty, plan)


def _solve_moments(problem: LinearProblem, rows: np.ndarray, penalty: Any, plan: Plan) -> Path:
    origin, sums = moments(problem, [rows])
    return along(_of_moments(problem, penalty, origin, sums[0]), problem, penalty, plan)
