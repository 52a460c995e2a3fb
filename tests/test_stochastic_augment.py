"""Augmentation: how often what happens, that nothing else does, one image and a batch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision
from stochastic_cases import DTYPES, KEY, draws, has_mean, input_of, same

import jreg
from jreg.stochastic import cutout, gaussian_noise, mixup, random_crop, random_flip

IMAGE = jnp.arange(1.0, 1 + 5 * 4 * 2).reshape(5, 4, 2)  # no two pixels are alike
BATCH = jnp.stack([IMAGE, -IMAGE, 100 + IMAGE])
IMAGES = {
    "flip": lambda key, x, **options: random_flip(key, x, 0.5, **options),
    "crop": lambda key, x, **options: random_crop(key, x, 2, **options),
    "cutout": lambda key, x, **options: cutout(key, x, 2, **options),
}
of_images = pytest.mark.parametrize("f", IMAGES.values(), ids=IMAGES)
noise = lambda key, x, **options: gaussian_noise(key, x, 0.5, **options)  # noqa: E731
of_arrays = pytest.mark.parametrize("f", [*IMAGES.values(), noise], ids=[*IMAGES, "noise"])


# --- what all do ------------------------------------------------------------------------------


@of_arrays
def test_deterministic(f):
    same(f(None, BATCH, deterministic=True), BATCH)
    with pytest.raises(ValueError, match="a key is needed"):
        f(None, BATCH)


@of_images
def test_each_example_of_a_batch_has_its_own_draw(f):
    """The batch is the map over split keys, so examples differ in what happens to them."""
    keys = jax.random.split(KEY, 3)
    same(f(KEY, BATCH), jnp.stack([f(k, x) for k, x in zip(keys, BATCH, strict=True)]))
    alike = draws(lambda key: f(key, jnp.stack([IMAGE] * 2)), 60)
    assert 0 < (alike[:, 0] == alike[:, 1]).all((1, 2, 3)).mean() < 1


@of_arrays
def test_compiled_and_differentiable(f):
    """jit is the same function; the derivative is 1 for every value that is still there."""
    np.testing.assert_allclose(jax.jit(f)(KEY, BATCH), f(KEY, BATCH), rtol=1e-6)
    slope = jax.grad(lambda x: f(KEY, x).sum())(BATCH)
    assert set(np.unique(slope)) <= {0, 1}
    if f is not noise:
        np.testing.assert_allclose((slope * BATCH).sum(), f(KEY, BATCH).sum(), rtol=1e-5)


@of_arrays
@DTYPES
def test_dtype_is_kept(f, dtype):
    with precision(dtype):
        assert f(KEY, BATCH.astype(dtype)).dtype == dtype


@of_images
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integers_are_moved(f, dtype):
    x = np.asarray(IMAGE).astype(dtype)
    assert f(KEY, x).dtype == dtype


@of_images
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5, 1), (0, 3, 3, 1)])
def test_odd_sizes(f, shape):
    assert f(KEY, jnp.ones(shape)).shape == shape


@of_images
@pytest.mark.parametrize("shape", [(5, 4), (1, 2, 3, 4, 5), ()])
def test_rank(f, shape):
    with pytest.raises(ValueError, match=r"x must be an image \(height, width, channels\) or"):
        f(KEY, jnp.ones(shape))


# --- one by one -------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-2, -3])
def test_flip(axis):
    """The image or its mirror image, with the given probability."""
    mirrored = np.flip(np.asarray(IMAGE), axis)
    sample = draws(lambda key: random_flip(key, IMAGE, 0.3, axis=axis))
    flipped = (sample == mirrored[None]).all((1, 2, 3))
    assert (flipped | (sample == np.asarray(IMAGE)[None]).all((1, 2, 3))).all()
    has_mean(flipped, 0.3, np.sqrt(0.3 * 0.7))
    same(random_flip(KEY, IMAGE, 1.0, axis=axis), mirrored)
    same(random_flip(KEY, IMAGE, 0.0, axis=axis), IMAGE)


def test_flip_with_a_traced_probability():
    flips = jax.jit(jax.vmap(lambda p: random_flip(KEY, IMAGE, p)))(jnp.array([0.5, 1.5, 1.0]))
    np.testing.assert_array_equal(jnp.isnan(flips).all((1, 2, 3)), [False, True, False])


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crop(mode):
    """Every shift of the padded image, and each as often as any other."""
    shifts = list(itertools.product(range(5), repeat=2))
    padded = np.pad(np.asarray(IMAGE), ((2, 2), (2, 2), (0, 0)), mode)
    crops = np.stack([padded[i : i + 5, j : j + 4] for i, j in shifts])
    sample = draws(lambda key: random_crop(key, IMAGE, 2, mode=mode), 2000)
    is_crop = (sample[:, None] == crops[None]).all((2, 3, 4))
    distinct = [np.flatnonzero((crops == crop).all((1, 2, 3))) for crop in crops]
    assert all(len(same_as) == 1 for same_as in distinct)
    assert (is_crop.sum(axis=1) == 1).all()
    has_mean(is_crop, 1 / 25, np.sqrt(1 / 25 * 24 / 25))
    same(random_crop(KEY, IMAGE, 0), IMAGE)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_cutout(size):
    """Each of the squares around a pixel, clipped at the border, equally often."""
    sample = draws(lambda key: cutout(key, IMAGE, size, fill=-1.0))
    gone = (sample == -1).all(axis=-1)
    same(np.where(gone[..., None], -1, np.asarray(IMAGE)[None]), sample)

    def square(i, j):
        low, high = -(size // 2), size - size // 2
        rows, columns = np.indices((5, 4)) - np.array([i, j]).reshape(2, 1, 1)
        inside = (rows >= low) & (rows < high) & (columns >= low) & (columns < high)
        return inside

    share = np.mean([square(i, j) for i, j in itertools.product(range(5), range(4))], axis=0)
    has_mean(gone, share, np.sqrt(share * (1 - share)))
    assert gone.sum(axis=(1, 2)).max() == min(size, 5) * min(size, 4)


@pytest.mark.parametrize("std", [0.0, 0.5, 3.0])
def test_noise(std):
    """Mean x, variance std^2, entries independent."""
    x = np.array([-1.0, 0.0, 5.0], np.float32)
    sample = draws(lambda key: gaussian_noise(key, x, std))
    has_mean(sample, x, std)
    has_mean((sample - x) ** 2, std**2, np.sqrt(2) * std**2)
    correlation = np.corrcoef((sample - x).T) if std else np.eye(3)
    assert np.abs(correlation - np.eye(3)).max() < 5 / np.sqrt(len(sample))


def test_noise_is_ridge():
    """The mean squared loss over noisy X is that over X plus std^2/2 |w|^2 (Bishop, 1995)."""
    X, y, w = input_of("float32", (20, 3)), jnp.ones(20), jnp.array([1.0, -2.0, 0.5])

    def loss(X):
        return jnp.mean(jreg.Squared().pointwise(X @ w, y))

    sample = draws(lambda key: loss(gaussian_noise(key, X, 0.7)))
    expected = float(loss(X) + jreg.Ridge(0.7**2).value(w))
    has_mean(sample, expected, sample.std())
    assert abs(sample.mean() - float(loss(X))) > 20 * sample.std() / np.sqrt(len(sample))


def test_traced_noise_out_of_range():
    noisy = jax.vmap(lambda std: gaussian_noise(KEY, IMAGE, std))(jnp.array([1.0, -1.0, jnp.inf]))
    np.testing.assert_array_equal(jnp.isnan(noisy).all((1, 2, 3)), [False, True, True])


@pytest.mark.parametrize("concentration", [0.2, 4.0])
def test_mixup(concentration):
    """One weight c for x and y; c has the moments of the Beta distribution."""
    x, y = jnp.eye(4) * 3, jnp.eye(4)
    both = draws(lambda key: jnp.stack(mixup(key, x, y, concentration)))
    np.testing.assert_allclose(both[:, 0], 3 * both[:, 1], rtol=1e-6)
    sample = both[:, 1]
    np.testing.assert_allclose(sample.sum(axis=2), 1, atol=1e-6)
    assert ((sample > 0).sum(axis=2) <= 2).all()
    own = np.diagonal(sample, axis1=1, axis2=2)  # c, or 1 for an example that is its own partner
    variance = 1 / (4 * (2 * concentration + 1))
    has_mean(own, 3 / 4 * 1 / 2 + 1 / 4, 0.5)
    second = 3 / 4 * (variance + 1 / 4) + 1 / 4
    has_mean(own**2, second, 0.5)
    alone = (own == 1).mean(axis=1)
    assert abs(np.corrcoef(own[alone == 0][:, :2].T)[0, 1]) < 0.15  # a c for each pair


def test_mixup_of_anything():
    """Any rank, real responses, half precision; linear in x and y, under jit and grad."""
    x, y = input_of("bfloat16", (6, 2, 3)), input_of("float32", (6,), 1)

    def total(y, c):
        mixed, response = mixup(KEY, x, y, c)
        return response.sum(), (mixed, response)

    run = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1), has_aux=True), (None, 0)))
    (totals, (mixed, responses)), (in_y, in_c) = run(y, jnp.array([1.0, 1e-3, 0, -1, jnp.nan]))
    assert (mixed.dtype, responses.dtype) == ("bfloat16", "float32")
    np.testing.assert_allclose((in_y[:2] * y[None]).sum(axis=1), totals[:2], rtol=1e-5)
    np.testing.assert_array_equal(in_c[:2], 0)
    np.testing.assert_array_equal(jnp.isnan(responses).all(axis=1), [False] * 2 + [True] * 3)
    np.testing.assert_array_equal(jnp.isnan(responses).any(axis=1), [False] * 2 + [True] * 3)
    same(mixup(None, x, y, deterministic=True), (x, y))


def test_mixup_and_smoothed_labels():
    labels = optax.smooth_labels(jax.nn.one_hot(jnp.array([0, 1, 2]), 3), 0.1)
    _, y = mixup(KEY, jnp.ones((3, 1)), labels)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    assert (y >= 0.1 / 3 - 1e-6).all()


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "axis must be -2", lambda: random_flip(KEY, IMAGE, axis=-1)),
        (ValueError, r"probability must be in \[0, 1\]", lambda: random_flip(KEY, IMAGE, 1.1)),
        (ValueError, "padding must be at least 0", lambda: random_crop(KEY, IMAGE, -1)),
        (ValueError, "mode must be one of constant", lambda: random_crop(KEY, IMAGE, 1, mode="a")),
        (ValueError, "size must be at least 1", lambda: cutout(KEY, IMAGE, 0)),
        (ValueError, r"std must be in \[0, inf\)", lambda: gaussian_noise(KEY, IMAGE, -1)),
        (ValueError, r"one number; got shape \(2,\)", lambda: gaussian_noise(KEY, IMAGE, [1, 2])),
        (TypeError, "x must hold floating", lambda: gaussian_noise(KEY, np.arange(3), 1.0)),
        (TypeError, "y must hold floating", lambda: mixup(KEY, IMAGE, np.arange(5))),
        (ValueError, r"same number of examples in front", lambda: mixup(KEY, IMAGE, jnp.ones(4))),
        (ValueError, "same number of examples", lambda: mixup(KEY, jnp.ones(()), jnp.ones(()))),
        (ValueError, r"concentration must be in \(0", lambda: mixup(KEY, IMAGE, IMAGE, 0.0)),
        (ValueError, r"x\[..., None\]", lambda: cutout(KEY, IMAGE[..., 0], 1)),
    ],
)
def test_messages(error, message, call):
    with pytest.raises(error, match=message):
        call()
