"""`proximal` among the wrappers of optax: every legal place gives the same solution and zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision
from transform_cases import (
    LAM,
    STEPS,
    L,
    P,
    cosine,
    decayed,
    distance,
    loss,
    minimiser,
    run,
    same_zeros,
    truth,
)

import jreg
from jreg.transforms import find_state, proximal, scheduled

L1 = jreg.L1(LAM)


def adam():
    return optax.adam(decayed(0.02))


def with_nans(tx, every=7):
    """Every seventh gradient is NaN."""

    def init(params):
        return tx.init(params), jnp.zeros((), jnp.int32)

    def update(grads, state, params, **extra):
        inner, k = state
        grads = jnp.where(k % every == 3, jnp.nan, grads)
        updates, inner = tx.update(grads, inner, params, **extra)
        return updates, (inner, k + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def injected(step):
    def make(learning_rate, lam, step):
        return proximal(optax.adam(learning_rate), jreg.L1(lam), step)

    ramp = optax.linear_schedule(5 * LAM, LAM, STEPS // 2)
    return optax.inject_hyperparams(make)(learning_rate=decayed(0.02), lam=ramp, step=step)


def every_element(tree):
    return jax.tree.map(lambda _: True, tree)


# name: (transform, distance)
WRAPPED = {
    "last in a chain": (lambda: optax.chain(optax.identity(), proximal(adam(), L1)), 1e-9),
    "all inside": (
        lambda: proximal(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(cosine(0.02))), L1),
        1e-9,
    ),
    "warm-up from 0": (
        lambda: proximal(optax.adam(optax.warmup_cosine_decay_schedule(0.0, 0.02, 100, STEPS)), L1),
        1e-9,
    ),
    "rate before trace": (
        lambda: proximal(
            optax.chain(optax.scale_by_schedule(lambda k: -decayed(0.1 / L)(k)), optax.trace(0.9)),
            L1,
        ),
        1e-6,
    ),
    "injected rate": (
        lambda: proximal(optax.inject_hyperparams(optax.adam)(learning_rate=decayed(0.02)), L1),
        1e-9,
    ),
    "injected lam and step": (lambda: injected(1.0), 1e-6),  # it holds float32
    "strength warms up": (
        lambda: proximal(adam(), scheduled(L1, optax.linear_schedule(0.0, 1.0, 2000))),
        1e-6,  # schedules of an int32 count are float32
    ),
    "strength ramps cubically": (
        lambda: proximal(adam(), scheduled(L1, optax.polynomial_schedule(0.0, 1.0, 3, 2000))),
        1e-6,
    ),
    "MultiSteps outside": (
        lambda: optax.MultiSteps(proximal(adam(), L1), 2).gradient_transformation(),
        1e-6,
    ),
    "MultiSteps inside": (
        lambda: proximal(optax.MultiSteps(adam(), 2).gradient_transformation(), L1),
        1e-6,
    ),
    "apply_if_finite outside": (
        lambda: with_nans(optax.apply_if_finite(proximal(adam(), L1), 5)),
        1e-9,
    ),
    "apply_if_finite inside": (
        lambda: with_nans(proximal(optax.apply_if_finite(adam(), 5), L1)),
        1e-9,
    ),
    "masked": (lambda: optax.masked(proximal(adam(), L1), every_element), 1e-9),
    "partition": (
        lambda: optax.partition(
            {"sparse": proximal(adam(), L1), "dense": optax.adam(1.0)},
            lambda params: jax.tree.map(lambda _: "sparse", params),
        ),
        1e-9,
    ),
    "flatten inside": (lambda: proximal(optax.flatten(adam()), L1), 1e-9),
}
SLOW = {
    "rate before trace",
    "strength warms up",
    "injected rate",
    "flatten inside",
    "all inside",
    "warm-up from 0",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in WRAPPED],
)
def test_wrapper(name):
    make, within = WRAPPED[name]
    with precision("float64"):
        w, _ = jax.jit(lambda: run(make(), jnp.zeros(P)))()
    assert distance(w, truth("l1")) < within
    assert same_zeros(w, truth("l1"))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [n for n in WRAPPED if n not in SLOW])
def test_zeros_survive(name, dtype):
    """Exact zeros (== 0) in low precision through every wrapper, dtype kept."""
    tx, start = WRAPPED[name][0](), jnp.ones(P, dtype)
    gradient = lambda w: jax.grad(loss)(w.astype(jnp.float32)).astype(dtype)  # noqa: E731
    w, _ = jax.jit(lambda: run(tx, start, 5000, gradient))()
    assert w.dtype == start.dtype
    assert int((w == 0).sum()) >= 15


@pytest.mark.slow
def test_ridge_in_the_penalty_or_inside():
    """Coupled decay inside is the elastic net."""
    penalty = jreg.ElasticNet(LAM, 0.5)
    for inner in (optax.sgd(0.5 / L, momentum=0.9), adam()):
        tx = proximal(optax.chain(optax.add_decayed_weights(LAM / 2), inner), jreg.L1(LAM / 2))
        with precision("float64"):
            w, _ = jax.jit(lambda tx=tx: run(tx, jnp.zeros(P)))()
        assert distance(w, minimiser(penalty)) < 1e-9
        assert same_zeros(w, minimiser(penalty))


@pytest.mark.slow
def test_decoupled_decay_is_biased_as_it_is():
    """adamw inside: full batches give loss + penalty under max |w| <= 1 / decay."""
    for decay, within, beyond in ((0.01, 1e-4, 0.0), (1.0, np.inf, 0.1)):
        tx = proximal(optax.adamw(decayed(0.02), weight_decay=decay), L1)
        with precision("float64"):
            w, _ = jax.jit(lambda tx=tx: run(tx, jnp.zeros(P)))()
        assert beyond <= distance(w, truth("l1")) < within
        assert np.abs(np.asarray(w)).max() < 1 / decay


@pytest.mark.parametrize("inside", [False, True])
def test_skipped_steps_move_nothing(inside):
    """Accumulation: prox(w + step y) is w, so a call without an update changes nothing."""
    tx = proximal(optax.sgd(0.1), jreg.L1(0.3), 0.5)
    if inside:
        accumulated = optax.MultiSteps(optax.sgd(0.1), 4).gradient_transformation()
        tx = proximal(accumulated, jreg.L1(0.3), 0.5)
    else:
        tx = optax.MultiSteps(tx, 4).gradient_transformation()
    w = jnp.linspace(-1, 1, P)
    state, update = tx.init(w), jax.jit(lambda w, state: tx.update(jax.grad(loss)(w), state, w))
    for k in range(8):
        updates, state = update(w, state)
        new = optax.apply_updates(w, updates)
        moved = float(jnp.max(jnp.abs(new - w)))
        assert moved > 1e-3 if k % 4 == 3 else moved < 3e-4  # the start's dual is good to 1e-3
        w = new


def test_a_step_of_nan_is_forgotten():
    """Skipped inside, it counts in no sum: the prox step is estimated from the others."""
    tx, w = proximal(optax.apply_if_finite(optax.sgd(0.1), 5), jreg.L1(0.3)), jnp.linspace(-1, 1, 5)
    state = tx.init(w)
    for g in (jnp.full(5, jnp.nan), w, w, w):
        updates, state = tx.update(g, state, w)
    np.testing.assert_allclose(state.step, 30 * 0.1, rtol=1e-5)
    assert jnp.isfinite(w + updates).all()


def test_value_driven_optimiser_sees_the_penalty():
    """Polyak's step needs the value of loss + penalty, and is given it."""
    with precision("float64"):
        true = jnp.asarray(truth("l1"))
        tx = proximal(optax.polyak_sgd(1 / L, f_min=loss(true) + L1.value(true)), L1, 1.0)
        w, _ = jax.jit(lambda: run(tx, jnp.zeros(P), value=loss))()
    assert distance(w, truth("l1")) < 1e-6
    assert same_zeros(w, truth("l1"))


@pytest.mark.slow
def test_lookahead_outside_and_schedule_free_inside():
    with precision("float64"):
        tx = proximal(optax.contrib.schedule_free_sgd(1 / L), L1)
        w, _ = jax.jit(lambda: run(tx, jnp.zeros(P)))()
    assert distance(w, truth("l1")) < 1e-2
    assert same_zeros(w, truth("l1"))
    with pytest.raises(TypeError):
        proximal(optax.lookahead(optax.sgd(0.1), 5, 0.5), L1).init(jnp.zeros(P))
    params = optax.LookaheadParams.init_synced(jnp.zeros(P))
    with pytest.raises(TypeError, match="lookahead averages"):
        proximal(optax.lookahead(optax.sgd(0.1), 5, 0.5), L1).init(params)


def test_state_is_found_in_wrappers():
    tx = optax.chain(optax.identity(), optax.masked(proximal(optax.adam(0.1), L1), every_element))
    state = find_state(tx.init(jnp.ones(3)))
    assert state.dual.shape == (3,)
