"""The transforms that are named for what they solve: each against its definition."""

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
    P,
    compiled_run,
    data,
    decayed,
    distance,
    loss,
    minimiser,
    same_zeros,
    truth,
)

import jreg
from jreg import transforms as tr
from jreg.transforms.subgradient import shortest

L1 = jreg.L1(LAM)


@pytest.fixture(autouse=True)
def x64():
    with precision("float64"):
        yield


def after(tx, w, steps, gradient=None):
    return np.asarray(compiled_run(tx, jnp.asarray(w), steps, gradient=gradient)[0])


# --- subgradients ---------------------------------------------------------------------------------

SOME = jnp.array([1.5, -0.2, 0.0, 0.0, 0.0, 3.0])


@pytest.mark.parametrize(
    "penalty",
    [
        jreg.L1(0.7),
        jreg.ElasticNet(0.7, 0.5),
        jreg.Ridge(0.7),
        jreg.MCP(0.7, 3.0),
        jreg.L1(0.7, weights=jnp.array([0.0, 1.0, 2.0, 0.0, 1.0, 1.0])),
        jreg.penalties.AsymmetricL1(0.7, 2.0, 0.5),
        jreg.penalties.NonNegativeL1(0.7),
        jreg.GroupLasso(0.7, groups=jreg.Groups([0, 0, 1, 1, 1, 2])),
        jreg.SparseGroupLasso(0.7, l1_ratio=0.3, groups=jreg.Groups([0, 0, 1, 1, 1, 2])),
        jreg.L1(0.7) + jreg.Ridge(0.2),
        jreg.penalties.masked(jreg.L1(0.7), True),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_shortest_subgradient(penalty):
    """It is the limit of (w - prox(w - t g)) / t, the velocity of the proximal gradient flow."""
    w = jnp.abs(SOME) if isinstance(penalty, jreg.penalties.NonNegativeL1) else SOME
    tx, t = tr.add_penalty_gradient(penalty), 1e-7
    for seed in range(3):
        g = 1.2 * jax.random.normal(jax.random.key(seed), (6,), float)
        found, flow = jax.jit(
            lambda g: (tx.update(g, tx.init(w), w)[0], (w - penalty.prox(w - t * g, t)) / t)
        )(g)
        np.testing.assert_allclose(found, flow, atol=2e-6)


@pytest.mark.parametrize(
    ("penalty", "w"),
    [
        (jreg.L1(1.0) + jreg.penalties.Box(-2.0, 2.0), 2.0),
        (jreg.penalties.Box(-2.0, 2.0), 2.0),
        (jreg.penalties.tilted(jreg.L1(1.0), 3.0), 0.0),
        (jreg.penalties.tilted(jreg.Ridge(1.0), 3.0), 0.0),
        (jreg.penalties.tilted(jreg.penalties.translated(jreg.L1(1.0), 2.0), 3.0), 2.0),
        (jreg.penalties.AsymmetricL1(1.0, 2.0, 0.5), 0.0),
        (jreg.penalties.scaled(jreg.L1(1.0), 2.0), 0.5),
    ],
)
def test_the_shortest_subgradient_of_a_kink_anywhere(penalty, w):
    """Also where 0 is no subgradient of the penalty."""
    g, t = jnp.linspace(-5, 5, 11), 1e-6
    w = jnp.full(g.shape, w)
    flow = (w - penalty.prox(w - t * g, t)) / t
    np.testing.assert_allclose(shortest(penalty, w, g), flow, atol=1e-5)


def test_subgradients_chatter_and_prox_does_not():
    """Around a zero of the solution: sign jumps for ever, the least subgradient holds a zero that
    it is given, `proximal` makes them."""
    w, lr = jnp.ones(P), 0.5 / L
    last = {
        name: [after(tx, w, k) for k in (STEPS, STEPS + 1)]
        for name, tx in {
            "sign": optax.chain(tr.add_sign(LAM), optax.sgd(lr)),
            "least": optax.chain(tr.add_penalty_gradient(L1), optax.sgd(lr)),
            "proximal": tr.proximal(optax.sgd(lr), L1),
        }.items()
    }
    zeros = truth("l1") == 0
    for name in ("sign", "least"):
        a, b = (w[zeros] for w in last[name])
        assert ((a != 0) | (b != 0)).mean() > 0.9, name
        assert (a * b < 0).mean() > 0.3, name  # signs flip from step to step
        assert np.abs(a).max() < 3 * lr * LAM + 0.05, name
    assert same_zeros(last["proximal"][0], truth("l1"))
    start = jnp.asarray(truth("l1"))
    kept = after(optax.chain(tr.add_penalty_gradient(L1), optax.sgd(0.1 / L)), start, 100)
    assert same_zeros(kept, truth("l1"))
    left = after(optax.chain(tr.add_sign(LAM), optax.sgd(0.1 / L)), start, 100)
    assert (left[zeros] != 0).all()


def test_messages_of_subgradients():
    with pytest.raises(TypeError, match="of SLOPE is not that of single entries or groups"):
        tr.add_penalty_gradient(jreg.SLOPE(weights=np.ones(3)))
    with pytest.raises(TypeError, match="must be a member"):
        tr.add_penalty_gradient(0.1)
    with pytest.raises(ValueError, match="lam must be at least 0; got -1"):
        tr.add_sign(-1.0)
    with pytest.raises(ValueError, match="lam must be at least 0; got -1"):
        tr.add_penalty_gradient(jreg.L1(jnp.array(-1.0)))


# --- weight decay ---------------------------------------------------------------------------------

RATE, DECAY = 0.03, 0.7


def one_step(tx, w, g):
    return optax.apply_updates(w, tx.update(g, tx.init(w), w)[0])


@pytest.mark.parametrize(
    ("tx", "definition"),
    [
        (  # coupled
            optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE)),
            lambda w, g: w - RATE * (g + DECAY * w),
        ),
        (
            optax.chain(tr.add_penalty_gradient(jreg.Ridge(DECAY)), optax.sgd(RATE)),
            lambda w, g: w - RATE * (g + DECAY * w),
        ),
        (  # decoupled
            optax.adamw(RATE, weight_decay=DECAY, eps=0.0),
            lambda w, g: (1 - RATE * DECAY) * w - RATE * jnp.sign(g),
        ),
        (  # proximal
            tr.proximal_decay(optax.sgd(RATE), DECAY, RATE),
            lambda w, g: (w - RATE * g) / (1 + RATE * DECAY),
        ),
        (  # lam/m: the mean of m losses + lam/(2m) |w|^2
            optax.chain(optax.add_decayed_weights(DECAY / 50), optax.sgd(RATE)),
            lambda w, g: (1 - RATE * DECAY / 50) * w - RATE * g,
        ),
    ],
    ids=["coupled", "subgradient", "decoupled", "proximal", "lam/m"],
)
def test_weight_decay_is_its_definition(tx, definition):
    g = jnp.linspace(-1, 2, 6)
    np.testing.assert_allclose(one_step(tx, SOME, g), definition(SOME, g), atol=1e-14)


