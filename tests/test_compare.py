"""The race: published updates step by step, what it counts, how it chooses, what it says."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision

import jreg
from jreg.compare import landscapes
from jreg.compare.race import first_below, held
from jreg.compare.run import choose
from jreg.status import Status

N, P = 50, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
LABELS = 1.0 * (X[:, 0] - X[:, 1] + 0.5 * RNG.logistic(size=N) > 0)


def logistic(w):
    eta = jnp.asarray(X) @ w
    return jnp.mean(jnp.logaddexp(0, eta) - jnp.asarray(LABELS) * eta) + 0.05 * w @ w


# --- laws: twenty steps of each published method, written by hand -----------------------------


def gradient(w):
    p = 1 / (1 + np.exp(-X @ w))
    return X.T @ (p - LABELS) / N + 0.1 * w


def gradient_descent(rate):
    def step(w, _, t):
        return w - rate * gradient(w), None

    return step


def heavy_ball(rate, rho):
    """v <- rho v + g, w <- w - rate v (Polyak 1964)."""

    def step(w, v, t):
        v = rho * (0 if v is None else v) + gradient(w)
        return w - rate * v, v

    return step


def nesterov(rate, rho):
    """The look-ahead form with its variable at the look-ahead point (Sutskever et al. 2013)."""

    def step(w, v, t):
        g = gradient(w)
        v = rho * (0 if v is None else v) + g
        return w - rate * (g + rho * v), v

    return step


def adagrad(rate, eps=1e-7, start=0.1):
    """h <- h + g^2, w <- w - rate g / sqrt(h + eps) (Duchi, Hazan and Singer 2011)."""

    def step(w, h, t):
        g = gradient(w)
        h = (start if h is None else h) + g**2
        return w - rate * g / np.sqrt(h + eps), h

    return step


def rmsprop(rate, decay, eps=1e-8):
    """h <- decay h + (1 - decay) g^2 (Tieleman and Hinton 2012)."""

    def step(w, h, t):
        g = gradient(w)
        h = decay * (0 if h is None else h) + (1 - decay) * g**2
        return w - rate * g / np.sqrt(h + eps), h

    return step


def adam(rate, b1=0.9, b2=0.999, eps=1e-8):
    """With both corrections of the bias (Kingma and Ba 2015, algorithm 1)."""

    def step(w, state, t):
        m, v = (0, 0) if state is None else state
        g = gradient(w)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        return w - rate * m_hat / (np.sqrt(v_hat) + eps), (m, v)

    return step


PUBLISHED = {
    "gradient descent": (optax.sgd(0.5), gradient_descent(0.5)),
    "momentum 0.9": (optax.sgd(0.1, momentum=0.9), heavy_ball(0.1, 0.9)),
    "momentum 0.99": (optax.sgd(0.1, momentum=0.99), heavy_ball(0.1, 0.99)),
    "nesterov": (optax.sgd(0.1, momentum=0.9, nesterov=True), nesterov(0.1, 0.9)),
    "adagrad": (optax.adagrad(0.3), adagrad(0.3)),
    "rmsprop": (optax.rmsprop(0.05, decay=0.9), rmsprop(0.05, 0.9)),
    "adam": (optax.adam(0.05), adam(0.05)),
    "adam with a short memory": (optax.adam(0.05, b2=0.9), adam(0.05, b2=0.9)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_twenty_steps_as_published(name):
    transform, step = PUBLISHED[name]
    start = np.linspace(-1, 1, P)
    with precision("float64"):
        found = jreg.solve(
            logistic,
            None,
            jnp.asarray(start),
            solver=jreg.Optax(transform),
            max_steps=20,
            history="params",
        )
    w, state = start, None
    for t in range(1, 21):
        w, state = step(w, state, t)
        np.testing.assert_allclose(found.history.params[t], w, rtol=1e-7)


def test_bfgs_with_an_exact_search_ends_in_p_steps():
    with precision("float64"):
        problem, start = landscapes.quadratic(100.0, 7)
        found = jreg.solve(
            problem, None, start, solver=jreg.BFGS(curvature=1e-6), tol=1e-7, history=True
        )
        assert found.status == Status.CONVERGED
        assert found.num_steps <= 7
        assert found.history.residual[4] > 1e-4


# --- landscapes -------------------------------------------------------------------------------


def test_condition_of_a_quadratic():
    with precision("float64"):
        problem, start = landscapes.quadratic(1e4, 12)
        H = jax.hessian(problem.value)(start)
        values = np.linalg.eigvalsh(H)
        np.testing.assert_allclose(values[-1] / values[0], 1e4, rtol=1e-6)
        assert problem.value(jnp.linalg.solve(H, -problem.gradient(start))) < 1e-12


def test_newton_ends_in_the_saddle_and_descent_does_not():
    with precision("float64"):
        problem, start = landscapes.saddle()
        pure = jreg.solve(problem, None, start, solver=jreg.Newton(damped=False))
        damped = jreg.solve(problem, None, start, solver=jreg.Newton())
        assert landscapes.negative_share(problem, pure.params) == 0.5
        assert landscapes.negative_share(problem, damped.params) == 0
        np.testing.assert_allclose(abs(damped.params), [0, 1], atol=1e-4)


def test_dimple_is_a_local_minimum():
    with precision("float64"):
        problem, _ = landscapes.dimpled_bowl()
        found = jreg.solve(problem, None, jnp.array([1.0, 0.0]), tol=1e-8)
        assert found.status == Status.CONVERGED
        assert found.params[0] > 0.5
        assert found.value > problem.value(jnp.zeros(2))


def test_random_field_has_the_covariance_it_says():
    with precision("float64"):
        v = 0.7 * jnp.ones(2)
        fields = [landscapes.random_field(2, 50, seed).problem for seed in range(400)]
        a, b = (np.array([float(f.value(w)) for f in fields]) for w in (jnp.zeros(2), v))
        assert abs(a.mean()) < 0.2
        np.testing.assert_allclose(np.mean(a * a), 1, atol=0.2)
        np.testing.assert_allclose(np.mean(a * b), np.exp(-0.49), atol=0.2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: landscapes.quadratic(0.5),
        lambda: landscapes.rosenbrock(1),
        lambda: landscapes.dimpled_bowl(width=0.0),
        lambda: landscapes.random_field(0),
    ],
)
def test_landscapes_refuse(call):
    with pytest.raises(ValueError, match=r"at least|>="):
        call()


# --- the race ---------------------------------------------------------------------------------


def race(**options):
    with precision("float64"):
        problem, start = landscapes.quadratic(30.0, 8)
        given = {
            "methods": {
                "descent": optax.sgd,
                "momentum": lambda rate: optax.sgd(rate, momentum=0.7),
                "L-BFGS": jreg.LBFGS(),
                "Newton": jreg.Newton(),
            },
            "params": start,
            "learning_rates": [0.1, 1.0, 3.0],
            "budget": 300,
            "clock": False,
        }
        return jreg.compare(problem, **given | options)


def test_traces_are_those_of_solve():
    found = race()
    with precision("float64"):
        problem, start = landscapes.quadratic(30.0, 8)
        solver = jreg.Optax(optax.sgd, 1.0)
        alone = jreg.solve(
            problem, None, start, solver=solver, tol=1e-10, max_steps=300, history=True
        )
    entry = found["descent"]
    assert entry.rate == 1.0
    k = int(entry.steps[0])
    values = np.asarray(alone.history.value[: k + 1])
    np.testing.assert_allclose(
        entry.gap[0, : k + 1], (values - found.optimum) / (found.start - found.optimum), atol=1e-12
    )
    np.testing.assert_array_equal(entry.evaluations[0, : k + 1], np.arange(k + 1))


def test_side_by_side_is_one_after_the_other(monkeypatch):
    """As on an accelerator: under vmap."""
    alone = race(learning_rates=[0.3, 1.0], budget=60)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    together = race(learning_rates=[0.3, 1.0], budget=60)
    for one, other in zip(alone.entries, together.entries, strict=True):
        np.testing.assert_allclose(one.gap, other.gap, rtol=1e-6, atol=1e-15)
        np.testing.assert_array_equal(one.evaluations, other.evaluations)


def test_rates_too_large_diverge_and_are_not_chosen():
    entry = race()["descent"]
    assert np.isinf(entry.final_gap[2]).all() or entry.final_gap[2].min() > 1
    assert entry.chosen == 1
    assert entry.reached


def test_second_order_is_first_in_steps():
    found = race()
    steps = {entry.name: entry.to_reach(1e-8) for entry in found.entries}
    assert steps["Newton"] == 1
    assert steps["L-BFGS"] < steps["momentum"] < steps["descent"]
    assert found["Newton"].to_reach(1e-8, "evaluations") == 1 + 2 * 8 + 1


def test_the_rule():
    """Fewest steps below the target for good; else the smallest final gap; NaN and inf lose."""
    inf = np.inf
    gaps = np.array(
        [
            [[1, 0.5, 0.2, 0.2, 0.2]],
            [[1, 0.05, 0.5, 0.05, 0.05]],
            [[1, 0.5, 0.05, 0.05, 0.06]],
            [[1, 9, 99, inf, inf]],
        ]
    )
    np.testing.assert_array_equal(first_below(gaps[:, 0], 0.1), [inf, 3, 2, inf])
    assert choose(gaps, 0.1) == 2
    assert choose(gaps, 0.01) == 1
    assert choose(gaps[[3, 0]], 0.01) == 1
    assert choose(np.full((2, 1, 3), inf), 0.01) == 0


def test_ends_are_held():
    trace = np.array([[3.0, 2.0, np.nan, np.nan], [3.0, np.nan, np.nan, np.nan]])
    shown = held(trace, np.array([1, 1]))
    np.testing.assert_array_equal(shown, [[3, 2, 2, 2], [3, np.nan, np.nan, np.nan]])


def test_what_a_solver_does_not_count_is_unknown():
    methods = {"ADMM": jreg.ADMM(), "FISTA": jreg.FISTA()}
    found = race(methods=methods, penalty=jreg.L1(0.1), learning_rates=None)
    assert np.isfinite(found["ADMM"].to_reach(1e-2))
    assert np.isnan(found["ADMM"].to_reach(1e-2, "evaluations"))
    assert "?" in repr(found)


def test_a_method_may_find_less_than_solve():
    """On a function with several minima the best that anyone found is F*."""
    with precision("float64"):
        problem, _ = landscapes.dimpled_bowl()
        found = jreg.compare(
            problem,
            {"slow": optax.sgd, "fast": lambda rate: optax.sgd(20 * rate)},
            params=jnp.array([1.02, 0.0]),
            learning_rates=[0.05],
            budget=300,
            clock=False,
        )
        assert found.by_methods
        assert found["fast"].gap.min() == 0
        assert found["slow"].gap[0, -1] > 0.01


def test_minibatches_count_shares_of_passes():
    with precision("float64"):
        problem = jreg.LinearProblem(X, LABELS, jreg.Logistic())
        sgd = jreg.Optax(optax.sgd, 0.1)
        found = jreg.compare(
            problem,
            {"full": sgd, "batches of 10": jreg.Minibatch(sgd, 10)},
            penalty=jreg.Ridge(0.1),
            seeds=[0, 1, 2],
            budget={"full": 50, "batches of 10": 200},
            target=0.1,
            clock=False,
        )
    small = found["batches of 10"]
    assert small.gap.shape == (3, 201)
    assert found["full"].gap.shape == (1, 51)
    assert small.axis("evaluations")[0, -1] == 200
    assert small.axis("passes")[0, -1] == 200 * 10 / N
    assert not np.allclose(small.gap[0], small.gap[1])
    assert "3 of 3 seeds" in small.verdict


def test_penalties_with_kinks():
    with precision("float64"):
        problem = jreg.LinearProblem(X, LABELS, jreg.Logistic())
        sgd = lambda rate: optax.sgd(rate)  # noqa: E731
        found = jreg.compare(
            problem,
            {
                "subgradient": jreg.OptaxSubgradient(sgd, 0.1),
                "prox": jreg.OptaxProximal(sgd, 0.1),
                "FISTA": jreg.FISTA(),
                "coordinates": jreg.CoordinateDescent(),
            },
            penalty=jreg.L1(0.1),
            params=jreg.Linear(jnp.ones(P), jnp.zeros(())),
            learning_rates=[0.3, 1.0],
            budget=400,
            keep_params=True,
            clock=False,
        )
    assert found["subgradient"].zeros[0, -1] == 0
    assert found["prox"].zeros[0, -1] == found["FISTA"].zeros[0, -1] > 0
    assert found["FISTA"].params.coef.shape == (401, P)
    assert found.certificate <= 1e-10


def test_the_clock_runs():
    found = race(clock=True, budget=20)
    for entry in found.entries:
        assert (np.diff(entry.seconds_timed) >= 0).all()
        assert entry.steps_timed[0] >= 1
        seconds = entry.axis("seconds")
        assert seconds.shape == entry.gap.shape
        assert (seconds > 0).all()
    with pytest.raises(ValueError, match="no clock"):
        race(budget=5)["Newton"].axis("seconds")
    assert "seconds to 0.0001" in found.rows()[0]


def test_the_clock_runs_to_the_end_of_every_seed():
    """Seeds end after different numbers of steps, and none after its seconds."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    with precision("float64"):
        problem = jreg.LinearProblem(X, X @ np.ones(2), fit_intercept=False)
        found = jreg.compare(
            problem,
            {"SGD": jreg.Minibatch(jreg.Optax(optax.sgd, 0.2), 2)},
            seeds=range(3),
            tol=1e-8,
            budget=500,
        )
    entry = found["SGD"]
    assert np.unique(entry.steps).size > 1
    assert entry.steps_timed[-1] == entry.steps.max()
    assert int(entry.solver.seed) == 0
    assert float(entry.solver.solver.learning_rate) == 0.2


