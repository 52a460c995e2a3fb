"""The relaxed lasso: the supports of a path, refitted without a penalty, and blends of both."""

import dataclasses
from typing import Any, NamedTuple

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


class _Data(NamedTuple):
    """The rows that count, and the columns that any lambda uses."""

    Z: np.ndarray  # (n, k)
    y: np.ndarray
    offset: np.ndarray
    share: np.ndarray  # weights that sum to 1

    def deviances(self, loss: Any, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """(n_lams,) of coef (n_lams, k)."""
        eta = coef @ self.Z.T + intercept[:, None] + self.offset[None, :]
        return deviance_of(loss, self.y, eta, self.share)


def _blends(
    problem: LinearProblem, weight: np.ndarray, path: Path, setting: Setting, shares: list[float]
) -> list[tuple[Setting, Path]]:
    if path.coef.ndim != 2 or not has(path.loss, "pointwise"):
        raise ValueError("refits need a path of one output, and a loss of each sample")
    used = np.nonzero(np.any(path.coef != 0, axis=0))[0]
    data, first = _data(problem, weight, used), path.coef[:, used]
    refit = _least_squares if problem.loss.quadratic else _newton
    coef, intercept, status = refit(data, first, path)
    status = np.where(path.status == Status.CONVERGED, status, path.status)
    deviance = data.deviances(path.loss, first, path.intercept)
    k = int(np.argmin(path.deviance_ratio))
    null = deviance[k] / (1 - path.deviance_ratio[k]) if deviance[k] > 0 else 0.0
    nothing = np.full_like(path.gap, np.nan)

    def blend(gamma: float) -> Path:
        if gamma == 1:
            return path
        inner = gamma * first + (1 - gamma) * coef
        level = gamma * path.intercept + (1 - gamma) * intercept
        ratio = path.deviance_ratio
        if null > 0:
            ratio = 1 - data.deviances(path.loss, inner, level) / null
        whole = np.zeros_like(path.coef)
        whole[:, used] = inner
        return dataclasses.replace(
            path,
            coef=whole,
            intercept=level.astype(whole.dtype),
            gap=nothing,
            residual=nothing,
            status=status,
            deviance_ratio=ratio.astype(whole.dtype),
        )

    return [({**setting, "relax": gamma}, blend(gamma)) for gamma in shares]


def _data(problem: LinearProblem, weight: np.ndarray, used: np.ndarray) -> _Data:
    """Columns first, so that X is not copied whole."""
    rows = np.nonzero(weight > 0)[0]
    Z = problem.X[:, used][rows]
    offset = np.zeros(len(weight)) if problem.offset is None else np.asarray(problem.offset)
    return _Data(
        Z.toarray() if sparse.is_scipy(Z) else Z,
        np.asarray(problem.y)[rows],
        offset[rows],
        weight[rows] / weight[rows].sum(),
    )


def _least_squares(
    data: _Data, first: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (n_lams, k), intercepts and statuses: all supports from one Gram matrix."""
    Z, share, y = data.Z, data.share, data.y - data.offset
    mean, level = (share @ Z, share @ y) if path.fit_intercept else (np.zeros(Z.shape[1]), 0.0)
    root = np.sqrt(share)[:, None]
    rows = root * (Z - mean[None, :])
    size = np.linalg.norm(rows, axis=0)
    rows = rows / np.where(size > 0, size, 1)[None, :]
    gram, cross = rows.T @ rows, rows.T @ (root[:, 0] * (y - level))
    coef = np.zeros(first.shape)
    for k, inside in enumerate(first != 0):
        at = np.nonzero(inside)[0]
        coef[k, at] = _solve(gram[np.ix_(at, at)], cross[at]) / size[at]
    return coef, level - coef @ mean, np.full(len(coef), int(Status.CONVERGED))


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
    data: _Data, first: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for other losses, one support after the other, from the path's fit."""
    coef, intercept = np.zeros(first.shape), np.zeros(len(first))
    status = np.full(len(first), int(Status.CONVERGED))
    ones = np.ones((len(data.y), int(path.fit_intercept)))
    for k, inside in enumerate(first != 0):
        at = np.nonzero(inside)[0]
        A = np.concatenate([ones, data.Z[:, at]], axis=1)
        start = np.append(np.full(ones.shape[1], path.intercept[k]), first[k, at])
        params, done = _minimise(A, data, path.loss, start)
        status[k] = Status.CONVERGED if done else Status.MAX_STEPS
        if path.fit_intercept:
            intercept[k] = params[0]
        coef[k, at] = params[ones.shape[1] :]
    return coef, intercept, status


def _minimise(A: np.ndarray, data: _Data, loss: Any, params: np.ndarray) -> tuple[np.ndarray, bool]:
    """The minimum of the mean loss at `A params + offset` by Newton's method with step halving,
    and whether it was reached."""
    if A.shape[1] == 0:
        return params, True
    y, weight = jnp.asarray(data.y), jnp.asarray(data.share)

    def value(eta: np.ndarray) -> float:
        return 0.5 * float(means.mean_deviance(loss, jnp.asarray(eta), y, weight))

    eta = A @ params + data.offset
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
