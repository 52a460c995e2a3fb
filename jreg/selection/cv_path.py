"""`CVPath`: a lambda path with an estimate of its error on new data."""

import dataclasses
from typing import Any

import numpy as np

from jreg import plots
from jreg.path import Path
from jreg.problem import Linear
from jreg.selection.folds import Folds
from jreg.typing import ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class CVPath:
    """A path, and how well each of its lambdas does on rows that were left out.

    Attributes:
      path: the fit of all rows at every lam.
      measure: what was measured. larger_is_better: which end of it is good.
      mean, standard_error: (n_lams,) over the folds, each with the weight of the rows it scored;
        the error is that of the mean, `sqrt(weighted variance of the folds / (n_folds - 1))`.
      fold_scores: (n_folds, n_lams). fold_weight: (n_folds,).
      folds: the masks (n_folds, n_samples) of the rows that each fold fitted and scored.
      setting: what of the penalty was chosen along with lam, such as {"l1_ratio": 0.5}, or {}.
      others: the results for the settings that were not chosen.
    """

    path: Path
    measure: str
    larger_is_better: bool
    mean: np.ndarray
    standard_error: np.ndarray
    fold_scores: np.ndarray
    fold_weight: np.ndarray
    folds: Folds
    setting: dict[str, float] = dataclasses.field(default_factory=dict)
    others: tuple["CVPath", ...] = ()

    @property
    def index_min(self) -> int:
        """Row of the path with the best mean; of equal ones the one with the largest lam."""
        loss = -self.mean if self.larger_is_better else self.mean
        loss = np.where(np.isnan(loss), np.inf, loss)
        best = np.nonzero(loss == loss.min())[0]
        return int(best[np.argmax(self.path.lams[best])])

    @property
    def index_1se(self) -> int:
        """Row with the largest lam whose mean is within one standard error of the best."""
        best, sign = self.index_min, -1 if self.larger_is_better else 1
        bound = sign * self.mean[best] + self.standard_error[best]
        within = np.nonzero(sign * self.mean <= bound)[0]
        within = np.union1d(within, [best])
        return int(within[np.argmax(self.path.lams[within])])

    @property
    def lam_min(self) -> float:
        """The lam with the best mean."""
        return float(self.path.lams[self.index_min])

    @property
    def lam_1se(self) -> float:
        """The largest lam within one standard error of the best mean: the simplest model that
        cannot be told from it. Breiman, Friedman, Olshen and Stone (1984), section 3.4.3."""
        return float(self.path.lams[self.index_1se])

    def index(self, lam: str | float) -> int:
        """Row of "min", "1se", or a lam of the path."""
        if isinstance(lam, str):
            if lam not in ("min", "1se"):
                raise ValueError(f'lam must be "min", "1se" or a number; got {lam!r}')
            return self.index_min if lam == "min" else self.index_1se
        lams = np.asarray(self.path.lams, float)
        near = int(np.argmin(np.abs(lams - lam)))
        if not np.isclose(lams[near], lam, rtol=1e-6, atol=0):
            raise ValueError(f"lam {lam} is not on the path; the nearest is {lams[near]:.6g}")
        return near

    def params(self, lam: str | float = "1se") -> Linear:
        """`Linear(coef, intercept)` of all rows at "min", "1se" or a lam of the path."""
        k = self.index(lam)
        return Linear(self.path.coef[k], self.path.intercept[k])

    def predict(
        self,
        X: ArrayLike,
        lam: str | float = "1se",
        kind: str = "response",
        offset: ArrayLike | None = None,
    ) -> np.ndarray:
        """Predictions for new rows, (n_rows[, n_outputs]); kind and offset as in `Path.predict`."""
        return self.path.row(self.index(lam)).predict(X, kind, offset)[0]

    def plot(self, *, ax: Any = None, **options: Any) -> Any:
        """Draw the mean with bars of one standard error against log lam, both choices marked."""
        marks = {"best": self.lam_min, "within one standard error": self.lam_1se}
        return plots.error_path(
            self.path.lams,
            self.mean,
            self.standard_error,
            n_nonzero=self.path.n_nonzero,
            marks=marks,
            ylabel=self.measure,
            ax=ax,
            **options,
        )

    def to_dataframe(self) -> Any:
        """One row per lam: mean, standard error, every fold, non-zeros (needs pandas)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_dataframe needs pandas: pip install "jreg[data]"') from error
        table = {
            "lam": self.path.lams,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "n_nonzero": self.path.n_nonzero,
        }
        folds = {f"fold {k}": row for k, row in enumerate(self.fold_scores)}
        return pd.DataFrame({**table, **folds})

    def __repr__(self) -> str:
        """The path, and both choices."""
        lines = [f"CVPath, {len(self.fold_scores)} folds, {self.measure}"]
        if self.setting:
            lines[0] += "".join(f", {name} = {value:g}" for name, value in self.setting.items())
        for name, k in (("lam_min", self.index_min), ("lam_1se", self.index_1se)):
            lines.append(
                f"  {name} {self.path.lams[k]:.4g}: {self.measure} {self.mean[k]:.4g} "
                f"+- {self.standard_error[k]:.2g}, {int(self.path.n_nonzero[k])} non-zero"
            )
        return "\n".join([*lines, repr(self.path)])
