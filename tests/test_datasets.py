import sys
from math import comb

import numpy as np
import pytest

from jreg import datasets


def test_the_diabetes_data_are_those_of_the_paper():
    X, y, names = datasets.diabetes()
    assert X.shape == (442, 10)
    assert y.shape == (442,)
    assert X.dtype == y.dtype == np.float64
    assert names == ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    # The first patient, and ranges, as in the table of Efron et al. (2004).
    np.testing.assert_allclose(X[0], [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87])
    assert y[:3].tolist() == [151, 75, 141]
    assert (y.min(), y.max()) == (25, 346)
    assert set(X[:, 1]) == {1, 2}


def test_the_diabetes_data_are_a_fresh_copy():
    datasets.diabetes().X[:] = 0
    assert datasets.diabetes().X.all()


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_polynomial_columns_are_products_of_standardised_columns(degree):
    rng = np.random.default_rng(degree)
    X = rng.normal(50, 7, (30, 3))
    names = ["a", "b b", "c"]
    Z, terms = datasets.polynomial_features(X, names, degree)
    assert Z.shape == (30, comb(3 + degree, degree) - 1)
    assert len(set(terms)) == len(terms) == Z.shape[1]
    scaled = dict(zip(["a", "b_b", "c"], ((X - X.mean(0)) / X.std(0)).T, strict=True))
    for term, column in zip(terms, Z.T, strict=True):
        expected = np.ones(30)
        for factor in term.replace("b b", "b_b").split():
            name, _, power = factor.partition("^")
            expected *= scaled[name] ** int(power or 1)
        np.testing.assert_allclose(column, expected, rtol=1e-12)


def test_degree_4_of_the_diabetes_data_has_more_columns_than_patients():
    X, _, names = datasets.diabetes()
    Z, terms = datasets.polynomial_features(X, names, 4)
    assert Z.shape == (442, 1000)
    assert terms[:10] == names
    assert "bmi^2 bp" in terms
    assert np.isfinite(Z).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], ["a"], 2), "shape"),
        (([[1.0], [2.0]], ["a", "b"], 2), "one name per column, 1; got 2"),
        (([[1.0], [2.0]], ["a"], 0), "degree"),
        (([[1.0], [2.0]], ["a"], 1.5), "degree"),
        (([[1.0], [np.nan]], ["a"], 2), "finite"),
        (([[1.0, 5.0], [2.0, 5.0]], ["a", "b"], 2), "constant columns, which have no scale: b"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.polynomial_features(*arguments)


@pytest.mark.parametrize(
    "call",
    [datasets.diabetes, lambda: datasets.polynomial_features([[1.0], [2.0]], ["a"], 2)],
)
def test_without_scikit_learn_the_message_says_what_to_install(call, monkeypatch):
    for module in ("sklearn.datasets", "sklearn.preprocessing"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "jreg\[data\]"'):
        call()
