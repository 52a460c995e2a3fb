"""The relaxed lasso: the supports of a path, refitted without a penalty, and blends of both."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jreg import checks, sparse
from jreg.losses import means
from jreg.path import Path
from jreg.path.inputs import precision, read_problem
from jreg.problem import LinearProblem
from jreg.selection.measures import deviance as deviance_of
from jreg.selection.study import Setting, Variants
from jreg.status import Status
from jreg.typing import ArrayLike, has

NEWTON_STEPS = 50


def relax(
    path: Path,
    X: ArrayLike,
    y: ArrayLike,
    gamma: float = 0.0,
    *,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
) -> Path:
    """The path with its shrinkage taken back: `gamma * path + (1 - gamma) * refit`.

    The refit of a lam minimises the mean loss over the coefficients that are not 0 there, without
    a penalty; gamma 1 is the path itself, gamma 0 the refit. Of coefficients that their columns
    leave open, as in a saturated model, the refit of least squares has the shortest in units of the
    columns' deviations. Where a refit runs off to infinity (classes that a support separates) its
    status is MAX_STEPS.

    Args:
      path: a finished path of one output, of a loss of each sample.
      X, y, sample_weight, offset: the data it was fitted to.
      gamma: within [0, 1].

    Returns a `Path` with the same lambdas. Its gap and residual are NaN but at gamma 1, since the
    blend solves neither problem. Raises ValueError for other shapes and ranges. Memory: the columns
    of all supports. Meinshausen (2007); Hastie, Tibshirani and Tibshirani (2020), section 2.4.

    >>> import jreg
    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> path = jreg.path(X, y, lams=[0.25], fit_intercept=False, standardize=False)
    >>> (relax(path, X, y).coef.round(6) + 0.0).tolist(), path.coef.tolist()
    ([[3.0, 0.0, -2.0, 0.0]], [[2.0, 0.0, -1.0, 0.0]])
    """
    checks.number("gamma", gamma, low=0, high=1)
    problem, _ = read_problem(
        X, y, path.loss, sample_weight, offset, None, path.fit_intercept, path.standardize
    )
    if problem.X.shape[1] != path.coef.shape[1]:
        raise ValueError(f"X must have {path.coef.shape[1]} columns; got {problem.X.shape[1]}")
    with precision(problem.X.dtype):
        weight = np.ones(len(problem.y)) if sample_weight is None else problem.sample_weight
        ((_, found),) = _blends(problem, weight, path, {}, [float(gamma)])
    return found


def read_shares(relax: ArrayLike) -> list[float]:
    """The values of gamma to try, 1 among them."""
    array = np.unique(np.append(np.asarray(relax, float).ravel(), 1.0))
    checks.number("relax", array, low=0, high=1)
    return array.tolist()


def relaxed_variants(problem: LinearProblem, setting: Setting, shares: list[float]) -> Variants:
    """What `study.run` makes of the path of a fold: a blend for each share."""
    return lambda weight, path: _blends(problem, weight, path, setting, shares)


def _blends(
    problem: LinearProblem, weight: np.ndarray, path: Path, setting: Setting, shares: list[float]
) -> list[tuple[Setting, Path]]:
    coef, intercept, status = refits(problem, weight, path)
    deviance = _deviances(problem, weight, path)
    first = int(np.argmin(path.deviance_ratio))
    null = deviance[first] / (1 - path.deviance_ratio[first]) if deviance[first] > 0 else 0.0
    out = []
    for gamma in shares:
        new = dataclasses.replace(
            path,
            coef=gamma * path.coef + (1 - gamma) * coef,
            intercept=gamma * path.intercept + (1 - gamma) * intercept,
            gap=np.full_like(path.gap, np.nan),
            residual=np.full_like(path.residual, np.nan),
            status=status,
        )
        if null > 0:
            ratio = 1 - _deviances(problem, weight, new) / null
            new = dataclasses.replace(new, deviance_ratio=ratio.astype(path.coef.dtype))
        out.append(({**setting, "relax": gamma}, path if gamma == 1 else new))
    return out


def _deviances(problem: LinearProblem, weight: np.ndarray, path: Path) -> np.ndarray:
    """(n_lams,) at the rows of positive weight."""
    rows = np.nonzero(weight > 0)[0]
    offset = None if problem.offset is None else np.asarray(problem.offset)[rows]
    eta = path.predict(problem.X[rows], "link", offset)
    return deviance_of(problem.loss, np.asarray(problem.y)[rows], eta, weight[rows])


def refits(
    problem: LinearProblem, weight: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (n_lams, p), intercepts and statuses of the refits of all supports."""
    if path.coef.ndim != 2 or not has(path.loss, "pointwise"):
        raise ValueError("refits need a path of one output, and a loss of each sample")
    rows = np.nonzero(weight > 0)[0]
    used = np.nonzero(np.any(path.coef != 0, axis=0))[0]
    columns = problem.X[rows][:, used]
    columns = columns.toarray() if sparse.is_scipy(columns) else columns
    share = weight[rows] / weight[rows].sum()
    offset = np.zeros(len(weight)) if problem.offset is None else np.asarray(problem.offset)
    data = (columns, np.asarray(problem.y)[rows], offset[rows], share)
    fit = _least_squares if problem.loss.quadratic else _newton
    inner, intercept, status = fit(*data, path.coef[:, used] != 0, path)
    coef = np.zeros_like(path.coef)
    coef[:, used] = inner
    return coef, intercept, np.where(path.status == Status.CONVERGED, status, path.status)