def ridge(lam):
    X, y, _ = data()
    n = len(y)
    return np.linalg.solve(X.T @ X / n + lam * np.eye(P), X.T @ y / n)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_weight_decay_minimises(momentum):
    """Coupled: ridge of strength lam. Proximal: with accumulated momentum b, (1 - b) lam."""
    inner = optax.sgd(0.3 / L, momentum=momentum)
    coupled = optax.chain(optax.add_decayed_weights(DECAY), inner)
    assert distance(after(coupled, np.zeros(P), STEPS), ridge(DECAY)) < 1e-9
    inside = tr.proximal(inner, jreg.Ridge(DECAY))
    assert distance(after(inside, np.zeros(P), STEPS), ridge(DECAY)) < 1e-9
    behind = tr.proximal_decay(inner, DECAY, 0.3 / L)
    true = ridge(DECAY * (1 - momentum))
    assert distance(after(behind, np.zeros(P), STEPS), true) < 1e-9
    adam = tr.proximal_decay(optax.adam(decayed(0.02)), DECAY, decayed(0.02))
    assert distance(after(adam, np.zeros(P), STEPS), ridge(DECAY)) > 0.1


# --- a prox behind the optimiser ------------------------------------------------------------------


def test_decoupled_is_right_for_sgd_and_ema_alone():
    sgd = tr.decoupled(optax.sgd(1 / L), L1, 1 / L)
    assert distance(after(sgd, np.zeros(P), STEPS), truth("l1")) < 1e-9
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\); got 1"):
        tr.proximal_sgd(1 / L, L1, momentum=1.0)
    ema = tr.proximal_sgd(1 / L, L1, momentum=0.9)
    assert distance(after(ema, np.zeros(P), STEPS), truth("l1")) < 1e-9
    heavy = tr.decoupled(optax.sgd(1 / L, momentum=0.9), L1, 1 / L)
    found = after(heavy, np.zeros(P), STEPS)
    assert distance(found, truth("l1")) > 0.1
    assert distance(found, minimiser(jreg.L1(LAM * (1 - 0.9)))) < 1e-9  # what it says


