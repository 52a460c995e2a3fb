"""`path`: the certified lambda path of a data set, driven from the host.

Lambdas fall in blocks. For each block a few candidate features are chosen, those of the last
solution and those closest to entering (Massias, Gramfort and Salmon 2018, section 3); the block is
solved on those columns alone with warm starts; and one product with the whole of X certifies every
lambda of the block: features that violate their optimality condition join the candidates and the
block is solved again. A wrong guess costs time, never correctness. The number of candidates is a
power of two, so few programs are compiled.
"""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks
from jreg.certificates import NullModel, certify, null_model
from jreg.losses import Squared
from jreg.path.grid import check_lams, lam_grid, start_of_grid
from jreg.path.inputs import precision, read_matrix, read_vector, read_weight
from jreg.path.progress import progress_bar
from jreg.path.result import Path
from jreg.path.sweep import explained, null_deviance, solve_blocks, weighted_deviance
from jreg.penalties import L1
from jreg.problem import CentredProblem, Linear, LinearProblem
from jreg.solvers import FISTA, ProxNewton
from jreg.solvers.solve import check_inputs
from jreg.status import Status
from jreg.typing import Array, ArrayLike, Loss, MeanLoss, Penalty, Progress, has

BLOCK = 5  # lambdas solved between two products with X
SMALL = 256  # up to this many features all are candidates
LARGEST_MODEL = 4096  # candidates up to which a p x p matrix is formed


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
    progress: Progress = None,
    feature_names: Any = None,
) -> Path:
    """Solutions of `mean loss + penalty.at(lam)` along a lambda path, each with its certificate.

        minimise  sum_i s_i loss(eta_i, y_i) / sum_i s_i + lam * penalty(scale * coef)
        eta = X coef + intercept + offset

    Args:
      X: (n_samples, n_features) array or DataFrame of finite numbers.
      y: (n_samples,) response in the domain of the loss.
      penalty: multiplied by each lam: `L1(2.)` at lam 0.1 has strength 0.2.
      lams: the strengths, in any order; results come in the order given. None makes a grid of
        `n_lams` from the smallest lam that gives all zeros down to `lam_min_ratio` of it (None:
        1e-4 if there are more samples than features, else 1e-2).
      sample_weight: (n_samples,) frequencies up to scale; 0 is an absent row.
      offset: (n_samples,) known part of eta.
      fit_intercept: whether there is a (never penalised) intercept.
      standardize: penalise `scale * coef`, scale the weighted 1/n standard deviation of each
        column. Coefficients are always in original units.
      tol: bound of the relative duality gap; None is 1e-6 in float64, 1e-4 in float32.
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
            f"path needs a smooth, strictly convex loss of each sample with one output, which "
            f"{type(loss).__name__} is not; use jreg.sweep(LinearProblem(X, y, loss), ...)"
        )
    X, names = read_matrix(X, feature_names)
    problem = _read_problem(
        X, y, loss, sample_weight, offset, fit_intercept=fit_intercept, standardize=standardize
    )
    tol = float(checks.tolerance(tol, X.dtype))
    if lams is not None:
        lams = check_lams(lams)
    with precision(X.dtype):
        problem, penalty, _ = check_inputs(problem, penalty, None)
        if not (penalty.separable and penalty.convex and has(penalty, "entry")):
            raise TypeError(
                "path needs a separable penalty that is convex and says where features enter; "
                f"got {type(penalty).__name__}. Use jreg.sweep(LinearProblem(X, y, loss), ...)"
            )
        data = _setup(problem, penalty)
        if lams is None:
            strength = float(getattr(penalty, "lam", 1.0))
            first = start_of_grid(data.lam_max, data.largest_ridge, strength)
            tall = problem.X.shape[0] > problem.X.shape[1]
            lams = lam_grid(first, n_lams, lam_min_ratio, tall=tall)
        falling, back = np.unique(-lams, return_inverse=True)
        rows = _Rows.empty(-falling, problem.X.shape[1], X.dtype)
        try:
            with progress_bar(progress, falling.size) as report:
                for done in _fill(rows, data, penalty, tol):
                    report(done)
        except KeyboardInterrupt:
            print("interrupted: the remaining lambdas are marked NOT_RUN", file=sys.stderr)
        return _assemble(rows, back.ravel(), lams, data, problem, penalty, names)


def _takes_loss(loss: Any) -> bool:
    """Whether blocks can be solved by Newton models of one output."""
    single = not has(loss, "outputs") or (has(loss, "pointwise") and loss.outputs(()) == ())
    return single and has(loss, "pointwise") and loss.smooth and loss.strictly_convex


def _read_problem(
    X: np.ndarray,
    y: ArrayLike,
    loss: Loss,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    **options: bool,
) -> LinearProblem:
    """The data in the dtype of X, without the rows of weight 0."""
    n = X.shape[0]
    y = read_vector("y", y, n, X.dtype)
    offset = None if offset is None else read_vector("offset", offset, n, X.dtype)
    if sample_weight is not None:
        sample_weight = read_weight(sample_weight, n, X.dtype)
        present = sample_weight > 0
        if not present.all():
            X, y, sample_weight = X[present], y[present], sample_weight[present]
            offset = None if offset is None else offset[present]
    return LinearProblem(X, y, loss, sample_weight, offset, **options)


class _Data(NamedTuple):
    """What every block needs."""

    problem: CentredProblem
    null: NullModel
    null_deviance: Array
    lam_max: Array
    largest_ridge: Array  # strength at which a ridge penalty leaves next to nothing
    entry: Array  # per feature: the lam at which it enters, seen from the null model


@jax.jit
def _setup(problem: LinearProblem, penalty: Any) -> _Data:
    centred = problem.centred()
    null = null_model(centred, penalty)
    entry = penalty.entry(null.gradient)
    n, p = problem.X.shape
    if n >= p and p <= LARGEST_MODEL:
        centred = centred.with_gram()
    # a ridge of this strength moves eta by 1e-3 of the size of the null model's residual
    norms = jnp.sqrt(null.curvature / (problem.loss.smoothness or 1.0))
    largest_ridge = 1e3 * jnp.max(norms * jnp.abs(null.gradient)) / null.dual_scale
    return _Data(centred, null, null_deviance(centred), jnp.max(entry), largest_ridge, entry)


class _Rows(NamedTuple):
    """Results in (theta, b), filled from the top; one row per distinct falling lambda."""

    lams: np.ndarray
    theta: np.ndarray
    intercept: np.ndarray
    gap: np.ndarray
    residual: np.ndarray
    num_steps: np.ndarray
    status: np.ndarray

    @classmethod
    def empty(cls, lams: np.ndarray, n_features: int, dtype: Any) -> "_Rows":
        """NaN everywhere and NOT_RUN."""
        k = lams.size
        nan = np.full(k, np.nan, dtype)
        return cls(
            lams=lams.astype(dtype),
            theta=np.full((k, n_features), np.nan, dtype),
            intercept=nan.copy(),
            gap=nan.copy(),
            residual=nan.copy(),
            num_steps=np.zeros(k, int),
            status=np.full(k, int(Status.NOT_RUN)),
        )


def _fill(rows: _Rows, data: _Data, penalty: Any, tol: float) -> Iterator[int]:
    """Solve block after block, writing into `rows`; yields how many lambdas are done."""
    start = jax.tree.map(np.asarray, data.null.params)
    entry = np.asarray(data.entry)
    free = penalty.unpenalized(data.null.gradient)
    k = 0
    while k < rows.lams.size:
        block = rows.lams[k : k + BLOCK]
        wanted = start.coef != 0 if free is None else (start.coef != 0) | np.asarray(free)
        while True:
            candidates = _choose(wanted, entry)
            found, checked, entries = _try_block(data, penalty, block, candidates, start, tol)
            outside = ~np.isin(np.arange(entry.size), candidates)
            missed = (entries > 1).any(axis=0) & outside
            if (checked.error <= tol).all() or not missed.any():
                break
            wanted = wanted | missed | (found.params.coef != 0).any(axis=0)
        _write(rows, k, found, checked, tol)
        if np.isfinite(checked.value[-1]):
            start = jax.tree.map(lambda leaf: leaf[-1], found.params)
            entry = entries[-1]
        k += block.size
        yield k


def _choose(wanted: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Indices of the candidate features: the wanted ones, and those closest to entering until twice
    as many are there; their number is a power of two, or all."""
    target = 2 * int(wanted.sum()) + 32
    size = max(SMALL, 1 << int(np.ceil(np.log2(target))))
    if size >= entry.size:
        return np.arange(entry.size)
    score = np.where(wanted, np.inf, np.nan_to_num(entry))
    return np.sort(np.argpartition(-score, size - 1)[:size])


