"""`criteria`: AIC, BIC and their kin along a finished path, with its degrees of freedom."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, plots, tree
from jreg.losses import Logistic, Poisson
from jreg.path.compiled import compiled
from jreg.path.inputs import precision, read_design, read_vector, read_weight
from jreg.path.result import Path
from jreg.selection import freedom
from jreg.sparse import is_scipy
from jreg.status import is_solved
from jreg.typing import Array, ArrayLike, has

NAMES = ("aic", "aicc", "bic", "ebic", "cp", "gcv", "loo")


@tree.dataclass
class Criteria:
    """What `criteria` returns: one number per lambda, in the order of the path; less is better.

    lams, n_nonzero: as in the path. df: degrees of freedom, with the intercept. deviance: the sum
    over the samples. aic, aicc, bic, ebic, cp, gcv, loo: as `criteria` says. All (n_lams,), NaN for
    lambdas that were not solved; cp and loo are None where they are not defined or not asked for.
    sigma: the noise level of cp, None without it. n_samples: the sum of the weights.
    """

    lams: np.ndarray
    n_nonzero: np.ndarray
    df: np.ndarray
    deviance: np.ndarray
    aic: np.ndarray
    aicc: np.ndarray
    bic: np.ndarray
    ebic: np.ndarray
    gcv: np.ndarray
    cp: np.ndarray | None
    loo: np.ndarray | None
    sigma: float | None
    n_samples: float

    def best(self, name: str) -> int:
        """The row of the smallest value of a criterion, the largest lambda among equals.

        Raises ValueError for another name, for one that was not computed, and where no lambda was
        solved.
        """
        values, falling = self._values(name), np.argsort(-self.lams, kind="stable")
        if not np.isfinite(values).any():
            raise ValueError(f"{name} is not finite at any lambda")
        return int(falling[np.nanargmin(values[falling])])

    def lam(self, name: str) -> float:
        """The lambda at which a criterion is smallest; raises as `best`."""
        return float(self.lams[self.best(name)])

    def to_dataframe(self) -> Any:
        """One row per lam (needs pandas)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_dataframe needs pandas: pip install "jreg[data]"') from error
        names = ("lams", "n_nonzero", "df", "deviance", *self._known())
        return pd.DataFrame({n.replace("lams", "lam"): getattr(self, n) for n in names})

    def plot(self, name: str = "bic", *, ax: Any = None, **options: Any) -> Any:
        """Draw a criterion, less its smallest value, on matplotlib axes and return them.

        Further options go to `jreg.plots.deviance_path`.
        """
        values = self._values(name) - np.asarray(self._values(name)[self.best(name)])
        marks = {f"smallest {name.upper()}": self.lam(name)}
        options = {"n_nonzero": self.n_nonzero, "marks": marks, **options}
        ax = plots.deviance_path(self.lams, values, ax=ax, **options)
        ax.set_ylabel(f"{name.upper()} above its smallest", fontsize=ax.yaxis.label.get_size())
        return ax

    def _known(self) -> tuple[str, ...]:
        return tuple(name for name in NAMES if getattr(self, name) is not None)

    def _values(self, name: str) -> np.ndarray:
        if name not in NAMES:
            raise ValueError(f"the criteria are {', '.join(NAMES)}; got {name!r}")
        if name not in self._known():
            hint = "ask for it with loo=True" if name == "loo" else "it needs the squared loss"
            raise ValueError(f"{name} was not computed: {hint}")
        return np.asarray(getattr(self, name))

    def __repr__(self) -> str:
        """A few lines: which lambda each criterion prefers."""
        if not isinstance(self.lams, np.ndarray):
            return f"Criteria(lams={self.lams!r})"
        lines = [f"Criteria of {self.lams.size} lams, {self.n_samples:g} samples"]
        for name in self._known():
            if np.isfinite(self._values(name)).any():
                k = self.best(name)
                lines.append(
                    f"  {name:5} smallest at lam {self.lams[k]:.4g} (row {k}): "
                    f"{self._values(name)[k]:.6g}, df {self.df[k]:.4g}, "
                    f"{self.n_nonzero[k]} non-zero"
                )
        return "\n".join(lines)


