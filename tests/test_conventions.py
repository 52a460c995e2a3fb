"""Each row of `convert_lam` by solving both forms; textbook coordinate descent against jreg's.

The other forms are solved without jreg: in closed form, by SciPy, scikit-learn or a few lines of
NumPy. All in float64, without intercept unless the row says otherwise.
"""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

import jreg

N, P = 25, 5
SOLVERS = [jreg.CoordinateDescent(), jreg.ProxNewton()]


def data(seed=0):
    """Correlated columns of different size; the last coefficient is 0."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(N, P)) + 0.5 * rng.normal(size=(N, 1))) * [1, 2, 0.5, 1, 3]
    y = X @ [1.5, -0.5, 2, 0.3, 0] + rng.normal(size=N)
    return X, y, (y > np.median(y)).astype(float)


def fit(X, y, penalty, loss=jreg.Squared(), solver=SOLVERS[0], **options):
    with jax.enable_x64(True):
        problem = jreg.LinearProblem(X, y, loss, **{"fit_intercept": False, **options})
        solution = jreg.solve(problem, penalty, solver=solver, tol=1e-13)
        assert solution.status == jreg.Status.CONVERGED
        return np.asarray(solution.params.coef)


def minimise_with_l1(loss, gradient, strength):
    """argmin of loss(w) + strength |w|_1 in the variables w = plus - minus, both >= 0."""

    def split(z):
        w = z[:P] - z[P:]
        g = gradient(w)
        return loss(w) + strength * z.sum(), np.concatenate([g, -g]) + strength

    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000, "maxfun": 100_000}
    found = minimize(split, np.zeros(2 * P), jac=True, bounds=[(0, None)] * 2 * P, options=options)
    return found.x[:P] - found.x[P:]


def squared_sum(X, y):
    """L and its gradient: the sum of half the squared errors."""
    return (lambda w: 0.5 * np.sum((y - X @ w) ** 2)), (lambda w: X.T @ (X @ w - y))


def logistic_sum(X, labels):
    """L and its gradient: minus the binomial log-likelihood."""

    def value(w):
        return np.sum(np.logaddexp(0, X @ w) - labels * (X @ w))

    return value, lambda w: X.T @ (1 / (1 + np.exp(-X @ w)) - labels)


def ridge_closed_form(X, y, strength):
    """argmin of |y - Xw|^2 + strength |w|^2."""
    return np.linalg.solve(X.T @ X + strength * np.eye(P), X.T @ y)


def rss_l1(X, y, labels, lam):
    loss, gradient = squared_sum(X, y)
    w = minimise_with_l1(lambda w: 2 * loss(w), lambda w: 2 * gradient(w), lam)
    return w, jreg.L1, y, jreg.Squared()


def half_rss_l1(X, y, labels, lam):
    return minimise_with_l1(*squared_sum(X, y), lam), jreg.L1, y, jreg.Squared()


def rss_l2(X, y, labels, lam):
    return ridge_closed_form(X, y, lam), jreg.Ridge, y, jreg.Squared()


def mean_l2_over_2m(X, y, labels, lam):
    """1/m (1/2 |y - Xw|^2) + lam/(2m) |w|^2 is RSS + lam |w|^2 over 2m."""
    return ridge_closed_form(X, y, lam), jreg.Ridge, y, jreg.Squared()


def mean_l2_over_2m_logistic(X, y, labels, lam):
    loss, gradient = logistic_sum(X, labels)
    found = minimize(
        lambda w: (loss(w) / N + lam / (2 * N) * w @ w, (gradient(w) + lam * w) / N),
        np.zeros(P),
        jac=True,
        options={"gtol": 1e-12},
    )
    return found.x, jreg.Ridge, labels, jreg.Logistic()


def mean_l1_over_2m(X, y, labels, lam):
    loss, gradient = squared_sum(X, y)
    w = minimise_with_l1(lambda w: loss(w) / N, lambda w: gradient(w) / N, lam / (2 * N))
    return w, jreg.L1, y, jreg.Squared()


def sklearn_C(X, y, labels, C):
    model = LogisticRegression(C=C, tol=1e-12, max_iter=10_000, fit_intercept=False)
    return model.fit(X, labels).coef_[0], jreg.Ridge, labels, jreg.Logistic()


def sklearn_C_l1(X, y, labels, C):
    loss, gradient = logistic_sum(X, labels)
    w = minimise_with_l1(lambda w: C * loss(w), lambda w: C * gradient(w), 1)
    return w, jreg.L1, labels, jreg.Logistic()


def torch_weight_decay(X, y, labels, decay):
    """SGD on the mean loss with all rows in the batch: w -= rate * (grad + decay * w)."""
    w, gradient = np.zeros(P), squared_sum(X, y)[1]
    rate = 1 / (np.linalg.norm(X.T @ X / N, 2) + decay)
    for _ in range(20_000):
        w = w - rate * (gradient(w) / N + decay * w)
    return w, jreg.Ridge, y, jreg.Squared()


@pytest.mark.parametrize(
    ("row", "other_form", "lam"),
    [
        ("rss_l1", rss_l1, 20.0),
        ("half_rss_l1", half_rss_l1, 10.0),
        ("rss_l2", rss_l2, 5.0),
        ("mean_l2_over_2m", mean_l2_over_2m, 5.0),
        ("mean_l2_over_2m", mean_l2_over_2m_logistic, 2.0),
        ("mean_l1_over_2m", mean_l1_over_2m, 20.0),
        ("sklearn_C", sklearn_C, 0.5),
        ("sklearn_C", sklearn_C_l1, 0.7),
        ("torch_weight_decay", torch_weight_decay, 0.2),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_both_forms_have_one_solution(row, other_form, lam):
    X, y, labels = data()
    expected, penalty, response, loss = other_form(X, y, labels, lam)
    assert np.abs(expected).max() > 0.1
    found = fit(X, response, penalty(jreg.convert_lam(lam, row, n_samples=N)), loss)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if penalty is jreg.L1:  # strong enough to tell one strength from another
        assert (found == 0).any()


def test_every_row_is_tested():
    """The table in the error message holds the rows above and no others."""
    rows = test_both_forms_have_one_solution.pytestmark[0].args[1]
    with pytest.raises(ValueError, match="unknown convention 'lasso'") as error:
        jreg.convert_lam(1.0, "lasso", 10)
    named = {part.split("'")[1] for part in str(error.value).split("jreg knows")[1].split(";")}
    assert named == {row for row, *_ in rows}


@pytest.mark.parametrize("n", [0, -3])
def test_n_samples(n):
    with pytest.raises(ValueError, match=f"n_samples must be at least 1; got {n}"):
        jreg.convert_lam(1.0, "rss_l1", n)


def test_arrays_and_tracers():
    lams = np.array([1.0, 2.0])
    np.testing.assert_array_equal(jreg.convert_lam(lams, "rss_l1", 4), lams / 8)
    np.testing.assert_allclose(jax.jit(lambda c: jreg.convert_lam(c, "sklearn_C", 4))(2.0), 0.125)


# --- coordinate descent by the book -----------------------------------------------------------


def soft(x, t):
    return np.sign(x) * max(abs(x) - t, 0)


def sweeps(X, y, update, count=2000):
    """Cyclic coordinate descent: w_j = update(x_j, y - X_-j w_-j)."""
    w = np.zeros(P)
    for _ in range(count):
        before = w.copy()
        for j in range(P):
            w[j] = update(X[:, j], y - X @ w + X[:, j] * w[j])
        if np.abs(w - before).max() < 1e-14:
            break
    return w


def both_solvers_give(X, y, lam, expected):
    for solver in SOLVERS:
        np.testing.assert_allclose(fit(X, y, jreg.L1(lam), solver=solver), expected, atol=1e-6)


def test_normalised_form():
    """Columns of mean square 1: w_j = soft(rho_j, lam), rho_j = x_j . (y - X_-j w_-j) / n."""
    X, y, _ = data()
    X = X / np.sqrt(np.mean(X**2, axis=0))
    lam = 0.4
    w = sweeps(X, y, lambda x, r: soft(x @ r / N, lam))
    assert (w == 0).any()
    assert (w != 0).any()
    both_solvers_give(X, y, lam, w)


def test_unnormalised_form():
    """Any columns: w_j = soft(rho_j, lam) / z_j, z_j = x_j . x_j / n."""
    X, y, _ = data()
    lam = 0.4
    w = sweeps(X, y, lambda x, r: soft(x @ r / N, lam) / (x @ x / N))
    assert (w == 0).any()
    assert (w != 0).any()
    both_solvers_give(X, y, lam, w)


def test_textbook_form():
    """Columns of unit length, |y - Xw|^2 + lam |w|_1: w_j = soft(x_j . (y - X_-j w_-j), lam/2)."""
    X, y, _ = data()
    X = X / np.linalg.norm(X, axis=0)
    lam = 5.0
    w = sweeps(X, y, lambda x, r: soft(x @ r, lam / 2))
    assert (w == 0).any()
    assert (w != 0).any()
    both_solvers_give(X, y, jreg.convert_lam(lam, "rss_l1", N), w)


def test_the_forms_differ_without_their_scaling():
    """Threshold lam on columns that are not normalised is another problem."""
    X, y, _ = data()
    w = sweeps(X / np.linalg.norm(X, axis=0), y, lambda x, r: soft(x @ r, 5.0 / 2))
    wrong = fit(X / np.linalg.norm(X, axis=0), y, jreg.L1(5.0))
    assert np.abs(w - wrong).max() > 0.1


def test_weighted_and_centred_form():
    """Sample weights and an intercept: means are weighted, columns are centred."""
    X, y, _ = data()
    s = np.random.default_rng(1).uniform(0, 2, N)
    s[:2] = 0
    s_bar = s / s.sum()
    Xc, yc, lam = X - s_bar @ X, y - s_bar @ y, 0.3
    w = sweeps(Xc, yc, lambda x, r: soft((s_bar * x) @ r, lam) / ((s_bar * x) @ x))
    for solver in SOLVERS:
        found = fit(X, y, jreg.L1(lam), solver=solver, sample_weight=s, fit_intercept=True)
        np.testing.assert_allclose(found, w, atol=1e-6)
