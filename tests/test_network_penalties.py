"""The textbook's cost of a network, its gradient step, and the L1 version, out of jreg's parts.

J = 1/m sum of losses + sum_l lam_l/(2m) |W_l|_F^2,    W_l <- (1 - lr lam_l/m) W_l - lr grad
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision

import jreg
from jreg.transforms import add_penalty_gradient

M, RATE = 40, 0.3
LAMS = {"first": 3.0, "second": 0.5, "head": 0.0}
WIDTHS = (5, 7, 4, 3)


@pytest.fixture(autouse=True)
def x64():
    with precision("float64"):
        yield


def network():
    rng = np.random.default_rng(0)
    return {
        name: {"kernel": jnp.asarray(rng.normal(size=(a, b))), "bias": jnp.full(b, 0.1)}
        for name, a, b in zip(LAMS, WIDTHS[:-1], WIDTHS[1:], strict=True)
    }


@jax.jit
def losses(params):
    """Cross-entropy of each of m samples."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(M, WIDTHS[0])))
    labels = jnp.arange(M) % 3
    for name in ("first", "second"):
        x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"][None])
    eta = x @ params["head"]["kernel"] + params["head"]["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(eta, labels)


def per_layer(member, row, lams=LAMS):
    """One member for the kernel of each layer, its lam in the textbook's units."""
    return jreg.by_path(
        {f"{name}/kernel": member(jreg.convert_lam(lam, row, M)) for name, lam in lams.items()}
    )


SQUARES = per_layer(jreg.Ridge, "mean_l2_over_2m")
ABSOLUTE = per_layer(jreg.L1, "mean_l1_over_2m")


def cost(penalty):
    return lambda params: losses(params).mean() + penalty.value(params)


plain_slope = jax.jit(jax.grad(lambda params: losses(params).mean()))


def stepped(params, shrunk):
    """`shrunk(lam, W) - lr grad` for kernels and `b - lr grad` for biases."""
    grads = plain_slope(params)
    return {
        name: {
            "kernel": shrunk(LAMS[name], layer["kernel"]) - RATE * grads[name]["kernel"],
            "bias": layer["bias"] - RATE * grads[name]["bias"],
        }
        for name, layer in params.items()
    }


def shrunk_by_squares(lam, W):
    return (1 - RATE * lam / M) * W


def shrunk_by_absolute(lam, W):
    return W - RATE * lam / (2 * M) * jnp.sign(W)


def close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15), a, b)


@pytest.mark.parametrize(
    ("penalty", "norm"),
    [(SQUARES, lambda W: jnp.sum(W**2)), (ABSOLUTE, lambda W: jnp.sum(jnp.abs(W)))],
    ids=["squares", "absolute"],
)
def test_cost_is_the_formula(penalty, norm):
    params = network()
    added = sum(lam / (2 * M) * norm(params[name]["kernel"]) for name, lam in LAMS.items())
    np.testing.assert_allclose(cost(penalty)(params), losses(params).sum() / M + added, rtol=1e-14)


CASES = pytest.mark.parametrize(
    ("penalty", "shrunk"),
    [(SQUARES, shrunk_by_squares), (ABSOLUTE, shrunk_by_absolute)],
    ids=["squares", "absolute"],
)


@CASES
def test_autodiff_of_the_cost_is_the_update(penalty, shrunk):
    """w - lr grad J, by jax.grad alone and by optax."""
    params = network()
    expected = stepped(params, shrunk)
    slope = jax.jit(jax.grad(cost(penalty)))(params)
    close(jax.tree.map(lambda w, g: w - RATE * g, params, slope), expected)
    tx = optax.chain(add_penalty_gradient(penalty), optax.sgd(RATE))
    grads = plain_slope(params)
    updates, _ = tx.update(grads, tx.init(params), params)
    close(optax.apply_updates(params, updates), expected)


def test_one_lam_for_all_layers():
    """kernels_only, and optax's decay of weights with the same mask."""
    params, lam = network(), 2.0
    decay = jreg.kernels_only(jreg.Ridge(jreg.convert_lam(lam, "mean_l2_over_2m", M)))
    close(
        jax.grad(decay.value)(params),
        jax.grad(per_layer(jreg.Ridge, "mean_l2_over_2m", dict.fromkeys(LAMS, lam)).value)(params),
    )
    kernels = jax.tree.map(lambda w: w.ndim > 1, params)
    theirs = optax.add_decayed_weights(lam / M, kernels)
    grads = plain_slope(params)
    shown, _ = theirs.update(grads, theirs.init(params), params)
    close(shown, jax.grad(cost(decay))(params))


def test_strengths_may_be_traced():
    """One compiled step for all strengths, and derivatives in them."""

    @jax.jit
    def value(lams):
        return per_layer(jreg.Ridge, "mean_l2_over_2m", lams).value(network())

    slopes = jax.grad(value)(LAMS)
    for name, layer in network().items():
        np.testing.assert_allclose(slopes[name], jnp.sum(layer["kernel"] ** 2) / (2 * M))


def test_units_of_the_minibatch():
    """m counts the training set: the mean step over its minibatches is the step of J."""
    params = network()

    def step(rows):
        return jax.grad(lambda params: losses(params)[rows].mean() + SQUARES.value(params))(params)

    parts = [step(slice(k, k + 8)) for k in range(0, M, 8)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *parts)
    close(mean, jax.grad(cost(SQUARES))(params))


def test_zeros_of_the_absolute_cost():
    """At 0 autodiff adds nothing: the gradient step has no exact zeros, `proximal` has."""
    penalty = per_layer(jreg.L1, "mean_l1_over_2m", {"first": 8.0, "second": 8.0, "head": 8.0})
    start = network()
    start["first"]["kernel"] = start["first"]["kernel"].at[0].set(0)
    assert (jax.grad(penalty.value)(start)["first"]["kernel"][0] == 0).all()

    def train(tx, slope):
        def body(carry, _):
            params, state = carry
            updates, state = tx.update(slope(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        run = jax.jit(lambda carry: jax.lax.scan(body, carry, length=300)[0])
        params, _ = run((start, tx.init(start)))
        kernels = jnp.concatenate([layer["kernel"].ravel() for layer in params.values()])
        return params, int((kernels == 0).sum())

    by_steps, zeros = train(optax.sgd(0.1), jax.grad(cost(penalty)))
    assert zeros == 0
    by_prox, zeros = train(jreg.proximal(optax.sgd(0.1), penalty), plain_slope)
    assert zeros > 20
    assert cost(penalty)(by_prox) < cost(penalty)(by_steps)