@pytest.mark.slow
def test_decoupled_adam_solves_the_lasso_weighted_by_gradient_noise():
    """Strength lam rms(g_i): with noise of standard deviation 0.3 to 3 in the gradients."""
    noise, lam = jnp.geomspace(0.3, 3.0, P), 0.3
    tx = tr.decoupled(optax.adam(decayed(0.02)), jreg.L1(lam), decayed(0.02))

    def body(carry, key):
        w, state = carry
        g = jax.grad(loss)(w) + noise * jax.random.normal(key, (P,), float)
        updates, state = tx.update(g, state, w)
        return (optax.apply_updates(w, updates), state), None

    keys = jax.random.split(jax.random.key(0), STEPS)
    w = jnp.zeros(P)
    w = jax.jit(lambda: jax.lax.scan(body, (w, tx.init(w)), keys))()[0][0]
    weighted = jreg.L1(lam, weights=jnp.sqrt(noise**2 + jax.grad(loss)(w) ** 2))
    near, far = distance(w, minimiser(weighted)), distance(w, minimiser(jreg.L1(lam)))
    assert near < 0.1
    assert far > 3 * near


@pytest.mark.parametrize("penalty", [L1, jreg.GroupLasso(LAM, groups=GROUPS)], ids=["l1", "group"])
def test_proximal_adam_is_right_at_a_constant_rate(penalty):
    found = after(tr.proximal_adam(0.02, penalty), np.zeros(P), STEPS)
    true = minimiser(penalty)
    assert distance(found, true) < 1e-9
    assert same_zeros(found, true)


def test_proximal_adam_first_step_is_its_definition():
    g, rate, step = jnp.array([2.0, -1.0]), 0.1, 0.1 / jnp.array([2.0, 1.0])
    tx = tr.proximal_adam(rate, jreg.L1(0.5), eps=0.0, floor=0.0)
    w = jnp.array([1.0, 0.12])
    np.testing.assert_allclose(one_step(tx, w, g), jreg.L1(0.5).prox(w - step * g, step))


def test_proximal_adam_refuses_one_step_for_all():
    with pytest.raises(TypeError, match="Nuclear needs one step for all entries"):
        tr.proximal_adam(0.1, jreg.Nuclear()).init(jnp.ones((3, 3)))


# --- dual variables -------------------------------------------------------------------------------


def test_linbreg_minimises_the_loss_alone_and_grows_from_sparse():
    X, y, _ = data()
    least_squares = np.linalg.lstsq(X, y, rcond=None)[0]
    tx = tr.linbreg(optax.sgd(0.5 / L, momentum=0.9, nesterov=True), jreg.L1(1.0))
    counts = [(after(tx, np.zeros(P), k) != 0).sum() for k in (1, 10, 100)]
    assert counts == sorted(counts)
    assert counts[0] < 5
    assert counts[-1] > counts[0]
    assert distance(after(tx, np.zeros(P), 10 * STEPS), least_squares) < 1e-3


def test_linbreg_keeps_its_start():
    """v_0 is such that its prox is the start, zeros or not."""
    w = jnp.asarray([0.0, 0.3, -2.0])
    tx = tr.linbreg(optax.sgd(1.0), jreg.L1(0.5), delta=0.5)
    np.testing.assert_allclose(one_step(tx, w, jnp.zeros(3)), w, atol=2e-3)


def test_rda_is_its_definition_and_nears_the_solution():
    """argmin <mean g, w> + P(w) + gamma / (2 sqrt k) |w - w_0|^2."""
    tx, w0 = tr.rda(2.0, L1), jnp.linspace(-1, 1, P)
    w, state, seen = w0, tx.init(w0), []
    for k in range(1, 4):
        seen.append(jax.grad(loss)(w))
        updates, state = tx.update(seen[-1], state, w)
        w = optax.apply_updates(w, updates)
        mean, pull = sum(seen) / k, 2.0 / np.sqrt(k) * (w - w0)
        np.testing.assert_allclose(L1.kkt_distance(w, mean + pull), 0, atol=1e-12)
    assert distance(after(tr.rda(2.0, L1), np.zeros(P), STEPS), truth("l1")) < 0.3