def criteria(
    path: Path,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    sigma: float | None = None,
    gamma: float = 0.5,
    loo: bool = False,
) -> Criteria:
    """Information criteria, Cp, GCV and approximate leave-one-out of the fits of a path.

        aic  = -2 log L + 2 df                    bic  = -2 log L + df log n
        aicc = aic + 2 df (df + 1) / (n - df - 1)  ebic = bic + 2 gamma log binom(p, k)
        cp   = (RSS + 2 df sigma^2) / n            gcv  = (deviance / n) / (1 - df / n)^2
        loo  = the mean loss of each sample under the fit without it, by one Newton step

    -2 log L is the deviance for `Logistic` and `Poisson`, up to what all lambdas share. For
    `Squared` it is n log(2 pi RSS / n) + n, the variance being fitted too but not counted in df, or
    RSS / sigma^2 + n log(2 pi sigma^2) where sigma is given. aicc and gcv are inf where their
    denominators are not positive.

    df is the trace of the derivative of the fit in the response (see `jreg.selection.freedom`),
    which counts the intercept and unpenalised columns: the rank of the support for the lasso, trace
    formulas for elastic nets, ridge, MCP, SCAD and groups; for other losses the same with the
    weights of the last Newton step. p is the number of penalised features (or groups), k how many
    of them are in use.

    Args:
      path: what `jreg.path` or `jreg.sweep` returned, for one output and a separable or group
        penalty.
      X, y, sample_weight, offset: the data it was fitted to. The weights are numbers of rows, and n
        is their sum, so their scale matters here.
      sigma: standard deviation of the noise, in units of y. None: for cp, that of least squares on
        all columns if X is dense and has more rows than columns; else sqrt(RSS / (n - df)) at the smallest
        bic among fits with df <= n / 2 (Reid, Tibshirani and Friedman 2016, section 2, with bic for
        cross-validation).
      gamma: of ebic, in [0, 1]; 0 is bic.
      loo: whether to compute it; n k^2 operations for each lambda with k features in use.

    Returns a `Criteria` of NumPy arrays in float64. Memory beyond X: a dense copy of the columns
    that are ever in use. Raises TypeError for other losses, penalties and several outputs,
    ValueError for data of other shapes.

    Akaike (1974); Hurvich and Tsai (1989); Schwarz (1978); Chen and Chen (2008); Mallows (1973);
    Golub, Heath and Wahba (1979); Rad and Maleki (2020), section 2.

    >>> import jreg
    >>> X, y = np.eye(6), np.array([4.0, 3.0, 0.3, -0.2, 0.1, -0.4])
    >>> fits = jreg.path(X, y, lams=[0.5, 0.1, 0.01], fit_intercept=False, standardize=False)
    >>> found = criteria(fits, X, y)
    >>> found.df, found.lam("aicc")
    (array([2., 2., 6.]), 0.1)
    """
    X, y, weight, offset = _read(path, X, y, sample_weight, offset)
    checks.number("gamma", gamma, low=0, high=1)
    if sigma is not None and not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be positive and finite; got {sigma}")
    with precision(np.float64):
        fits = _fits(path, X, y, weight, offset, loo)
    n, df, dev, size = float(weight.sum()), fits.df, fits.deviance, fits.size
    squared = path.loss.quadratic
    with np.errstate(divide="ignore", invalid="ignore"):
        twice = dev  # -2 log L
        if squared and sigma is None:
            twice = n * np.log(2 * np.pi * dev / n) + n
        elif squared:
            twice = dev / sigma**2 + n * np.log(2 * np.pi * sigma**2)
        aic, bic = twice + 2 * df, twice + np.log(n) * df
        left = n - df - 1
        aicc = np.where(
            left > 0, aic + 2 * df * (df + 1) / left, np.where(np.isnan(df), df, np.inf)
        )
        gcv = np.where(n > df, dev / n / (1 - df / n) ** 2, np.where(np.isnan(df), df, np.inf))
    cp = None
    if squared:
        sigma = _noise(X, y - offset, weight, path, fits, bic) if sigma is None else sigma
        cp = (dev + 2 * df * sigma**2) / n
    return Criteria(
        lams=np.asarray(path.lams, float),
        n_nonzero=np.asarray(path.n_nonzero),
        df=df,
        deviance=dev,
        aic=aic,
        aicc=aicc,
        bic=bic,
        ebic=bic + 2 * gamma * _log_binomial(fits.candidates, size),
        gcv=gcv,
        cp=cp,
        loo=fits.loo,
        sigma=None if sigma is None else float(sigma),
        n_samples=n,
    )


