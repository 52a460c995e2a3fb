"""What must hold for every path, sweep and solution, whatever the numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jreg
from jreg.path.result import predict_rows

# One shape for nearly everything: every other one would be compiled anew.
N, P = 30, 8
NAMES = tuple("abcdefgh")
LAMS = np.array([0.03, 0.3, 0.003, 0.1, 0.3])  # unsorted, one of them twice
LOSSES = {"squared": jreg.Squared(), "logistic": jreg.Logistic()}
FACTORS = np.array([0, np.inf, 1, 2, 0.5, 1, 1, 0.1])  # free, excluded, and between
PENALTIES = {"l1": jreg.L1(), "elastic_net": jreg.ElasticNet(l1_ratio=0.6), "ridge": jreg.Ridge()}
SPARSE = {
    "l1": jreg.L1(),
    "l1_twice": jreg.L1(2.0),
    "l1_weighted": jreg.L1(weights=FACTORS),
    "elastic_net": PENALTIES["elastic_net"],
}
SOLVERS = {
    "prox_newton": jreg.ProxNewton(),
    "fista": jreg.FISTA(),
    "coordinate_descent": jreg.CoordinateDescent(),
}
each_loss = pytest.mark.parametrize("loss", LOSSES)


@functools.cache
def data(loss="squared", n=N, p=P):
    """Correlated columns of different size and mean; a response or labels with noise."""
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(n, p)) + rng.normal(size=(n, 1)) + 1) * rng.uniform(0.5, 2, p)
    eta = X @ np.where(np.arange(p) < 8, rng.normal(size=p), 0)
    eta = 2 * (eta - eta.mean()) / eta.std()
    if loss == "squared":
        return X, eta + 1 + rng.normal(size=n)
    return X, (eta + rng.logistic(size=n) > 0).astype(float)


def fit(X, y, loss="squared", penalty=SPARSE["l1"], **options):
    options = {"tol": 1e-10, "lams": LAMS, **options}
    return jreg.path(X, y, penalty, LOSSES[loss], **options)


def assert_same(a, b, rtol=1e-6):
    """Equal up to `rtol` of the largest entry."""
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(np.abs(b).max(), 1e-300))


def assert_same_path(a, b, rtol=1e-6):
    for name in ("lams", "coef", "intercept", "deviance_ratio"):
        assert_same(getattr(a, name), getattr(b, name), rtol)


# lam_max


@each_loss
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("penalty", SPARSE)
def test_lam_max_is_where_the_last_coefficient_goes(loss, penalty, standardize):
    X, y = data(loss)
    penalty = SPARSE[penalty]
    weights = np.ones(P) if penalty.weights is None else penalty.weights
    (lam_max,) = fit(X, y, loss, penalty, lams=None, n_lams=1, standardize=standardize).lams
    lams = lam_max * np.array([1.001, 0.98])
    above, below = fit(X, y, loss, penalty, lams=lams, standardize=standardize).coef
    counted = (weights > 0) & (weights < np.inf)
    assert (above[counted] == 0).all()
    assert (below[counted] != 0).any()
    assert (above[weights == 0] != 0).all()
    assert (below[weights == np.inf] == 0).all()


@each_loss
def test_lam_max_by_hand(loss):
    X, y = data(loss)
    gradient = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())) / N
    for penalty, share in [("l1", 1), ("l1_twice", 2), ("elastic_net", 0.6)]:
        for standardize in (False, True):
            entry = gradient / (X.std(axis=0) if standardize else 1) / share
            path = fit(X, y, loss, SPARSE[penalty], lams=None, n_lams=1, standardize=standardize)
            np.testing.assert_allclose(path.lams, entry.max(), rtol=1e-12)


def test_grid():
    X, y = data()
    path = fit(X, y, lams=None, n_lams=5)
    np.testing.assert_allclose(path.lams / path.lams[0], 1e-4 ** (np.arange(5) / 4))
    path = fit(X, y, lams=None, n_lams=3, lam_min_ratio=0.25)
    np.testing.assert_allclose(path.lams / path.lams[0], [1, 0.5, 0.25])
    ridge = fit(X, y, penalty=jreg.Ridge(), lams=None, n_lams=2)
    correlation = np.abs(np.corrcoef(X.T, y)[-1, :-1])
    np.testing.assert_allclose(ridge.lams[0], 1000 * correlation.max())


# weights are frequencies


@each_loss
def test_weight_k_is_the_row_k_times(loss):
    X, y = data(loss)
    count = np.repeat([0, 1, 2], [8, N - 16, 8])  # as many rows as before: no new shape
    repeated = fit(np.repeat(X, count, axis=0), np.repeat(y, count), loss, lams=None, n_lams=5)
    weighted = fit(X, y, loss, lams=None, n_lams=5, sample_weight=count)
    assert_same_path(weighted, repeated)
    assert_same(weighted.scale, repeated.scale, 1e-12)
    again = fit(X, y, loss, lams=None, n_lams=5, sample_weight=1e-3 * count)
    assert_same_path(again, weighted)
    with jax.enable_x64(True):
        problem = jreg.LinearProblem(X, y, LOSSES[loss], 1.0 * count, standardize=True)
        assert_same_path(swept(problem, "l1", repeated.lams), repeated)


@each_loss
def test_row_of_weight_0_may_hold_any_response(loss):
    X, y = data(loss)
    weight = np.linspace(1, 2, N) * (np.arange(N) >= 8)
    path = fit(X, y, loss, sample_weight=weight)
    outside = np.where(weight > 0, y, -7)
    assert_same_path(fit(X, outside, loss, sample_weight=weight), path, 0)


# certificates and solvers

each_solver = pytest.mark.parametrize("solver", SOLVERS)
RATIOS = {"l1": 1.0, "elastic_net": 0.6, "ridge": 0.0}
LIMITS = [0, 1, 2, 3, 5, 10, 20]


def weight():
    return np.random.default_rng(2).uniform(0.5, 2, N)


def linear_problem(loss):
    """With weights; standardised for one of the losses."""
    return jreg.LinearProblem(*data(loss), LOSSES[loss], weight(), standardize=loss == "squared")


@functools.cache
def solutions(loss, solver):
    """For every ratio solutions at LAMS, then runs that are stopped after LIMITS steps."""
    with jax.enable_x64(True):
        problem = linear_problem(loss)

        def solve(ratio, lam, limit):
            penalty = jreg.ElasticNet(lam, l1_ratio=ratio)
            return jreg.solve(problem, penalty, solver=SOLVERS[solver], tol=1e-12, max_steps=limit)

        batched = jax.vmap(jax.vmap(solve, in_axes=(None, 0, 0)), in_axes=(0, None, None))
        lams = jnp.array([*LAMS, *[LAMS[0]] * len(LIMITS)])
        limits = jnp.array([100_000] * LAMS.size + LIMITS)
        return host(jax.jit(batched)(jnp.array(list(RATIOS.values())), lams, limits))


@functools.cache
def compiled_sweep():
    return jax.jit(functools.partial(jreg.sweep, block=3, tol=1e-12))


def swept(problem, penalty, lams=LAMS):
    return host(compiled_sweep()(problem, PENALTIES[penalty], jnp.asarray(lams)))


def host(tree):
    """NumPy arrays: those of JAX in float64 mean trouble where x64 is off."""
    return jax.tree.map(np.asarray, tree)


def lane(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def weighted_path(loss, penalty):
    options = {"standardize": loss == "squared", "sample_weight": weight(), "tol": 1e-12}
    return fit(*data(loss), loss, PENALTIES[penalty], **options)


@each_loss
@each_solver
@pytest.mark.parametrize("penalty", PENALTIES)
def test_path_is_vmapped_solve(loss, solver, penalty):
    found = lane(solutions(loss, solver), list(RATIOS).index(penalty), slice(LAMS.size))
    path = weighted_path(loss, penalty)
    assert_same(found.params.coef, path.coef, 1e-5)
    assert_same(found.params.intercept, path.intercept, 1e-5)
    for status in (found.status, path.status):
        assert np.isin(status, [jreg.Status.CONVERGED, jreg.Status.AT_PRECISION]).all()


@pytest.mark.parametrize(
    ("loss", "penalty"),
    [("squared", "l1"), ("squared", "ridge"), ("logistic", "l1"), ("logistic", "elastic_net")],
)
def test_path_is_sweep(loss, penalty):
    path = weighted_path(loss, penalty)
    with jax.enable_x64(True):
        sweep = swept(linear_problem(loss), penalty)
    assert_same_path(sweep, path)
    assert_same(sweep.scale, path.scale, 1e-12)
    assert (sweep.n_nonzero == path.n_nonzero).all()
    assert np.isin(sweep.status, [jreg.Status.CONVERGED, jreg.Status.AT_PRECISION]).all()


def objective(loss, ratio, lam, params):
    """By the textbook, in NumPy."""
    X, y = data(loss)
    eta = X @ params.coef + params.intercept
    losses = (eta - y) ** 2 / 2 if loss == "squared" else np.logaddexp(0, eta) - y * eta
    mean = np.average(X, axis=0, weights=weight())
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight()))
    w = params.coef * (deviation if loss == "squared" else 1)
    penalty = lam * (ratio * np.abs(w) + (1 - ratio) / 2 * w**2).sum()
    return np.average(losses, weights=weight()) + penalty


@each_loss
@each_solver
@pytest.mark.parametrize("penalty", PENALTIES)
def test_gap_bounds_the_distance_from_the_optimum(loss, solver, penalty):
    found = lane(solutions(loss, solver), list(RATIOS).index(penalty))
    value = functools.partial(objective, loss, RATIOS[penalty], LAMS[0])
    y = data(loss)[1]
    mean = np.average(y, weights=weight())
    constant = mean if loss == "squared" else np.log(mean / (1 - mean))
    null, optimum = value(jreg.Linear(np.zeros(P), constant)), value(lane(found.params, 0))
    assert 0 <= found.gap[0] <= 1e-12
    for k, limit in enumerate(LIMITS, start=LAMS.size):
        early = lane(found, k)
        np.testing.assert_allclose(early.value, value(early.params), rtol=1e-12)
        assert early.gap >= 0
        assert early.gap * null >= value(early.params) - optimum - 1e-14 * null
        assert early.num_steps <= limit
        converged = early.gap <= 1e-12
        assert early.status == (jreg.Status.CONVERGED if converged else jreg.Status.MAX_STEPS)
    assert found.gap[LAMS.size] > 1e-3  # else nothing was stopped early


def test_gap_with_free_and_excluded_columns():
    X, y = data()
    with jax.enable_x64(True):
        problem = jreg.LinearProblem(X, y, fit_intercept=False)
        penalty = jreg.L1(0.05, weights=FACTORS)
        early, best = (
            host(jreg.solve(problem, penalty, solver=jreg.FISTA(), tol=1e-12, max_steps=limit))
            for limit in (10, 100_000)
        )

    def value(params):
        used = np.where(np.isinf(FACTORS), 0, FACTORS)
        return ((y - X @ params.coef) ** 2).mean() / 2 + 0.05 * used @ np.abs(params.coef)

    free = X[:, [0]]
    null = ((y - free @ np.linalg.lstsq(free, y)[0]) ** 2).mean() / 2
    assert best.params.coef[1] == 0
    assert 0 <= best.gap <= 1e-12 < early.gap
    assert early.gap * null >= value(early.params) - value(best.params)
    np.testing.assert_allclose(early.value, value(early.params), rtol=1e-12)


# equivariance


@each_loss
def test_scaling_a_column_scales_its_coefficient(loss):
    X, y = data(loss)
    factor = 10.0 ** np.linspace(-3, 3, P) * np.resize([1, -1], P)
    path, scaled = fit(X, y, loss), fit(X * factor, y, loss)
    assert_same(scaled.coef * factor, path.coef)
    assert_same(scaled.intercept, path.intercept)
    assert_same(scaled.scale / np.abs(factor), path.scale, 1e-12)


@each_loss
@pytest.mark.parametrize("standardize", [False, True])
def test_sign_of_a_column_is_that_of_its_coefficient(loss, standardize):
    X, y = data(loss)
    sign = np.resize([1, -1, -1], P)
    path = fit(X, y, loss, standardize=standardize)
    flipped = fit(X * sign, y, loss, standardize=standardize)
    assert_same(flipped.coef * sign, path.coef)


def test_sign_of_the_response():
    X, y = data()
    path, flipped = fit(X, y), fit(X, -y)
    assert_same(-flipped.coef, path.coef)
    X, labels = data("logistic")
    path, flipped = fit(X, labels, "logistic"), fit(X, 1 - labels, "logistic")
    assert_same(-flipped.coef, path.coef)
    assert_same_path(fit(X, 2 * labels - 1, "logistic"), path)  # {-1, 1} is {0, 1}


def test_shifting_columns_and_response_moves_the_intercept_only():
    X, y = data()
    path, shifted = fit(X, y), fit(X + 5, y + 3)
    assert_same(shifted.coef, path.coef)
    assert_same(shifted.intercept, path.intercept + 3 - 5 * path.coef.sum(axis=1))


def test_factor_of_a_column_is_its_inverse_scale():
    X, y = data()
    factors = np.array([1, 2, 0.5, 3, 1, 1, 0.2, 1])
    weighted = fit(X, y, penalty=jreg.L1(weights=factors), standardize=False)
    scaled = fit(X / factors, y, standardize=False)
    assert_same(weighted.coef * factors, scaled.coef)


def test_elastic_net_shares_equally_between_equal_columns():
    X, y = data()
    double = np.column_stack([X[:, :-1], X[:, 0]])
    path = fit(double, y, penalty=SPARSE["elastic_net"], tol=1e-12)
    assert (path.coef[:, 0] != 0).any()
    np.testing.assert_allclose(path.coef[:, 0], path.coef[:, -1], atol=1e-5)


@pytest.mark.parametrize("shape", [(N, P), (20, 300)], ids=["tall", "wide"])
def test_order_of_rows_and_columns_does_not_matter(shape):
    X, y = data("squared", *shape)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(shape[0]), rng.permutation(shape[1])
    path, permuted = fit(X, y), fit(X[rows][:, columns], y[rows])
    assert (path.status == jreg.Status.CONVERGED).all()
    assert_same(permuted.coef, path.coef[:, columns])
    assert_same(permuted.intercept, path.intercept)


# lambdas


@each_loss
def test_training_deviance_rises_with_lam(loss):
    X, y = data(loss)
    for penalty in PENALTIES.values():
        path = fit(X, y, loss, penalty, lams=None, n_lams=30, lam_min_ratio=1e-3)
        assert (np.diff(path.deviance_ratio) >= -1e-9).all()
        assert -1e-9 <= path.deviance_ratio[0] <= path.deviance_ratio[-1] <= 1
        assert (path.n_nonzero == (path.coef != 0).sum(axis=1)).all()
        assert (path.gap >= 0).all()
        assert (path.gap <= 1e-10).all()


def test_lambdas_in_any_order_one_alone_or_twice():
    X, y = data()
    path, turned = fit(X, y), fit(X, y, lams=LAMS[::-1])
    assert (path.lams == LAMS).all()
    assert (path.coef[1] == path.coef[4]).all()  # the same lam
    assert_same(turned.coef[::-1], path.coef)
    for k, lam in enumerate(LAMS):
        alone = fit(X, y, lams=lam)
        assert alone.coef.shape == (1, P)
        assert_same(alone.coef[0], path.coef[k])


def test_lam_0_is_least_squares():
    X, y = data()
    columns = np.column_stack([X, np.ones(N)])
    expected = np.linalg.lstsq(columns, y, rcond=None)[0]
    for penalty in PENALTIES.values():
        for standardize in (False, True):
            path = fit(X, y, penalty=penalty, lams=0.0, tol=1e-12, standardize=standardize)
            assert_same(np.append(path.coef, path.intercept), expected)
            assert path.status == jreg.Status.CONVERGED


@each_loss
def test_lam_above_lam_max_is_the_null_model(loss):
    X, y = data(loss)
    (lam_max,) = fit(X, y, loss, lams=None, n_lams=1).lams
    path = fit(X, y, loss, lams=lam_max * np.array([1, 1.5, 1e6]))
    assert (path.coef == 0).all()
    assert (path.num_steps <= 1).all()
    null = y.mean() if loss == "squared" else np.log(y.mean() / (1 - y.mean()))
    assert_same(path.intercept, np.full(3, null))
    np.testing.assert_allclose(path.deviance_ratio, 0, atol=1e-9)


def test_strength_multiplies_lam():
    X, y = data()
    twice, once = fit(X, y, penalty=jreg.L1(2.0), lams=LAMS), fit(X, y, lams=2 * LAMS)
    assert_same(twice.coef, once.coef, 1e-12)
    assert (twice.lams == LAMS).all()
    assert "strength = 2 * lam" in repr(twice)
    assert "strength" not in repr(once)


def test_members_of_different_class_are_different_trees():
    """A compiled function tells its arguments apart by their tree."""
    for members in (LOSSES, PENALTIES, SOLVERS):
        trees = [jax.tree.structure(member) for member in members.values()]
        assert all(a != b for k, a in enumerate(trees) for b in trees[:k])


def test_elastic_net_ends_are_lasso_and_ridge():
    X, y = data()
    assert_same(fit(X, y, penalty=jreg.ElasticNet(l1_ratio=1.0)).coef, fit(X, y).coef)
    ridge = fit(X, y, penalty=jreg.Ridge())
    assert_same(fit(X, y, penalty=jreg.ElasticNet(l1_ratio=0.0)).coef, ridge.coef)


# the path as an object


def test_coef_at_a_lam_of_the_path_and_between():
    X, y = data()
    path = fit(X, y)
    for k, lam in enumerate(LAMS):
        coef, intercept = path.coef_at(lam)
        assert_same(coef, path.coef[k])
        np.testing.assert_allclose(intercept, path.intercept[k])
    coef, intercept = path.coef_at(0.06)  # between 0.03 and 0.1, rows 0 and 3
    assert_same(coef, (4 * path.coef[0] + 3 * path.coef[3]) / 7)
    np.testing.assert_allclose(intercept, (4 * path.intercept[0] + 3 * path.intercept[3]) / 7)
    for lam in (0.301, 0.0029, np.nan):
        with pytest.raises(ValueError, match=r"outside the path, 0.003 to 0.3"):
            path.coef_at(lam)


def test_coef_at_with_data_is_a_fit():
    X, y = data()
    path = fit(X, y)
    exact = path.coef_at(1.5e-3, exact=jreg.LinearProblem(X, y))  # also outside the path
    expected = fit(X, y, lams=1.5e-3)
    assert_same(exact.coef, expected.coef[0])
    np.testing.assert_allclose(exact.intercept, expected.intercept[0], rtol=1e-6)


def test_predictions():
    X, y = data("logistic")
    path = fit(X, y, "logistic")
    new, offset = X[:3] + 0.1, np.array([1.0, 0.0, -2.0])
    eta = path.coef @ new.T + path.intercept[:, None]
    assert_same(path.predict(new, "link"), eta, 1e-12)
    assert_same(path.predict(new, "link", offset), eta + offset, 1e-12)
    assert_same(path.predict(new), 1 / (1 + np.exp(-eta)), 1e-12)
    assert (path.predict(new, "class") == (eta > 0)).all()
    assert path.predict(new).dtype == np.float64
    squared = fit(*data())
    assert_same(squared.predict(new), squared.predict(new, "link"), 0)


@pytest.mark.parametrize("kind", ["dense", "few columns", "sparse", "two responses"])
def test_predictions_at_some_rows_of_the_data(kind):
    X, y = data(p=300 if kind == "few columns" else P)
    Y = np.stack([y, y**2], axis=1) if kind == "two responses" else y
    penalty = jreg.GroupLasso(axis=0) if kind == "two responses" else SPARSE["l1"]
    path = jreg.path(X, Y, penalty, lams=LAMS)
    rows = np.array([4, 1, 29])
    held = scipy.sparse.csr_array(X) if kind == "sparse" else X
    with jax.enable_x64(True):
        eta = predict_rows(path, held, rows)
    assert_same(eta, path.predict(X[rows], "link"), 1e-12)


def test_predictions_refuse_what_makes_no_sense():
    X, y = data()
    path = fit(X, y)
    with pytest.raises(ValueError, match='"response", "link" or "class"; got \'prob\''):
        path.predict(X, "prob")
    with pytest.raises(ValueError, match="needs a loss with classes"):
        path.predict(X, "class")
    with pytest.raises(ValueError, match=r"\(n_rows, 8\); got \(30, 7\)"):
        path.predict(X[:, :7])
    with pytest.raises(ValueError, match=r"offset must have shape \(30,\); got \(30, 1\)"):
        path.predict(X, offset=np.zeros((N, 1)))
    with pytest.raises(ValueError, match=r"row 2, column 4"):
        path.predict(np.where(np.arange(N * P).reshape(N, P) == 2 * P + 4, np.nan, X))


def test_feature_names_and_data_frame():
    pd = pytest.importorskip("pandas")
    X, y = data()
    path = fit(pd.DataFrame(X, columns=list(NAMES)), y)
    assert path.feature_names == NAMES == fit(X, y, feature_names=list(NAMES)).feature_names
    frame = path.to_dataframe()
    assert frame.shape[0] == LAMS.size
    assert tuple(frame.columns[-P:]) == NAMES
    assert (frame[list(NAMES)].to_numpy() == path.coef).all()
    assert (frame["status"] == "CONVERGED").all()
    for column in ("intercept", "n_nonzero", "deviance_ratio", "gap", "residual", "num_steps"):
        assert (frame[column].to_numpy() == getattr(path, column)).all()
    assert (frame["lam"].to_numpy() == path.lams).all()
    unnamed = fit(X, y)
    assert unnamed.feature_names is None
    assert unnamed.names() == tuple(f"x{j}" for j in range(P))


def test_path_is_a_pytree():
    path = fit(*data(), feature_names=NAMES)
    leaves, tree = jax.tree.flatten(path)
    again = jax.tree.unflatten(tree, leaves)
    assert again.feature_names == NAMES
    assert_same_path(again, path, 0)
    assert "features" in repr(again)
    assert "Path" in repr(jax.tree.map(jnp.shape, path))


def test_batch_of_responses():
    X, y = data()
    Y = np.stack([y, -y, y**2])
    with jax.enable_x64(True):

        def one(y):
            problem = jreg.LinearProblem(X, y, standardize=True)
            return jreg.sweep(problem, jreg.L1(), jnp.asarray(LAMS), tol=1e-10)

        batch = jax.jit(jax.vmap(one))(jnp.asarray(Y))
    assert batch.coef.shape == (3, LAMS.size, P)
    assert batch.intercept.shape == batch.gap.shape == batch.lams.shape == (3, LAMS.size)
    assert batch.scale.shape == (3, P)
    assert "Path" in repr(batch)
    for k in range(3):
        assert_same(batch.coef[k], fit(X, Y[k]).coef)


def test_progress_gets_counts():
    seen = []
    fit(*data(), lams=None, n_lams=60, progress=lambda done, total: seen.append((done, total)))
    done, totals = zip(*seen, strict=True)
    assert set(totals) == {60}
    assert list(done) == sorted(set(done))
    assert 0 < done[0] < done[-1] == 60


def test_interruption_keeps_what_is_done(capsys):
    def stop(done, total):
        raise KeyboardInterrupt

    X, y = data()
    lams = np.geomspace(0.3, 0.003, 60)[::-1]  # rising: the first to be done comes last
    path, whole = fit(X, y, lams=lams, progress=stop), fit(X, y, lams=lams)
    done = path.status != jreg.Status.NOT_RUN
    assert 0 < done.sum() < 60
    assert done.tolist() == sorted(done)
    assert_same(path.coef[done], whole.coef[done])
    assert np.isnan(path.coef[~done]).all()
    assert np.isnan(path.gap[~done]).all()
    assert "not_run" in repr(path)
    assert "interrupted" in capsys.readouterr().err


def test_progress_that_fails_is_an_error():
    def broken(done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(*data(), progress=broken)