@pytest.mark.parametrize("make", [tr.linbreg, tr.rda])
def test_convex_penalties_only(make):
    first = 1.0 if make is tr.rda else optax.sgd(0.1)
    with pytest.raises(ValueError, match="needs a convex penalty; got MCP"):
        make(first, jreg.MCP(1.0))


# --- max norm -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, -1])
def test_max_norm(axis):
    """The projection, the constraint held with any optimiser, and the right fixed point."""
    ball = tr.MaxNorm(0.8, axis=axis)
    w = jax.random.normal(jax.random.key(0), (8, 4), float)
    other = tuple({0, 1} - {axis % 2})
    norms = jnp.linalg.norm(w, axis=other[0], keepdims=True)
    np.testing.assert_allclose(ball.prox(w, 1.0), w * jnp.minimum(1, 0.8 / norms), rtol=1e-12)
    assert ball.value(ball.prox(w, 1.0)) == 0
    assert ball.value(w) == jnp.inf
    found = after(tr.proximal(optax.adam(decayed(0.05)), ball), np.zeros((8, 4)), STEPS)
    assert (np.linalg.norm(found, axis=other[0]) < 0.8 + 1e-12).all()
    assert float(jnp.max(ball.kkt_distance(found, jax.grad(loss)(jnp.asarray(found))))) < 1e-8


# --- strength -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.5, 0.8, optax.polynomial_schedule(0.0, 0.7, 3, 2000)])
def test_target_sparsity(target):
    tx = tr.target_sparsity(optax.sgd(0.05), L1, target, rate=0.02)
    w, state = compiled_run(tx, jnp.ones(P), STEPS)
    aim = 0.7 if callable(target) else target
    assert abs(float((w == 0).mean()) - aim) <= 1.5 / P
    np.testing.assert_allclose(state.sparsity, (w == 0).mean(), rtol=1e-6)


def test_sparsity_counts_penalised_entries():
    tx = tr.target_sparsity(optax.sgd(0.1), jreg.kernels_only(jreg.L1(0.1)), 0.5)
    state = tx.init({"kernel": jnp.eye(2), "bias": jnp.zeros(2)})
    assert state.sparsity == 0.5
    with pytest.raises(ValueError, match="target must be between 0 and 1; got 3"):
        tr.target_sparsity(optax.sgd(0.1), L1, 3)


def test_scheduled():
    ramp = tr.scheduled(L1, optax.polynomial_schedule(0.0, 1.0, power=3, transition_steps=10))
    np.testing.assert_allclose(ramp(5).lam, LAM * (1 - 0.5**3), rtol=1e-6)
    with pytest.raises(TypeError, match="schedule must be a function"):
        tr.scheduled(L1, 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: tr.proximal(optax.sgd(0.1), f, 0.1),
        lambda f: tr.decoupled(optax.sgd(0.1), f, 0.1),
        lambda f: tr.proximal_sgd(0.1, f),
        lambda f: tr.proximal_adam(0.1, f),
        lambda f: tr.linbreg(optax.sgd(0.1), f),
        lambda f: tr.rda(1.0, f),
        lambda f: optax.chain(tr.add_penalty_gradient(f), optax.sgd(0.1)),
    ],
    ids=["proximal", "decoupled", "sgd", "adam", "linbreg", "rda", "subgradient"],
)
def test_a_schedule_is_followed_by_every_transform(make):
    """A penalty that sets in at the third update: the run is that of none before, not after."""

    def trail(penalty):
        w, points = jnp.linspace(0.5, 1.5, 5), []
        tx = make(penalty)
        state = tx.init(w)
        for _ in range(3):
            updates, state = tx.update(w - 2, state, w)
            w = optax.apply_updates(w, updates)
            points.append(w)
        return points

    found = trail(tr.scheduled(jreg.L1(0.4), lambda count: 1.0 * (count >= 2)))
    free = trail(jreg.L1(0.0))
    for a, b in zip(found[:2], free[:2], strict=True):
        np.testing.assert_allclose(a, b)
    assert jnp.abs(found[2] - free[2]).max() > 0.01
