"""jreg.stochastic inside flax, equinox and plain JAX: one network, the same numbers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stochastic_cases import KEY, input_of

from jreg.stochastic import (
    BatchStats,
    batch_norm,
    dropout,
    fractional_max_pool,
    initial_stats,
    stochastic_depth,
)

X, W = input_of("float32", (6, 9, 4)), input_of("float32", (4, 4), 1)


def block(w, running, key, x, deterministic):
    """A residual block with everything in it: (output, running statistics)."""
    first, second, third = (None,) * 3 if deterministic else jax.random.split(key, 3)
    branch, running = batch_norm(x @ w, running, deterministic=deterministic)
    branch = dropout(first, jax.nn.relu(branch), 0.2, deterministic=deterministic)
    x = x + stochastic_depth(second, branch, 0.3, deterministic=deterministic)
    return fractional_max_pool(third, x, 6, deterministic=deterministic), running


class InEquinox(eqx.Module):
    """The statistics are part of the state that the caller carries, not of the module."""

    w: jax.Array

    def __call__(self, x, running, *, key=None, inference=False):
        return block(self.w, running, key, x, inference)


def in_flax():
    linen = pytest.importorskip("flax.linen")

    class InFlax(linen.Module):
        inference: bool = False

        @linen.compact
        def __call__(self, x: Any) -> Any:
            w = self.param("w", lambda key: W)
            stats = self.variable("batch_stats", "bn", initial_stats, x.shape[-1])
            key = None if self.inference else self.make_rng("dropout")
            y, running = block(w, stats.value, key, x, self.inference)
            if not self.inference:
                stats.value = running
            return y

    return InFlax


@pytest.mark.parametrize("inference", [False, True])
def test_equinox_is_plain_jax(inference):
    call = eqx.filter_jit(InEquinox(W))
    found = call(X, initial_stats(4), key=KEY, inference=inference)
    expected = block(W, initial_stats(4), KEY, X, inference)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_flax_carries_the_statistics():
    InFlax = in_flax()
    variables = InFlax().init({"params": KEY, "dropout": KEY}, X)
    assert isinstance(variables["batch_stats"]["bn"], BatchStats)
    start = {"params": {"w": W}, "batch_stats": {"bn": initial_stats(4)}}
    y, new = InFlax().apply(start, X, rngs={"dropout": KEY}, mutable=["batch_stats"])
    _, expected = block(W, initial_stats(4), KEY, X, False)
    np.testing.assert_allclose(new["batch_stats"]["bn"].var, expected.var, rtol=1e-5)
    assert y.shape == (6, 6, 4)
    used = InFlax(inference=True).apply({**start, **new}, X)
    np.testing.assert_allclose(used, block(W, expected, None, X, True)[0], rtol=1e-5, atol=1e-5)


def test_training_in_plain_jax():
    """A compiled scan that carries the statistics; it lowers the loss of the network in use."""
    target = fractional_max_pool(None, X, 6, deterministic=True) @ jnp.array([1.0, -1.0, 0.5, 0.0])
    tx = optax.adam(0.05)

    def loss(params, running, key, deterministic):
        y, running = block(params["w"], running, key, X, deterministic)
        return jnp.mean((y @ params["head"] - target) ** 2), running

    def step(carry, key):
        params, state, running = carry
        grads, running = jax.grad(loss, has_aux=True)(params, running, key, False)
        updates, state = tx.update(grads, state)
        return (optax.apply_updates(params, updates), state, running), None

    params, running = {"w": W, "head": jnp.zeros(4)}, initial_stats(4)
    keys = jax.random.split(KEY, 200)
    carry = (params, tx.init(params), running)
    (trained, _, seen), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(carry)
    before, after = loss(params, running, None, True)[0], loss(trained, seen, None, True)[0]
    assert after < 0.7 * before
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((trained, seen)))