def test_table_and_frame():
    found = race()
    text = repr(found)
    assert text.splitlines()[0].startswith("race of 4: F from")
    assert "certified" in text
    assert len(text.splitlines()) == 6
    frame = found.to_dataframe()
    assert list(frame["method"]) == ["descent", "momentum", "L-BFGS", "Newton"]
    long = found.to_dataframe(traces=True)
    assert set(long["method"]) == set(frame["method"])
    last = long[long["method"] == "Newton"].iloc[-1]
    assert last["gap"] < 1e-8


def test_the_solver_of_an_entry_runs_as_it_did():
    entry = race(methods={"descent": optax.sgd}, learning_rates=[0.1, 1.0])["descent"]
    with precision("float64"):
        problem, start = landscapes.quadratic(30.0, 8)
        again = jreg.solve(problem, None, start, solver=entry.solver, tol=1e-10, max_steps=300)
    assert int(again.num_steps) == entry.steps[0]


def test_verdicts():
    found = race(
        methods={
            "pure": jreg.Newton(damped=False),
            "wild": optax.sgd(30.0),
            "slow": optax.sgd(1e-4),
        },
        learning_rates=None,
        budget=400,
    )
    assert found["pure"].verdict == "certified"
    assert found["wild"].verdict == "diverged: not finite"
    assert found["slow"].verdict == "budget spent before the target"
    with pytest.raises(KeyError, match="did not take part"):
        found["Adam"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": {}}, ValueError, "at least one"),
        (
            {"methods": {"a": optax.sgd}, "learning_rates": None},
            ValueError,
            "learning_rates of 'a'",
        ),
        ({"methods": {"a": 3}}, TypeError, "method 'a' must be"),
        ({"methods": {"a": jreg.LBFGS}}, TypeError, "method 'a' must be"),
        ({"budget": 0}, ValueError, "budget"),
        ({"budget": {"descent": 3}}, ValueError, "budget must have an entry"),
        ({"learning_rates": [-1.0]}, ValueError, "positive"),
        ({"learning_rates": {"Newton": [1.0]}}, ValueError, "learning_rates must have an entry"),
        ({"seeds": []}, ValueError, "seeds"),
        ({"target": 1.0}, ValueError, "target"),
        ({"params": np.full(8, np.nan)}, ValueError, "start"),
    ],
)
def test_messages(options, error, message):
    with pytest.raises(error, match=message):
        race(**options)