def _try_block(
    data: _Data, penalty: Any, lams: np.ndarray, candidates: np.ndarray, start: Linear, tol: float
) -> tuple[Any, Any, np.ndarray]:
    """Solve a block on the candidate columns and certify it on all; NumPy arrays."""
    # the last block is filled up with its last lambda, to keep the shape
    block = np.concatenate([lams, np.full(BLOCK - lams.size, lams[-1])])
    solver = ProxNewton() if candidates.size <= LARGEST_MODEL else FISTA()
    begin = Linear(start.coef[candidates], start.intercept)
    inner_tol = max(0.5 * tol, 10 * float(np.finfo(lams.dtype).eps))
    found = _solve_block(
        data, penalty, block, candidates, begin, inner_tol, solver.max_steps, solver
    )
    theta = np.zeros((BLOCK, data.entry.size), lams.dtype)
    theta[:, candidates] = found.params.coef
    found = dataclasses.replace(found, params=Linear(theta, found.params.intercept))
    checked, entries = _certify_block(data, penalty, block, found.params)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: lams.size], (found, checked, entries))


@jax.jit
def _solve_block(
    data: _Data,
    penalty: Any,
    lams: Array,
    index: Array,
    start: Linear,
    tol: Array,
    limit: Array,
    solver: Any,
) -> Any:
    """The block on the columns `index`, lambda after lambda."""
    problem, null = data.problem, data.null
    if index.size < problem.mean.size:
        problem = problem.restrict(index)
        penalty = penalty.restrict(index)
        null = null._replace(gradient=null.gradient[index], curvature=null.curvature[index])
    tol = jnp.asarray(tol, lams.dtype)
    return solve_blocks(solver, problem, penalty, null, lams[:, None], start, tol, limit)


