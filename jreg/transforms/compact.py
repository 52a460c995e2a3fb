"""Smaller arrays for a pruned network: hidden neurons that do nothing are taken out."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg.typing import Array

Layer = tuple[Any, Any]  # kernel (..., n_in, n_out), bias (n_out,) or None


def compact(
    layers: Sequence[Layer], activation: Callable[[Array], Array] = jax.nn.relu
) -> list[Layer]:
    """The same function with fewer hidden neurons.

        h = activation(x @ kernel_1 + bias_1),   x @ ... -> h @ kernel_2 + bias_2

    A hidden neuron goes if all its outgoing weights are exactly 0 (nothing sees it), or if all its
    incoming ones are: its output is then the constant `activation(bias)`, which is added to the
    next bias. Repeated until nothing changes, so a neuron that only feeds dead ones goes too.
    Outputs are identical, up to the order of sums. The network's own inputs and outputs stay.

    Args:
      layers: (kernel, bias) of consecutive layers, kernels (n_in, n_out), or (..., n_in, n_out) for
        convolutions; bias (n_out,) or None. Transposed kernels (equinox, torch) are given as
        `kernel.T`. Between two layers only `activation` may act, entry by entry (and pooling, for
        convolutions): norms and skip connections tie neurons together.
      activation: between the layers; None for none.

    Returns the layers as JAX arrays, smaller. A constant that is not 0 is folded into dense layers
    only (a convolution would see it cut off at the borders), and only into one with a bias. Raises
    ValueError for kernels that do not follow one another. Runs on the host: shapes change.

    >>> first = jnp.array([[1.0, 0.0, 2.0]]), jnp.array([0.0, 1.0, 0.0])
    >>> last = jnp.array([[1.0], [3.0], [0.0]]), jnp.array([0.5])
    >>> compact([first, last])  # doctest: +NORMALIZE_WHITESPACE
    [(Array([[1.]], dtype=float32), Array([0.], dtype=float32)),
     (Array([[1.]], dtype=float32), Array([3.5], dtype=float32))]
    """
    kernels = [np.asarray(kernel) for kernel, _ in layers]
    biases = [None if bias is None else np.asarray(bias) for _, bias in layers]
    for i, (a, b) in enumerate(pairwise(kernels)):
        if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"kernels must be (..., n_in, n_out), one layer's n_out the next one's n_in; "
                f"got {a.shape} before {b.shape} in layers {i} and {i + 1}"
            )
    size = sum(kernel.size for kernel in kernels) + 1
    while sum(kernel.size for kernel in kernels) < size:
        size = sum(kernel.size for kernel in kernels)
        for i in range(len(kernels) - 1):
            _remove(kernels, biases, i, activation)
    return [
        (jnp.asarray(kernel), None if bias is None else jnp.asarray(bias))
        for kernel, bias in zip(kernels, biases, strict=True)
    ]


def _remove(
    kernels: list[np.ndarray],
    biases: list[np.ndarray | None],
    i: int,
    activation: Callable[[Array], Array] | None,
) -> None:
    """Take out the idle neurons between layers i and i + 1."""
    before, after, bias = kernels[i], kernels[i + 1], biases[i]
    n = before.shape[-1]
    silent = ~(before != 0).any(axis=tuple(range(before.ndim - 1)))
    unseen = ~(after != 0).any(axis=(*range(after.ndim - 2), -1))

    constant = np.zeros(n, before.dtype) if bias is None else bias
    constant = np.asarray(constant if activation is None else activation(jnp.asarray(constant)))
    next_bias = biases[i + 1]
    folds = after.ndim == 2 and next_bias is not None
    gone = unseen | (silent & ((constant == 0) | folds))

    if folds and next_bias is not None:
        shift = np.where(gone & ~unseen, constant, 0) @ after
        biases[i + 1] = (next_bias + shift).astype(next_bias.dtype)
    kernels[i] = before[..., ~gone]
    kernels[i + 1] = after[..., ~gone, :]
    biases[i] = None if bias is None else bias[~gone]