def test_a_start_at_the_optimum_is_no_race():
    with pytest.raises(ValueError, match="nothing to race for"):
        race(optimum=1e9)


# --- pictures ---------------------------------------------------------------------------------


def test_pictures():
    from matplotlib import pyplot

    found = race(clock=True, budget=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = found.plot()
        assert [a.get_xlabel() for a in axes] == [
            "steps", "gradient evaluations", "passes over the data", "seconds"
        ]  # fmt: skip
        assert axes[0].get_ylabel() == "relative gap"
        for ax in axes:
            lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
            assert len(lines) == 4
            assert all(np.isfinite(line.get_ydata()).any() for line in lines)
        ax = found.plot("evaluations", "residual")
        assert ax.get_legend_handles_labels()[1] == ["descent", "momentum", "L-BFGS", "Newton"]
        assert found.plot("steps", "zeros").get_yscale() == "linear"
        rates = found.plot_rates()
        assert rates.get_xscale() == "log"
        assert len(rates.get_lines()) == 2
    with pytest.raises(ValueError, match="y is one of"):
        found.plot(y="speed")
    with pytest.raises(ValueError, match="axis is one of"):
        found.plot("hours")
    with pytest.raises(ValueError, match="several learning rates"):
        race(learning_rates=[0.1], budget=5).plot_rates()
    pyplot.close("all")
