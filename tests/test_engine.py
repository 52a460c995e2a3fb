"""The path engine: its linear algebra, its answers where paths are hard, and what it costs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision

import jreg
from jreg.path import along, blocks, condense, general_model, glms, moments, squares, walk, whole
from jreg.path.homotopy import Course, Knots, follow
from jreg.path.inverse import block_inverse, sweep_inverse
from jreg.path.reading import read_data
from jreg.status import Status


def positive_definite(m, seed=0):
    A = np.random.default_rng(seed).normal(size=(m, 2 * m))
    return A @ A.T / m


# --- linear algebra ---------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 7, 64])
def test_sweeps_invert(m):
    with precision("float64"):
        H = positive_definite(m)
        np.testing.assert_allclose(sweep_inverse(jnp.asarray(H)), np.linalg.inv(H), rtol=1e-9)


def test_sweeps_invert_quasi_definite_matrices():
    with precision("float64"):
        H = positive_definite(8)
        H[:3, :3] *= -1
        H[:3, 3:] = H[3:, :3].T
        np.testing.assert_allclose(sweep_inverse(jnp.asarray(H)), np.linalg.inv(H), rtol=1e-9)


@pytest.mark.parametrize("count", [0, 5, 128, 200, 384])
def test_block_inverse_reads_what_is_filled(count):
    with precision("float64"):
        H = np.eye(384)
        H[:count, :count] = positive_definite(384)[:count, :count]
        found = block_inverse(jnp.asarray(H), count)
        np.testing.assert_allclose(found, np.linalg.inv(H), rtol=1e-8, atol=1e-11)


def test_bordered_inverse_is_a_fresh_one():
    """Two members join, one drops."""
    with precision("float64"):
        G = positive_definite(9, seed=3)
        support = np.array([4, -1, 2, 7, -1, -1], np.int32)  # slots
        quick = np.array([0, 1, 4, -1], np.int32)
        slot = np.array([-1, -1, 0, -1], np.int32)
        edge = np.where(support >= 0, 1.0, 0.0)
        members = condense.Members.of(support, edge, quick, slot, 9)
        held = support >= 0
        M = np.zeros((6, 6))
        M[np.ix_(held, held)] = np.linalg.inv(G[np.ix_(support[held], support[held])])
        at = np.maximum(quick, 0)
        condensed = condense.condense(
            jnp.asarray(M),
            jnp.asarray(G[np.ix_(at, support)]),
            jnp.asarray(G[np.ix_(at, at)]),
            members,
        )
        changed, slots = np.array([0, 1, 2, -1]), np.array([1, 4, 0, -1])
        T = condense.changed_tableau(condensed.tableau, jnp.asarray(changed))
        inner = sweep_inverse(T, 3)
        found = condense.bordered(
            condensed.inverse, condensed.U, slot, jnp.asarray(changed), jnp.asarray(slots), inner
        )
        after = np.array([-1, 0, 2, 7, 1, -1])
        held = after >= 0
        wanted = np.zeros((6, 6))
        wanted[np.ix_(held, held)] = np.linalg.inv(G[np.ix_(after[held], after[held])])
        np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("low", [-1.0, -np.inf])
@pytest.mark.parametrize(("by", "ahead"), [("lam", 1), ("lam", 3), ("lam", 8), ("rows", 1)])
def test_following_knots_solves_the_program_at_every_row(low, by, ahead):
    """Against coordinate descent on the small program, run to the end; whether what is linear in
    lambda is kept as such, several rows passed in a step, or row by row."""
    with precision("float64"):
        q, rng = 12, np.random.default_rng(1)
        H, c = positive_definite(q), rng.normal(size=q)
        level = np.abs(c).max() * np.array([1.0, 0.7, 0.4, 0.1, 0.02, 0.02])
        if by == "lam":
            course, of_level, wanted = squares.line(jnp.asarray(level), jnp.asarray(c))
        else:
            course, of_level = Course.by_row(6, np.float64), jnp.asarray(level)
            wanted = jnp.broadcast_to(c, (6, q))
        found, tableau = follow(
            Knots(
                tableau=jnp.asarray(H),
                course=course,
                value=wanted,
                level=of_level,
                low=jnp.full(q, low),
                high=jnp.ones(q),
                size=jnp.diagonal(H),
                edge=jnp.zeros(q),
                active=jnp.zeros(q, bool),
            ),
            np.int32(4),
            np.int32(q),
            ahead=ahead,
            keep=True,
        )
        assert found.value.shape == (6, q)
        assert int(found.reached) == 4
        assert int(found.knots) >= q // 2
        for i in range(5):
            z = np.zeros(q)
            for _ in range(3000):
                for j in range(q):
                    u = c[j] - H[j] @ z + H[j, j] * z[j]
                    shrunk = max(u - level[i], 0) + min(u - low * level[i], 0)
                    z[j] = shrunk / H[j, j]
            np.testing.assert_allclose(np.where(found.active[i], found.value[i], 0), z, atol=1e-9)
        A = np.asarray(found.active[4])
        M = np.linalg.inv(H[np.ix_(A, A)])
        np.testing.assert_allclose(tableau[np.ix_(A, A)], -M, atol=1e-9)
        np.testing.assert_allclose(tableau[np.ix_(~A, A)], H[np.ix_(~A, A)] @ M, atol=1e-9)
        rest = H[np.ix_(~A, ~A)] - H[np.ix_(~A, A)] @ M @ H[np.ix_(A, ~A)]
        np.testing.assert_allclose(tableau[np.ix_(~A, ~A)], rest, atol=1e-9)


# --- answers ----------------------------------------------------------------------------------


def sparse_data(n, p, rho=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    y = X[:, :6] @ np.array([3, -2, 1.5, 1, -1, 0.5]) + 0.5 * rng.normal(size=n)
    return X, y


def gaps(X, y, path, l1_ratio=1.0):
    """Relative duality gaps of an elastic-net path without intercept, in NumPy."""
    out = []
    for lam, w in zip(path.lams, path.coef, strict=True):
        n, l1, l2 = len(y), lam * l1_ratio, lam * (1 - l1_ratio)
        r = y - X @ w
        primal = 0.5 * r @ r / n + l1 * np.abs(w).sum() + 0.5 * l2 * w @ w
        if l2 == 0:
            r = r * min(1, l1 * n / np.abs(X.T @ r).max())
        excess = np.maximum(np.abs(X.T @ r) / n - l1, 0)
        conjugate = 0 if l2 == 0 else (excess**2).sum() / (2 * l2)
        out.append(primal - ((r @ y - 0.5 * r @ r) / n - conjugate))
    return np.array(out) / (0.5 * y @ y / len(y))


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize(("n", "p"), [(60, 30), (40, 200)])
def test_every_lambda_is_certified_from_outside(n, p, l1_ratio):
    X, y = sparse_data(n, p, rho=0.5)
    penalty = jreg.L1() if l1_ratio == 1 else jreg.ElasticNet(l1_ratio=l1_ratio)
    path = jreg.path(X, y, penalty, fit_intercept=False, standardize=False)
    assert (path.status == Status.CONVERGED).all()
    assert gaps(X, y, path, l1_ratio).max() < 1.01e-6


HARD = {
    "every column three times, once with the other sign": lambda X: np.hstack([X, X, -X]),
    "a rank of five": lambda X: X[:, :5] @ np.random.default_rng(2).normal(size=(5, 40)),
    "constant columns": lambda X: np.hstack([np.ones((len(X), 3)), X, np.zeros((len(X), 2))]),
    "columns of very different scale": lambda X: X * np.geomspace(1e-6, 1e6, X.shape[1])[None],
    "one column": lambda X: X[:, :1],
    "tiny columns": lambda X: 1e-6 * X,
}


@pytest.mark.parametrize("name", HARD)
def test_hard_designs(name):
    X, y = sparse_data(30, 50)
    X = HARD[name](X)
    path = jreg.path(X, y, lam_min_ratio=1e-3, n_lams=25)
    assert set(path.status) <= {Status.CONVERGED}
    assert path.gap.max() <= 1e-6


def test_as_many_coefficients_as_samples():
    X, y = sparse_data(20, 100)
    path = jreg.path(X, y, lam_min_ratio=1e-4, n_lams=40)
    assert path.n_nonzero.max() >= 19
    assert path.gap.max() <= 1e-6
    assert (path.status == Status.CONVERGED).all()


def test_nothing_to_explain():
    X, _ = sparse_data(20, 10)
    path = jreg.path(X, np.zeros(20), n_lams=5)
    assert (path.coef == 0).all()
    assert (path.status == Status.CONVERGED).all()


def test_one_sample():
    path = jreg.path(np.ones((1, 3)), [2.0], fit_intercept=False, standardize=False, n_lams=5)
    assert (path.status == Status.CONVERGED).all()
    np.testing.assert_allclose(path.coef.sum(axis=1) + path.lams, 2)


def test_mcp_path_is_stationary_and_unshrunk():
    """Coefficients beyond gamma * lam are those of least squares on the support."""
    X, y = sparse_data(300, 30)
    path = jreg.path(X, y, jreg.MCP(gamma=1.5), n_lams=30, standardize=False, lam_min_ratio=0.05)
    assert (path.status == Status.CONVERGED).all()
    assert path.residual.max() <= 1e-6
    beyond = (np.abs(path.coef) > 1.5 * path.lams[:, None]) | (path.coef == 0)
    whole = np.nonzero(beyond.all(axis=1) & (path.n_nonzero >= 3))[0]
    assert whole.size
    for i in whole:
        support = np.nonzero(path.coef[i])[0]
        Z = X[:, support] - X[:, support].mean(0)
        least_squares = np.linalg.lstsq(Z, y - y.mean(), rcond=None)[0]
        np.testing.assert_allclose(path.coef[i, support], least_squares, rtol=1e-4)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", [jreg.Logistic(), jreg.Poisson()])
def test_generalised_models_agree_with_solve(loss, fit_intercept):
    X, y = sparse_data(80, 120)
    X = 0.3 * X
    rng = np.random.default_rng(4)
    rate = 0.3 * y
    y = rng.poisson(np.exp(rate)) if isinstance(loss, jreg.Poisson) else (rate > 0) * 1.0
    path = jreg.path(X, y, loss=loss, n_lams=12, lam_min_ratio=0.1, fit_intercept=fit_intercept)
    assert (path.status == Status.CONVERGED).all()
    assert path.gap.max() <= 1e-6
    with precision("float64"):
        problem = jreg.LinearProblem(
            X, y * 1.0, loss, fit_intercept=fit_intercept, standardize=True
        )
        one = jreg.solve(problem, jreg.L1(path.lams[8]), tol=1e-10)
    np.testing.assert_allclose(path.coef[8], one.params.coef, atol=2e-3)
    np.testing.assert_allclose(path.intercept[8], one.params.intercept, atol=2e-3)


@pytest.mark.parametrize("penalty", [jreg.L1(), jreg.ElasticNet(l1_ratio=0.9)])
@pytest.mark.parametrize("loss", [jreg.Logistic(), jreg.Poisson()])
def test_second_derivatives_that_are_kept(monkeypatch, loss, penalty):
    """Kept for several blocks, the inverse is that of the support's Hessian with the old weights,
    and the path is the one that a new Hessian in every block finds."""
    X, y = sparse_data(150, 100)
    rng = np.random.default_rng(4)
    rate = 0.1 * y
    counts = isinstance(loss, jreg.Poisson)
    y = rng.poisson(np.exp(rate)) if counts else (rate + rng.logistic(size=150) > 0) * 1.0
    options = {"lam_min_ratio": 0.02, "tol": 1e-9}
    wanted = jreg.path(X, y, penalty, loss, **options)

    before, kept = {"freeze": glms.freeze, "again": glms.freeze_again}, []

    def again(known, edges, weight, inverse, members, coef):
        held = members.support >= 0
        at = members.support[held]
        Z = np.asarray(known.rows)[at] * np.sqrt(weight)
        H = Z @ Z.T + np.diag(edges.ridge[at])
        found = np.asarray(inverse)[np.ix_(held, held)]
        np.testing.assert_allclose(found @ H, np.eye(at.size), atol=1e-8)
        kept.append(True)
        return before["again"](known, edges, weight, inverse, members, coef)

    def afresh(*args):
        kept.append(False)
        return before["freeze"](*args)

    monkeypatch.setattr(glms, "freeze_again", again)
    monkeypatch.setattr(glms, "freeze", afresh)
    monkeypatch.setattr(general_model, "LARGE", 0)
    monkeypatch.setattr(general_model, "MOVED", 0.7)
    path = jreg.path(X, y, penalty, loss, **options)
    assert (path.status == Status.CONVERGED).all()
    assert any(kept)
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-4)


def test_float32_reaches_its_tolerance():
    X, y = sparse_data(60, 100)
    path = jreg.path(X.astype("float32"), y.astype("float32"))
    chex.assert_type(path.coef, "float32")
    assert (path.status == Status.CONVERGED).all()
    assert path.gap.max() <= 1e-4


# --- what happens where the walk finds no way ---------------------------------------------------


WHOLE = {
    "lasso": {},
    "weights, one feature out": {"penalty": jreg.L1(weights=np.append(np.inf, np.full(29, 0.7)))},
    "no negative coefficient": {"penalty": jreg.L1() + jreg.NonNegative()},
    "sample weights": {"sample_weight": np.random.default_rng(3).uniform(0, 2, 90)},
    "lambdas from above the largest, unsorted": {"lams": [0.1, 9.0, 0.5, 0.02, 0.0]},
}


@pytest.mark.parametrize("name", WHOLE)
def test_all_features_at_once_is_the_walk(monkeypatch, name):
    """One tableau for the whole path against blocks of chosen features."""
    X, y = sparse_data(90, 30, rho=0.5)
    X[:, 7] = 1.0
    options = {"penalty": jreg.L1(), "tol": 1e-9} | WHOLE[name]
    found = jreg.path(X, y, **options)
    assert (found.status == Status.CONVERGED).all()
    monkeypatch.setattr(whole, "LARGEST", 0)
    wanted = jreg.path(X, y, **options)
    np.testing.assert_allclose(found.coef, wanted.coef, atol=1e-8)
    np.testing.assert_allclose(found.intercept, wanted.intercept, atol=1e-8)


@pytest.mark.parametrize("right", [0, 25])
def test_walk_takes_over_from_all_features_at_once(monkeypatch, right):
    """Where a row is not exact, from there: here after `right` rows."""
    X, y = sparse_data(90, 30, rho=0.5)
    wanted = jreg.path(X, y)
    calls, certify = [], squares.certify_gram

    def worse(*args):
        checked, rows = certify(*args), args[-1].size
        place = rows * len(calls) + np.arange(rows)
        calls.append(1)
        return checked._replace(error=np.where(place < right, checked.error, 1.0))

    monkeypatch.setattr(whole.squares, "certify_gram", worse)
    walked = []

    def walk_on(model, lams, tol, accept, plain, done, place):
        monkeypatch.setattr(squares, "certify_gram", certify)
        walked.append(done)
        yield from walk.walk(model, lams, tol, accept, plain, done, place)

    monkeypatch.setattr(along, "walk", walk_on)
    found = jreg.path(X, y)
    assert 0 <= walked[0] <= right
    assert (walked[0] > 0) == (right > 0)
    assert (found.status == Status.CONVERGED).all()
    np.testing.assert_allclose(found.coef, wanted.coef, atol=1e-7)


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("kind", ["equal", "any", "some of them 0"])
def test_moments_of_rows(shift, kind):
    """Against NumPy, of rows in order and of any others; far from 0 about the mean."""
    with precision("float64"):
        X, y = sparse_data(90, 6)
        X = X + shift
        weight = np.random.default_rng(3).uniform(0, 2, 90) if kind == "any" else np.full(90, 0.5)
        weight[::3] *= kind != "some of them 0"
        problem = jreg.LinearProblem(X, y, sample_weight=weight, offset=np.zeros(90))
        sets = [np.arange(40), np.array([41, 80, 60])]
        origin, found = moments.moments(problem, sets)
        assert (origin[:6] == 0).all() == (shift == 0)
        V = np.column_stack([X - origin[:6], y - origin[6], np.ones(90)])
        for rows, sums in zip(sets, found, strict=True):
            wanted = V[rows].T @ (weight[rows, None] * V[rows])
            np.testing.assert_allclose(sums, wanted, rtol=1e-12, atol=1e-10)


def test_plain_solver_takes_over_where_every_guess_is_wrong(monkeypatch):
    X, y = sparse_data(40, 200)
    wanted = jreg.path(X, y, n_lams=12)
    monkeypatch.setattr(walk, "judge", lambda *_: (0, 0))
    taken = []
    monkeypatch.setattr(along, "solve_block", lambda *a: taken.append(1) or blocks.solve_block(*a))
    found = jreg.path(X, y, n_lams=12)
    assert len(taken) == 12
    assert found.gap.max() <= 1e-6
    np.testing.assert_allclose(found.coef, wanted.coef, atol=5e-3)


@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic()], ids=["squared", "logistic"])
def test_ridge_lets_the_support_outgrow_the_rows(monkeypatch, loss):
    """Walked to its end: a part of ridge makes more features than rows well-conditioned."""
    X, y = sparse_data(40, 200)
    y = y if loss.quadratic else (y > np.median(y)) * 1.0
    monkeypatch.setattr(along, "solve_block", lambda *_: pytest.fail("the walk stood still"))
    path = jreg.path(X, y, jreg.ElasticNet(l1_ratio=0.2), loss, lam_min_ratio=0.02)
    assert (path.status == Status.CONVERGED).all()
    assert path.n_nonzero.max() > 60
    assert path.gap.max() <= 1e-6


def test_interruption_keeps_whole_blocks(monkeypatch, capsys):
    X, y = sparse_data(40, 200)
    calls = []

    def certify(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return certify_columns(*args)

    certify_columns = squares.certify_columns
    monkeypatch.setattr(squares, "certify_columns", certify)
    path = jreg.path(X, y)
    assert "interrupted" in capsys.readouterr().err
    done = path.status == Status.CONVERGED
    assert 10 <= done.sum() < 100
    assert (path.status[~done] == Status.NOT_RUN).all()
    assert done[: done.sum()].all()
    assert np.isnan(path.coef[~done]).all()


def test_stops_where_enough_is_explained():
    X, y = sparse_data(40, 200)
    whole = jreg.path(X, y)
    path = jreg.path(X, y, max_deviance_ratio=0.9)
    done = path.status == Status.CONVERGED
    reached = int(np.argmax(whole.deviance_ratio >= 0.9))
    assert reached + 1 <= done.sum() < 100
    assert done[: done.sum()].all()
    assert (path.status[~done] == Status.NOT_RUN).all()
    np.testing.assert_allclose(path.coef[done], whole.coef[done], atol=1e-8)
    assert (jreg.path(X, y, max_deviance_ratio=2.0).status == Status.CONVERGED).all()
    with pytest.raises(ValueError, match="max_deviance_ratio must be at least 0"):
        jreg.path(X, y, max_deviance_ratio=-1.0)


# --- what it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["squares", "logistic"])
def test_passes_over_X(monkeypatch, kind):
    """A hundred lambdas in at most 25 products of X with the residuals of a block."""
    X, y = sparse_data(100, 400, rho=0.5)
    where, name = (squares, "certify_columns") if kind == "squares" else (glms, "certify_rows")
    calls = []
    original = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *a: calls.append(1) or original(*a))
    loss = jreg.Squared() if kind == "squares" else jreg.Logistic()
    y = y if kind == "squares" else (y > 0) * 1.0
    path = jreg.path(X, y, loss=loss, lam_min_ratio=0.05)
    assert (path.status == Status.CONVERGED).all()
    assert 3 <= len(calls) <= 25


def test_larger_blocks_of_accelerators_and_small_data(monkeypatch):
    """The same path in blocks of twice as many lambdas, and in fewer products with X."""
    X, y = sparse_data(60, 150)
    calls, original = [], squares.certify_columns
    monkeypatch.setattr(squares, "certify_columns", lambda *a: calls.append(1) or original(*a))
    monkeypatch.setattr(walk, "SMALL", 0)
    small = jreg.path(X, y)
    few = len(calls)
    monkeypatch.setattr(walk, "SMALL", 1000)
    large = jreg.path(X, y)
    assert len(calls) - few < few
    assert (large.status == Status.CONVERGED).all()
    np.testing.assert_allclose(large.coef, small.coef, atol=1e-7)


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_few_guesses_are_wrong(monkeypatch, rho):
    """Deep into saturation, where as many features drop as join, every block starts where the last
    one ended: near the rank, the inverse of the support must be bordered by the drops first."""
    X, y = sparse_data(60, 400, rho)
    judged, original = [], walk.judge

    def judge(model, place, members, found, rows, tol):
        held = place.support >= 0
        begin = found.coef[0, place.support[held]]
        np.testing.assert_allclose(begin, place.coef[held], atol=1e-6 * np.abs(place.coef).max())
        judged.append((rows, original(model, place, members, found, rows, tol)))
        return judged[-1][1]

    monkeypatch.setattr(walk, "judge", judge)
    path = jreg.path(X, y, lam_min_ratio=1e-4)
    assert (path.status == Status.CONVERGED).all()
    assert path.n_nonzero.max() > 55
    assert len(judged) <= 15  # blocks for 100 lambdas
    assert sum(exact < rows for rows, (_, exact) in judged) <= 5


def test_programs_compiled():
    """At most 30 for a path of a new shape, none for other data of that shape."""
    names = []

    def listen(name, *_, **__):
        names.append(name)

    def compiled():
        return sum(name.endswith("backend_compile_duration") for name in names)

    X, y = sparse_data(50, 333)
    jax.monitoring.register_event_duration_secs_listener(listen)
    jreg.path(X, y)
    first = compiled()
    jreg.path(X + 0.01, y)
    assert 0 < first <= 30
    assert compiled() == first


def test_reading_compiles_nothing(caplog):
    """Data and strengths become arrays of JAX without a program of their own."""
    X, y = sparse_data(41, 7)
    options = {"sample_weight": np.ones(41, int), "offset": list(y)}
    with jax.log_compiles(), caplog.at_level("WARNING"):
        penalty, loss = jreg.ElasticNet(2, l1_ratio=0.5), jreg.losses.Huber(2)
        problem, penalty, _ = read_data(X, y, penalty, loss, **options)
        assert not caplog.records
        jax.jit(lambda y: y + 1)(y)
    assert caplog.records  # it would have been seen
    assert penalty.lam.dtype == problem.y.dtype == np.float64
