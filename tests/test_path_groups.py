"""Paths of group penalties and of several outputs: answers, certificates, edges, costs."""

import chex
import jax
import numpy as np
import pytest
from cases import mixing, precision

import jreg
from jreg.path import blocks, newton_blocks
from jreg.status import Status

K = 3
SLOW = pytest.mark.slow
SIZES = [4, 1, 3, 5, 2, 4, 6, 1, 2, 2]


def group_data(n=50, sizes=SIZES, seed=0):
    """Two groups matter."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(n, ids.size)) @ (np.eye(ids.size) + 0.3 * rng.normal(size=(ids.size,) * 2))
    w = np.where(np.isin(ids, (0, 3)), rng.normal(size=ids.size), 0)
    return X, X @ w + 0.5 * rng.normal(size=n), ids


def classes(n=80, p=12, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    eta = X[:, :3] @ rng.normal(size=(3, K)) * 1.5
    return X, (eta + rng.gumbel(size=(n, K))).argmax(axis=1)


def responses(n=50, p=20, seed=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, :4] @ rng.normal(size=(4, K)) + 0.5 * rng.normal(size=(n, K))


def group_lasso(ids, **options):
    return jreg.GroupLasso(groups=jreg.Groups(ids), **options)


def done(path, tol=1e-6):
    assert (path.status == Status.CONVERGED).all(), path
    assert path.gap.max() <= tol
    return path


def norms(ids, u):
    return np.sqrt(np.bincount(ids, u**2))


# --- the same answers -----------------------------------------------------------------------------


def response_of(loss, signal):
    rng = np.random.default_rng(5)
    if isinstance(loss, jreg.Logistic):
        return (signal > 0) * 1.0
    if isinstance(loss, jreg.Poisson):
        return rng.poisson(np.exp(0.3 * signal)) * 1.0
    return signal


GENERAL = [
    (jreg.Squared(), True, True),
    pytest.param(jreg.Squared(), False, False, marks=SLOW),
    pytest.param(jreg.Logistic(), True, True, marks=SLOW),
    pytest.param(jreg.Logistic(), False, False, marks=SLOW),
    pytest.param(jreg.Poisson(), True, False, marks=SLOW),
    pytest.param(jreg.Poisson(), False, True, marks=SLOW),
]


@pytest.mark.parametrize(("loss", "fit_intercept", "standardize"), GENERAL)
def test_groups_agree_with_solve(loss, fit_intercept, standardize):
    X, signal, ids = group_data()
    y, penalty = response_of(loss, signal / signal.std()), group_lasso(ids)
    options = {"fit_intercept": fit_intercept, "standardize": standardize}
    path = jreg.path(X, y, penalty, loss, n_lams=12, lam_min_ratio=0.05, tol=1e-10, **options)
    done(path, 1e-10)
    assert path.coef.shape == (12, ids.size)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, loss, **options)
        for i in (0, 3, 9):
            one = jreg.solve(problem, penalty.at(path.lams[i]), tol=1e-12)
            np.testing.assert_allclose(path.coef[i], one.params.coef, atol=2e-4)
            np.testing.assert_allclose(path.intercept[i], one.params.intercept, atol=2e-4)
    assert path.n_nonzero[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda g: jreg.SparseGroupLasso(l1_ratio=0.4, groups=g),
        lambda g: jreg.penalties.NonNegativeGroupLasso(groups=g),
        lambda g: jreg.GroupLasso(axis=0),
        lambda g: jreg.GroupLasso(),
    ],
)
def test_relatives_of_the_group_lasso(make):
    X, y, ids = group_data()
    penalty = make(jreg.Groups(ids))
    path = done(jreg.path(X, y, penalty, n_lams=10, lam_min_ratio=0.05, tol=1e-9), 1e-9)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, standardize=True)
        one = jreg.solve(problem, penalty.at(path.lams[7]), tol=1e-11)
    np.testing.assert_allclose(path.coef[7], one.params.coef, atol=1e-3)


@pytest.mark.slow
def test_group_mcp_is_stationary():
    X, y, ids = group_data(n=200)
    path = jreg.path(
        X, y, jreg.penalties.GroupMCP(groups=jreg.Groups(ids)), n_lams=8, lam_min_ratio=0.1
    )
    assert (path.status == Status.CONVERGED).all()
    assert path.residual.max() <= 1e-6
    assert np.isnan(path.gap).all()


def twin(X, y, ids, lam, sweeps=1000):
    """Group lasso by majorised block descent, in NumPy."""
    n, w, r = len(y), np.zeros(X.shape[1]), y.copy()
    for _ in range(sweeps):
        for g in np.unique(ids):
            A = X[:, ids == g]
            bound = np.linalg.eigvalsh(A.T @ A / n)[-1]
            old = w[ids == g].copy()
            v = old + A.T @ r / n / bound
            shrink = max(1 - lam * np.sqrt(A.shape[1]) / bound / max(np.linalg.norm(v), 1e-300), 0)
            w[ids == g] = shrink * v
            r -= A @ (shrink * v - old)
    return w


def test_naive_twin():
    X, y, ids = group_data(n=40, sizes=[3, 1, 2, 4])
    path = jreg.path(
        X,
        y,
        group_lasso(ids),
        n_lams=4,
        lam_min_ratio=0.05,
        tol=1e-11,
        fit_intercept=False,
        standardize=False,
    )
    for lam, coef in zip(path.lams, path.coef, strict=True):
        np.testing.assert_allclose(coef, twin(X, y, ids, lam), atol=2e-5)


@pytest.mark.slow
def test_order_of_features_does_not_matter():
    X, y, ids = group_data()
    order = np.random.default_rng(3).permutation(ids.size)
    path = done(jreg.path(X, y, group_lasso(ids), n_lams=8, tol=1e-9), 1e-9)
    mixed = done(jreg.path(X[:, order], y, group_lasso(ids[order]), n_lams=8, tol=1e-9), 1e-9)
    np.testing.assert_allclose(mixed.coef, path.coef[:, order], atol=1e-3)


def softmax(eta):
    e = np.exp(eta - eta.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def multinomial_value(X, y, coef, intercept):
    P = softmax(X @ coef + intercept)
    return -np.log(P[np.arange(len(y)), y]).mean()


def test_multinomial_lasso_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = classes()
    path = jreg.path(
        X, y, loss=jreg.Multinomial(K), standardize=False, n_lams=6, lam_min_ratio=0.05, tol=1e-10
    )
    done(path, 1e-10)
    assert path.coef.shape == (6, 12, K)
    assert path.intercept.shape == (6, K)
    for i in (2, 5):
        lam = path.lams[i]
        model = linear_model.LogisticRegression(
            C=1 / (len(y) * lam), solver="saga", tol=1e-10, max_iter=100_000, **mixing(1)
        ).fit(X, y)
        theirs = multinomial_value(X, y, model.coef_.T, model.intercept_)
        theirs += lam * np.abs(model.coef_).sum()
        ours = multinomial_value(X, y, path.coef[i], path.intercept[i])
        ours += lam * np.abs(path.coef[i]).sum()
        assert ours <= theirs + 1e-9
        np.testing.assert_allclose(path.coef[i], model.coef_.T, atol=1e-3)


@pytest.mark.slow
def test_rows_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, Y = responses()
    penalty = jreg.GroupLasso(weights=np.ones(20), axis=0)
    path = jreg.path(X, Y, penalty, standardize=False, n_lams=8, lam_min_ratio=0.02, tol=1e-11)
    done(path, 1e-11)
    for i in (3, 7):
        model = linear_model.MultiTaskLasso(path.lams[i], tol=1e-12, max_iter=100_000).fit(X, Y)
        np.testing.assert_allclose(path.coef[i], model.coef_.T, atol=1e-4)
        np.testing.assert_allclose(path.intercept[i], model.intercept_, atol=1e-4)
    nonzero = (path.coef != 0).any(axis=2)
    assert (nonzero == (path.coef != 0).all(axis=2)).all()
    np.testing.assert_array_equal(path.n_nonzero, K * nonzero.sum(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "penalty"),
    [
        ("responses", jreg.ElasticNet(l1_ratio=0.5)),
        ("responses", jreg.GroupLasso(axis=0)),
        ("classes", jreg.L1()),
        ("classes", jreg.GroupLasso(axis=0)),
        ("classes", jreg.Ridge()),
    ],
)
def test_several_outputs_agree_with_solve(kind, penalty):
    X, y = responses() if kind == "responses" else classes()
    loss = jreg.Squared() if kind == "responses" else jreg.Multinomial(K)
    path = done(jreg.path(X, y, penalty, loss, n_lams=6, lam_min_ratio=0.05, tol=1e-9), 1e-9)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y * 1.0, loss, standardize=True)
        one = jreg.solve(problem, penalty.at(path.lams[4]), tol=1e-11)
    np.testing.assert_allclose(path.coef[4], one.params.coef, atol=1e-3)
    # a constant added to all classes changes nothing
    theirs = np.asarray(one.params.intercept)
    if kind == "classes":
        theirs = theirs - theirs.mean() + path.intercept[4].mean()
    np.testing.assert_allclose(path.intercept[4], theirs, atol=1e-3)


@pytest.mark.slow
def test_one_response_twice_is_the_lasso_twice():
    X, Y = responses()
    y = Y[:, 0]
    both = done(jreg.path(X, np.stack([y, y], axis=1), lams=[0.1], tol=1e-10), 1e-10)
    one = jreg.path(X, y, lams=[0.1], tol=1e-10)
    np.testing.assert_allclose(both.coef[0, :, 0], one.coef[0], atol=1e-4)
    np.testing.assert_allclose(both.coef[0, :, 1], one.coef[0], atol=1e-4)


# --- certificates, from outside -------------------------------------------------------------------


def squared_gap(X, y, w, lam, ids):
    """Relative duality gap of a group lasso without intercept."""
    n, s = len(y), lam * np.sqrt(np.bincount(ids))
    r = y - X @ w
    u = r * min(1, 1 / (norms(ids, X.T @ r / n) / s).max())
    primal = 0.5 * r @ r / n + (s * norms(ids, w)).sum()
    return (primal - (u @ y - 0.5 * u @ u) / n) / (0.5 * y @ y / n)


@pytest.mark.parametrize("n", [30, pytest.param(200, marks=SLOW)])
def test_group_gaps_in_numpy(n):
    X, y, ids = group_data(n, SIZES * 8)
    path = jreg.path(X, y, group_lasso(ids), fit_intercept=False, standardize=False, n_lams=30)
    done(path)
    gaps = [squared_gap(X, y, w, lam, ids) for lam, w in zip(path.lams, path.coef, strict=True)]
    assert max(gaps) < 1.01e-6
    assert path.lams[0] == pytest.approx(
        (norms(ids, X.T @ y / n) / np.sqrt(np.bincount(ids))).max()
    )


def multinomial_gap(X, y, W, lam, dual_norm, penalty):
    """The same without intercept: KL terms, the dual scaled until its norm is lam."""
    n, Y = len(y), np.eye(K)[y]
    P = softmax(X @ W)
    U = (P - Y) * min(1, lam / dual_norm(X.T @ (P - Y) / n))
    Q = np.clip(U + Y, 0, 1)
    entropy = np.where(Q > 0, Q * np.log(np.where(Q > 0, Q, 1)), 0).sum() / n
    primal = multinomial_value(X, y, W, 0) + lam * penalty(W)
    return (primal + entropy) / np.log(K)


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [True, False])
def test_multinomial_gaps_in_numpy(grouped):
    X, y = classes(p=40)
    if grouped:
        penalty = jreg.GroupLasso(weights=np.ones(40), axis=0)
        dual_norm, norm = (
            (lambda Z: np.linalg.norm(Z, axis=1).max()),
            lambda W: np.linalg.norm(W, axis=1).sum(),
        )
    else:
        penalty, dual_norm, norm = jreg.L1(), lambda Z: np.abs(Z).max(), lambda W: np.abs(W).sum()
    loss = jreg.Multinomial(K)
    options = {"fit_intercept": False, "standardize": False, "n_lams": 20, "lam_min_ratio": 0.02}
    path = done(jreg.path(X, y, penalty, loss, **options))
    gaps = [
        multinomial_gap(X, y, W, lam, dual_norm, norm)
        for lam, W in zip(path.lams, path.coef, strict=True)
    ]
    assert max(gaps) < 1.01e-6


# --- the contract of path -------------------------------------------------------------------------


def test_unsorted_and_repeated_lambdas():
    X, y, ids = group_data()
    lams = np.array([0.05, 0.4, 0.1, 0.4])
    path = done(jreg.path(X, y, group_lasso(ids), lams=lams, tol=1e-9), 1e-9)
    np.testing.assert_array_equal(path.lams, lams)
    np.testing.assert_array_equal(path.coef[1], path.coef[3])
    falling = jreg.path(X, y, group_lasso(ids), lams=[0.4, 0.1, 0.05], tol=1e-9)
    np.testing.assert_allclose(path.coef[[1, 2, 0]], falling.coef, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["groups", "classes"])
def test_weights_are_repetitions(kind):
    X, y, ids = group_data() if kind == "groups" else (*classes(), None)
    penalty = group_lasso(ids) if kind == "groups" else jreg.L1()
    loss = jreg.Squared() if kind == "groups" else jreg.Multinomial(K)
    weight = np.random.default_rng(4).integers(0, 3, len(y))
    options = {"n_lams": 5, "lam_min_ratio": 0.1, "tol": 1e-9}
    weighted = done(jreg.path(X, y, penalty, loss, sample_weight=weight, **options), 1e-9)
    rows = np.repeat(np.arange(len(y)), weight)
    repeated = jreg.path(X[rows], y[rows], penalty, loss, **options)
    np.testing.assert_allclose(weighted.lams, repeated.lams)
    np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-3)


@pytest.mark.slow
def test_offsets_of_several_outputs():
    X, y = classes()
    offset = np.random.default_rng(6).normal(size=(len(y), K))
    loss = jreg.Multinomial(K)
    path = done(jreg.path(X, y, loss=loss, offset=offset, n_lams=5, lam_min_ratio=0.1))
    with precision("float64"):
        problem = jreg.LinearProblem(X, y * 1.0, loss, offset=offset, standardize=True)
        one = jreg.solve(problem, jreg.L1(path.lams[3]), tol=1e-10)
    np.testing.assert_allclose(path.coef[3], one.params.coef, atol=5e-3)
    X, Y = responses()
    shifted = jreg.path(X, Y + 1.5, offset=np.full_like(Y, 1.5), lams=[0.1], tol=1e-9)
    plain = jreg.path(X, Y, lams=[0.1], tol=1e-9)
    np.testing.assert_allclose(shifted.coef, plain.coef, atol=1e-4)


def test_what_a_path_of_several_outputs_answers():
    pytest.importorskip("matplotlib")
    X, y = classes()
    path = jreg.path(X, y, loss=jreg.Multinomial(K), n_lams=5, lam_min_ratio=0.1)
    probabilities = path.predict(X[:7])
    chex.assert_shape(probabilities, (5, 7, K))
    np.testing.assert_allclose(probabilities.sum(axis=2), 1)
    link = path.predict(X[:7], "link")
    np.testing.assert_allclose(link[3], X[:7] @ path.coef[3] + path.intercept[3])
    np.testing.assert_array_equal(path.predict(X[:7], "class"), link.argmax(axis=2))
    np.testing.assert_array_equal(path.n_nonzero, (path.coef != 0).sum(axis=(1, 2)))
    chex.assert_shape(path.coef_at(path.lams[1:3].mean()).coef, (12, K))
    exact = path.coef_at(path.lams[2], exact=jreg.LinearProblem(X, y * 1.0))
    np.testing.assert_allclose(exact.coef, path.coef[2], atol=5e-3)
    path.plot(output=1)
    path.plot("deviance")
    with pytest.raises(ValueError, match="3 outputs: choose one"):
        path.plot()
    assert "x 12 features" in repr(path)
    pytest.importorskip("pandas")
    assert path.to_dataframe().shape == (5, 7 + K + 12 * K)


@pytest.mark.slow
def test_float32():
    X, y, ids = group_data(n=60, sizes=SIZES * 3)
    path = jreg.path(X.astype("float32"), y.astype("float32"), group_lasso(ids), n_lams=30)
    chex.assert_type(path.coef, "float32")
    done(path, 1e-4)
    X, y = classes()
    path = jreg.path(X.astype("float32"), y, loss=jreg.Multinomial(K), n_lams=20)
    chex.assert_type((path.coef, path.intercept), "float32")
    done(path, 1e-4)


def test_interruption_keeps_what_is_certified(monkeypatch, capsys):
    X, y, ids = group_data()
    calls = []

    def try_block(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    original = newton_blocks.try_block
    monkeypatch.setattr(newton_blocks, "try_block", try_block)
    path = jreg.path(X, y, group_lasso(ids))
    assert "interrupted" in capsys.readouterr().err
    converged = path.status == Status.CONVERGED
    count = converged.sum()
    assert 2 <= count < 100
    assert converged[:count].all()
    assert (path.status[count:] == Status.NOT_RUN).all()
    assert np.isnan(path.coef[count:]).all()


def test_progress():
    X, y = responses()
    seen = []
    jreg.path(X, y, n_lams=15, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (15, 15)
    assert [count for count, _ in seen] == sorted({count for count, _ in seen})


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_groups_of_weight_zero_and_infinity():
    X, y, ids = group_data()
    weights = np.ones(len(SIZES))
    weights[3], weights[0] = 0, np.inf
    penalty = group_lasso(ids, weights=weights)
    path = jreg.path(X, y, penalty, n_lams=8, lam_min_ratio=0.05, tol=1e-9)
    done(path, 1e-9)
    assert (path.coef[:, ids == 3] != 0).all()
    assert (path.coef[:, ids == 0] == 0).all()
    assert (path.coef[0, weights[ids] == 1] == 0).all()
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, standardize=True)
        one = jreg.solve(problem, penalty.at(path.lams[6]), tol=1e-11)
    np.testing.assert_allclose(path.coef[6], one.params.coef, atol=1e-3)


@pytest.mark.slow
def test_no_penalty_at_all():
    X, y, ids = group_data()
    path = jreg.path(X, y, group_lasso(ids), lams=[0.1, 0], tol=1e-10)
    assert (path.status == Status.CONVERGED).all()
    A = np.column_stack([X, np.ones(len(y))])
    exact = np.linalg.lstsq(A, y, rcond=None)[0]
    np.testing.assert_allclose(path.coef[1], exact[:-1], atol=1e-3)
    X, Y = responses()
    path = jreg.path(X, Y, lams=[0], tol=1e-10)
    assert (path.status == Status.CONVERGED).all()
    A = np.column_stack([X, np.ones(len(Y))])
    np.testing.assert_allclose(path.coef[0], np.linalg.lstsq(A, Y, rcond=None)[0][:-1], atol=1e-3)


HARD = {
    "every group twice": lambda X, ids: (np.hstack([X, X]), np.append(ids, ids + ids.max() + 1)),
    "every column twice in its group": lambda X, ids: (np.hstack([X, X]), np.append(ids, ids)),
    "constant columns": lambda X, ids: (
        np.hstack([X, np.ones((len(X), 3))]), np.append(ids, [0, 1, ids.max() + 1]),
    ),
    "a number without features": lambda X, ids: (X, ids + 2),
    "tiny columns": lambda X, ids: (1e-6 * X, ids),
    "huge columns": lambda X, ids: (1e6 * X, ids),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_hard_designs(name):
    X, y, ids = group_data(n=30)
    X, ids = HARD[name](X, ids)
    path = jreg.path(X, y, group_lasso(ids), lam_min_ratio=1e-3, n_lams=25)
    done(path)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_matter(factor):
    X, Y = responses()
    path = done(jreg.path(X, factor * Y, n_lams=8, tol=1e-8), 1e-8)
    plain = jreg.path(X, Y, n_lams=8, tol=1e-8)
    np.testing.assert_allclose(path.coef / factor, plain.coef, atol=1e-3)
    path = done(jreg.path(factor * X, Y, n_lams=8, standardize=False, tol=1e-8), 1e-8)
    plain = jreg.path(X, Y, n_lams=8, standardize=False, tol=1e-8)
    np.testing.assert_allclose(path.coef * factor, plain.coef, atol=1e-3)


@pytest.mark.slow
def test_nothing_to_explain():
    X, _, ids = group_data(n=20)
    path = done(jreg.path(X, np.zeros(20), group_lasso(ids), n_lams=5))
    assert (path.coef == 0).all()
    path = done(jreg.path(X, np.ones((20, 2)), n_lams=5))
    assert (path.coef == 0).all()
    np.testing.assert_allclose(path.intercept, 1)


@pytest.mark.slow
def test_one_sample():
    options = {"fit_intercept": False, "standardize": False, "n_lams": 5}
    path = done(jreg.path(np.ones((1, 3)), [2.0], group_lasso([0, 0, 1]), **options))
    assert path.coef.shape == (5, 3)
    done(jreg.path(np.ones((1, 3)), [1], loss=jreg.Multinomial(2), **options))


@pytest.mark.slow
def test_very_unequal_groups_are_not_divided():
    rng = np.random.default_rng(7)
    ids = np.append(np.zeros(60, int), np.arange(1, 61))
    X = rng.normal(size=(30, 120))
    path = done(jreg.path(X, X[:, 0] + X[:, 70], group_lasso(ids), n_lams=6, lam_min_ratio=0.2))
    gaps = squared_gap(X - X.mean(0), X[:, 0], path.coef[0], path.lams[0], ids)
    assert gaps >= 0


# --- what happens where guesses are wrong ---------------------------------------------------------


def wide_data():
    """More columns than the smallest number of candidates."""
    X, y, ids = group_data(n=40, sizes=[5] * 120)
    return X, y, ids


@pytest.mark.slow
def test_missing_candidates_join(monkeypatch):
    X, y, ids = wide_data()
    lams = [4.0, 3.0]
    wanted = jreg.path(X, y, group_lasso(ids), lams=lams, tol=1e-8)

    def blind(units, score, wanted):
        del units, score
        held = wanted.copy()
        held[:2] = True
        return np.nonzero(held)[0]

    monkeypatch.setattr(newton_blocks, "choose", blind)
    found = done(jreg.path(X, y, group_lasso(ids), lams=lams, tol=1e-8), 1e-8)
    np.testing.assert_allclose(found.coef, wanted.coef, atol=5e-3)


@pytest.mark.slow
def test_plain_solver_takes_over(monkeypatch):
    X, y, ids = wide_data()
    wanted = jreg.path(X, y, group_lasso(ids), n_lams=6, lam_min_ratio=0.2)
    original, taken = newton_blocks.try_block, []

    def fails(*args):
        block = original(*args)
        return block._replace(status=np.full_like(block.status, int(Status.NO_DESCENT)))

    def plain(*args):
        taken.append(1)
        return blocks.solve_block(*args)

    monkeypatch.setattr(newton_blocks, "try_block", fails)
    monkeypatch.setattr(newton_blocks, "solve_block", plain)
    found = done(jreg.path(X, y, group_lasso(ids), n_lams=6, lam_min_ratio=0.2))
    assert len(taken) == 6
    np.testing.assert_allclose(found.coef, wanted.coef, atol=5e-3)


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["groups", pytest.param("classes", marks=SLOW)])
def test_passes_over_X(monkeypatch, kind):
    """A hundred lambdas in at most 25 products of X with the residuals of a block."""
    if kind == "groups":
        X, y, ids = wide_data()
        penalty, loss = group_lasso(ids), jreg.Squared()
    else:
        (X, y), penalty, loss = classes(p=300), jreg.L1(), jreg.Multinomial(K)
    calls, original = [], newton_blocks.try_block
    monkeypatch.setattr(newton_blocks, "try_block", lambda *a: calls.append(1) or original(*a))
    done(jreg.path(X, y, penalty, loss, lam_min_ratio=0.05))
    assert 10 <= len(calls) <= 25


@pytest.mark.slow
def test_programs_compiled():
    """At most 30 for a path of a new shape, none for other data of that shape."""
    names = []

    def listen(name, *_, **__):
        names.append(name)

    def compiled():
        return sum(name.endswith("backend_compile_duration") for name in names)

    X, y, ids = group_data(n=33, sizes=[5] * 130)
    jax.monitoring.register_event_duration_secs_listener(listen)
    jreg.path(X, y, group_lasso(ids))
    first = compiled()
    jreg.path(X + 0.01, y, group_lasso(ids))
    assert 0 < first <= 30
    assert compiled() - first <= 2  # another size of candidates, perhaps


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "penalty", "loss", "options", "error", "message"),
    [
        (np.resize([0, 1, 3], 20), jreg.L1(), jreg.Multinomial(3), {}, ValueError, "from 0 to 2"),
        (np.resize([0, 1], 20), jreg.L1(), jreg.Multinomial(3), {}, ValueError, "lacks the class"),
        (np.zeros((20, 3)), jreg.L1(), jreg.Multinomial(3), {}, ValueError, r"\(n_samples,\)"),
        (np.zeros((20, 1)), jreg.L1(), jreg.Squared(), {}, ValueError, "y.ravel"),
        (np.zeros((19, 2)), jreg.L1(), jreg.Squared(), {}, ValueError, "y must have"),
        (np.full((20, 2), np.nan), jreg.L1(), jreg.Squared(), {}, ValueError, "must be finite"),
        (np.zeros(20), group_lasso([0, 0, 1]), jreg.Squared(), {}, ValueError, "3 features"),
        (np.zeros((20, 2)), group_lasso([0, 0, 1, 1]), jreg.Squared(), {}, ValueError, "axis=0"),
        (
            np.zeros(20), group_lasso([0, 0, 1, 1], weights=np.ones(3)), jreg.Squared(), {},
            ValueError, "weights must have",
        ),
        (np.zeros((20, 2)), jreg.GroupLasso(axis=1), jreg.Squared(), {}, TypeError, "jreg.sweep"),
        (np.zeros((20, 2)), jreg.Nuclear(), jreg.Squared(), {}, TypeError, "jreg.sweep"),
        (
            np.zeros((20, 2)), jreg.L1(), jreg.Squared(), {"offset": np.zeros(20)},
            ValueError, "offset must have shape",
        ),
        (np.zeros((20, 2)), jreg.L1(), jreg.Logistic(), {}, ValueError, r"\(n_samples,\)"),
    ],
)  # fmt: skip
def test_bad_input(y, penalty, loss, options, error, message):
    X = np.random.default_rng(8).normal(size=(20, 4))
    with pytest.raises(error, match=message):
        jreg.path(X, y, penalty, loss, **options)
