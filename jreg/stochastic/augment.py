"""Augmentation: examples changed at random in ways that leave their labels true.

Images are (height, width, channels); a batch has one axis in front, and each of its examples a draw
of its own. Where values are only moved they may have any dtype, say uint8. Label smoothing is
`optax.smooth_labels`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jreg.stochastic import doors
from jreg.typing import Array, ArrayLike, Scalar

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")  # of jnp.pad


def random_flip(
    key: Array | None,
    x: ArrayLike,
    probability: Scalar = 0.5,
    *,
    axis: int = -2,
    deterministic: bool = False,
) -> Array:
    """The image, or with the given probability its mirror image along an axis.

    Args:
      key: one random key; None if deterministic.
      x: (height, width, channels) or (n, height, width, channels), of any dtype.
      probability: in [0, 1]. A traced one outside gives NaN; integers, which have none, stay.
      axis: -2 flips left and right, -3 up and down.
      deterministic: True returns x.

    Raises ValueError for another rank, axis or probability, or a key that is missing. Krizhevsky,
    Sutskever and Hinton (2012), section 4.1.

    >>> random_flip(jax.random.key(0), jnp.array([[[1], [2], [3]]]), 1.0)[..., 0]
    Array([[3, 2, 1]], dtype=int32)
    """
    x = _images(x)
    p = doors.probability("probability", probability)
    if axis not in (-3, -2):
        raise ValueError(f"axis must be -2 (left and right) or -3 (up and down); got {axis}")
    if deterministic:
        return x

    def one(key: Array, x: Array) -> Array:
        flipped = jnp.where(jax.random.bernoulli(key, p), jnp.flip(x, axis), x)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return flipped
        return jnp.where(jnp.isnan(p), jnp.asarray(jnp.nan, x.dtype), flipped)

    return _each(one, key, x)


def random_crop(
    key: Array | None,
    x: ArrayLike,
    padding: int,
    *,
    mode: str = "constant",
    deterministic: bool = False,
) -> Array:
    """The image moved by up to `padding` pixels each way: a random crop of the padded image.

    Args:
      key: one random key; None if deterministic.
      x: (height, width, channels) or (n, height, width, channels), of any dtype; so is the result.
      padding: pixels added on each side, a Python int >= 0 (4 is usual for 32 x 32). All
        `(2 padding + 1)^2` crops of the original size have the same probability.
      mode: what is added, as in `jnp.pad`: "constant" (zeros), "edge", "reflect", ...
      deterministic: True returns x.

    Raises ValueError for another rank, padding or mode, or a key that is missing. Lee, Xie,
    Gallagher, Zhang and Tu (2015), section 3; He, Zhang, Ren and Sun (2016), section 4.2.

    >>> random_crop(jax.random.key(3), jnp.arange(1, 4).reshape(1, 3, 1), 1, mode="edge")[..., 0]
    Array([[1, 2, 3]], dtype=int32)
    """
    x = _images(x)
    if padding < 0:
        raise ValueError(f"padding must be at least 0; got {padding}")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
    if deterministic:
        return x

    def one(key: Array, x: Array) -> Array:
        padded = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        row, column = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (row, column, jnp.zeros_like(row)), x.shape)

    return _each(one, key, x)


def cutout(
    key: Array | None,
    x: ArrayLike,
    size: int,
    *,
    fill: Scalar = 0,
    deterministic: bool = False,
) -> Array:
    """The image without a square: `size` by `size` pixels are `fill` in all channels.

    The square's centre is uniform over the pixels, so a part of it may lie outside the image; the
    authors found that this matters. For an even size the centre is the pixel after the middle.

    Args:
      key: one random key; None if deterministic.
      x: (height, width, channels) or (n, height, width, channels), of any dtype; so is the result.
      size: pixels, a Python int >= 1.
      fill: a number in units of x; 0 is the mean of a normalised image.
      deterministic: True returns x.

    Raises ValueError for another rank or size, or a key that is missing. DeVries and Taylor (2017),
    section 3.

    >>> cutout(jax.random.key(0), jnp.ones((3, 3, 1)), 2)[..., 0]
    Array([[1., 1., 1.],
           [1., 0., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    x = _images(x)
    if size < 1:
        raise ValueError(f"size must be at least 1; got {size}")
    if deterministic:
        return x

    def one(key: Array, x: Array) -> Array:
        centre = jax.random.randint(key, (2,), 0, jnp.array(x.shape[:2]))
        rows, columns = (
            (jnp.arange(n) >= c - size // 2) & (jnp.arange(n) < c - size // 2 + size)
            for n, c in zip(x.shape[:2], centre, strict=True)
        )
        return jnp.where((rows[:, None] & columns[None])[..., None], jnp.asarray(fill, x.dtype), x)

    return _each(one, key, x)


def gaussian_noise(
    key: Array | None, x: ArrayLike, std: Scalar, *, deterministic: bool = False
) -> Array:
    """`x + std z`, z independent standard normal for each entry.

    Args:
      key: one random key; None if deterministic.
      x: floating, any shape; the result has its shape, dtype and units.
      std: >= 0, in units of x. A traced one outside gives NaN.
      deterministic: True returns x.

    Raises ValueError for a concrete std < 0 or a key that is missing, TypeError for integers. For a
    linear model with squared loss it acts as ridge of strength std^2: Bishop (1995).

    >>> gaussian_noise(jax.random.key(0), jnp.zeros(2), 0.0)
    Array([0., 0.], dtype=float32)
    """
    x = doors.floats("x", x)
    std = doors.nonnegative("std", std)
    if deterministic:
        return x
    dtype = doors.wide(x.dtype)
    z = jax.random.normal(doors.key(key), x.shape, dtype)
    return (x.astype(dtype) + std.astype(dtype) * z).astype(x.dtype)


def mixup(
    key: Array | None,
    x: ArrayLike,
    y: ArrayLike,
    concentration: Scalar = 0.2,
    *,
    deterministic: bool = False,
) -> tuple[Array, Array]:
    """`c x_i + (1 - c) x_j` and `c y_i + (1 - c) y_j`, c from Beta(concentration, concentration).

    j is i's partner in a random permutation of the batch, and each pair has a c of its own. A small
    concentration leaves most examples nearly as they are, 1 mixes evenly.

    Args:
      key: one random key; None if deterministic.
      x: floating, (n, ...), a batch of anything.
      y: floating, (n, ...): real responses, or `jax.nn.one_hot` of labels.
      concentration: > 0, without derivative. A traced one outside gives NaN.
      deterministic: True returns x and y.

    Returns both, in their shapes, dtypes and units. Raises ValueError for sizes that differ, a
    concrete concentration <= 0 or a key that is missing; TypeError for integers. Zhang, Cisse,
    Dauphin and Lopez-Paz (2018), section 2.

    >>> x, y = mixup(jax.random.key(0), jnp.eye(2), jnp.eye(2))
    >>> x.sum(axis=1)
    Array([1., 1.], dtype=float32)
    """
    x, y = doors.floats("x", x), doors.floats("y", y)
    if x.ndim < 1 or y.ndim < 1 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"x and y must have the same number of examples in front; got {x.shape} and {y.shape}"
        )
    strength = jax.lax.stop_gradient(doors.positive("concentration", concentration))
    if deterministic:
        return x, y
    shuffle, draw = jax.random.split(doors.key(key))
    partner = jax.random.permutation(shuffle, x.shape[0])
    drawn = jax.random.beta(draw, *(jnp.where(strength > 0, strength, 1),) * 2, x.shape[:1])
    c = jnp.where(strength > 0, drawn, jnp.nan)

    def mix(a: Array) -> Array:
        share = c.astype(doors.wide(a.dtype)).reshape(-1, *(1,) * (a.ndim - 1))
        return (share * a + (1 - share) * a[partner]).astype(a.dtype)

    return mix(x), mix(y)


def _images(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    if x.ndim not in (3, 4):
        hint = " Use x[..., None] for one channel." if x.ndim == 2 else ""
        raise ValueError(
            "x must be an image (height, width, channels) or a batch (n, height, width, channels); "
            f"got shape {x.shape}.{hint}"
        )
    return x


def _each(one: Callable[[Array, Array], Array], key: Array | None, x: Array) -> Array:
    """`one(key, image)`, or the same for each image of a batch with its own key."""
    key = doors.key(key)
    return one(key, x) if x.ndim == 3 else jax.vmap(one)(jax.random.split(key, x.shape[0]), x)
