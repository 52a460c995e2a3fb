"""Nodewise lassos: each column regressed on all others, from one matrix of their products.

    gamma_j = argmin 1/2 g' S g - S_j' g + lam_j |g|_1,    g_j = 0,

S = Z' H Z of columns with diagonal 1. Working sets are small where lam_j is of the size that theory
asks for: coordinate descent runs on all regressions side by side over the few features that may
enter, and one product with S certifies all of them or adds what was missing. Meinshausen and
Buehlmann (2006); Friedman, Hastie and Tibshirani (2010), section 2.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import prox
from jreg.path.compiled import compiled
from jreg.typing import Array

LANES = 2**22  # numbers in the matrices of the regressions that are solved side by side
JOIN = 24  # features of a lane that join its working set at once, the worst first
SWEEPS = 10_000


class Nodewise(NamedTuple):
    """coef: (k, p), 0 at its own column. residual: (k,) largest KKT distance over lam_j."""

    coef: np.ndarray
    residual: np.ndarray


def nodewise_lassos(
    S: np.ndarray, targets: np.ndarray, lam: np.ndarray, tol: float = 1e-8
) -> Nodewise:
    """The regressions of the columns `targets` (k,), at strengths lam (k,) > 0.

    S: (p, p) in float64; a feature with diagonal 0 takes no part. Rounds end when every residual is
    at most tol, or when no feature is missing and the descent has come as far as it can.

    >>> S = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> with jax.enable_x64(True):
    ...     nodewise_lassos(S, np.array([0]), np.array([0.2])).coef
    array([[0. , 0.3, 0. ]])
    """
    from scipy.sparse import csr_array

    k, p = targets.size, len(S)
    own = np.zeros((k, p), bool)
    own[np.arange(k), targets] = True
    coef, working = np.zeros((k, p)), np.zeros((k, p), bool)
    shared, right = jnp.asarray(S), S[targets]
    while True:
        slope = np.where(own, 0, right - csr_array(coef) @ S)  # minus the gradient
        distance = np.where(
            coef != 0,
            np.abs(slope - lam[:, None] * np.sign(coef)),
            np.maximum(np.abs(slope) - lam[:, None], 0),
        )
        residual = distance.max(axis=1) / lam
        missing = np.where(working, 0, distance)
        if p > JOIN:
            worst = np.partition(missing, p - JOIN, axis=1)[:, p - JOIN]
            missing[missing < worst[:, None]] = 0
        open_ = (residual > tol) & missing.any(axis=1)
        if not open_.any():
            return Nodewise(coef, residual)
        working |= (missing > 0) & open_[:, None]
        for lanes in _chunks(np.flatnonzero(open_), working.sum(axis=1)):
            # some lanes twice, so that few programs serve all numbers of them
            lanes = np.resize(lanes, _width(lanes.size))
            index = _places(working[lanes])
            start = np.append(coef[lanes], np.zeros((lanes.size, 1)), axis=1)
            start = np.take_along_axis(start, index, axis=1)
            found = _descend(shared, targets[lanes], index, lam[lanes], start, 0.1 * tol)
            filled = np.zeros((lanes.size, p + 1))
            np.put_along_axis(filled, index, np.asarray(found), axis=1)
            coef[lanes] = filled[:, :p]


def _chunks(lanes: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Lanes in order of their sizes, as many together as memory allows."""
    lanes = lanes[np.argsort(sizes[lanes], kind="stable")]
    chunks, start = [], 0
    while start < lanes.size:
        stop = lanes.size
        while stop > start + 1 and (stop - start) * _width(sizes[lanes[stop - 1]]) ** 2 > LANES:
            stop = start + (stop - start) // 2
        chunks.append(lanes[start:stop])
        start = stop
    return chunks


def _width(size: int) -> int:
    """A power of 2, so that few programs serve all sizes."""
    return max(8, 1 << int(size - 1).bit_length())


def _places(working: np.ndarray) -> np.ndarray:
    """The features of each lane, filled up with their number: (lanes, width)."""
    lanes, p = working.shape
    width = _width(int(working.sum(axis=1).max()))
    index = np.full((lanes, width), p)
    rows, columns = np.nonzero(working)
    index[rows, np.arange(rows.size) - np.searchsorted(rows, rows)] = columns
    return index


@compiled
def _descend(S: Array, targets: Array, index: Array, lam: Array, start: Array, tol: float) -> Array:
    """Coordinate descent over the features `index` of each lane."""

    def lane(j: Array, index: Array, lam: Array, w: Array) -> Array:
        G = S.at[index[:, None], index[None, :]].get(mode="fill", fill_value=0)
        g = S.at[j, index].get(mode="fill", fill_value=0)
        inside = jnp.diagonal(G) > 0

        def update(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            w, slope = carry
            new = jnp.where(inside[k], prox.soft_threshold(w[k] + slope[k], lam), 0)
            return w.at[k].set(new), slope - G[k] * (new - w[k])

        def sweep(carry: tuple) -> tuple:
            w, _, count = carry
            w, slope = jax.lax.fori_loop(0, index.size, update, (w, g - G @ w))
            at_zero = jnp.maximum(jnp.abs(slope) - lam, 0)
            distance = jnp.where(w == 0, at_zero, jnp.abs(slope - lam * jnp.sign(w)))
            return w, jnp.max(distance) / lam, count + 1

        def unfinished(carry: tuple) -> Array:
            return (carry[1] > tol) & (carry[2] < SWEEPS)

        far = jnp.full((), jnp.inf, S.dtype)
        return jax.lax.while_loop(unfinished, sweep, (w, far, 0))[0]

    return jax.vmap(lane)(targets, index, lam, start)
