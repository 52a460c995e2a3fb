"""`Classifier` and `ClassifierCV`."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from jreg.losses import Logistic, Multinomial
from jreg.sklearn.linear_model import (
    READ,
    CrossValidated,
    LinearModel,
    mean_response,
    read_weights,
    validate_data,
)
from jreg.typing import ArrayLike, has


def _has_probabilities(model: Any) -> bool:
    return model.loss is None or isinstance(model.loss, Logistic | Multinomial)


class Classifier(ClassifierMixin, LinearModel):
    """A penalised linear classifier as an estimator of scikit-learn.

    The objective is that of `Regressor`, with classes of any kind (numbers, strings).

    Args:
      penalty, lam, fit_intercept, standardize, tol: as in `Regressor`; with `standardize=False`
        lam is 1 / (n_samples C) for the C of scikit-learn's `LogisticRegression`.
      loss: None is `Logistic()` for two classes, `Multinomial(k)` for k; or another loss with a
        `classify`, such as `SquaredHinge()`, which then has no `predict_proba`.

    Attributes: classes_, sorted, those of rows with a positive weight; coef_ (1, n_features) and
    intercept_ (1,) for two classes, (n_classes, n_features) and (n_classes,) for more; the others
    as in `Regressor`.

    `fit` raises ValueError or TypeError for bad input (a single class, too), and warns
    (ConvergenceWarning) if the fit has no certificate within tol.

    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), ["no", "yes", "no", "yes"]
    >>> Classifier().fit(X, y).predict([[-1.0], [4.0]])
    array(['no', 'yes'], dtype='<U3')
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit X (n_samples, n_features), dense or sparse, to the classes y (n_samples,).

        sample_weight: (n_samples,) frequencies up to scale; 0 is an absent row.
        """
        X, y = validate_data(self, X, y, **READ)
        check_classification_targets(y)
        weight = read_weights(sample_weight, X)
        self.classes_ = np.unique(y if weight is None else y[weight > 0])
        k = self.classes_.size
        if k < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; there must be two at least")
        loss = self.loss
        if loss is None:
            loss = Logistic() if k == 2 else Multinomial(k)
        if not has(loss, "classify"):
            raise TypeError(f"loss must be one of classes, such as Logistic(); got {loss!r}")
        if k > 2 and not has(loss, "n_classes"):
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass: "
                f"{k} classes need Multinomial({k}); got {loss!r}"
            )
        # an absent row may be of a class of its own: any number does for it
        codes = np.minimum(np.searchsorted(self.classes_, y), k - 1)
        coef, intercept = self._fit(X, codes, loss, weight)
        self.coef_, intercept = np.atleast_2d(coef), np.atleast_1d(intercept)
        # a number added to all of several intercepts changes no probability: their mean is 0
        self.intercept_ = intercept - intercept.mean() if intercept.size > 1 else intercept
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """For two classes the linear predictor of the second, (n_rows,); for more of them a number
        for each, (n_rows, n_classes), of which the largest is predicted."""
        eta = self._eta(X)
        if self.classes_.size > 2:
            return eta
        return eta[:, 0] if eta.shape[1] == 1 else eta[:, 1] - eta[:, 0]

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The likeliest class of new rows, (n_rows,)."""
        score = self.decision_function(X)
        return self.classes_[score.argmax(axis=1) if score.ndim == 2 else (score > 0).astype(int)]

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes, (n_rows, n_classes)."""
        eta = self._eta(X)
        if isinstance(self.loss_, Logistic):  # 1 - p would lose small ones
            return mean_response(self.loss_, np.concatenate([-eta, eta], axis=1))
        return mean_response(self.loss_, eta)

    def __sklearn_tags__(self) -> Any:
        """More than two classes, unless the loss is of two."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self.loss is None or has(self.loss, "n_classes")
        return tags


class ClassifierCV(CrossValidated, Classifier):
    """A penalised linear classifier whose lam is chosen by `jreg.cross_validate`.

    Args: those of `RegressorCV`, with the loss of `Classifier`. Folds that are drawn have each
    their share of every class; a fold that lacks one is a ValueError.

    Attributes: those of `Classifier` and `RegressorCV`.

    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> model = ClassifierCV(measure="misclassification").fit(X, X[:, 0] > 0)
    >>> model.score(X, X[:, 0] > 0) > 0.9
    True
    """
