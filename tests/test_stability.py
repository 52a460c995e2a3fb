"""Stability selection and bootstrap paths."""

import dataclasses

import numpy as np
import pytest

import jreg
from jreg.selection.study import check_path


def data(n=60, p=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, :2] @ [2.0, -1.5] + rng.normal(size=n)


def test_frequencies_by_hand():
    """The halves of a pair do not overlap; a path on each, and who has been in it so far."""
    X, y = data()
    seen = []
    found = jreg.stability_selection(
        X, y, n_pairs=3, n_lams=12, key=4, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(k, 6) for k in range(1, 7)]
    rng = np.random.default_rng(4)
    count = np.zeros((12, 30))
    for _ in range(3):
        order = rng.permutation(60)
        for rows in (order[:30], order[30:]):
            path = jreg.path(X[rows], y[rows], lams=found.lams)
            count += np.maximum.accumulate(path.coef != 0, axis=0)
    np.testing.assert_array_equal(found.frequency, count / 6)
    np.testing.assert_allclose(found.n_selected, count.sum(axis=1) / 6)
    assert found.n_halves == 6


def test_what_is_stable():
    X, y = data()
    found = jreg.stability_selection(X, y, n_pairs=20, n_lams=30)
    assert sorted(found.selected().tolist()) == [0, 1]
    assert "x0" in repr(found)
    row = found.row()
    assert found.bound()[row] <= 1
    assert found.bound()[row + 1] > 1
    assert found.selected(expected_false=1e-9).size == 0
    more = found.selected(expected_false=1e9, threshold=0.6)
    assert set(found.selected()) <= set(more)


def test_bounds():
    """Shah and Samworth (2013): theorem 1 as it is; theorem 2 is sharper, by about two here."""
    X, y = data()
    found = jreg.stability_selection(X, y, n_pairs=50, n_lams=10)
    q = found.n_selected
    np.testing.assert_allclose(found.bound(0.75), q**2 / (0.5 * 30))
    np.testing.assert_allclose(found.bound(0.9), q**2 / (0.8 * 30))
    small = q < 5
    sharper = found.bound_unimodal(0.75)[small]
    np.testing.assert_allclose(sharper, q[small] ** 2 / 30 / (2 * (0.5 - 0.01)))
    sharper = found.bound_unimodal(0.9)[small]
    np.testing.assert_allclose(sharper, 4 * (0.1 + 0.01) / 1.02 * q[small] ** 2 / 30)
    assert (found.bound_unimodal() <= found.bound()).all()
    for threshold in (0.5, 1.1, 0.2):
        with pytest.raises(ValueError, match="threshold"):
            found.bound(threshold)


@pytest.mark.slow
def test_bound_holds_for_noise():
    """The mean number of wrong features over data sets without signal is below the bound."""
    wrong = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 30)), rng.normal(size=60)
        found = jreg.stability_selection(X, y, n_pairs=25, n_lams=20, key=seed)
        wrong.append(found.selected(threshold=0.6, expected_false=2.0).size)
    assert np.mean(wrong) <= 2.0


def test_weights_and_classes():
    X, y = data()
    labels, weight = (y > 0).astype(float), np.ones(60)
    weight[:10] = 0
    found = jreg.stability_selection(
        X, labels, loss=jreg.Logistic(), n_pairs=4, n_lams=8, sample_weight=weight
    )
    again = jreg.stability_selection(X[10:], labels[10:], loss=jreg.Logistic(), n_pairs=4, n_lams=8)
    np.testing.assert_array_equal(found.frequency, again.frequency)
    np.testing.assert_allclose(found.lams, again.lams)
    assert found.frequency[-1, :2].min() > 0.5
    with pytest.raises(ValueError, match="4 rows"):
        jreg.stability_selection(X[:3], y[:3])
    with pytest.raises(ValueError, match="n_pairs must be at least 1"):
        jreg.stability_selection(X, y, n_pairs=0)
    with pytest.raises(ValueError, match="n_pairs must be a whole number"):
        jreg.stability_selection(X, y, n_pairs=2.9)
    with pytest.raises(ValueError, match="n_draws must be a whole number"):
        jreg.bootstrap_path(X, y, n_draws=2.9)


def test_halves_without_a_solution_are_named():
    """With three rows of one class some half has none; it is not one that selects nothing."""
    X, _ = data()
    labels = np.isin(np.arange(60), [3, 20, 41]).astype(float)
    options = {"loss": jreg.Logistic(), "lams": [0.1]}
    with pytest.raises(ValueError, match=r"half \d+ of the rows cannot be fitted: .*single class"):
        jreg.stability_selection(X, labels, n_pairs=20, **options)
    with pytest.raises(ValueError, match=r"draw \d+ of the rows cannot be fitted: .*single class"):
        jreg.bootstrap_path(X, labels, n_draws=100, **options)


def test_paths_without_a_solution_are_named():
    X, y = data()
    path = jreg.path(X, y, lams=[0.5, 0.1])
    check_path(path, "half 3")
    broken = dataclasses.replace(path, status=np.array([0, jreg.Status.NOT_FINITE]))
    with pytest.raises(ValueError, match="half 3 has lambdas without a solution"):
        check_path(broken, "half 3")


def test_bootstrap_by_hand():
    X, y = data()
    path, coef = jreg.bootstrap_path(X, y, n_draws=3, key=7, lams=[0.5, 0.1], tol=1e-9)
    np.testing.assert_array_equal(path.lams, [0.5, 0.1])
    rng = np.random.default_rng(7)
    for one in coef:
        times = rng.multinomial(60, np.full(60, 1 / 60))
        rows = np.repeat(np.arange(60), times)
        wanted = jreg.path(X[rows], y[rows], lams=[0.5, 0.1], tol=1e-9)
        np.testing.assert_allclose(one, wanted.coef, atol=1e-5)


def test_bootstrap_spread_is_the_standard_error():
    """Without a penalty to speak of, that of least squares, on tall data."""
    X, y = data(n=400, p=4, seed=1)
    path, coef = jreg.bootstrap_path(X, y, n_draws=200, lams=[1e-6])
    rest = y - path.predict(X)[0]
    wanted = np.sqrt(np.diag(np.linalg.inv(X.T @ X)) * rest.var())
    np.testing.assert_allclose(coef[:, 0].std(axis=0), wanted, rtol=0.25)
