"""`criteria`: AIC, BIC and their kin along a finished path, with its degrees of freedom."""

from typing import Any

import numpy as np

from jreg import checks, plots, tree
from jreg.path.inputs import precision
from jreg.path.result import Path
from jreg.selection.local_fits import local_fits, noise_level, read
from jreg.typing import ArrayLike

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
    `Squared` it is n log(2 pi RSS / n) + n, the variance being fitted too but not counted in df; or
    RSS / sigma^2 + n log(2 pi sigma^2) where sigma is given, and where there are no more rows than
    columns, as the first then falls to -inf when the fit comes close to y. aicc and gcv are inf
    where their denominators are not positive; gcv means little near df = n.

    df is the trace of the derivative of the fit in the response (see `jreg.selection.freedom`),
    which counts the intercept and unpenalised columns: the rank of the support for the lasso, trace
    formulas for elastic nets, ridge, MCP, SCAD and groups; for other losses the same with the
    weights of the last Newton step. It does not count the jumps of nonconvex penalties. p is the
    number of penalised features (or groups), k how many of them are in use.

    Args:
      path: what `jreg.path` or `jreg.sweep` returned, for one output and a separable or group
        penalty.
      X, y, sample_weight, offset: the data it was fitted to. The weights are numbers of rows, and n
        is their sum, so their scale matters here.
      sigma: standard deviation of the noise, in units of y, for `Squared` alone. None: that of
        least squares on all columns if X is dense and has more rows than columns; else
        sqrt(RSS / (n - df)) at the smallest n log(RSS) + df log(n) among fits with df <= n / 2
        (Reid, Tibshirani and Friedman 2016, section 2, who take the lambda of cross-validation).
      gamma: of ebic, in [0, 1]; 0 is bic.
      loo: whether to compute it; n k^2 operations for each lambda with k features in use.

    Returns a `Criteria` of NumPy arrays in float64. Memory beyond X: a dense copy of the columns
    that are ever in use. Raises TypeError for other losses, penalties and several outputs,
    ValueError for data of other shapes and a sigma where it has no meaning.

    Akaike (1974); Hurvich and Tsai (1989); Schwarz (1978); Chen and Chen (2008); Mallows (1973);
    Golub, Heath and Wahba (1979); Rad and Maleki (2020), section 2.

    >>> import jreg
    >>> X, y = np.eye(6), np.array([4.0, 3.0, 0.3, -0.2, 0.1, -0.4])
    >>> fits = jreg.path(X, y, lams=[0.5, 0.1, 0.01], fit_intercept=False, standardize=False)
    >>> found = criteria(fits, X, y)
    >>> found.df, found.lam("aicc")
    (array([2., 2., 6.]), 0.1)
    """
    X, y, weight, offset = read(path, X, y, sample_weight, offset)
    checks.number("gamma", gamma, low=0, high=1)
    if sigma is not None and not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be positive and finite; got {sigma}")
    if sigma is not None and not path.loss.quadratic:
        raise ValueError(f"sigma is of the squared loss; this path has {type(path.loss).__name__}")
    with precision(np.float64):
        fits = local_fits(path, X, y, weight, offset, loo)
    n, df, dev = float(weight.sum()), fits.df, fits.deviance
    fitted = sigma is None and n > X.shape[1] + path.fit_intercept  # the variance, at each lambda
    if sigma is None and path.loss.quadratic:
        sigma = noise_level(X, y - offset, weight, path, fits)
    twice = _twice_minus_log_likelihood(path.loss, dev, n, None if fitted else sigma)
    bic = twice + np.log(n) * df
    return Criteria(
        lams=np.asarray(path.lams, float),
        n_nonzero=np.asarray(path.n_nonzero),
        df=df,
        deviance=dev,
        aic=twice + 2 * df,
        aicc=twice + 2 * df + 2 * df * (df + 1) * _over(n - df - 1),
        bic=bic,
        ebic=bic + 2 * gamma * _log_binomial(fits.candidates, fits.size),
        gcv=dev / n * _over(1 - df / n) ** 2,
        cp=None if sigma is None else (dev + 2 * df * sigma**2) / n,
        loo=fits.loo,
        sigma=sigma,
        n_samples=n,
    )


def _twice_minus_log_likelihood(
    loss: Any, deviance: np.ndarray, n: float, sigma: float | None
) -> np.ndarray:
    """-2 log L; for the squared loss at noise level sigma, or at the best one if it is None."""
    if not loss.quadratic:
        return deviance
    if sigma is not None:
        return deviance / sigma**2 + n * np.log(2 * np.pi * sigma**2)
    with np.errstate(divide="ignore"):
        return n * np.log(2 * np.pi * deviance / n) + n


def _over(a: np.ndarray) -> np.ndarray:
    """1 / a, and inf where a is not positive."""
    return np.divide(1, a, out=np.where(np.isnan(a), np.nan, np.inf), where=a > 0)


def _log_binomial(n: int, k: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