@jax.jit
def _certify_block(data: _Data, penalty: Any, lams: Array, params: Linear) -> tuple[Any, Array]:
    """Certificates over the full problem, and per lambda and feature the multiple of the lambda at
    which the feature would enter (above 1 for a violation)."""

    def one(lam: Array, params: Linear) -> tuple[Any, Array]:
        strong = penalty.at(lam)
        found = certify(data.problem, strong, params, data.null)
        return found._replace(gradient=()), strong.entry(found.gradient)

    return jax.vmap(one)(lams, params)


def _write(rows: _Rows, k: int, found: Any, checked: Any, tol: float) -> None:
    """Copy a block into the results; the status follows from the full certificate."""
    size = checked.value.size
    block = slice(k, k + size)
    rows.theta[block] = found.params.coef
    rows.intercept[block] = found.params.intercept
    rows.gap[block], rows.residual[block] = checked.gap, checked.residual
    rows.num_steps[block] = found.num_steps
    reached = checked.error <= tol
    inner = np.where(found.status == Status.CONVERGED, Status.AT_PRECISION, found.status)
    rows.status[block] = np.where(reached, Status.CONVERGED, inner)


@jax.jit
def _original_units(data: _Data, theta: Array, intercept: Array) -> tuple[Linear, Array]:
    """Coefficients in original units and deviance ratios."""

    def one(theta: Array, intercept: Array) -> tuple[Linear, Array]:
        params = Linear(theta, intercept)
        deviance = weighted_deviance(data.problem, data.problem.image(params))
        return data.problem.to_original(params), explained(deviance, data.null_deviance)

    return jax.vmap(one)(theta, intercept)


def _assemble(
    rows: _Rows,
    back: np.ndarray,
    lams: np.ndarray,
    data: _Data,
    problem: LinearProblem,
    penalty: Any,
    names: tuple[str, ...] | None,
) -> Path:
    """The `Path`, in the order in which the lambdas came."""
    params, ratio = jax.tree.map(np.asarray, _original_units(data, rows.theta, rows.intercept))
    scale = np.asarray(data.problem.scale)
    return Path(
        lams=np.asarray(lams, rows.lams.dtype),
        coef=params.coef[back],
        intercept=params.intercept[back],
        gap=rows.gap[back],
        residual=rows.residual[back],
        num_steps=rows.num_steps[back],
        status=rows.status[back],
        n_nonzero=np.sum(np.nan_to_num(params.coef) != 0, axis=1)[back],
        deviance_ratio=ratio[back],
        scale=scale if problem.standardize else np.ones_like(scale),
        penalty=jax.tree.map(np.asarray, penalty),
        loss=problem.loss,
        feature_names=names,
        fit_intercept=problem.fit_intercept,
        standardize=problem.standardize,
    )
