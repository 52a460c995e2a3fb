"""Fractional pooling: boundaries, regions that cover the input, a naive twin, derivatives."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from stochastic_cases import DTYPES, KEY, draws, input_of, same

from jreg.stochastic import (
    fractional_avg_pool,
    fractional_max_pool,
    pooled_size,
    pseudo_random_boundaries,
    random_boundaries,
)

BOUNDARIES = pytest.mark.parametrize("boundaries", [random_boundaries, pseudo_random_boundaries])
POOLS = pytest.mark.parametrize("pool", [fractional_max_pool, fractional_avg_pool])
OVERLAPPING = pytest.mark.parametrize("overlapping", [False, True])
NAIVE = {fractional_max_pool: np.max, fractional_avg_pool: np.mean}
RATIOS = [1.001, 1.1, 1.25, 2**0.5, 1.4, 1.5, 1.7, 1.999, 2.0]
SIZES = [1, 2, 3, 7, 14, 25, 36, 101]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("n_in", SIZES)
def test_pooled_size(n_in, ratio):
    """The smallest size whose ratio is at most the one asked for; steps of 1 and 2 always do."""
    n_out = pooled_size(n_in, ratio)
    assert n_in <= ratio * n_out * (1 + 1e-12)
    assert n_in > ratio * (n_out - 1)
    assert n_out <= n_in <= 2 * n_out


def test_decimal_ratios_are_meant():
    """10 of 11 at 1.1, where a quotient of floats may round to either side."""
    for n_out, tenths in itertools.product(range(10, 200, 10), range(11, 21)):
        assert pooled_size(n_out * tenths // 10, tenths / 10) == n_out


@BOUNDARIES
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (7, 7), (8, 4), (36, 25)])
def test_boundaries(boundaries, n_in, n_out):
    """From 0 to n_in, with n_in - n_out steps of 2 and all others 1."""
    a = draws(lambda key: boundaries(key, n_in, n_out), 50)
    steps = np.diff(a, axis=1)
    assert a.shape == (50, n_out + 1)
    assert (a[:, 0] == 0).all()
    assert (steps.sum(axis=1) == n_in).all()
    assert np.isin(steps, (1, 2)).all()
    assert ((steps == 2).sum(axis=1) == n_in - n_out).all()
    assert boundaries(KEY, n_in, n_out).dtype == jnp.int32


def test_random_orders_have_the_same_probability():
    """The ten orders of two steps of 2 and three of 1."""
    steps = np.diff(draws(lambda key: random_boundaries(key, 7, 5), 5000), axis=1)
    counts = Counter(map(tuple, steps))
    assert len(counts) == 10
    assert max(abs(count - 500) for count in counts.values()) < 5 * np.sqrt(5000 * 0.1 * 0.9)


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 5), (36, 25)])
def test_pseudo_random_is_the_formula(n_in, n_out):
    """ceil(alpha (i + u)) for some u, every shift as likely as another, and evenly spread."""
    sample = draws(lambda key: pseudo_random_boundaries(key, n_in, n_out), 4000)
    found = Counter(map(tuple, sample.astype(int)))
    formula = Counter()
    for t in range(n_in):  # u between t / n_in and (t + 1) / n_in, all the same
        a = np.ceil(n_in / n_out * (np.arange(n_out + 1) + (t + 0.5) / n_in))
        formula[tuple((a - a[0]).astype(int))] += 4000 / n_in
    assert set(found) == set(formula)
    assert all(abs(found[a] - formula[a]) < 5 * np.sqrt(formula[a]) for a in formula)
    for a, k in itertools.product(map(np.array, found), (2, 3)):
        inside = a[k:] - a[:-k]
        assert set(inside) <= {int(np.floor(n_in / n_out * k)), int(np.ceil(n_in / n_out * k))}


def test_pseudo_random_does_not_overflow():
    """n_in i has 41 bits here."""
    steps = np.diff(np.asarray(pseudo_random_boundaries(KEY, 1_500_001, 1_000_000)))
    assert set(steps) == {1, 2}
    assert steps.sum() == 1_500_001


# --- pooling ----------------------------------------------------------------------------------


def naive(reduce, x, cuts, overlapping):
    """(height, width, channels) by two loops over products of intervals."""
    ends = [np.minimum(cut[1:] + overlapping, n) for cut, n in zip(cuts, x.shape, strict=False)]
    spans = [list(zip(cut[:-1], end, strict=True)) for cut, end in zip(cuts, ends, strict=True)]
    return np.array([[reduce(x[a:b, c:d], axis=(0, 1)) for c, d in spans[1]] for a, b in spans[0]])


@POOLS
@BOUNDARIES
@OVERLAPPING
def test_naive_twin(pool, boundaries, overlapping):
    """Two dimensions, odd sizes, one image and a batch that shares its regions."""
    x, sizes = input_of("float32", (2, 7, 12, 3)), (5, 8)

    @jax.jit
    def both(key, x):
        options = {"overlapping": overlapping, "boundaries": boundaries}
        cuts = [
            boundaries(*each) for each in zip(jax.random.split(key), (7, 12), sizes, strict=True)
        ]
        return pool(key, x, sizes, **options), pool(key, x[0], sizes, **options), cuts

    for key in jax.random.split(KEY, 5):
        y, first, cuts = both(key, x)
        same(first, y[0])
        for xi, yi in zip(np.asarray(x, float), y, strict=True):
            expected = naive(NAIVE[pool], xi, list(map(np.asarray, cuts)), overlapping)
            np.testing.assert_allclose(yi, expected, rtol=1e-5, atol=1e-6)


@POOLS
@OVERLAPPING
def test_one_dimension_is_two_with_a_thin_one(pool, overlapping):
    options = {"overlapping": overlapping, "deterministic": True}

    @jax.jit
    def three(x):
        thin = pool(None, x[:, :, None], (6, 1), **options)[:, :, 0]
        first = pool(None, jnp.moveaxis(x, 1, 0), 6, axes=0, **options)
        return pool(None, x, 6, **options), thin, jnp.moveaxis(first, 0, 1)

    y, thin, first = three(input_of("float32", (4, 9, 2)))
    same(y, thin)
    same(y, first)


@BOUNDARIES
@OVERLAPPING
@pytest.mark.parametrize("n_in", [2, 13])
def test_regions_cover_the_input(boundaries, overlapping, n_in):
    """Each input belongs to a region: to one if disjoint, to two at inner boundaries else."""
    n_out = pooled_size(n_in, 1.6)

    def membership(key):
        spikes = jnp.eye(n_in)[..., None]
        pool = fractional_max_pool(
            key, spikes, n_out, overlapping=overlapping, boundaries=boundaries
        )
        return pool[..., 0].sum(axis=1)

    members = draws(membership, 20)
    assert (members >= 1).all()
    assert (members.sum(axis=1) == n_in + overlapping * (n_out - 1)).all()


def test_halves_are_ordinary_pooling():
    x = input_of("float32", (2, 6, 8, 3))
    blocks = x.reshape(2, 3, 2, 4, 2, 3)
    pools = jax.jit(lambda x: [pool(KEY, x, (3, 4)) for pool in NAIVE])
    largest, mean = pools(x)
    same(largest, blocks.max((2, 4)))
    np.testing.assert_allclose(mean, blocks.mean((2, 4)), rtol=1e-5, atol=1e-6)
    same(fractional_max_pool(None, x, (6, 8), deterministic=True), x)


@POOLS
def test_mean_over_keys_is_smooth(pool):
    """No input is left out on average: the derivative of the mean output is positive everywhere."""
    x = input_of("float32", (9, 1))
    slope = draws(lambda key: jax.grad(lambda x: pool(key, x, 6).sum())(x), 500)
    largest = (np.asarray(x) == x.max()).ravel()
    assert slope.mean(axis=0).ravel()[largest] > 0.5
    if pool is fractional_avg_pool:
        assert (slope.mean(axis=0) > 0.3).all()


@POOLS
@OVERLAPPING
def test_derivatives(pool, overlapping):
    """A region hands on 1 in all, to its largest entry or in equal parts."""
    x = input_of("float32", (7, 2))
    total = jax.jit(jax.value_and_grad(lambda x: pool(KEY, x, 5, overlapping=overlapping).sum()))
    value, slope = total(x)
    np.testing.assert_allclose(slope.sum(axis=0), 5, rtol=1e-6)
    step = 1e-2 * input_of("float32", (7, 2), seed=1)
    np.testing.assert_allclose(total(x + step)[0] - value, (slope * step).sum(), atol=1e-5)
    np.testing.assert_allclose(total(jnp.ones((7, 2)))[1].sum(axis=0), 5, rtol=1e-6)


@POOLS
@DTYPES
def test_dtype_is_kept(pool, dtype):
    with precision(dtype):
        x = input_of(dtype, (7, 9, 2))
        y = jax.jit(lambda x: pool(KEY, x, (5, 6)))(x)
        assert y.dtype == dtype
        assert y.shape == (5, 6, 2)


@POOLS
def test_compiled_and_mapped(pool):
    """Static sizes: jit and vmap over keys, where every example has its own regions."""
    x, keys = input_of("float32", (3, 7, 2)), jax.random.split(KEY, 3)
    lanes = jax.jit(jax.vmap(lambda key, x: pool(key, x, 5)))(keys, x)
    for i in range(3):
        np.testing.assert_allclose(lanes[i], pool(keys[i], x[i], 5), rtol=1e-6)


def test_bad_numbers_stay_in_their_region():
    x = jnp.ones((8, 1)).at[3].set(jnp.nan).at[0].set(-jnp.inf).at[1].set(-jnp.inf)
    y = fractional_max_pool(None, x, 4, deterministic=True)[:, 0]
    np.testing.assert_array_equal(y, [-np.inf, np.nan, 1, 1])
    y = fractional_avg_pool(None, x.at[:2].set(0), 4, deterministic=True)[:, 0]
    np.testing.assert_array_equal(y, [0, np.nan, 1, 1])


@POOLS
@pytest.mark.parametrize(
    ("error", "message", "shape", "sizes", "options"),
    [
        (ValueError, "a key is needed", (8, 1), 5, {"key": None}),
        (ValueError, "between n_in / 2 and n_in = 8; got 3.*pool twice", (8, 1), 3, {}),
        (ValueError, "between n_in / 2 and n_in = 8; got 9", (8, 1), 9, {}),
        (ValueError, "between n_in / 2", (8, 1), 0, {}),
        (ValueError, r"2 pooled axes and one of channels.*\(8, 8\)", (8, 8), (5, 5), {}),
        (ValueError, "as many", (8, 8, 1), (5, 5), {"axes": (0,)}),
        (ValueError, "axes of an array of rank 2", (8, 1), 5, {"axes": 2}),
        (TypeError, "floating-point", None, 5, {}),
    ],
)
def test_messages(pool, error, message, shape, sizes, options):
    x = jnp.arange(8)[:, None] if shape is None else jnp.ones(shape)
    options = {"key": KEY, **options}
    with pytest.raises(error, match=message):
        pool(options.pop("key"), x, sizes, **options)


@pytest.mark.parametrize(("n_in", "ratio"), [(0, 1.5), (8, 1.0), (8, 2.1), (8, np.nan)])
def test_pooled_size_messages(n_in, ratio):
    with pytest.raises(ValueError, match="must be"):
        pooled_size(n_in, ratio)
