"""check_gradient: right gradients pass in both precisions, wrong ones are found where they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision

import jreg
from jreg import check_gradient
from jreg.gradients import COARSEST
from jreg.stochastic import batch_norm, fractional_max_pool, initial_stats

IN_BOTH = pytest.mark.parametrize("dtype", DTYPES)
rng = np.random.default_rng(0)
X, W, LABELS = rng.normal(size=(20, 4)), rng.normal(size=4), (rng.normal(size=20) > 0) * 1.0
# further from every kink than the step in float32
AWAY = np.array([1.3, -0.7, 0.4, -2.2])

LOSSES = {
    "squared": (jreg.Squared(), X @ W + 1),
    "logistic": (jreg.Logistic(), LABELS),
    "poisson": (jreg.Poisson(), np.arange(20.0) % 4),
    "gamma": (jreg.Gamma(), 1 + np.arange(20.0) % 4),
}
PENALTIES = {
    "l1": jreg.L1(0.7),
    "ridge": jreg.Ridge(0.7),
    "mcp": jreg.MCP(0.7, 3.0),
    "scad": jreg.SCAD(0.5, 3.7),
    "total_variation": jreg.TotalVariation(0.7),
    "slope": jreg.SLOPE(0.7, np.array([4.0, 3.0, 2.0, 1.0])),
    "group_lasso": jreg.GroupLasso(0.7, groups=jreg.Groups([0, 0, 1, 1])),
}


def squares(w):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))


# --- what is right passes ---------------------------------------------------------------------


@IN_BOTH
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, dtype):
    with precision(dtype):
        loss, y = LOSSES[name]
        X_, y_ = jnp.asarray(X, dtype), jnp.asarray(y, dtype)

        def mean(w, X):
            return jnp.mean(loss.pointwise(X @ w, y_))

        def gradient(w, X):
            return X.T @ loss.gradient(X @ w, y_) / len(y_)

        w = jnp.asarray(0.3 * W, dtype)
        report = check_gradient(mean, w, X_, gradient=gradient)
        assert report.ok, report
        assert report.evaluations == 8
        assert report.leaves[0].error < {"float32": 2e-3, "float64": 1e-8}[dtype]


@IN_BOTH
@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_away_from_kinks(name, dtype):
    with precision(dtype):
        w = jnp.asarray(AWAY, dtype)
        report = check_gradient(PENALTIES[name].value, w)
        assert report.ok, report


def test_at_a_kink_no_gradient_is_right():
    """|w - 1| at 1, where the difference is 0 and JAX says 1; not where a rule says 0."""
    assert not check_gradient(lambda w: jnp.sum(jnp.abs(w - 1)), jnp.ones(2))
    assert check_gradient(jreg.L1().value, jnp.zeros(2))


def network(dtype="float32"):
    normal = np.random.default_rng(1).normal
    return [
        {"kernel": jnp.asarray(normal(size=(4, 6)), dtype), "bias": jnp.full(6, 0.1, dtype)},
        {"kernel": jnp.asarray(normal(size=(6, 1)), dtype), "bias": jnp.zeros(1, dtype)},
    ]


def network_loss(params, x):
    first, last = params
    hidden = jnp.tanh(x @ first["kernel"] + first["bias"][None])
    return jnp.mean((hidden @ last["kernel"] + last["bias"][None] - 1) ** 2)


@IN_BOTH
def test_trees(dtype):
    """A network: a verdict for each array under its path, as many evaluations as is said."""
    with precision(dtype):
        report = check_gradient(network_loss, network(dtype), jnp.asarray(X, dtype))
        assert report.ok, report
        paths = ["0/bias", "0/kernel", "1/bias", "1/kernel"]
        assert [leaf.path for leaf in report.leaves] == paths
        assert [leaf.checked for leaf in report.leaves] == [6, 24, 1, 6]
        assert report.evaluations == 2 * 37


def test_stochastic_functions():
    """Batch normalisation and fractional pooling for a fixed key, in float64."""
    with precision("float64"):
        x = jnp.asarray(X)

        def normalised(params):
            y, _ = batch_norm(x * params["x"][None], initial_stats(4), params["scale"])
            pooled = fractional_max_pool(jax.random.key(0), jnp.sin(y), 13)
            return jnp.sum(pooled**2)

        report = check_gradient(normalised, {"x": jnp.asarray(AWAY), "scale": jnp.asarray(W)})
        assert report.leaves[0].verdict == "ok", report  # scale
        assert report.leaves[1].error < 1e-4, report  # batch_norm all but undoes x
        assert report


def test_other_leaves():
    """Numbers, NumPy arrays, empty arrays, rank 0 and None."""
    params = {"a": 2.0, "b": np.ones((2, 1), np.float32), "c": jnp.zeros((0, 3)), "d": None}
    report = check_gradient(squares, params)
    assert report.ok
    assert [(leaf.path, leaf.checked) for leaf in report.leaves] == [("a", 1), ("b", 2)]
    assert check_gradient(jnp.square, 3).leaves[0].path == ""


def test_large_and_small_entries():
    """The step grows with the entry: 1e6 and 1e-6 in float32."""
    w = jnp.array([1e6, -3e5, 1e-6, 0.0])
    assert check_gradient(lambda w: jnp.sum(jnp.log1p(w**2)), w[:1])
    assert check_gradient(lambda w: jnp.sum(w**2) / 1e6, w[:2])
    assert check_gradient(lambda w: jnp.sum(jnp.sin(w)), w[2:])


# --- what is wrong is found -------------------------------------------------------------------


def with_rule(rule):
    """sum of softplus whose derivative is `rule(w)`."""

    @jax.custom_vjp
    def f(w):
        return jnp.sum(jax.nn.softplus(w))

    f.defvjp(lambda w: (f(w), w), lambda w, g: (g * rule(w),))
    return f


RULES = {
    "right": jax.nn.sigmoid,
    "twice": lambda w: 2 * jax.nn.sigmoid(w),
    "one percent": lambda w: 1.01 * jax.nn.sigmoid(w),
    "one entry": lambda w: jax.nn.sigmoid(w).at[2].add(0.02),
    "zero": jnp.zeros_like,
}


@IN_BOTH
@pytest.mark.parametrize("name", RULES)
def test_custom_rules(name, dtype):
    with precision(dtype):
        report = check_gradient(with_rule(RULES[name]), jnp.asarray(AWAY, dtype))
        assert report.ok == bool(report) == (name == "right"), report
        leaf = report.leaves[0]
        assert leaf.verdict == ("ok" if name == "right" else "wrong")
        if name == "one entry":
            assert leaf.where == "at (2,)"
            np.testing.assert_allclose(leaf.derivative - leaf.difference, 0.02, rtol=0.02)


def test_errors_just_above_and_below_tol():
    with precision("float64"):
        w, wrong = jnp.asarray(AWAY), lambda error: lambda w: (1 + error) * 2 * w
        for error in (1e-3, 1e-5, 1e-7):
            assert check_gradient(squares, w, gradient=wrong(error), tol=1.1 * error)
            assert not check_gradient(squares, w, gradient=wrong(error), tol=0.9 * error)


def test_the_wrong_array_is_named():
    def gradient(params, x):
        slopes = jax.grad(network_loss)(params, x)
        slopes[1]["kernel"] = slopes[1]["kernel"].at[3, 0].multiply(-1)
        return slopes

    report = check_gradient(network_loss, network(), jnp.asarray(X, jnp.float32), gradient=gradient)
    assert [leaf.verdict for leaf in report.leaves] == ["ok", "ok", "ok", "wrong"]
    assert report.leaves[3].where == "at (3, 0)"
    text = repr(report)
    assert text.startswith("gradient NOT ok in 1 of 4 arrays, by 74 evaluations of fun\n")
    assert "by differences" in text.splitlines()[-1]
    assert text == str(report)
    right = repr(check_gradient(network_loss, network(), jnp.asarray(X, jnp.float32)))
    assert right.startswith("gradient ok, by 74 evaluations")
    assert [line.split()[-1] for line in right.splitlines()[2:]] == ["ok"] * 4


def test_rounding_is_not_an_error_but_is_said():
    """1e4 + w in float32: differences see nothing, so there is no verdict; float64 sees enough."""

    def hill(w):
        return 1e4 + jnp.sum(jnp.sin(w))

    report = check_gradient(hill, jnp.array([0.3, 0.2]))
    assert report.leaves[0].verdict == "unresolved"
    assert report.leaves[0].allowed > COARSEST
    assert not report.ok
    assert "use float64" in repr(report)
    with precision("float64"):
        assert check_gradient(hill, jnp.array([0.3, 0.2]))
        wrong = check_gradient(hill, jnp.array([0.3, 0.2]), gradient=lambda w: 1.001 * jnp.cos(w))
        assert wrong.leaves[0].verdict == "wrong"


def test_zero_gradients():
    """Of unused parameters: 0 is right, anything else is wrong."""
    params = {"used": jnp.array([0.5]), "unused": jnp.ones(2)}
    report = check_gradient(lambda w: jnp.sum(w["used"] ** 2), params)
    assert [leaf.verdict for leaf in report.leaves] == ["ok", "ok"]
    report = check_gradient(lambda w: jnp.sum(w["used"] ** 2), params, gradient=lambda w: w)
    assert [leaf.verdict for leaf in report.leaves] == ["wrong", "wrong"]


@pytest.mark.parametrize(
    ("fun", "gradient"),
    [
        (lambda w: jnp.sum(jnp.log(w)), None),
        (squares, lambda w: jnp.full_like(w, jnp.nan)),
        (squares, lambda w: w.at[0].set(jnp.inf)),
    ],
)
def test_not_finite(fun, gradient):
    report = check_gradient(fun, jnp.array([0.001, 1.0]), gradient=gradient)
    assert report.leaves[0].verdict == "not finite"
    assert not report
    assert "around which fun is finite" in repr(report)


def test_step_for_a_function_that_bends_fast():
    w = jnp.array([0.3])
    fast = lambda w: jnp.sum(jnp.sin(300 * w))  # noqa: E731
    assert not check_gradient(fast, w)
    assert check_gradient(fast, w, step=1e-4)


def test_a_move_counts_as_it_was_rounded():
    """1 + 1e-5 is 1 + 84 eps in float32, which is 0.1 percent more."""
    assert check_gradient(lambda w: jnp.sum(w) - 1, jnp.ones(1), step=1e-5, tol=3e-4)


# --- some of many -----------------------------------------------------------------------------

MANY = {"a": np.linspace(-1, 1, 3000).reshape(30, 100), "b": np.ones(3)}


def wrong_everywhere(w):
    return jax.tree.map(lambda leaf: 2 * leaf + 0.1, w)


def wrong_in_one(w):
    slopes = jax.tree.map(lambda leaf: 2 * leaf, w)
    slopes["a"] = slopes["a"].at[7, 9].add(50.0)
    return slopes


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
@pytest.mark.parametrize(
    ("options", "checked"), [({"n_entries": 5}, [5, 3]), ({"n_directions": 4}, [4, 4])]
)
def test_some_entries_or_directions(make, options, checked):
    with precision("float64"):
        run = functools.partial(check_gradient, squares, MANY, key=make(1), **options)
        report = run()
        assert report.ok, report
        assert [leaf.checked for leaf in report.leaves] == checked
        assert report.evaluations == 2 * sum(checked)
        wrong = run(gradient=wrong_everywhere)
        assert [leaf.verdict for leaf in wrong.leaves] == ["wrong", "wrong"]
        assert ("direction" in wrong.leaves[0].where) == ("n_directions" in options)


def test_a_direction_sees_every_entry():
    """One wrong entry of 3000 shows in each direction, and rarely among five entries."""
    run = functools.partial(check_gradient, squares, MANY, gradient=wrong_in_one)
    assert not run(n_directions=1, key=jax.random.key(0))
    assert run(n_entries=5, key=jax.random.key(0))
    assert not run(n_entries=10_000, key=jax.random.key(0))


def test_a_direction_is_as_long_as_the_step_of_one_entry():
    """A step that grew with the number of entries would see the bend of the sine."""
    run = functools.partial(check_gradient, lambda w: jnp.sin(jnp.sum(w)), jnp.zeros(3000))
    report = run(n_directions=20, key=jax.random.key(0))
    assert report, report


def test_keys_choose():
    """Different entries for different keys."""
    fun, w = lambda w: jnp.sum(w * (jnp.arange(50.0) + 1)), jnp.zeros(50)

    def seen(seed):
        key = jax.random.key(seed)
        return check_gradient(fun, w, gradient=jnp.zeros_like, n_entries=1, key=key).leaves[0].where

    assert len({seen(seed) for seed in range(4)}) > 2


# --- bad input --------------------------------------------------------------------------------

ONE, KEY = jnp.ones(2), jax.random.key(0)
of_ones = functools.partial(check_gradient, squares, ONE)
AND_A_KEY = "one of n_entries and n_directions, and a key"


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "gradient must return a tree like params", {"gradient": lambda w: [w]}),
        (ValueError, r"of shapes \[\(2,\)\].*of shapes \[\(\)\]", {"gradient": jnp.sum}),
        (ValueError, r"step must be in \(0, inf\); got 0", {"step": 0}),
        (ValueError, r"tol must be in \(0, 0.1\); got 1", {"tol": 1}),
        (ValueError, "n_entries must be at least 1", {"n_entries": 0, "key": KEY}),
        (ValueError, "n_directions must be at least 1", {"n_directions": -1, "key": KEY}),
        (ValueError, AND_A_KEY, {"n_entries": 1}),
        (ValueError, AND_A_KEY, {"n_entries": 1, "n_directions": 1, "key": KEY}),
        (ValueError, AND_A_KEY, {"key": KEY}),
    ],
)
def test_bad_options(error, message, options):
    with pytest.raises(error, match=message):
        of_ones(**options)


@pytest.mark.parametrize(
    ("error", "message", "fun", "params"),
    [
        (ValueError, r"fun must return one number.*shape=\(2,\)", jnp.sin, ONE),
        (ValueError, "fun must return one number", lambda w: (1.0, w), ONE),
        (ValueError, "one number.*bfloat16", lambda w: jnp.sum(w).astype("bfloat16"), ONE),
        (TypeError, r"params\['a'\] must hold.*bfloat16", squares, {"a": ONE.astype("bfloat16")}),
        (TypeError, "params must hold float32 or float64.*complex", squares, ONE + 1j),
        (ValueError, "params must hold at least one number", squares, {}),
        (ValueError, "params must hold at least one number", jnp.sum, jnp.ones((0, 2))),
    ],
)
def test_bad_functions_and_params(error, message, fun, params):
    with pytest.raises(error, match=message):
        check_gradient(fun, params)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_not_inside_a_transformation(transform):
    with pytest.raises(ValueError, match="call it outside jit"):
        transform(lambda w: check_gradient(squares, w).ok)(ONE)
