"""Measures of cross-validation: scikit-learn's numbers, and Harrell's C pair by pair."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

import jreg
from jreg.selection.measures import MEASURES, allowed, read_measure

N, LAMS = 40, 3


def draw(seed=0):
    rng = np.random.default_rng(seed)
    eta = np.round(rng.normal(size=(LAMS, N)), 1)  # with ties
    return rng, eta, rng.integers(0, 3, N).astype(float)


def scores(name, loss, y, eta, weight):
    with precision("float64"):
        return MEASURES[name].scores(loss, y, eta, weight)


def test_errors():
    rng, eta, weight = draw()
    y = rng.normal(size=N)
    for name, twin in (
        ("mse", metrics.mean_squared_error),
        ("deviance", metrics.mean_squared_error),
        ("mae", metrics.mean_absolute_error),
    ):
        wanted = [twin(y, row, sample_weight=weight) for row in eta]
        np.testing.assert_allclose(scores(name, jreg.Squared(), y, eta, weight), wanted)


def test_two_classes():
    rng, eta, weight = draw()
    y = rng.integers(0, 2, N).astype(float)
    wanted = [metrics.roc_auc_score(y, row, sample_weight=weight) for row in eta]
    np.testing.assert_allclose(scores("auc", jreg.Logistic(), y, eta, weight), wanted)
    wanted = [1 - metrics.accuracy_score(y, row > 0, sample_weight=weight) for row in eta]
    np.testing.assert_allclose(scores("misclassification", jreg.Logistic(), y, eta, weight), wanted)
    chance = 1 / (1 + np.exp(-eta))
    wanted = [2 * metrics.log_loss(y, row, sample_weight=weight) for row in chance]
    np.testing.assert_allclose(scores("deviance", jreg.Logistic(), y, eta, weight), wanted)
    assert np.isnan(scores("auc", jreg.Logistic(), np.ones(N), eta, weight)).all()


def test_counts_and_several_classes():
    rng, eta, weight = draw()
    y = rng.poisson(np.exp(eta[0])).astype(float)
    wanted = [metrics.mean_poisson_deviance(y, np.exp(row), sample_weight=weight) for row in eta]
    np.testing.assert_allclose(scores("deviance", jreg.Poisson(), y, eta, weight), wanted)
    classes, eta = rng.integers(0, 3, N).astype(float), rng.normal(size=(LAMS, N, 3))
    chance = np.exp(eta) / np.exp(eta).sum(axis=2, keepdims=True)
    wanted = [2 * metrics.log_loss(classes, row, sample_weight=weight) for row in chance]
    loss = jreg.Multinomial(3)
    np.testing.assert_allclose(scores("deviance", loss, classes, eta, weight), wanted)
    one_hot = np.eye(3)[classes.astype(int)]
    wanted = [np.average(((row - one_hot) ** 2).sum(1), weights=weight) for row in chance]
    np.testing.assert_allclose(scores("mse", loss, classes, eta, weight), wanted)
    wanted = [np.average(row.argmax(1) != classes, weights=weight) for row in eta]
    np.testing.assert_allclose(scores("misclassification", loss, classes, eta, weight), wanted)


def harrell(y, eta, weight):
    """Pair by pair."""
    stratum = y[:, 2] if y.shape[1] == 3 else np.zeros(len(y))
    good = pairs = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            outlives = y[j, 0] > y[i, 0] or (y[j, 0] == y[i, 0] and y[j, 1] == 0)
            if y[i, 1] == 1 and stratum[i] == stratum[j] and outlives:
                pair = weight[i] * weight[j]
                pairs += pair
                good += pair * ((eta[j] < eta[i]) + 0.5 * (eta[j] == eta[i]))
    return good / pairs if pairs else np.nan


@given(st.integers(0, 10**6), st.integers(1, 33), st.booleans())
def test_concordance(seed, n, strata):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 8, n), rng.integers(0, 2, n)]
    columns += [rng.integers(0, 2, n)] if strata else []
    y, weight = np.stack(columns, axis=1).astype(float), rng.integers(0, 3, n).astype(float)
    eta = rng.integers(0, 6, (LAMS, n)).astype(float)
    found = MEASURES["concordance"].scores(jreg.Cox(), y, eta, weight)
    np.testing.assert_allclose(found, [harrell(y, row, weight) for row in eta])


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (jreg.Squared(), ("deviance", "mse", "mae")),
        (jreg.Logistic(), ("deviance", "mse", "mae", "misclassification", "auc")),
        (jreg.Multinomial(3), ("deviance", "mse", "mae", "misclassification")),
        (jreg.Cox(), ("deviance", "concordance")),
    ],
    ids=lambda v: type(v).__name__,
)
def test_which_are_allowed(loss, names):
    assert allowed(loss) == names
    assert read_measure(None, loss).name == "deviance"
    with pytest.raises(ValueError, match="measure must be one of"):
        read_measure("accuracy", loss)


def test_precision_of_the_data():
    _, eta, weight = draw()
    y = jnp.zeros(N)
    found = MEASURES["deviance"].scores(jreg.Squared(), y, eta.astype(np.float32), weight)
    assert found.dtype == np.float32
