"""What the estimators share: parameters, the two ways to find lam, and the linear predictor."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from jreg.path import Path
from jreg.path.inputs import precision, read_weight
from jreg.path.one_lam import fit_at
from jreg.penalties import L1
from jreg.selection import cross_validate
from jreg.status import Status, is_solved
from jreg.typing import ArrayLike

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # before 1.6 it was a method

    def validate_data(estimator: Any, *data: Any, **options: Any) -> Any:
        """X, or X and y, as arrays; the estimator remembers its features, or asks for them."""
        return estimator._validate_data(*data, **options)


__all__ = [
    "READ",
    "CrossValidated",
    "LinearModel",
    "mean_response",
    "read_weights",
    "validate_data",
]

READ = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}


class LinearModel(BaseEstimator):
    """The penalised linear model at one lam."""

    def __init__(
        self,
        penalty: Any = None,
        loss: Any = None,
        *,
        lam: float = 0.01,
        fit_intercept: bool = True,
        standardize: bool = True,
        tol: float | None = None,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.lam = lam
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn from 1.6 on may feed to the estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _solve(self, X: Any, y: np.ndarray, loss: Any, weight: Any) -> tuple[Path, np.ndarray]:
        """The fit, a path of one lam, and the status of every lam that it rests on; sets `path_` to
        the path that it came from."""
        self.path_ = fit_at(X, y, self._penalty(), loss, self.lam, **self._shared(weight))
        fit = self.path_.row(self.path_.lams.size - 1)
        return fit, fit.status

    def _shared(self, weight: Any) -> dict[str, Any]:
        """What both ways to solve are told."""
        return {
            "sample_weight": weight,
            "fit_intercept": self.fit_intercept,
            "standardize": self.standardize,
            "tol": self.tol,
            "feature_names": getattr(self, "feature_names_in_", None),
        }

    def _penalty(self) -> Any:
        return L1() if self.penalty is None else self.penalty

    def _fit(self, X: Any, y: np.ndarray, loss: Any, weight: Any) -> tuple[np.ndarray, Any]:
        """Coefficients with a row for each output, and intercepts, in original units."""
        fit, status = self._solve(X, y, loss, weight)
        self.loss_ = loss
        self.lam_, self.n_iter_ = float(fit.lams[0]), int(fit.num_steps[0])
        wrong = status[~np.asarray(is_solved(status))]
        if wrong.size:
            warnings.warn(
                f"{wrong.size} of {status.size} lambdas are not certified, the first: "
                f"{Status(int(wrong[0])).describe()}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return fit.coef[0].T, fit.intercept[0]

    def _eta(self, X: ArrayLike) -> np.ndarray:
        """`X coef + intercept` for new rows, (n_rows,) or (n_rows, n_outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **READ)
        return safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_


class CrossValidated(LinearModel):
    """The penalised linear model at the lam that does best on rows left out."""

    def __init__(
        self,
        penalty: Any = None,
        loss: Any = None,
        *,
        cv: Any = 5,
        lams: ArrayLike | None = None,
        n_lams: int = 100,
        lam_min_ratio: float | None = None,
        l1_ratios: ArrayLike | None = None,
        gammas: ArrayLike | None = None,
        select: str = "min",
        measure: Any = None,
        key: Any = None,
        fit_intercept: bool = True,
        standardize: bool = True,
        tol: float | None = None,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.cv = cv
        self.lams = lams
        self.n_lams = n_lams
        self.lam_min_ratio = lam_min_ratio
        self.l1_ratios = l1_ratios
        self.gammas = gammas
        self.select = select
        self.measure = measure
        self.key = key
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol

    def _solve(self, X: Any, y: np.ndarray, loss: Any, weight: Any) -> tuple[Path, np.ndarray]:
        if self.select not in ("min", "1se"):
            raise ValueError(f'select must be "min" or "1se"; got {self.select!r}')
        names = ("lams", "n_lams", "lam_min_ratio", "l1_ratios", "gammas", "measure", "key")
        given = {name: getattr(self, name) for name in names}
        self.cv_path_ = cross_validate(
            X, y, self._penalty(), loss, folds=self.cv, **given, **self._shared(weight)
        )
        self.path_ = self.cv_path_.path
        return self.path_.row(self.cv_path_.index(self.select)), self.path_.status


def read_weights(weight: ArrayLike | None, X: Any) -> np.ndarray | None:
    """Weights of the rows of X, at least 0 and not all 0; None stays."""
    if weight is None:
        return None
    if not np.any(np.asarray(weight)):  # in the words that scikit-learn looks for
        raise ValueError("sample_weight is zero for every row; one must count at least")
    return read_weight(weight, X.shape[0], X.dtype)


def mean_response(loss: Any, eta: np.ndarray) -> np.ndarray:
    """The mean of the response, in the precision of eta."""
    with precision(eta.dtype):
        return np.array(loss.inverse_link(jnp.asarray(eta)))
