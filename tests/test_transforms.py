"""Laws of `proximal`: the dual, the step, the start, noise, messages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision
from transform_cases import (
    GROUPS,
    LAM,
    STEPS,
    L,
    N,
    P,
    compiled_run,
    data,
    distance,
    loss,
    minimiser,
    run,
    same_zeros,
    truth,
)

import jreg
from jreg.penalties import conjugate
from jreg.transforms import averaged_params, optimality, point, proximal
from jreg.transforms.steps import largest_step, looks

L1 = jreg.L1(LAM)
ADAM = optax.adam(optax.exponential_decay(0.02, STEPS, 1e-5))


@pytest.fixture
def x64():
    with precision("float64"):
        yield


def steps_of(tx, w, count, start=None):
    """(params, state) of each of some steps."""

    @jax.jit
    def step(w, state):
        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return optax.apply_updates(w, updates), state

    state = tx.init(w) if start is None else start
    for _ in range(count):
        w, state = step(w, state)
        yield w, state


# --- the answer does not depend on the step -------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "step",
    [
        lambda k: 10.0 ** jax.random.uniform(jax.random.key(k), (), float, -1, 1) / L,
        np.geomspace(0.1, 10, P) / L,
        optax.exponential_decay(10 / L, STEPS, 0.1),
    ],
    ids=["random", "array", "schedule"],
)
@pytest.mark.parametrize(
    "inner", [optax.sgd(0.1 / L, momentum=0.9), ADAM], ids=["momentum", "adam"]
)
def test_any_sequence_of_steps(inner, step):
    w, _ = compiled_run(proximal(inner, L1, step), jnp.zeros(P))
    assert distance(w, truth("l1")) < 1e-10
    assert same_zeros(w, truth("l1"))


@pytest.mark.usefixtures("x64")
def test_array_steps_for_groups():
    """The group lasso has a prox in a diagonal metric, so a step per entry too."""
    step = np.geomspace(0.3, 3, P)
    w, _ = compiled_run(proximal(ADAM, jreg.GroupLasso(LAM, groups=GROUPS), step), jnp.zeros(P))
    assert distance(w, truth("group")) < 1e-8
    assert same_zeros(w, truth("group"))


@pytest.mark.usefixtures("x64")
def test_a_gradient_step_is_proximal_gradient():
    tx, w = proximal(optax.sgd(0.7 / L), L1, 0.7 / L), jnp.linspace(-1, 1, P)
    for new, _ in steps_of(tx, w, 7):
        w = L1.prox(w - 0.7 / L * jax.grad(loss)(w), 0.7 / L)
        np.testing.assert_allclose(new, w, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_automatic_step_is_thirty_learning_rates():
    *_, (_, state) = steps_of(proximal(optax.sgd(1e-3), L1), jnp.ones(P), 5)
    np.testing.assert_allclose(state.step, 0.03)
    *_, (w, state) = steps_of(proximal(optax.scale(0.0), L1), jnp.ones(P), 5)
    assert state.step > 0  # nothing has moved
    np.testing.assert_allclose(w, 1, atol=2e-3)


def test_looks_fall_on_every_step_of_a_cycle():
    """One step in 64 is looked at, whatever the period of what happens in them."""
    found = np.flatnonzero(looks(jnp.arange(100_000)))
    assert set(range(64)) <= set(found)
    assert abs(len(found) - 64 - 100_000 / 64) < 20
    for period in (2, 3, 4, 8, 16, 64, 100):
        counts = np.bincount(found[64:] % period, minlength=period)
        assert counts.min() > 0.7 * counts.mean(), period


@pytest.mark.usefixtures("x64")
def test_automatic_step_under_accumulation():
    """Updates in one step of 100, long after the first 64: the step is that of their mean."""
    inner = optax.MultiSteps(optax.sgd(1e-3), 100).gradient_transformation()
    _, state = compiled_run(proximal(inner, L1), jnp.ones(P), STEPS)
    assert 0.03 / 100 / 3 < state.step < 3 * 0.03 / 100


# --- the dual -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("inner", [optax.sgd(0.3 / L, momentum=0.9), optax.adam(0.05)])
@pytest.mark.parametrize("garbage", [False, True])
@pytest.mark.parametrize("penalty", [L1, jreg.GroupLasso(LAM, groups=GROUPS), jreg.MCP(LAM, 9.0)])
def test_dual_is_a_subgradient_after_one_step(penalty, inner, garbage):
    rng = np.random.default_rng(1)
    tx, w = proximal(inner, penalty, 0.8), jnp.asarray(rng.normal(size=P))
    state = tx.init(w)
    if garbage:
        state = state._replace(dual=jnp.asarray(100 * rng.normal(size=P)))
    for new, after in steps_of(tx, w, 6, state):
        off = penalty.kkt_distance(new, -after.dual)
        assert float(jnp.max(off)) < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("inner", [optax.sgd(0.3 / L, momentum=0.9), optax.adam(0.05)])
def test_optimality_bounds_the_kkt_distance(inner):
    tx = proximal(inner, L1)
    for w, state in steps_of(tx, jnp.ones(P), 40):
        grads = jax.grad(loss)(w)
        distance = jnp.linalg.norm(L1.kkt_distance(w, grads))
        assert distance <= optimality(grads, state) + 1e-12
    assert optimality(grads, (optax.EmptyState(), state)) == optimality(grads, state)
    with pytest.raises(ValueError, match="one proximal transform; found 0"):
        optimality(grads, optax.EmptyState())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("step", [None, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("inner", [optax.sgd(1 / L), optax.sgd(0.5 / L, momentum=0.9)])
def test_a_start_at_the_solution_stays(inner, step):
    w = jnp.asarray(truth("l1"))
    for new, _ in steps_of(proximal(inner, L1, step), w, 1):
        assert distance(new, truth("l1")) < 1e-9
        assert same_zeros(new, truth("l1"))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_first_step_does_not_shrink_everything(scale):
    """In any units of the parameters, float32, and a step that would zero them all at once."""
    w = scale * jax.random.normal(jax.random.key(0), (1000,))
    tx = proximal(optax.scale(0.0), jreg.L1(1.0), 10.0 * scale)
    updates, _ = tx.update(jnp.zeros_like(w), tx.init(w), w)
    new = optax.apply_updates(w, updates)
    assert (new == 0).mean() < 0.01
    np.testing.assert_allclose(new, w, atol=0.02 * scale)


@pytest.mark.usefixtures("x64")
def test_parameters_overwritten_on_the_way():
    tx = proximal(ADAM, L1)
    w, state = compiled_run(tx, jnp.zeros(P), 300)

    def body(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    start = (jnp.flip(w) + 1.0, state)
    (w, _), _ = jax.jit(lambda c: jax.lax.scan(body, c, None, length=STEPS))(start)
    assert distance(w, truth("l1")) < 1e-10


# --- strengths ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "inner", [optax.sgd(0.5 / L, momentum=0.9), ADAM], ids=["momentum", "adam"]
)
def test_strength_zero_is_the_inner_optimiser(inner):
    w = jnp.linspace(-1, 1, P)
    bare, _ = run(inner, w, 50)
    for step in (None, 1.0):
        found, _ = run(proximal(inner, jreg.L1(0.0), step), w, 50)
        np.testing.assert_allclose(found, bare, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_many_strengths_and_steps_in_one_vmap():
    """K networks with K strengths: a traced leaf, one trace, the answers of separate runs."""
    lams, traces = LAM * jnp.array([0.3, 1.0, 3.0]), []

    @jax.jit
    def ends(lam, step):
        traces.append(0)
        return run(proximal(ADAM, jreg.L1(lam), step), jnp.zeros(P))[0]

    together = jax.jit(jax.vmap(lambda lam: ends(lam, 1.0)))(lams)
    for lam, step, found in zip(lams, (1.0, 2.0, 3.0), together, strict=True):
        alone = ends(lam, step)
        assert distance(alone, np.asarray(found)) < 1e-10
        assert same_zeros(alone, np.asarray(found))
    assert len(traces) == 1
    assert same_zeros(together[1], truth("l1"))


@pytest.mark.usefixtures("x64")
def test_strength_of_a_call():
    """`strength=c` is the penalty at c times its strength."""
    tx, w = proximal(optax.sgd(0.5 / L), jreg.L1(2 * LAM), 1.0), jnp.ones(P)
    other = proximal(optax.sgd(0.5 / L), L1, 1.0)
    state = other.init(w)
    grads = jax.grad(loss)(w)
    a, _ = tx.update(grads, state, w, strength=0.5)
    np.testing.assert_array_equal(a, other.update(grads, state, w)[0])


def test_strengths_by_label():
    """Labels of leaves, or of whole subtrees: the same as by path."""
    w = {"a": {"kernel": jnp.ones(3), "bias": jnp.ones(2)}, "ab": jnp.ones(2), "c": [jnp.ones(1)]}
    chosen = {"strong": jreg.L1(0.5), "weak": jreg.L1(0.1), "free": None}
    labels = {"a": {"kernel": "strong", "bias": "free"}, "ab": "weak", "c": "strong"}
    tx = proximal(optax.scale(0.0), jreg.penalties.by_label(chosen, labels), 1.0)
    same = jreg.by_path({"kernel|^c": chosen["strong"], "^ab": chosen["weak"]})
    found, expected = (
        jreg.penalties.by_label(chosen, labels).prox(w, 1.0),
        same.prox(w, 1.0),
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    np.testing.assert_array_equal(found["a"]["bias"], 1)
    assert jax.tree.structure(tx.init(w).dual) == jax.tree.structure(w)
    everything = jreg.penalties.by_label({"all": jreg.L1(0.5)}, "all")
    np.testing.assert_allclose(everything.value(w), 4.0)
    with pytest.raises(ValueError, match="no penalty for label 'other'; they are for all"):
        jreg.penalties.by_label({"all": jreg.L1(0.5)}, {"a": "other"})


# --- nonconvex penalties --------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("penalty", [jreg.MCP(LAM, 3.0), jreg.SCAD(LAM, 3.7)])
def test_nonconvex_points_are_stationary(penalty):
    for step in (None, 1 / L, 10 / L):
        w, _ = compiled_run(proximal(ADAM, penalty, step), jnp.zeros(P))
        grads = jax.grad(loss)(w)
        assert float(jnp.max(penalty.kkt_distance(w, grads))) < 1e-8
        assert 15 < int((w == 0).sum()) < P


@pytest.mark.usefixtures("x64")
def test_l0_is_stationary_at_its_step():
    penalty, step = jreg.L0(0.05), 10 / L
    w, _ = compiled_run(proximal(optax.sgd(1 / L), penalty, step), jnp.zeros(P))
    again = penalty.prox(w - step * jax.grad(loss)(w), step)
    np.testing.assert_allclose(again, w, atol=1e-10)
    assert 0 < int((w == 0).sum()) < P


@pytest.mark.parametrize(
    ("penalty", "limit"),
    [
        (jreg.L1(), np.inf),
        (jreg.MCP(1.0, 3.0), 3.0),
        (jreg.SCAD(1.0, 3.7), 2.7),
        (jreg.penalties.LogSum(4.0, 2.0), 1.0),
        (jreg.penalties.LogSum(0.0, 2.0), np.inf),
        (jreg.penalties.scaled(jreg.MCP(1.0, 3.0), 2.0), 1.5),
        (jreg.penalties.translated(jreg.MCP(1.0, 3.0), 2.0), 3.0),
        (jreg.by_path({"a": jreg.MCP(1.0, 3.0)}, jreg.MCP(1.0, 2.0)), 2.0),
        (jreg.MCP(1.0, 4.0) + jreg.MCP(1.0, 4.0), 2.0),
        (jreg.penalties.envelope(jreg.L0(), 0.5), 0.5),
        (jreg.penalties.Rank(), 0.0),
    ],
)
def test_largest_step(penalty, limit):
    np.testing.assert_allclose(largest_step(penalty), limit, rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "penalty", [jreg.MCP(1.0, 3.0), jreg.SCAD(1.0, 3.7), jreg.penalties.LogSum(4.0, 2.0)]
)
def test_largest_step_makes_it_convex(penalty):
    """f + w^2 / (2 limit) is convex, with a lower limit not: second differences along a line."""
    line = jnp.linspace(-6, 6, 2001)[:, None]
    for factor, convex in ((1.0, True), (1.1, False)):
        rho = 1 / (factor * largest_step(penalty))
        f = jax.vmap(lambda w, rho=rho: penalty.value(w) + rho / 2 * w[0] ** 2)(line)
        assert (jnp.min(jnp.diff(f, 2)) > -1e-12) == convex


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_support_under_gradient_noise():
    """A constant step and a decaying rate find the zeros; a threshold tied to the rate does not."""
    X, y, _ = data()
    true = truth("l1")

    def wrong(tx, steps=40_000):
        def body(carry, key):
            w, state = carry
            i = jax.random.randint(key, (8,), 0, N)
            updates, state = tx.update(jax.grad(loss)(w, X[i], y[i]), state, w)
            w = optax.apply_updates(w, updates)
            z = point(w, state)
            return (w, state), ((w == 0) != (true == 0), z)

        w = jnp.zeros(P)
        keys = jax.random.split(jax.random.key(0), steps)
        _, (off, z) = jax.lax.scan(body, (w, tx.init(w)), keys)
        tail = steps // 10
        return off[-tail:].sum(1).mean(), z[-tail:].mean(0)

    with precision("float64"):
        X, y = jnp.asarray(X), jnp.asarray(y)
        rate = lambda k: 0.1 / L / (1 + k / 400)  # noqa: E731
        fixed, z = jax.jit(lambda: wrong(proximal(optax.sgd(rate), L1, 10 / L)))()
        tied, _ = jax.jit(lambda: wrong(proximal(optax.sgd(rate), L1, rate)))()
        assert fixed < 1
        assert tied > 8
        averaged = averaged_params(z, L1, 10 / L)
        assert same_zeros(averaged, truth("l1"))
        assert distance(averaged, truth("l1")) < 0.1


# --- messages -------------------------------------------------------------------------------------

NEGATIVE = jreg.L1(jnp.array(-1.0))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: proximal(optax.adam, L1),
            TypeError,
            r"got the function adam. Call it: optax.adam",
        ),
        (lambda: proximal(3, L1), TypeError, "inner must be an optax transform; got int"),
        (lambda: proximal(ADAM, 3), TypeError, r"must have prox\(v, step\); got int. For an L1"),
        (lambda: proximal(ADAM, jreg.L1), TypeError, "got the class L1"),
        (
            lambda: proximal(ADAM, jreg.Nuclear() + jreg.SLOPE(weights=np.ones(3))),
            TypeError,
            "Sum has none",
        ),
        (lambda: proximal(ADAM, L1, -0.1), ValueError, r"step must be > 0; got -0.1. Leave it out"),
        (lambda: proximal(ADAM, L1, np.zeros(3)), ValueError, r"got an array of shape \(3,\)"),
        (lambda: proximal(ADAM, jreg.L0()), ValueError, "L0 is not weakly convex"),
        (lambda: proximal(ADAM, NEGATIVE), ValueError, "lam must be at least 0; got -1"),
        (
            lambda: proximal(ADAM, jreg.kernels_only(NEGATIVE + jreg.Ridge(1.0))),
            ValueError,
            "lam must be at least 0; got -1",
        ),
        (
            lambda: proximal(ADAM, lambda count: NEGATIVE),
            ValueError,
            "lam must be at least 0; got -1",
        ),
        (
            lambda: proximal(ADAM, jreg.MCP(1.0, 3.0), 5.0),
            ValueError,
            "step must be below gamma = 3.0 for MCP; got 5.0",
        ),
        (
            lambda: proximal(ADAM, jreg.Nuclear(), np.ones((3, 3))).init(jnp.ones((3, 3))),
            TypeError,
            "Nuclear needs one step for all entries; got an array",
        ),
        (lambda: proximal(optax.lbfgs(), L1).init(jnp.ones(3)), TypeError, "L-BFGS remembers"),
        (
            lambda: proximal(optax.chain(optax.sgd(1.0), optax.scale_by_lbfgs()), L1).init(
                jnp.ones(3)
            ),
            TypeError,
            "ProxLBFGS",
        ),
        (
            lambda: proximal(
                optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)), L1
            ).init(jnp.ones(3)),
            TypeError,
            "line search",
        ),
        (
            lambda: proximal(ADAM, L1).update(jnp.ones(3), proximal(ADAM, L1).init(jnp.ones(3))),
            ValueError,
            r"proximal needs params: call tx.update\(grads, state, params\)",
        ),
        (
            lambda: proximal(ADAM, L1).update(
                jnp.ones(3), proximal(ADAM, L1).init(jnp.ones(3)), jnp.ones(3), value_fn=loss
            ),
            TypeError,
            "a line search would see the loss without the penalty",
        ),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_penalties_on_balls_are_feasible():
    """An infeasible start is projected at once; the dual starts small."""
    tx = proximal(optax.sgd(0.1), conjugate(jreg.penalties.Linf(1.0)))
    w = jnp.ones(10)
    state = tx.init(w)
    assert float(jnp.abs(state.dual).max()) < 1e-3
    updates, state = tx.update(jnp.ones(10), state, w)
    assert float(jnp.abs(w + updates).sum()) < 1 + 1e-5


def test_minimiser_of_two_penalties():
    """A sum with a prox: ridge and group lasso, against `solve`."""
    penalty = jreg.GroupLasso(LAM, groups=GROUPS) + jreg.Ridge(0.3)
    true = minimiser(penalty)
    with precision("float64"):
        w, _ = compiled_run(proximal(ADAM, penalty), jnp.zeros(P))
    assert distance(w, true) < 1e-8
    assert same_zeros(w, true)


def test_inverse_sqrt_schedule():
    rate = jreg.transforms.inverse_sqrt_schedule(0.5, 10)
    t = np.arange(200)
    said = np.where(t < 10, 0.05 * (t + 1), 0.5 * np.sqrt(10 / (t + 1)))
    np.testing.assert_allclose(jax.vmap(rate)(jnp.asarray(t)), said, rtol=1e-6)
    with pytest.raises(ValueError, match="warmup_steps"):
        jreg.transforms.inverse_sqrt_schedule(0.5, 0)
