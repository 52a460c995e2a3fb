"""Real data to try things on, and polynomial features of them (both need scikit-learn)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jreg import checks
from jreg.typing import ArrayLike


class Dataset(NamedTuple):
    """Features, response and names.

    Attributes:
      X: (n_samples, n_features) float64, in original units.
      y: (n_samples,) float64.
      feature_names: one per column of X.
    """

    X: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, ...]


def diabetes() -> Dataset:
    """442 patients, 10 features and the progression of their diabetes; no value is missing.

    X: (442, 10): age (years), sex (1 or 2), bmi (kg/m^2), bp (mean blood pressure, mmHg) and six
    blood serum measurements: s1 (total cholesterol), s2 (low-density lipoproteins), s3
    (high-density lipoproteins), s4 (s1 / s3), s5 (probably the log of the triglycerides) and s6
    (blood sugar); the source gives no units for them, by their size s1, s2, s3 and s6 are in mg/dl.
    y: (442,), a score of the disease one year later, from 25 to 346, without unit.

    Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression. The copy is the one that
    scikit-learn carries, so nothing is downloaded. Raises ImportError without scikit-learn.

    >>> X, y, names = diabetes()
    >>> X.shape, y.shape, names[2]
    ((442, 10), (442,), 'bmi')
    >>> float(X[0, 2])
    32.1
    """
    data = _sklearn("diabetes", "datasets").load_diabetes(scaled=False)
    names = tuple(str(name) for name in data.feature_names)
    return Dataset(np.asarray(data.data, float), np.asarray(data.target, float), names)


def polynomial_features(
    X: ArrayLike, names: Sequence[str], degree: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """All products of up to `degree` standardised columns of X, and their names.

    X: (n_samples, n_features), finite, in any units: each column is first brought to mean 0 and
    standard deviation 1 (the 1/n one), so a power tells how far a value is from usual. names: one
    per column. degree: 1 or more. Returns an (n_samples, n_products) float64 array without unit,
    n_products = (n_features + degree)! / (n_features! degree!) - 1, and names such as `bmi^2 bp`.

    The square of a column with two values only (`sex`) is a line in that column: such products are
    redundant, and are kept. Raises ValueError for other shapes, NaN or infinity, a constant column
    or a bad degree, and ImportError without scikit-learn.

    >>> Z, terms = polynomial_features([[1.0, 0.0], [3.0, 0.0], [3.0, 9.0]], ["a", "b"], 2)
    >>> terms
    ('a', 'b', 'a^2', 'a b', 'b^2')
    >>> Z.shape
    (3, 5)
    """
    array = np.asarray(X, dtype=float)
    checks.matrix("X", array)
    if len(names) != array.shape[1]:
        raise ValueError(f"names must hold one name per column, {array.shape[1]}; got {len(names)}")
    if int(degree) != degree or degree < 1:
        raise ValueError(f"degree must be a whole number from 1 on; got {degree}")
    if not np.isfinite(array).all():
        raise ValueError("X must be finite; got NaN or infinity")
    constant = [
        str(name) for name, span in zip(names, np.ptp(array, axis=0), strict=True) if not span
    ]
    if constant:
        raise ValueError(f"X has constant columns, which have no scale: {', '.join(constant)}")
    preprocessing = _sklearn("polynomial_features", "preprocessing")
    powers = preprocessing.PolynomialFeatures(int(degree), include_bias=False)
    products = powers.fit_transform((array - array.mean(axis=0)) / array.std(axis=0))
    terms = powers.get_feature_names_out([str(name) for name in names])
    return products, tuple(str(term) for term in terms)


def _sklearn(caller: str, module: str) -> Any:
    """A module of scikit-learn, or how to get it."""
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ImportError(f'{caller} needs scikit-learn: pip install "jreg[data]"') from error