class _Fits(NamedTuple):
    """What the criteria need of each fit, (n_lams,); NaN where it was not solved."""

    df: np.ndarray
    deviance: np.ndarray
    size: np.ndarray  # penalised units in use
    candidates: int  # penalised units
    loo: np.ndarray | None


def _read(
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
    n, p = X.shape
    if p != path.coef.shape[1]:
        raise ValueError(f"X must have the {path.coef.shape[1]} columns of the path; got {p}")
    if not freedom.suits(path.penalty, p):
        raise TypeError(
            "the degrees of freedom are known for separable penalties and for groups of features; "
            f"this path has {type(path.penalty).__name__}"
        )
    y = read_vector("y", y, n, np.float64)
    offset = np.zeros(n) if offset is None else read_vector("offset", offset, n, np.float64)
    weight = np.ones(n)
    if sample_weight is not None:
        weight = read_weight(sample_weight, n, np.float64)
        present = weight > 0
        X, y, weight, offset = X[present], y[present], weight[present], offset[present]
    path.loss.check(y)
    return X, y, weight, offset


def _fits(path: Path, X: Any, y: Any, weight: Any, offset: Any, loo: bool) -> _Fits:
    """Fit after fit, in theta = scale * coef and centred columns."""
    penalty = tree.cast(jax.tree.map(np.asarray, path.penalty), jnp.float64)
    p, scale = X.shape[1], np.asarray(path.scale, float)
    coef, share = np.nan_to_num(np.asarray(path.coef, float)), weight / weight.sum()
    theta, lams = coef * scale[None, :], np.asarray(path.lams, float)
    solved = np.flatnonzero(is_solved(np.asarray(path.status)))
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
            df[k], leverage = freedom.wide_influence(columns, h, D)
        else:
            here = gram[np.ix_(at, at)] if gram is not None else columns.T @ (h[:, None] * columns)
            df[k], leverage = freedom.influence(columns, h, D, here, each=loo)
        df[k] += path.fit_intercept
        if loo:
            leverage = share * (leverage + intercept)
            moved = leverage * slope[k] / np.maximum(1 - leverage * bend[k], 1e-12)
            held[k] = share @ np.asarray(_loss(path.loss, eta[k] + moved, y))
        nonzero = np.append((coef[k] != 0) & counted, False)
        size[k] = np.count_nonzero(nonzero[rows].any(axis=1))
    total = np.where(np.isnan(df), np.nan, deviance @ weight)
    return _Fits(df, total, size, int(units.sum()), held if loo else None)


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


def _noise(X: Any, y: Any, weight: Any, path: Path, fits: _Fits, bic: np.ndarray) -> float:
    """The noise level by the rule that `criteria` states; NaN where no fit allows it."""
    n, p = weight.sum(), X.shape[1]
    if n > p + path.fit_intercept and len(y) > p and not is_scipy(X):
        Z = _columns(X, np.arange(p))
        if path.fit_intercept:
            Z, y = Z - (weight @ Z / n)[None, :], y - weight @ y / n
        weighted = np.sqrt(weight)[:, None] * Z
        size = np.linalg.norm(weighted, axis=0)
        weighted = weighted / np.where(size > 0, size, 1)[None, :]
        solution, _, rank, _ = np.linalg.lstsq(weighted, np.sqrt(weight) * y, rcond=1e-10)
        left = n - rank - path.fit_intercept
        rest = np.sum((np.sqrt(weight) * y - weighted @ solution) ** 2)
        return float(np.sqrt(rest / left)) if left > 0 else np.nan
    usable = np.where(fits.df <= n / 2, bic, np.nan)
    if np.isnan(usable).all():
        return np.nan
    k = np.nanargmin(usable)
    return float(np.sqrt(fits.deviance[k] / (n - fits.df[k])))


def _log_binomial(n: int, k: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
