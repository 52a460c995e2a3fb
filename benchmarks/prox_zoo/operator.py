"""A row of the table: an operator of jreg, its peers, its data."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jreg import penalties


@dataclass(frozen=True)
class Operator:
    """What is timed: `ours(v, *parameters)`, and the same of each peer.

    A peer's name is its module's (and perhaps more), or "NumPy" for `in_numpy`, which takes a
    batch along the first axis; the other peers on the host are looped over a batch, unless
    `entrywise`. limits: largest size for a peer. known: why a peer may differ from jreg.
    """

    name: str
    ours: Callable
    peers: dict[str, Callable]
    parameters: Callable[[np.random.Generator, int], tuple] = lambda rng, n: (0.5,)
    data: Callable[[np.random.Generator, tuple], np.ndarray] = lambda rng, s: 2 * rng.normal(size=s)
    matrix: int = 0  # the largest side, for operators of matrices
    largest: int = 10**6
    entrywise: bool = False
    known: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


def fixed(*parameters: Any) -> Callable:
    return lambda rng, n: parameters


def noisy_line(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return np.linspace(-2, 2, shape[-1]) + rng.normal(size=shape)


def noisy_steps(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    level = 2 * rng.normal(size=(*shape[:-1], 10))
    return np.repeat(level, -(-shape[-1] // 10), -1)[..., : shape[-1]] + rng.normal(size=shape)


def penalty(make: Callable, *others: Any) -> Callable:
    """Prox of a jreg penalty with groups of ten."""

    def apply(v: jax.Array, lam: jax.Array, step: Any = 1.0) -> jax.Array:
        return make(lam, *others, groups=tens(v.size)).prox(v, step)

    return apply


@functools.cache
def tens(n: int) -> penalties.Groups:
    return penalties.Groups.of_sizes([10] * (n // 10))
