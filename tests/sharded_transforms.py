"""Run by `test_transforms_networks.py` in a process with 8 CPU devices: sharded parameters train
as those on one device do, and the state is sharded as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jreg
from jreg.transforms import proximal

devices = jax.devices()
assert len(devices) == 8
mesh = Mesh(np.array(devices), ("i",))
X = jax.random.normal(jax.random.key(0), (64, 32))
Y = X[:, :8] @ jax.random.normal(jax.random.key(1), (8, 16))  # 24 of 32 inputs do nothing
w = {"kernel": jax.random.normal(jax.random.key(2), (32, 16)), "bias": jnp.zeros(16)}


def put(x, *spec):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))


def loss(w):
    return 0.5 * jnp.mean((X @ w["kernel"] + w["bias"] - Y) ** 2)


for penalty in (jreg.L1(0.02), jreg.GroupLasso(0.02, axis=0)):
    tx = proximal(optax.adam(0.02), jreg.by_path({"kernel": penalty}))

    @jax.jit
    def train(w, tx=tx):
        def body(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss)(w), state, w)
            return (optax.apply_updates(w, updates), state), None

        return jax.lax.scan(body, (w, tx.init(w)), None, length=300)[0]

    alone, _ = train(w)
    for spec in (("i",), (None, "i")):
        sharded = {"kernel": put(w["kernel"], *spec), "bias": put(w["bias"])}
        found, state = jax.block_until_ready(train(sharded))
        for name in w:
            np.testing.assert_allclose(found[name], alone[name], atol=2e-3, err_msg=name)
        zeros = np.asarray(found["kernel"] == 0)
        assert (zeros == np.asarray(alone["kernel"] == 0)).mean() > 0.99
        assert zeros.any()
        shards = sharded["kernel"].sharding
        assert found["kernel"].sharding.is_equivalent_to(shards, 2)
        assert state.dual["kernel"].sharding.is_equivalent_to(shards, 2)
