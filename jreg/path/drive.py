"""Solving a path's lambdas: which way it goes, and the results as a `Path`."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.path.blocks import BLOCK, Block, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.general_model import GeneralModel
from jreg.path.grid import lam_grid, start_of_grid
from jreg.path.inputs import on_device
from jreg.path.moments import added, moments, reduced, reducible
from jreg.path.newton_blocks import solve_path
from jreg.path.progress import progress_bar
from jreg.path.result import Path
from jreg.path.setup import Data, setup
from jreg.path.sparse_newton import solve_sparse, suits
from jreg.path.squared_model import SquaredModel
from jreg.path.sweep import explained, sweep
from jreg.path.units import Units, units_of
from jreg.path.walk import Outcome, walk
from jreg.problem import CentredProblem, Linear, LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.status import Status
from jreg.typing import Array, Progress, has


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


def fits(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a `checked` problem; by `sweep` where the driver has no way."""
    if takes_loss(problem.loss) and takes_penalty(problem, penalty):
        return solve_one(problem, penalty, plan)
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    if plan.lams is None:
        plan = dataclasses.replace(
            plan, lams=_grid(setup(problem, penalty), problem, penalty, plan)
        )
    return _swept(problem, penalty, plan)


def fits_of_weights(
    problem: LinearProblem, penalty: Any, plan: Plan, weights: Iterable[np.ndarray]
) -> Iterator[Path]:
    """The paths of a `checked` problem with its rows weighted anew, one after the other: rows keep
    their places, so that X is shared and little is compiled again. weights: (n,) each."""
    if takes_loss(problem.loss) and takes_penalty(problem, penalty):
        yield from _solve_several(problem, penalty, plan, list(weights))
        return
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield _swept(one, penalty, plan)


def _swept(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    found = sweep(problem, penalty, plan.lams, tol=plan.tol)
    found = jax.tree.map(np.asarray, found)
    return dataclasses.replace(found, feature_names=plan.names)


def solve_one(problem: LinearProblem, penalty: Any, plan: Plan) -> Path:
    """The path of a `checked` problem."""
    if reducible(problem):
        origin, (sums,) = moments(problem, [np.arange(problem.X.shape[0])])
        return _along(*reduced(problem, origin, sums), problem, penalty, plan)
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    return _along(problem, None, problem, penalty, plan)


def _solve_several(
    problem: LinearProblem, penalty: Any, plan: Plan, weights: list[np.ndarray]
) -> Iterator[Path]:
    if reducible(problem):
        yield from _from_moments(problem, penalty, plan, weights)
        return
    problem = dataclasses.replace(problem, X=on_device(problem.X))
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=jnp.asarray(weight))
        yield _along(one, None, one, penalty, plan)


def _from_moments(
    problem: LinearProblem, penalty: Any, plan: Plan, weights: list[np.ndarray]
) -> Iterator[Path]:
    """Where weights are those of the problem or 0, as in cross-validation, each cell of rows that
    go together is multiplied once, and the moments of a fold are those of its cells added up."""
    base = np.asarray(problem.sample_weight)
    members = np.stack([weight > 0 for weight in weights])
    plain = all(
        np.array_equal(w, np.where(m, base, 0)) for w, m in zip(weights, members, strict=True)
    )
    cells, cell = np.unique(members, axis=1, return_inverse=True)
    if plain and cells.shape[1] <= len(weights) + 1:
        sets = [np.nonzero(cell.ravel() == c)[0] for c in range(cells.shape[1])]
        origin, parts = moments(problem, sets)
        for row in cells:
            inside = [part for part, flag in zip(parts, row, strict=True) if flag]
            sums = inside[0]
            for part in inside[1:]:
                sums = added(sums, part)
            yield _along(*reduced(problem, origin, sums), problem, penalty, plan)
        return
    for weight in weights:
        one = dataclasses.replace(problem, sample_weight=weight)
        origin, (sums,) = moments(one, [np.nonzero(weight > 0)[0]])
        yield _along(*reduced(one, origin, sums), one, penalty, plan)


def _along(
    problem: LinearProblem | CentredProblem,
    whole: CentredProblem | None,
    given: LinearProblem,
    penalty: Any,
    plan: Plan,
) -> Path:
    """The path of a problem, or of the few rows it is `reduced` to: `whole` then knows the original
    units."""
    n, p = given.X.shape
    outputs = given.outputs(n)
    units: Any = units_of(penalty, p, outputs)
    data = setup(problem, penalty)
    whole = data.problem if whole is None else whole
    lams = _grid(data, given, penalty, plan) if plan.lams is None else plan.lams
    falling, back = np.unique(-lams, return_inverse=True)
    rows = _Rows.empty(-falling, (p, *outputs), given.X.dtype)
    try:
        with progress_bar(plan.progress, falling.size) as report:
            null = float(data.null_deviance)
            for done in _fill(rows, data, penalty, units, plan.tol):
                report(done)
                if null - rows.deviance[done - 1] >= plan.enough * null:
                    break
    except KeyboardInterrupt:
        print("interrupted: the remaining lambdas are marked NOT_RUN", file=sys.stderr)
    return _assemble(rows, back.ravel(), lams, data, whole, given, penalty, plan.names)


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


def _fill(rows: _Rows, data: Data, penalty: Any, units: Units, tol: float) -> Iterator[int]:
    """Solve every lambda, writing into `rows`; yields how many are done."""
    single = data.entry.ndim == 1
    walks = single and can_walk(data)
    sparse = walks and suits(data, penalty)
    if walks and not sparse:
        yield from _walk(rows, data, penalty, units, tol)
        return
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


def _walk(rows: _Rows, data: Data, penalty: Any, units: Units, tol: float) -> Iterator[int]:
    """The same by the homotopy, and by single blocks where that finds no way."""
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
        block = solve_block(data, penalty, units, rows.lams[k : k + 1], point, tol)
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
    data: Data,
    whole: CentredProblem,
    problem: LinearProblem,
    penalty: Any,
    names: tuple[str, ...] | None,
) -> Path:
    """The `Path`, in the order in which the lambdas came."""
    whole = dataclasses.replace(whole, X=None, gram=None)
    params, ratio = _finish(whole, data.null_deviance, rows.theta, rows.intercept, rows.deviance)
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
