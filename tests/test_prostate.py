"""Published numbers on the prostate data: the textbook's table, and ncvreg's paths and folds."""

import json

import ncvreg_references
import numpy as np
import pytest

import jreg

REFERENCES = json.loads(ncvreg_references.FILE.read_text())
PENALTIES = {"lasso": jreg.L1(), "MCP": jreg.MCP(gamma=3.0), "SCAD": jreg.SCAD(gamma=3.7)}
SUBSET = np.where(np.arange(8) < 2, 0.0, np.inf)  # lcavol and lweight, unpenalised

# Hastie, Tibshirani and Friedman (2009), table 3.3: coefficients from the intercept on, test error
# and its standard error, as printed; what is fitted, and to what the digits hold. Their ridge and
# lasso are of rounded degrees of freedom and shrinkage: these strengths are the nearest.
TABLE_3_3 = {
    "least squares": (
        [2.465, 0.680, 0.263, -0.141, 0.210, 0.305, -0.288, -0.021, 0.267], 0.521, 0.179,
        jreg.L1(), 0.0, True, 6e-4,
    ),
    "best subset": (
        [2.477, 0.740, 0.316, 0, 0, 0, 0, 0, 0], 0.492, 0.143,
        jreg.L1(weights=SUBSET), 1.0, True, 6e-4,
    ),
    "ridge": (
        [2.452, 0.420, 0.238, -0.046, 0.162, 0.227, 0.000, 0.040, 0.133], 0.492, 0.165,
        jreg.Ridge(), 23.999 / 67, False, 3e-3,
    ),
    "lasso": (
        [2.468, 0.533, 0.169, 0, 0.002, 0.094, 0, 0, 0], 0.479, 0.164,
        jreg.L1(), 0.20748, True, 3e-3,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def textbook():
    """(X, y, train), X standardised over all rows, as in the book."""
    X, y, train = ncvreg_references.prostate()
    return (X - X.mean(axis=0)) / X.std(axis=0, ddof=1), y, train


def held_out(textbook, coef, intercept):
    X, y, train = textbook
    return (y[~train] - X[~train] @ coef - intercept) ** 2


@pytest.mark.parametrize("method", TABLE_3_3)
def test_table_of_the_textbook(textbook, method):
    X, y, train = textbook
    printed, error, deviation, penalty, lam, standardize, to = TABLE_3_3[method]
    path = jreg.path(X[train], y[train], penalty, lams=[lam], standardize=standardize, tol=1e-10)
    coef, intercept = path.coef[0], path.intercept[0]
    np.testing.assert_allclose(coef, printed[1:], atol=to)
    # the intercept that belongs to the printed coefficients; for ridge another one is printed
    implied = y[train].mean() - X[train].mean(axis=0) @ printed[1:]
    np.testing.assert_allclose(intercept, implied, atol=1e-3)
    assert method == "ridge" or abs(intercept - printed[0]) < to
    squares = held_out(textbook, coef, intercept)
    np.testing.assert_allclose(squares.mean(), error, atol=max(to, 6e-4))
    np.testing.assert_allclose(squares.std(ddof=1) / np.sqrt(30), deviation, atol=to + 1e-3)


def test_degrees_of_freedom_of_the_textbook(textbook):
    """Ridge has five of them, and the intercept."""
    X, y, train = textbook
    path = jreg.path(
        X[train], y[train], jreg.Ridge(), lams=[23.999 / 67], standardize=False, tol=1e-12
    )
    df = jreg.criteria(path, X[train], y[train]).df
    np.testing.assert_allclose(df, 6, atol=1e-4)


def test_choice_of_the_textbook(textbook):
    """Ten folds and one standard error: the strongest of the book's, and no worse an error."""
    X, y, train = textbook
    supports, errors = [], []
    for key in range(5):
        chosen = jreg.cross_validate(X[train], y[train], key=key).params("1se")
        supports.append(np.flatnonzero(chosen.coef))
        errors.append(held_out(textbook, *chosen).mean())
    assert all({0, 1, 4} <= set(support) for support in supports)
    assert all(support.size < 8 for support in supports)
    assert 0.44 < np.median(errors) < 0.52


@pytest.mark.parametrize("name", PENALTIES)
def test_cross_validation_of_ncvreg(name):
    """Nonconvex penalties too: the same lambdas and folds give its means, choice and path."""
    X, y, _ = ncvreg_references.prostate()
    wanted = REFERENCES[name]
    found = jreg.cross_validate(
        X, y, PENALTIES[name], folds=ncvreg_references.FOLDS, lams=wanted["lams"], tol=1e-9
    )
    np.testing.assert_allclose(found.mean, wanted["mean"], rtol=1e-6)
    np.testing.assert_allclose(found.lam_min, wanted["min"][0], rtol=1e-12)
    np.testing.assert_allclose(found.path.coef[15], wanted["coef"][1:], atol=1e-7)
    np.testing.assert_allclose(found.path.intercept[15], wanted["coef"][0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "lam_01"),
    {
        "lasso": [0.4842598, 0.4571581, 0, 0.0143482, 0.4993526, 0, 0, 0.0007869],
        "MCP": [0.5387157, 0.6382701, 0, 0, 0.6103614, 0, 0, 0],
        "SCAD": [0.5876885, 0.5150386, 0, 0.0036826, 0.4173496, 0, 0, 0],
    }.items(),
)
def test_path_of_ncvreg(name, lam_01):
    X, y, _ = ncvreg_references.prostate()
    assert jreg.path(X, y, PENALTIES[name]).lams[0] == pytest.approx(0.84342744, rel=1e-8)
    path = jreg.path(X, y, PENALTIES[name], lams=[0.1], tol=1e-10)
    np.testing.assert_allclose(path.coef[0], lam_01, atol=3e-7)
