"""`Regressor` and `RegressorCV`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d

from jreg.losses import Squared
from jreg.sklearn.linear_model import (
    READ,
    CrossValidated,
    LinearModel,
    mean_response,
    read_weights,
    validate_data,
)
from jreg.typing import ArrayLike, has


class Regressor(RegressorMixin, LinearModel):
    """A penalised linear regression as an estimator of scikit-learn.

        minimise  sum_i s_i loss(eta_i, y_i) / sum_i s_i + lam * penalty(scale * coef)
        eta = X coef + intercept

    Args:
      penalty: a member of `jreg.penalties`, multiplied by lam; None is `L1()`.
      loss: a member of `jreg.losses`; None is `Squared()`, which also takes several responses.
      lam: the strength, at least 0, in the scale of `jreg.path`: with `standardize=False` that of
        scikit-learn's `Lasso` and `ElasticNet`, who call it alpha. No number suits every y.
      fit_intercept, standardize, tol: as in `jreg.path`.

    A convex penalty is solved at lam alone; others, and what fails so, along a path down to lam.

    Attributes: coef_ (n_features,) or (n_responses, n_features) and intercept_, in original units;
    lam_, n_iter_ (solver steps), path_ (the `jreg.path.Path` that ends at lam), loss_, and
    scikit-learn's n_features_in_ and feature_names_in_.

    `fit` raises ValueError or TypeError for bad input, and warns (ConvergenceWarning) if the fit
    has no certificate within tol.

    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> Regressor(lam=0.25, fit_intercept=False, standardize=False).fit(X, y).coef_
    array([ 2.,  0., -1.,  0.])
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit X (n_samples, n_features), dense or sparse, to y (n_samples[, n_responses]).

        sample_weight: (n_samples,) frequencies up to scale; 0 is an absent row.
        """
        loss = Squared() if self.loss is None else self.loss
        several = has(loss, "outputs")
        X, y = validate_data(self, X, y, y_numeric=True, multi_output=several, **READ)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.coef_, self.intercept_ = self._fit(X, y, loss, read_weights(sample_weight, X))
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The mean of y for new rows, in its units, (n_rows[, n_responses])."""
        eta = self._eta(X)  # first, since it asks whether there is a fit
        return mean_response(self.loss_, eta)

    def __sklearn_tags__(self) -> Any:
        """Several responses for a loss of them; y >= 0 for a loss of counts."""
        tags = super().__sklearn_tags__()
        loss = Squared() if self.loss is None else self.loss
        tags.target_tags.multi_output = has(loss, "outputs")
        tags.target_tags.positive_only = not bool(np.all(loss.in_domain(jnp.array([-0.5]))))
        return tags


class RegressorCV(CrossValidated, Regressor):
    """A penalised linear regression whose lam is chosen by `jreg.cross_validate`.

    Args:
      penalty, loss, fit_intercept, standardize, tol: as in `Regressor`.
      cv: the `folds` of `jreg.cross_validate`: how many (drawn at random by `key`, unlike those of
        scikit-learn), a splitter of scikit-learn, fold numbers, or pairs (train, test).
      lams, n_lams, lam_min_ratio: the strengths to try, as in `jreg.path`.
      l1_ratios, gammas: values of these fields of the penalty to try as well.
      select: "min", the lam with the best mean, or "1se", the largest within one standard error.
      measure, key: as in `jreg.cross_validate`.

    Attributes: those of `Regressor`, with lam_ the chosen one; cv_path_, the `CVPath` with the
    curves of all folds, and path_, the fits of all rows at every lam.

    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=60)
    >>> RegressorCV(select="1se").fit(X, y).coef_.round(1) + 0.0
    array([1., 0., 0., 0., 0.])
    """