def _least_squares(
    Z: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray,
    share: np.ndarray,
    supports: np.ndarray,
    path: Path,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All supports from one Gram matrix."""
    y = y - offset
    mean, level = (share @ Z, share @ y) if path.fit_intercept else (np.zeros(Z.shape[1]), 0.0)
    root = np.sqrt(share)[:, None]
    rows = root * (Z - mean[None, :])
    size = np.linalg.norm(rows, axis=0)
    rows = rows / np.where(size > 0, size, 1)[None, :]
    gram, cross = rows.T @ rows, rows.T @ (root[:, 0] * (y - level))
    coef = np.zeros(supports.shape)
    for k, inside in enumerate(supports):
        at = np.nonzero(inside)[0]
        coef[k, at] = _solve(gram[np.ix_(at, at)], cross[at]) / size[at]
    intercept = level - coef @ mean
    return coef, intercept, np.full(len(supports), int(Status.CONVERGED))


def _solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest solution of `A x = b`, A positive semidefinite with unit diagonal."""
    try:
        lower = np.linalg.cholesky(A)
        if lower.size == 0 or np.diag(lower).min() > 1e-6:
            return np.linalg.solve(A, b)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(A)
    kept = values > 1e-12 * values[-1]
    return vectors[:, kept] @ ((vectors[:, kept].T @ b) / values[kept])


def _newton(
    Z: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray,
    share: np.ndarray,
    supports: np.ndarray,
    path: Path,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One support after the other by Newton's method with step halving, from the path's fit."""
    loss, n_lams = path.loss, len(supports)
    coef, intercept = np.zeros(supports.shape), np.zeros(n_lams)
    status = np.full(n_lams, int(Status.CONVERGED))
    ones = np.ones((len(y), int(path.fit_intercept)))
    used = np.nonzero(np.any(path.coef != 0, axis=0))[0]
    prepared, weight = jnp.asarray(y), jnp.asarray(share)

    def value(eta: np.ndarray) -> float:
        return 0.5 * float(means.mean_deviance(loss, jnp.asarray(eta), prepared, weight))

    for k, inside in enumerate(supports):
        at = np.nonzero(inside)[0]
        A = np.concatenate([ones, Z[:, at]], axis=1)
        start = np.append(np.full(ones.shape[1], path.intercept[k]), path.coef[k, used[at]])
        params, done = _minimise(A, offset, start, loss, prepared, weight, value)
        status[k] = Status.CONVERGED if done else Status.MAX_STEPS
        if path.fit_intercept:
            intercept[k] = params[0]
        coef[k, at] = params[ones.shape[1] :]
    return coef, intercept, status


def _minimise(
    A: np.ndarray,
    offset: np.ndarray,
    params: np.ndarray,
    loss: Any,
    y: Any,
    weight: Any,
    value: Any,
) -> tuple[np.ndarray, bool]:
    """The minimum of the mean loss at `A params + offset`, and whether it was reached."""
    if A.shape[1] == 0:
        return params, True
    eta = A @ params + offset
    now = value(eta)
    for _ in range(NEWTON_STEPS):
        slope = np.asarray(means.mean_gradient(loss, jnp.asarray(eta), y, weight))
        bend = np.asarray(means.mean_curvature(loss, jnp.asarray(eta), y, weight))
        gradient, H = A.T @ slope, A.T @ (bend[:, None] * A)
        size = np.sqrt(np.maximum(np.diag(H), np.finfo(float).tiny))
        d = -_solve(H / np.outer(size, size), gradient / size) / size
        decrement = -gradient @ d
        if decrement <= 1e-11 * now:  # both fall alike where the minimum lies at infinity
            return params, True
        t, d_eta = 1.0, A @ d
        while not value(eta + t * d_eta) <= now - 1e-4 * t * decrement and t > 1e-8:
            t /= 2
        params, eta = params + t * d, eta + t * d_eta
        now = value(eta)
    return params, False
