"""Networks: groups, low rank, what is left after training; flax and equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import on_eight_devices

import jreg
from jreg import transforms as tr
from jreg.transforms import compact, freeze_zeros, optimality, proximal, sparsity_report

WIDTHS = (8, 20, 12, 3)


def network(seed=0):
    """Layers (kernel, bias) of a relu network, He initialised."""
    keys = jax.random.split(jax.random.key(seed), len(WIDTHS) - 1)
    return [
        {"kernel": jax.random.normal(k, (a, b)) * np.sqrt(2 / a), "bias": jnp.full(b, 0.1)}
        for k, a, b in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]


def apply(layers, x, activation=jax.nn.relu):
    for layer in layers[:-1]:
        x = activation(x @ layer["kernel"] + layer["bias"][None])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"][None]


def train(tx, steps=400, seed=0):
    X = jax.random.normal(jax.random.key(1), (128, 8))
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)

    def loss(w):
        return optax.softmax_cross_entropy_with_integer_labels(apply(w, X), labels).mean()

    def body(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    w = network(seed)
    carry, _ = jax.jit(lambda w: jax.lax.scan(body, (w, tx.init(w)), None, length=steps))(w)
    return *carry, jax.jit(loss), X


GROUPS = jreg.kernels_only(jreg.GroupLasso(0.01, axis=-1))


@pytest.fixture(scope="module")
def trained():
    return train(proximal(optax.adam(1e-2), GROUPS))


def pairs(w):
    return [(layer["kernel"], layer["bias"]) for layer in w]


def test_whole_neurons_vanish_and_compact_takes_them_out(trained):
    w, _, loss, X = trained
    dead = [int((layer["kernel"] == 0).all(0).sum()) for layer in w[:-1]]
    assert dead[0] > 2
    assert loss(w) < 0.5
    small = compact(pairs(w))
    for (kernel, _), layer, gone in zip(small[:-1], w[:-1], dead, strict=True):
        assert kernel.shape[1] <= layer["kernel"].shape[1] - gone
    layers = [{"kernel": k, "bias": b} for k, b in small]
    np.testing.assert_allclose(apply(layers, X), apply(w, X), atol=1e-5)


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.sigmoid])
def test_compact_on_hand_made_networks(activation):
    """Silent and unseen neurons, chains of them, constants that must be folded."""
    w = network(3)
    kill = lambda a, index: a.at[index].set(0)  # noqa: E731
    w[0]["kernel"] = kill(w[0]["kernel"], (slice(None), jnp.array([0, 3])))  # silent
    w[1]["kernel"] = kill(w[1]["kernel"], (jnp.array([5, 6]), slice(None)))  # unseen
    w[2]["kernel"] = kill(w[2]["kernel"], (jnp.array([1]), slice(None)))
    w[1]["kernel"] = w[1]["kernel"].at[7, jnp.array([0, *range(2, 12)])].set(0)  # feeds 1 alone
    small = compact(pairs(w), activation)
    assert [kernel.shape for kernel, _ in small] == [(8, 15), (15, 11), (11, 3)]
    X = jax.random.normal(jax.random.key(0), (50, 8))
    found = apply([{"kernel": k, "bias": b} for k, b in small], X, activation)
    np.testing.assert_allclose(found, apply(w, X, activation), atol=2e-6)


def test_compact_filters():
    """A silent filter goes if its constant output is 0, an unseen one in any case."""
    first = jnp.ones((3, 3, 2, 4)).at[..., 1:3].set(0)
    bias = jnp.array([0.5, 0.5, -0.5, 0.5])
    second = jnp.ones((3, 3, 4, 5)).at[:, :, 3].set(0)
    small = compact([(first, bias), (second, jnp.zeros(5))])
    assert small[0][0].shape == (3, 3, 2, 2)  # filter 1 stays: relu(0.5) is no zero at borders
    assert small[1][0].shape == (3, 3, 2, 5)
    np.testing.assert_array_equal(small[0][1], [0.5, 0.5])


def test_compact_without_biases_and_messages():
    kernels = [(jnp.ones((2, 3)).at[:, 0].set(0), None), (jnp.ones((3, 1)), None)]
    assert compact(kernels)[0][0].shape == (2, 2)
    assert compact(kernels)[0][1] is None
    with pytest.raises(ValueError, match=r"got \(2, 3\) before \(4, 1\) in layers 0 and 1"):
        compact([kernels[0], (jnp.ones((4, 1)), None)])


def test_report(trained):
    w, state, loss, _ = trained
    grads = jax.jit(jax.grad(loss))(w)
    report = sparsity_report(w, GROUPS, grads, state)
    leaves = jax.tree.leaves(w)
    assert report.size == sum(leaf.size for leaf in leaves)
    assert report.zeros == sum(int((leaf == 0).sum()) for leaf in leaves)
    kernels = [layer["kernel"] for layer in w]
    assert report.active_groups == sum(int((k != 0).any(0).sum()) for k in kernels)
    np.testing.assert_allclose(report.penalty, GROUPS.value(w), rtol=1e-6)
    np.testing.assert_allclose(report.optimality, optimality(grads, state), rtol=1e-6)
    paths = [leaf.path for leaf in report.leaves]
    assert "0/kernel" in paths
    assert "active groups: " in str(report)
    assert sparsity_report(w, jreg.L1()).active_groups is None
    chosen = jreg.by_path({"0/kernel": jreg.GroupLasso(1.0, axis=-1)})
    assert sparsity_report(w, chosen).active_groups == int((w[0]["kernel"] != 0).any(0).sum())
    with pytest.raises(ValueError, match="both grads and state"):
        sparsity_report(w, grads=w)


def test_report_of_many_in_bfloat16():
    """Which counts to 256."""
    rows = jreg.GroupLasso(1.0, axis=0, weights=np.ones(257))
    assert sparsity_report(jnp.ones((257, 1), "bfloat16"), rows).active_groups == 257
    assert sparsity_report(jnp.ones(257, "bfloat16"), jreg.L1(2.0)).penalty == 514


def test_nothing_left():
    """A hidden layer without neurons: compacted once more, and reported."""
    dead = [(jnp.zeros((2, 3)), jnp.zeros(3)), (jnp.ones((3, 1)), jnp.zeros(1))]
    small = compact(dead)
    assert [kernel.shape for kernel, _ in small] == [(2, 0), (0, 1)]
    report = sparsity_report(small)
    assert [leaf.active_slices for leaf in report.leaves] == [0, 0, 0, 0]
    assert (report.size, report.zeros) == (1, 1)
    assert sparsity_report([1.0, 0.0]).leaves[0].active_slices == 1


def test_fine_tuning_keeps_the_support(trained):
    w, _, loss, _ = trained
    tx = freeze_zeros(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3)))

    @jax.jit
    def step(w, state):
        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return optax.apply_updates(w, updates), state

    state, new = tx.init(w), w
    for _ in range(30):
        new, state = step(new, state)
    for a, b in zip(jax.tree.leaves(w), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(a == 0, b == 0)
    assert loss(new) < loss(w)


@pytest.mark.parametrize(("shape", "axis"), [((3, 3, 2, 5), -1), ((8, 5, 4), 1)])
def test_filters_and_heads(shape, axis):
    """Convolution kernels (height, width, in, out) by filter; attention (in, head, out) by head."""
    w = {"kernel": jax.random.normal(jax.random.key(0), shape)}
    target = jnp.moveaxis(jnp.moveaxis(w["kernel"], axis, 0).at[1:4].multiply(0.02), 0, axis)
    tx = proximal(optax.adam(0.05), jreg.GroupLasso(0.1, axis=axis))
    state = tx.init(w)
    update = jax.jit(tx.update)
    for _ in range(150):
        updates, state = update({"kernel": w["kernel"] - target}, state, w)
        w = optax.apply_updates(w, updates)
    slices = jnp.moveaxis(w["kernel"], axis, 0).reshape(5, -1)
    np.testing.assert_array_equal((slices == 0).all(1), [False, True, True, True, False])
    assert (slices[jnp.array([0, 4])] != 0).all()


def test_low_rank_layers():
    penalty = jreg.by_path({"0/kernel": jreg.Nuclear(0.05), "1/kernel": jreg.Nuclear(0.05)})
    w, *_ = train(proximal(optax.adam(1e-2), penalty))
    for layer in w[:2]:
        rank = np.linalg.matrix_rank(np.asarray(layer["kernel"]), tol=1e-4)
        assert 1 <= rank < 6


def test_five_strengths_in_one_vmap():
    """K networks, K strengths, one program: sparser as the strength grows."""
    lams = jnp.array([0.0, 1e-3, 3e-3, 1e-2, 3e-2])

    def zeros(lam):
        w, *_ = train(proximal(optax.adam(1e-2), jreg.kernels_only(jreg.L1(lam))), 200)
        return tr.strength.zeros_share(jreg.kernels_only(jreg.L1(lam)), w)

    found = jax.jit(jax.vmap(zeros))(lams)
    assert found[0] == 0
    assert (jnp.diff(found) > 0).all()
    assert found[-1] > 0.8


# --- neural network libraries ---------------------------------------------------------------------


# flax 0.12.0, when it is imported with JAX 0.8
flax_warns = pytest.mark.filterwarnings("ignore:jax.(array_ref|ArrayRef):DeprecationWarning")


@flax_warns
def test_flax():
    from flax import nnx

    X = jax.random.normal(jax.random.key(0), (64, 8))
    y = jnp.sin(X[:, 0])
    model = nnx.Sequential(
        nnx.Linear(8, 32, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(32, 1, rngs=nnx.Rngs(1))
    )
    tx = jreg.transforms.proximal(optax.adam(1e-2), jreg.by_path({"kernel": jreg.L1(1e-2)}))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: jnp.mean((model(X)[:, 0] - y) ** 2))(model)
        optimizer.update(model, grads)

    for _ in range(200):
        step(model, optimizer)
    assert (model.layers[0].kernel[...] == 0).mean() > 0.3
    assert (model.layers[0].bias[...] != 0).any()


@flax_warns
def test_flax_linen():
    from flax import linen as nn

    X = jax.random.normal(jax.random.key(0), (64, 8))
    model = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(1)])
    params = model.init(jax.random.key(1), X)
    tx = jreg.transforms.proximal(optax.adam(1e-2), jreg.kernels_only(jreg.L1(1e-2)))
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        loss = lambda p: jnp.mean((model.apply(p, X)[:, 0] - jnp.sin(X[:, 0])) ** 2)  # noqa: E731
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(200):
        params, state = step(params, state)
    assert sparsity_report(params).leaves[1].zeros > 50


def test_equinox():
    X = jax.random.normal(jax.random.key(0), (64, 8))
    model = eqx.nn.MLP(8, "scalar", 32, 1, key=jax.random.key(1))
    tx = jreg.transforms.proximal(optax.adam(1e-2), jreg.by_path({"weight": jreg.L1(1e-2)}))
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        loss = lambda m: jnp.mean((jax.vmap(m)(X) - jnp.sin(X[:, 0])) ** 2)  # noqa: E731
        grads = eqx.filter_grad(loss)(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state

    for _ in range(200):
        model, state = step(model, state)
    assert (model.layers[0].weight == 0).mean() > 0.3
    assert (model.layers[0].bias != 0).any()


@pytest.mark.slow
def test_sharded_parameters():
    """8 devices that the CPU pretends to have, in a process of its own."""
    found = on_eight_devices("sharded_transforms.py")
    assert found.returncode == 0, found.stderr
