"""`path`: the certified lambda path of a data set, driven from the host."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jreg import checks
from jreg.losses import Squared
from jreg.path.blocks import BLOCK, Block, first_point, solve_block
from jreg.path.compiled import compiled
from jreg.path.general_model import GeneralModel
from jreg.path.grid import check_lams, lam_grid, start_of_grid
from jreg.path.inputs import on_device, precision, read_design, read_vector, read_weight
from jreg.path.newton_blocks import solve_path
from jreg.path.progress import progress_bar
from jreg.path.result import Path
from jreg.path.setup import Data, setup
from jreg.path.sparse_newton import solve_sparse, suits
from jreg.path.squared_model import SquaredModel
from jreg.path.sweep import explained
from jreg.path.units import Units, units_of
from jreg.path.walk import Outcome, walk
from jreg.penalties import L1
from jreg.problem import Linear, LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.status import Status
from jreg.typing import Array, ArrayLike, Loss, MeanLoss, Penalty, Progress, has


def path(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    lams: ArrayLike | None = None,
    n_lams: int = 100,
    lam_min_ratio: float | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    standardize: bool = True,
    tol: float | None = None,
    max_deviance_ratio: float | None = None,
    progress: Progress = None,
    feature_names: Any = None,
) -> Path:
    """Solutions of `mean loss + penalty.at(lam)` along a lambda path, each with its certificate.

    Exactly so between the knots of the path where it is piecewise linear (squared loss, L1), by
    Newton's method in blocks of lambdas elsewhere; never by a heuristic that the certificate over
    all features would not catch.

        minimise  sum_i s_i loss(eta_i, y_i) / sum_i s_i + lam * penalty(scale * coef)
        eta = X coef + intercept + offset

    With k outputs (`Multinomial(k)`, or k responses under `Squared`) coef is (n_features, k) and
    the intercept (k,). `GroupLasso(weights=np.ones(n_features), axis=0)`, a group for each row, is
    then the penalty of glmnet's "grouped" multinomial and "mgaussian" paths.

    Args:
      X: (n_samples, n_features) array or DataFrame of finite numbers, or a SciPy sparse matrix or
        array, of which only candidate columns are ever made dense (standardised or not).
      y: (n_samples,) response in the domain of the loss; (n_samples, k) for k responses.
      penalty: of single coefficients (`L1`, `ElasticNet`, `MCP`, ...) or of groups (`GroupLasso`
        and its kin): groups of features, or with `axis=0` the rows of several outputs. Multiplied
        by each lam: `L1(2.)` at lam 0.1 has strength 0.2. `L1() + Box(low, high)` adds limits.
      loss: smooth and strictly convex, one number per sample.
      lams: the strengths, in any order; results come in the order given. None makes a grid of
        `n_lams` from the smallest lam that gives all zeros down to `lam_min_ratio` of it (None:
        1e-4 if there are more samples than features, else 1e-2).
      sample_weight: (n_samples,) frequencies up to scale; 0 is an absent row.
      offset: (n_samples,) known part of eta; (n_samples, k) with k outputs.
      fit_intercept: whether there is a (never penalised) intercept.
      standardize: penalise `scale * coef`, scale the weighted 1/n standard deviation of each
        column. Coefficients are always in original units.
      tol: bound of the relative duality gap; None is 1e-6 in float64, 1e-4 in float32.
      max_deviance_ratio: stop after the block in which the share of the deviance explained reaches
        this, say 0.999, as glmnet does; smaller lambdas are marked NOT_RUN. None never stops.
      progress: True for a bar (tqdm if installed), or a function of (lams done, lams in all).
      feature_names: one per column; None takes those of a DataFrame.

    Returns a `Path` of NumPy arrays, in float32 for float32 data, else in float64, whatever JAX's
    x64 flag says. Ctrl-C returns the lambdas done so far, the rest marked NOT_RUN. Raises
    ValueError or TypeError for bad input, and says what came.

    Memory beyond X: the candidate columns and the square of their number.

    >>> import jreg
    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> jreg.path(X, y, lams=[0.25], fit_intercept=False, standardize=False).coef
    array([[ 2.,  0., -1.,  0.]])
    """
    if checks.is_traced(X, y, penalty, loss, lams, sample_weight, offset, tol):
        raise TypeError(
            "jreg.path drives its loop from the host, so it cannot run inside jit, vmap or grad. "
            "Use jreg.sweep there."
        )
    if isinstance(loss, type) or not isinstance(loss, Loss | MeanLoss):
        raise TypeError(f"loss must be a member of jreg.losses; got {loss!r}")
    if not _takes_loss(loss):
        raise TypeError(
            f"path needs a smooth, strictly convex loss of each sample, which "
            f"{type(loss).__name__} is not; use jreg.sweep(LinearProblem(X, y, loss), ...)"
        )
    X, names = read_design(X, feature_names)
    problem = _read_problem(
        X, y, loss, sample_weight, offset, fit_intercept=fit_intercept, standardize=standardize
    )
    tol = float(checks.tolerance(tol, X.dtype))
    enough = np.inf if max_deviance_ratio is None else float(max_deviance_ratio)
    checks.number("max_deviance_ratio", enough, low=0)
    if lams is not None:
        lams = check_lams(lams)
    with precision(X.dtype):
        problem = dataclasses.replace(problem, X=on_device(problem.X))
        problem, penalty, _ = check_inputs(problem, penalty, None)
        outputs = problem.outputs(problem.X.shape[0])
        units = units_of(penalty, problem.X.shape[1], outputs)
        if units is None:
            raise TypeError(
                "path needs a separable penalty that says where features enter, or one of groups "
                f"of features; got {type(penalty).__name__}. "
                "Use jreg.sweep(LinearProblem(X, y, loss), ...)"
            )
        data = setup(problem, penalty)
        if lams is None:
            strength = float(getattr(penalty, "lam", 1.0))
            first = start_of_grid(data.lam_max, data.largest_ridge, strength)
            tall = problem.X.shape[0] > problem.X.shape[1]
            lams = lam_grid(first, n_lams, lam_min_ratio, tall=tall)
        falling, back = np.unique(-lams, return_inverse=True)
        rows = _Rows.empty(-falling, (problem.X.shape[1], *outputs), X.dtype)
        try:
            with progress_bar(progress, falling.size) as report:
                null = float(data.null_deviance)
                for done in _fill(rows, data, penalty, units, tol):
                    report(done)
                    if null - rows.deviance[done - 1] >= enough * null:
                        break
        except KeyboardInterrupt:
            print("interrupted: the remaining lambdas are marked NOT_RUN", file=sys.stderr)
        return _assemble(rows, back.ravel(), lams, data, problem, penalty, names)


def _takes_loss(loss: Any) -> bool:
    """Whether blocks can be solved by Newton's method."""
    return has(loss, "pointwise") and loss.smooth and loss.strictly_convex


