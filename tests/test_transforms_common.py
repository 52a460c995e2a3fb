"""The conventions of optax, over every transform: in the shape of its own common tests."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import jreg
from jreg import transforms as tr

RATE = 0.05

# name: make(learning_rate, lam)
TRANSFORMS = {
    "proximal": lambda rate=RATE, lam=0.1: tr.proximal(optax.adam(rate), jreg.L1(lam)),
    "proximal, step": lambda rate=RATE, lam=0.1: tr.proximal(optax.sgd(rate), jreg.L1(lam), 1.0),
    "proximal, by path": lambda rate=RATE, lam=0.1: tr.proximal(
        optax.adam(rate), jreg.by_path({"kernel": jreg.GroupLasso(lam, axis=-1)}, jreg.L1(lam))
    ),
    "target_sparsity": lambda rate=RATE, lam=0.1: tr.target_sparsity(
        optax.adam(rate), jreg.kernels_only(jreg.L1(lam)), 0.5
    ),
    "decoupled": lambda rate=RATE, lam=0.1: tr.decoupled(optax.sgd(rate), jreg.L1(lam), rate),
    "proximal_decay": lambda rate=RATE, lam=0.1: tr.proximal_decay(optax.adam(rate), lam, rate),
    "proximal_sgd": lambda rate=RATE, lam=0.1: tr.proximal_sgd(rate, jreg.L1(lam), momentum=0.9),
    "proximal_adam": lambda rate=RATE, lam=0.1: tr.proximal_adam(rate, jreg.L1(lam)),
    "linbreg": lambda rate=RATE, lam=0.1: tr.linbreg(optax.sgd(rate), jreg.L1(lam)),
    "rda": lambda rate=RATE, lam=0.1: tr.rda(0.05 / rate, jreg.L1(lam)),
    "add_penalty_gradient": lambda rate=RATE, lam=0.1: optax.chain(
        tr.add_penalty_gradient(jreg.L1(lam)), optax.sgd(rate)
    ),
    "add_sign": lambda rate=RATE, lam=0.1: optax.chain(tr.add_sign(lam), optax.sgd(rate)),
    "freeze_zeros": lambda rate=RATE, lam=0.1: tr.freeze_zeros(optax.adam(rate)),
}
NO_DUAL = {"add_penalty_gradient", "add_sign"}  # not exact zeros
QUICK = {"proximal", "proximal_adam", "linbreg", "add_penalty_gradient"}  # one of each kind


def each():
    """Every transform; those of which another stands for the kind are slow."""
    marks = [pytest.mark.slow]
    return [n if n in QUICK else pytest.param(n, marks=marks) for n in TRANSFORMS]


every = pytest.mark.parametrize("name", TRANSFORMS)
each_kind = pytest.mark.parametrize("name", each())
TARGET = {"kernel": np.array([[1.0, 0.01], [-1.0, 0.02]]), "bias": np.array([0.5, -0.02])}


def params(dtype=jnp.float32):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) / 2, TARGET)


def gradient(w):
    return jax.tree.map(lambda w, t: w - jnp.asarray(t, w.dtype), w, TARGET)


def shapes(tree):
    return jax.tree.map(lambda x: (jnp.shape(x), jnp.asarray(x).dtype), tree)


def step(tx, w, state, **extra):
    updates, state = tx.update(gradient(w), state, w, **extra)
    return optax.apply_updates(w, updates), state


@each_kind
def test_works_in_scan_and_reaches_the_target(name):
    """State keeps its structure, shapes and dtypes, or scan would refuse."""
    tx, w = TRANSFORMS[name](lam=1e-3), params()

    def body(carry, _):
        return step(tx, *carry), None

    (w, _), _ = jax.jit(lambda c: jax.lax.scan(body, c, None, length=1500))((w, tx.init(w)))
    for found, true in zip(jax.tree.leaves(w), jax.tree.leaves(TARGET), strict=True):
        np.testing.assert_allclose(found, true, atol=0.05)


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)]
)
@every
def test_keeps_dtypes_and_state_shapes(name, dtype):
    tx, w = TRANSFORMS[name](), params(dtype)
    state = tx.init(w)
    before = shapes(state)
    for _ in range(3):
        updates, state = tx.update(gradient(w), state, w)
        assert shapes(updates) == shapes(w)
        w = optax.apply_updates(w, updates)
    assert shapes(state) == before
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


@every
def test_extra_arguments_pass(name):
    tx = optax.with_extra_args_support(TRANSFORMS[name]())
    w = params()
    step(tx, w, tx.init(w), some_extra=1.0, value=2.0)


@each_kind
def test_chain_accumulation_and_injection(name):
    """jit, MultiSteps and inject_hyperparams (rate and strength traced) change nothing."""
    plain, w = TRANSFORMS[name](), params()
    alone, _ = step(plain, w, plain.init(w))
    injected = optax.inject_hyperparams(TRANSFORMS[name])(rate=RATE, lam=0.1)
    chained = optax.chain(optax.identity(), plain)
    for tx in (injected, chained):
        found, _ = jax.jit(lambda w, s, tx=tx: step(tx, w, s))(w, tx.init(w))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, alone)
    twice = optax.MultiSteps(plain, 2).gradient_transformation()
    state, found = twice.init(w), w
    for _ in range(2):
        updates, state = twice.update(gradient(w), state, found)
        found = optax.apply_updates(found, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, alone)


@each_kind
def test_none_and_masked_leaves(name):
    """None stays None; a masked leaf is not seen, nor is an empty branch."""
    make = TRANSFORMS["proximal" if "path" in name else name]
    w = {**params(), "frozen": None}
    tx = make()
    updates, _ = tx.update({**gradient(params()), "frozen": None}, tx.init(w), w)
    assert updates["frozen"] is None
    mask = {"kernel": True, "bias": False}
    some = optax.masked(make(), mask)
    updates, _ = some.update(gradient(params()), some.init(params()), params())
    np.testing.assert_array_equal(updates["bias"], gradient(params())["bias"])
    labels = {"kernel": "a", "bias": "b"}
    for empty in ("a", "b", "c"):
        transforms = dict.fromkeys("abc", optax.sgd(0.1)) | {empty: make()}
        parts = optax.partition(transforms, labels)
        found, _ = step(parts, params(), parts.init(params()))
        assert shapes(found) == shapes(params())


@each_kind
def test_vmap_over_strengths_equals_the_loop(name):
    w, lams = params(), jnp.array([0.01, 0.3])

    def end(lam):
        tx = TRANSFORMS[name](RATE, lam)
        carry = (w, tx.init(w))
        return jax.lax.scan(lambda c, _: (step(tx, *c), None), carry, None, length=5)[0][0]

    together = jax.vmap(end)(lams)
    for i, lam in enumerate(lams):
        alone = end(lam)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7),
            together,
            alone,
        )


@each_kind
def test_a_leaf_of_nan_stays_alone(name):
    """Steps are made of sums over all leaves, which pass what is not finite."""
    tx = TRANSFORMS[name]()
    w = bad = params()
    state = spoilt = tx.init(w)
    for k in range(3):
        w, state = step(tx, w, state)
        bad, spoilt = step(tx, bad if k else {**bad, "bias": jnp.nan * bad["bias"]}, spoilt)
        assert jnp.isnan(bad["bias"]).all()
        assert jnp.isfinite(bad["kernel"]).all()
        if k == 0:
            np.testing.assert_allclose(bad["kernel"], w["kernel"], rtol=1e-6)


@every
def test_params_are_needed(name):
    tx, w = TRANSFORMS[name](), params()
    with pytest.raises(ValueError, match=r"needs params: call tx\.update"):
        tx.update(gradient(w), tx.init(w))


@each_kind
def test_state_round_trip(name, tmp_path):
    """A plain pytree of arrays: through a file and on, the same run."""
    tx, w = TRANSFORMS[name](), params()
    w, state = step(tx, w, tx.init(w))
    leaves, structure = jax.tree.flatten(state)
    file = tmp_path / "state.npz"
    np.savez(file, *[np.asarray(leaf) for leaf in leaves])
    with np.load(file) as saved:
        loaded = jax.tree.unflatten(structure, [jnp.asarray(saved[k]) for k in saved.files])
    pickled = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, state)))
    for other in (loaded, pickled):
        jax.tree.map(np.testing.assert_array_equal, step(tx, w, other)[0], step(tx, w, state)[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [n for n in TRANSFORMS if n not in NO_DUAL | {"proximal_decay"}])
def test_exact_zeros(name, dtype):
    """== 0, after the update was added, in both precisions."""
    tx, w = TRANSFORMS[name](), params(dtype)
    if name in ("freeze_zeros", "linbreg"):
        w = jax.tree.map(lambda x: jnp.where(jnp.abs(x) < 0.1, 0, x), w)
    state = tx.init(w)
    for _ in range(40):
        w, state = step(tx, w, state)
    np.testing.assert_array_equal(w["kernel"][:, 1], 0)
    assert (w["kernel"][:, 0] != 0).all()


def test_orbax_round_trip(tmp_path):
    tx, w = TRANSFORMS["proximal"](), params("bfloat16")
    w, state = step(tx, w, tx.init(w))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        found = checkpointer.restore(tmp_path / "state", like)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, found, state)
