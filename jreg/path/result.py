"""`Path`: the solutions along a lambda grid, with their certificates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, plots, tree
from jreg.linalg import dot
from jreg.path.inputs import precision, read_design
from jreg.problem import Linear, LinearProblem
from jreg.solvers import solve
from jreg.sparse import is_scipy
from jreg.status import Status
from jreg.typing import Array, ArrayLike


@tree.dataclass
class Path:
    """Solutions of `mean loss + penalty.at(lam)` for each lam, in the order the lambdas came.

    A pytree: under `vmap` every array gets a leading axis. Coefficients are in original units.

    Attributes:
      lams: (n_lams,). The strength is `lam * penalty.lam`.
      coef: (n_lams, n_features[, n_outputs]). intercept: (n_lams[, n_outputs]).
      gap: (n_lams,) duality gap over the null model's objective; NaN where there is no dual.
      residual: (n_lams,) largest KKT distance over the size of the null model's gradient.
      num_steps: (n_lams,) solver steps, or the knots that `path` followed in the block of the lam.
      status: (n_lams,) `Status` as integers.
      n_nonzero: (n_lams,) coefficients that are not exactly 0, in all groups and outputs.
      deviance_ratio: (n_lams,) 1 - deviance / deviance of intercept and offset alone.
      scale: (n_features,) what the penalty multiplies coef by; 1 without standardisation.
      penalty, loss: as given. feature_names: a tuple, or None.
    """

    lams: ArrayLike
    coef: ArrayLike
    intercept: ArrayLike
    gap: ArrayLike
    residual: ArrayLike
    num_steps: ArrayLike
    status: ArrayLike
    n_nonzero: ArrayLike
    deviance_ratio: ArrayLike
    scale: ArrayLike
    penalty: Any
    loss: Any
    feature_names: tuple[str, ...] | None = tree.static(default=None)
    fit_intercept: bool = tree.static(default=True)
    standardize: bool = tree.static(default=False)

    def predict(self, X: ArrayLike, kind: str = "response", offset: ArrayLike | None = None) -> Any:
        """Predictions for new rows at every lam: (n_lams, n_rows[, n_outputs]).

        X: (n_rows, n_features) in original units, dense or a SciPy sparse matrix. kind: "response"
        (the mean: probabilities for Logistic and Multinomial), "link" (the linear predictor eta) or
        "class" (Logistic: 1 where eta > 0, else 0; Multinomial: the likeliest). offset:
        (n_rows[, n_outputs]), added to eta. Raises ValueError for another kind or shape.
        """
        if kind not in ("response", "link", "class"):
            raise ValueError(f'kind must be "response", "link" or "class"; got {kind!r}')
        X = _as_rows(X, self.coef.shape[1])
        xp: Any = np if isinstance(self.coef, np.ndarray) else jnp
        eta = _products(X, self.coef) + self.intercept[:, None]
        if offset is not None:
            offset = xp.asarray(offset)
            if offset.shape != eta.shape[1:]:
                raise ValueError(f"offset must have shape {eta.shape[1:]}; got {offset.shape}")
            eta = eta + offset[None]
        if kind == "link":
            return eta
        if kind == "class":
            if not hasattr(self.loss, "classify"):
                raise ValueError(
                    f'kind="class" needs a loss with classes; this path has {self.loss}'
                )
            return _apply(self.loss.classify, eta)
        return _apply(self.loss.inverse_link, eta)

    def row(self, k: int) -> "Path":
        """The path of the k-th lam alone."""
        arrays = {name: getattr(self, name)[k : k + 1 or None] for name in _PER_LAM}
        return dataclasses.replace(self, **arrays)

    def coef_at(self, lam: float, *, exact: LinearProblem | None = None) -> Linear:
        """Coefficients at any lam, as `Linear(coef, intercept)`.

        Without `exact`: linear interpolation in lam between the two nearest lambdas of the path, as
        glmnet does; a lam beyond either end is refused (ValueError). With `exact`, the data as a
        `LinearProblem`: a certified fit at lam (tol 1e-10 in float64) with the path's loss,
        intercept and standardisation; RuntimeError if it does not converge.
        """
        if exact is not None:
            return self._fit(lam, exact)
        lams = np.asarray(self.lams, dtype=float)
        if not lams.min() <= lam <= lams.max():
            raise ValueError(
                f"lam {lam} lies outside the path, {lams.min():.4g} to {lams.max():.4g}; "
                "use exact=(X, y) to fit there"
            )
        order = np.argsort(lams, kind="stable")
        right = int(np.clip(np.searchsorted(lams[order], lam), 1, max(lams.size - 1, 1)))
        low, high = order[max(right - 1, 0)], order[min(right, lams.size - 1)]
        span = lams[high] - lams[low]
        share = float((lam - lams[low]) / span) if span > 0 else 0.0
        coef = (1 - share) * self.coef[low] + share * self.coef[high]
        intercept = (1 - share) * self.intercept[low] + share * self.intercept[high]
        return Linear(coef, intercept)

    def _fit(self, lam: float, problem: LinearProblem) -> Linear:
        own = {k: getattr(self, k) for k in ("loss", "fit_intercept", "standardize")}
        problem = dataclasses.replace(problem, **own)
        dtype = np.asarray(self.coef).dtype
        with precision(dtype):
            tol = 1e-10 if dtype == np.float64 else 1e-5
            found = solve(problem, self.penalty.at(lam), tol=tol)
            if int(found.status) not in (Status.CONVERGED, Status.AT_PRECISION):
                raise RuntimeError(f"the fit at lam {lam}: {Status(int(found.status)).describe()}")
            return Linear(np.asarray(found.params.coef), np.asarray(found.params.intercept))

    def to_dataframe(self) -> Any:
        """One row per lam: diagnostics, intercept and every coefficient (needs pandas)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_dataframe needs pandas: pip install "jreg[data]"') from error
        table = {
            "lam": np.asarray(self.lams),
            "n_nonzero": np.asarray(self.n_nonzero),
            "deviance_ratio": np.asarray(self.deviance_ratio),
            "gap": np.asarray(self.gap),
            "residual": np.asarray(self.residual),
            "num_steps": np.asarray(self.num_steps),
            "status": [Status(int(code)).name for code in np.asarray(self.status)],
        }
        intercept, coef = np.asarray(self.intercept), np.asarray(self.coef)
        outputs = [f"[{k}]" for k in range(coef.shape[2])] if coef.ndim == 3 else [""]
        taken = {*table, "intercept"}
        names = [f"coef {name}" if name in taken else name for name in self.names()]
        columns = [name + output for name in ("intercept", *names) for output in outputs]
        numbers = np.column_stack([intercept, coef.reshape(len(coef), -1)])
        return pd.concat([pd.DataFrame(table), pd.DataFrame(numbers, columns=columns)], axis=1)

    def names(self) -> tuple[str, ...]:
        """Feature names; x0, x1, ... if none were given."""
        if self.feature_names is not None:
            return self.feature_names
        return tuple(f"x{j}" for j in range(self.coef.shape[1]))

    def plot(
        self, kind: str = "coef", *, output: int | None = None, ax: Any = None, **options: Any
    ) -> Any:
        """Draw the path on matplotlib axes and return them.

        kind: "coef" (coefficients against log lam) or "deviance". output: which class or response
        to draw the coefficients of, where there are several. Further options go to
        `jreg.plots.coefficient_path` or `jreg.plots.deviance_path`.
        """
        lams, n_nonzero = np.asarray(self.lams), np.asarray(self.n_nonzero)
        if kind == "coef":
            coef = np.asarray(self.coef)
            if (coef.ndim == 3) != (output is not None):
                several = f"{coef.shape[2]} outputs: choose one, plot(output=0)"
                raise ValueError(
                    f"this path has {several if coef.ndim == 3 else 'one output, and no others'}"
                )
            return plots.coefficient_path(
                lams,
                coef if output is None else coef[:, :, output],
                n_nonzero=n_nonzero,
                names=self.names(),
                ax=ax,
                **options,
            )
        if kind == "deviance":
            ratio = np.asarray(self.deviance_ratio)
            return plots.deviance_path(lams, ratio, n_nonzero=n_nonzero, ax=ax, **options)
        raise ValueError(f'kind must be "coef" or "deviance"; got {kind!r}')

    def __repr__(self) -> str:
        """A few lines: what was fitted, where, and how well it is certified."""
        if not isinstance(self.lams, np.ndarray | jax.Array) or checks.is_traced(self.lams):
            return f"Path(lams={self.lams!r})"
        if np.ndim(self.lams) != 1:
            return f"Path, batched: coef {np.shape(self.coef)}"
        lams = np.asarray(self.lams)
        counts = np.bincount(np.asarray(self.status), minlength=len(Status))
        status = ", ".join(f"{counts[s]} {s.name.lower()}" for s in Status if counts[s])
        gap = np.asarray(self.gap)
        worst = np.nanmax(gap) if np.isfinite(gap).any() else np.nan
        residual = np.asarray(self.residual)
        return "\n".join(
            [
                f"Path of {type(self.loss).__name__} + {_describe(self.penalty)}: "
                f"{lams.size} lams x {self.coef.shape[1]} features",
                f"  lam            {lams[0]:.4g} to {lams[-1]:.4g}",
                f"  non-zero       {int(self.n_nonzero[0])} to {int(self.n_nonzero[-1])}",
                f"  deviance ratio {float(self.deviance_ratio[0]):.4f} to "
                f"{float(self.deviance_ratio[-1]):.4f}",
                f"  worst gap      {worst:.1e}   worst KKT residual {np.nanmax(residual):.1e}"
                if np.isfinite(residual).any()
                else "  worst gap      nan",
                f"  status         {status}",
            ]
        )