def _read_problem(
    X: Any,
    y: ArrayLike,
    loss: Loss,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    **options: bool,
) -> LinearProblem:
    """The data in the dtype of X, without the rows of weight 0."""
    n = X.shape[0]
    y = _read_rows("y", y, n, X.dtype, loss)
    offset = None if offset is None else _read_rows("offset", offset, n, X.dtype, loss)
    if sample_weight is not None:
        sample_weight = read_weight(sample_weight, n, X.dtype)
        present = sample_weight > 0
        if not present.all():
            X, y, sample_weight = X[present], y[present], sample_weight[present]
            offset = None if offset is None else offset[present]
    return LinearProblem(X, y, loss, sample_weight, offset, **options)


def _read_rows(name: str, v: ArrayLike, n: int, dtype: Any, loss: Loss) -> np.ndarray:
    """A vector (n,), or a matrix (n, k) for a loss of several outputs."""
    shape = np.shape(v)
    if not has(loss, "outputs") or len(shape) != 2 or shape[0] != n or shape[1] < 2:
        return read_vector(name, v, n, dtype)
    columns = [read_vector(name, column, n, dtype) for column in np.asarray(v).T]
    return np.stack(columns, axis=1)


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
def _finish(data: Data, theta: Array, intercept: Array, deviance: Array) -> tuple[Linear, Array]:
    """Coefficients in original units, and deviance ratios."""
    params = jax.vmap(data.problem.to_original)(Linear(theta, intercept))
    return params, explained(deviance, data.null_deviance)


def _assemble(
    rows: _Rows,
    back: np.ndarray,
    lams: np.ndarray,
    data: Data,
    problem: LinearProblem,
    penalty: Any,
    names: tuple[str, ...] | None,
) -> Path:
    """The `Path`, in the order in which the lambdas came."""
    params, ratio = _finish(data, rows.theta, rows.intercept, rows.deviance)
    params, ratio, scale = jax.tree.map(np.asarray, (params, ratio, data.problem.scale))
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
