"""What the criteria ask of every fit of a path: degrees of freedom, deviance, leave-one-out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.losses import Logistic, Poisson
from jreg.path.compiled import compiled
from jreg.path.inputs import read_design
from jreg.path.result import Path
from jreg.selection import freedom
from jreg.selection.reading import present_rows
from jreg.sparse import is_scipy
from jreg.status import is_solved
from jreg.typing import Array, has


class Fits(NamedTuple):
    """What the criteria need of each fit, (n_lams,); NaN where it was not solved."""

    df: np.ndarray
    deviance: np.ndarray
    size: np.ndarray  # penalised units in use
    candidates: int  # penalised units
    loo: np.ndarray | None


def read(
    path: Path, X: Any, y: Any, sample_weight: Any, offset: Any
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The rows that are present, in float64 (X as it is)."""
    if checks.is_traced(path, X, y, sample_weight, offset):
        raise TypeError("criteria run on the host: not inside jit, vmap or grad")
    if not isinstance(path, Path):
        raise TypeError(f"path must be a jreg.Path; got {type(path).__name__}")
    if np.ndim(path.lams) != 1 or np.ndim(path.coef) != 2:
        raise TypeError(
            "criteria are of one path with one output; this one has coefficients of shape "
            f"{np.shape(path.coef)}"
        )
    if not (path.loss.quadratic or isinstance(path.loss, Logistic | Poisson)):
        raise TypeError(
            "criteria need a likelihood with a known scale, Squared, Logistic or Poisson; "
            f"this path has {type(path.loss).__name__}"
        )
    X, _ = read_design(X)
    p = X.shape[1]
    if p != path.coef.shape[1]:
        raise ValueError(f"X must have the {path.coef.shape[1]} columns of the path; got {p}")
    if not freedom.suits(path.penalty, p):
        raise TypeError(
            "the degrees of freedom are known for separable penalties and for groups of features; "
            f"this path has {type(path.penalty).__name__}"
        )
    X, y, weight, offset = present_rows(X, y, sample_weight, offset)
    path.loss.check(y)
    return X, y, weight, offset


def local_fits(path: Path, X: Any, y: Any, weight: Any, offset: Any, loo: bool) -> Fits:
    """Fit after fit, in theta = scale * coef and centred columns."""
    penalty = tree.cast(jax.tree.map(np.asarray, path.penalty), jnp.float64)
    p, scale = X.shape[1], np.asarray(path.scale, float)
    coef, share = np.nan_to_num(np.asarray(path.coef, float)), weight / weight.sum()
    theta, lams = coef * scale[None, :], np.asarray(path.lams, float)
    solved = np.flatnonzero(is_solved(np.asarray(path.status))).tolist()
    rows = freedom.units(penalty, p)
    eps = np.finfo(np.asarray(path.coef).dtype).eps.astype(float)

    def local(k: int) -> tuple[np.ndarray, np.ndarray]:
        support, second = freedom.local(penalty, lams[k], theta[k], eps)
        return np.asarray(support), np.asarray(second)

    supports = {k: local(k)[0] for k in solved}
    used = np.flatnonzero(np.any([np.zeros(p, bool), *supports.values()], axis=0) & (scale > 0))

    raw = _columns(X, used)
    mean = share @ raw if path.fit_intercept else np.zeros(used.size)
    eta = coef[:, used] @ raw.T + np.asarray(path.intercept, float)[:, None] + offset[None, :]
    Z = (raw - mean[None, :]) / scale[used][None, :]
    deviance, slope, bend = map(np.asarray, _terms(path.loss, eta, y))
    gram = Z.T @ (share[:, None] * Z) if path.loss.quadratic and used.size <= len(y) else None

    free = penalty.unpenalized(jnp.zeros(p))
    counted = _candidates(penalty, np.zeros(p, bool) if free is None else np.asarray(free), scale)
    units = np.append(counted, False)[rows].any(axis=1)
    df, size, held = (np.full(lams.size, np.nan) for _ in range(3))
    for k in solved:
        index = used[supports[k][used]]
        at = np.searchsorted(used, index)
        D = freedom.curvature(local(k)[1], rows, index, p)
        h, columns = share * bend[k], Z[:, at]
        intercept = 0.0
        if path.fit_intercept:
            intercept = 1 / h.sum()
            if not path.loss.quadratic:
                columns = columns - (h @ columns)[None, :] * intercept
        if D.ndim == 1 and index.size > len(y) and np.all(D >= 0) and D.any():
            df[k], own = freedom.wide_influence(columns, h, D)
        else:
            here = gram[np.ix_(at, at)] if gram is not None else columns.T @ (h[:, None] * columns)
            df[k], own = freedom.influence(columns, h, D, here, each=loo)
        df[k] += path.fit_intercept
        if loo:
            left_out = without_itself(eta[k], slope[k], bend[k], share * (own + intercept))
            held[k] = share @ np.asarray(_loss(path.loss, left_out, y))
        nonzero = np.append((coef[k] != 0) & counted, False)
        size[k] = np.count_nonzero(nonzero[rows].any(axis=1))
    total = np.where(np.isnan(df), np.nan, deviance @ weight)
    return Fits(df, total, size, int(units.sum()), held if loo else None)


