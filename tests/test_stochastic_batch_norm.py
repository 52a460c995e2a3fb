"""Batch normalisation: moments, running statistics, mapped axes, flax, derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from stochastic_cases import DTYPES, input_of, same

from jreg.stochastic import (
    BatchStats,
    batch_norm,
    batch_stats,
    initial_stats,
    normalize,
    update_stats,
)

SCALE, SHIFT = jnp.array([2.0, 0.5, -1.0]), jnp.array([0.0, 1.0, -3.0])
STATS = BatchStats(jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, 2.0, 1.0]))
START = initial_stats(3)
X = 2 * input_of("float32", (4, 5, 7, 3)) + jnp.array([1.0, -2.0, 30.0]).reshape(1, 1, 1, 3)


def close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), a, b)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_result_has_mean_shift_and_deviation_scale(axis):
    x = jnp.moveaxis(X, -1, axis)
    y, _ = batch_norm(x, START, SCALE, SHIFT, axis=axis, eps=1e-12)
    y = np.moveaxis(np.asarray(y, float), axis, -1).reshape(-1, 3)
    np.testing.assert_allclose(y.mean(axis=0), SHIFT, atol=1e-4)
    np.testing.assert_allclose(y.std(axis=0), np.abs(SCALE), rtol=1e-4)


def test_statistics_are_those_of_numpy():
    rows = np.asarray(X, float).reshape(-1, 3)
    stats = batch_stats(X)
    np.testing.assert_allclose(stats.mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats.var, rows.var(axis=0), rtol=1e-5)


def test_a_large_mean_does_not_cancel():
    """Mean 1e4 and deviation 1: in float32 the difference of mean squares is off by tens."""
    x = 1e4 + input_of("float32", (1000, 1))
    np.testing.assert_allclose(batch_stats(x).var, np.asarray(x, float).var(), rtol=1e-3)
    cancelled = jnp.mean(x**2) - jnp.mean(x) ** 2
    assert abs(cancelled / np.asarray(x, float).var() - 1) > 1


def test_running_statistics():
    """An exponential average that ends at the statistics of a batch seen again and again."""
    seen, running = batch_stats(X), START
    for k in range(1, 60):
        _, running = batch_norm(X, running, momentum=0.8)
        gap = 0.8**k * (1 - np.asarray(seen.var, float))
        np.testing.assert_allclose(running.var, seen.var + gap, rtol=1e-5)
    np.testing.assert_allclose(running.mean, seen.mean, rtol=1e-4)
    trained, _ = batch_norm(X, START)
    used, kept = batch_norm(X, running, deterministic=True)
    np.testing.assert_allclose(used, trained, atol=1e-3)
    assert kept is running


def test_running_statistics_estimate_the_population():
    """Over fresh batches of a normal distribution, as a carry of scan."""
    batches = 3 + 2 * jax.random.normal(jax.random.key(0), (400, 64, 2))

    def step(running, x):
        return batch_norm(x, running, momentum=0.98)[1], None

    running, _ = jax.jit(lambda xs: jax.lax.scan(step, initial_stats(2), xs))(batches)
    np.testing.assert_allclose(running.mean, 3, atol=0.15)
    np.testing.assert_allclose(running.var, 4 * 63 / 64, rtol=0.1)


def test_deterministic_is_the_formula():
    y, _ = batch_norm(X, STATS, SCALE, SHIFT, eps=0.1, deterministic=True)
    row = lambda v: np.asarray(v, float).reshape(1, 1, 1, 3)  # noqa: E731
    expected = row(SCALE) * (np.asarray(X, float) - row(STATS.mean))
    expected = expected / np.sqrt(row(STATS.var) + 0.1) + row(SHIFT)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_examples_do_not_matter_to_each_other_in_use():
    y, _ = batch_norm(X, STATS, deterministic=True)
    first, _ = batch_norm(X[:1], STATS, deterministic=True)
    same(first, y[:1])


@pytest.mark.parametrize("parts", [4, 20])
def test_synchronised_parts_are_one_batch(parts):
    """Values, statistics and derivatives; parts of one row, without an axis to average, too."""
    rows = X.reshape(20, 7, 3)[:, 0]

    def loss(x, running, name=None):
        y, running = batch_norm(x, running, SCALE, SHIFT, axis_name=name)
        return jnp.sum(jnp.sin(y)), (y, running)

    def whole(x):
        return loss(x, START)

    def in_parts(x):
        x = x.reshape(parts, -1, 3) if parts < 20 else x
        mapped = jax.vmap(functools.partial(loss, name="batch"), (0, None), axis_name="batch")
        value, (y, running) = mapped(x, START)
        return value.sum(), (y.reshape(20, 3), running)

    expected = jax.value_and_grad(whole, has_aux=True)(rows)
    (value, (y, running)), slope = jax.value_and_grad(in_parts, has_aux=True)(rows)
    for part in range(parts):
        lane = jax.tree.map(lambda leaf, part=part: leaf[part], running)
        close(((value, (y, lane)), slope), expected)


def test_unsynchronised_parts_are_not():
    y, _ = jax.vmap(batch_norm, (0, None))(X, START)
    together, _ = batch_norm(X, START)
    assert jnp.abs(y - together).max() > 0.01


def test_parts_on_devices():
    """shard_map over the devices that there are."""
    devices = jax.devices()[: 2 if len(jax.devices()) > 1 else 1]
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    rows, all_of = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
    f = functools.partial(batch_norm, axis_name="data")
    mapped = jax.shard_map(f, mesh=mesh, in_specs=(rows, all_of), out_specs=(rows, all_of))
    y, running = jax.jit(mapped)(X, START)
    expected, stats = batch_norm(X, START)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(running.var, stats.var, rtol=1e-5)


@pytest.mark.parametrize("in_use", [False, True])
def test_agrees_with_flax(in_use):
    linen = pytest.importorskip("flax.linen")
    layer = linen.BatchNorm(in_use, momentum=0.9, epsilon=1e-3, use_fast_variance=False)
    variables = {
        "params": {"scale": SCALE, "bias": SHIFT},
        "batch_stats": {"mean": STATS.mean, "var": STATS.var},
    }
    theirs, new = layer.apply(variables, X, mutable=["batch_stats"])
    y, running = batch_norm(X, STATS, SCALE, SHIFT, momentum=0.9, eps=1e-3, deterministic=in_use)
    np.testing.assert_allclose(y, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(running.mean, new["batch_stats"]["mean"], rtol=1e-5)
    np.testing.assert_allclose(running.var, new["batch_stats"]["var"], rtol=1e-5)


def test_derivatives():
    """Against differences; 0 along shifts and scalings of the input, which the result ignores."""
    with precision("float64"):
        x = jnp.asarray(X[0, 0], float)

        @jax.jit
        def f(x, scale):
            y, _ = batch_norm(x, START, scale, SHIFT.astype(float), eps=1e-9)
            return jnp.sum(jnp.sin(y) * jnp.arange(7.0)[:, None])

        scale, step = SCALE.astype(float), 1e-5 * input_of("float64", x.shape, 1)
        slopes = jax.grad(f, (0, 1))(x, scale)
        change = (f(x + step, scale) - f(x - step, scale)) / 2
        np.testing.assert_allclose(change, (slopes[0] * step).sum(), rtol=1e-6)
        change = (f(x, scale + 1e-5) - f(x, scale - 1e-5)) / 2e-5
        np.testing.assert_allclose(change, slopes[1].sum(), rtol=1e-6)
        np.testing.assert_allclose(slopes[0].sum(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose((slopes[0] * x).sum(axis=0), 0, atol=1e-6)


def test_constant_feature():
    """Variance 0: the shift, and finite derivatives."""
    x = jnp.ones((6, 3))
    y, running = batch_norm(x, START, SCALE, SHIFT)
    np.testing.assert_allclose(y, jnp.tile(SHIFT, (6, 1)))
    np.testing.assert_allclose(running.var, 0.99)
    slope = jax.grad(lambda x: batch_norm(x, START)[0].sum())(x)
    assert jnp.isfinite(slope).all()


@DTYPES
@pytest.mark.parametrize("state", ["float32", "float64"])
def test_dtypes_are_kept(dtype, state):
    """Of x and of the state, each its own; sums of half precision in float32."""
    with precision("float64" if "float64" in (dtype, state) else dtype):
        x = 100 + input_of(dtype, (600, 3))
        y, running = batch_norm(x, initial_stats(3, state))
        assert y.dtype == dtype
        assert running.mean.dtype == running.var.dtype == state
        rows = np.asarray(x, float)
        np.testing.assert_allclose(batch_stats(x).var, rows.var(axis=0), rtol=1e-3)


def test_compiled_and_mapped():
    run = jax.jit(batch_norm, static_argnames=("axis", "deterministic"))
    for in_use in (False, True):
        y, running = run(X, STATS, SCALE, deterministic=in_use)
        expected = batch_norm(X, STATS, SCALE, deterministic=in_use)
        close((y, running), expected)


def test_traced_momentum():
    momenta = jnp.array([0.5, 1.0, -0.1])
    stats = jax.vmap(lambda m: update_stats(START, STATS, m))(momenta)
    np.testing.assert_array_equal(jnp.isnan(stats.mean).all(axis=1), [False, True, True])
    np.testing.assert_allclose(stats.mean[0], STATS.mean / 2)


WIDE = jnp.ones((4, 2))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ValueError,
            r"one number per feature; got shape \(1, 3\)",
            lambda: batch_stats(X[0, 0, :1]),
        ),
        (ValueError, r"got shape \(3,\)", lambda: batch_norm(X[0, 0, 0], START)),
        (ValueError, "axis must be axes of an array of rank 2", lambda: batch_stats(WIDE, axis=2)),
        (
            ValueError,
            r"mean must have shape \(n_features,\) = \(2,\), as x has; got \(3,\)",
            lambda: batch_norm(WIDE, START),
        ),
        (ValueError, "scale must have shape", lambda: batch_norm(X, START, jnp.ones(()))),
        (ValueError, "shift must have shape", lambda: normalize(X, START, None, jnp.ones((1, 3)))),
        (ValueError, r"eps must be in \(0, inf\); got 0", lambda: batch_norm(X, START, eps=0)),
        (ValueError, r"momentum must be in \[0, 1\)", lambda: batch_norm(X, START, momentum=1)),
        (ValueError, "n_features must be at least 1", lambda: initial_stats(0)),
        (TypeError, "x must hold floating-point", lambda: batch_norm(X.astype(int), START)),
    ],
)
def test_messages(error, message, call):
    with pytest.raises(error, match=message):
        call()