_PER_LAM = (
    *("lams", "coef", "intercept", "gap", "residual", "num_steps", "status"),
    *("n_nonzero", "deviance_ratio"),
)


def _describe(penalty: Any) -> str:
    """The penalty's name, and its own strength if that is not 1."""
    name = type(penalty).__name__
    ratio = getattr(penalty, "l1_ratio", None)
    detail = "" if ratio is None else f"(l1_ratio={float(ratio):g})"
    lam = getattr(penalty, "lam", 1.0)
    if np.ndim(lam) == 0 and float(lam) != 1:
        return f"{name}{detail}, strength = {float(lam):g} * lam"
    return name + detail


def _apply(f: Any, eta: Any) -> Any:
    """`f` in the precision of its argument; NumPy in, NumPy out."""
    if not isinstance(eta, np.ndarray):
        return f(eta)
    with precision(eta.dtype):
        return np.asarray(f(jnp.asarray(eta)))


def _as_rows(X: ArrayLike, n_features: int) -> Any:
    X = X if isinstance(X, jax.Array) else read_design(X)[0]
    if X.ndim != 2 or X.shape[1] != n_features:
        raise ValueError(f"X must have shape (n_rows, {n_features}); got {X.shape}")
    return X


def predict_rows(path: Path, X: Any, rows: np.ndarray) -> np.ndarray:
    """eta (n_lams, rows[, n_outputs]) at some rows of an X that has been read. Of a dense X only
    the columns are taken that some lam uses, where these are few.

    By XLA: threads of NumPy's BLAS wait for more work for a while, and would slow down paths that
    are solved meanwhile.
    """
    coef = np.asarray(path.coef)
    if is_scipy(X):
        return _products(X[rows], coef) + path.intercept[:, None]
    used = coef.any(axis=(0, *range(2, coef.ndim)))
    size = max(64, 1 << int(np.sum(used)).bit_length())  # few shapes, little compiled
    if 4 * size > X.shape[1]:
        return np.asarray(_linear(X[rows], coef, path.intercept))
    columns = np.sort(np.argsort(~used, kind="stable")[:size])
    return np.asarray(_linear(X[np.ix_(rows, columns)], coef[:, columns], path.intercept))


@jax.jit
def _linear(X: Array, coef: Array, intercept: Array) -> Array:
    return _products(X, coef) + intercept[:, None]


def _products(X: Any, coef: Any) -> Any:
    """`X coef` at every lam: (n_lams, n_rows), or (n_lams, n_rows, n_outputs)."""
    if is_scipy(X):
        columns = np.moveaxis(np.asarray(coef), 1, 0)
        eta = X @ columns.reshape(columns.shape[0], -1)
        return np.moveaxis(eta.reshape(-1, *columns.shape[1:]), 0, 1)
    product = np.matmul if isinstance(coef, np.ndarray) else dot
    return product(X[None], coef) if coef.ndim == 3 else product(coef, X.T)