def without_itself(eta: Array, slope: Array, bend: Array, leverage: Array) -> Array:
    """The predictor of each row under the fit without it, by one Newton step on the support:

        eta_i + g_i l'_i / (1 - g_i l''_i),    g_i = s_i z_i' A^-1 z_i,

    A the Hessian on the support, slope and bend the derivatives l' and l'' of the row's loss. The
    denominator is 0 where a row alone decides its fit, and is kept above 1e-12.
    """
    return eta + leverage * slope / jnp.maximum(1 - leverage * bend, 1e-12)


def _candidates(penalty: Any, free: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The penalised features that may be other than 0, (p,)."""
    able = scale > 0
    if has(penalty, "entry"):  # 0 either way for what is excluded
        ways = [np.asarray(penalty.entry(sign * jnp.ones(free.size))) for sign in (-1.0, 1.0)]
        able = able & (np.maximum(*ways) > 0)
    return able & ~free


@compiled
def _terms(loss: Any, eta: Array, y: Array) -> tuple[Array, Array, Array]:
    """Deviance, gradient and curvature of each sample at each lam, (n_lams, n_samples)."""

    def one(eta: Array) -> tuple[Array, Array, Array]:
        return loss.deviance(eta, y), loss.gradient(eta, y), loss.curvature(eta, y)

    return jax.vmap(one)(eta)


@compiled
def _loss(loss: Any, eta: Array, y: Array) -> Array:
    return loss.pointwise(eta, y)


def _columns(X: Any, index: np.ndarray | Sequence[int]) -> np.ndarray:
    """Columns of X as a dense float64 array."""
    chosen = X[:, index]
    return np.asarray(chosen.toarray() if is_scipy(X) else chosen, float)


def noise_level(X: Any, y: Any, weight: Any, path: Path, fits: Fits) -> float:
    """The noise level by the rule that `criteria` states; NaN where no fit allows it."""
    n, p = weight.sum(), X.shape[1]
    if n > p + path.fit_intercept and len(y) > p and not is_scipy(X):
        Z = _columns(X, np.arange(p))
        if path.fit_intercept:
            Z, y = Z - (weight @ Z / n)[None, :], y - weight @ y / n
        R = freedom.root(Z.T @ (weight[:, None] * Z))
        rest = y - Z @ (R @ (R.T @ (Z.T @ (weight * y))))
        left = n - R.shape[1] - path.fit_intercept
        return float(np.sqrt(weight @ rest**2 / left)) if left > 0 else np.nan
    with np.errstate(divide="ignore"):
        usable = np.where(fits.df <= n / 2, n * np.log(fits.deviance) + np.log(n) * fits.df, np.nan)
    if np.isnan(usable).all():
        return np.nan
    k = np.nanargmin(usable)
    return float(np.sqrt(fits.deviance[k] / (n - fits.df[k])))
