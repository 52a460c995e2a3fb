"""Every proximal operator and projection of jreg beside the fastest peer at hand, in one run.

`python benchmarks/prox.py` prints a Markdown table of times in float64, `--markdown FILE` writes it
too. A ratio is the peer's time over that of jreg: above 1, jreg is faster. Both sides are given
arrays of their own kind and take turns; "cold" is the first call, with tracing and compilation.
Each peer's result is compared with that of jreg first; one that differs is not timed.

Peers that are not installed are left out. For all of them: `pip install jaxopt optax prox_tv
pyproximal scikit-learn skglm` (`prox_tv` needs a C++ compiler and lapacke.h).
"""

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import logging
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import penalties, projections, prox

PEERS = ("optax", "jaxopt", "sklearn", "scipy", "skglm", "pyproximal", "prox_tv")
IN_JAX = ("optax", "jaxopt")
TOLERANCE = 1e-6  # on the largest difference, relative to the largest entry
ROUNDS = 5
SHORTEST = 2e-3  # seconds in a round; shorter calls are repeated
SLOW = 1.0  # seconds; one round is enough where jreg takes longer
TOO_SLOW = 0.1  # seconds for 1e4; then 1e6 is left out
SMOKE = {"soft_threshold", "mcp", "GroupLasso", "sorted_l1", "simplex", "l2_ball", "psd"}


def module(name: str) -> ModuleType | None:
    """A peer, or None with the reason printed."""
    try:
        for part in ("projections",) if name == "optax" else ("",):
            importlib.import_module(f"{name}.{part}".rstrip("."))
        return importlib.import_module(name)
    except Exception as error:  # an old peer may fail in any way under a new JAX
        print(f"without {name}: {error}")
        return None


optax, jaxopt, sklearn, scipy, skglm, pyproximal, prox_tv = (module(name) for name in PEERS)
if sklearn:
    import sklearn.isotonic
if scipy:
    import scipy.optimize
if skglm:
    import numba
    from skglm.utils import prox_funcs
if jaxopt:
    import jaxopt.isotonic


def soft(v: np.ndarray, t: Any) -> np.ndarray:
    return np.sign(v) * np.maximum(np.abs(v) - t, 0)


def l_half(v: np.ndarray, t: float) -> np.ndarray:
    size = np.maximum(np.abs(v), 1.5 * t ** (2 / 3))
    angle = np.arccos(-(t / 4) * (size / 3) ** -1.5)
    root = 2 / 3 * v * (1 + np.cos(2 / 3 * angle))
    return np.where(np.abs(v) > 1.5 * t ** (2 / 3), root, 0)


def mcp(v: np.ndarray, step: float, lam: float, gamma: float) -> np.ndarray:
    return np.where(np.abs(v) > gamma * lam, v, soft(v, step * lam) / (1 - step / gamma))


def scad(v: np.ndarray, step: float, lam: float, gamma: float) -> np.ndarray:
    size, rest = np.abs(v), gamma - 1 - step
    sloped = ((gamma - 1) * v - step * gamma * lam * np.sign(v)) / rest
    middle = np.where(size > gamma * lam, v, sloped)
    return np.where(size <= (1 + step) * lam, soft(v, step * lam), middle)


def log_sum(v: np.ndarray, t: float, epsilon: float) -> np.ndarray:
    size = np.abs(v)
    root = (size - epsilon + np.sqrt(np.maximum((size + epsilon) ** 2 - 4 * t, 0))) / 2
    root = np.maximum(root, 0)
    better = t * np.log1p(root / epsilon) + root * (root / 2 - size) < 0
    return np.where(((size + epsilon) ** 2 > 4 * t) & better, np.sign(v) * root, 0)


def capped_l1(v: np.ndarray, t: float, theta: float) -> np.ndarray:
    return np.where(np.abs(v) > theta + t / 2, v, soft(v, t))


def length(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(v * v, -1, keepdims=True))


def block_soft(v: np.ndarray, t: float) -> np.ndarray:
    size = length(v)
    return np.maximum(1 - t / np.where(size == 0, 1, size), 0) * v


def in_groups(f: Callable, v: np.ndarray, *parameters: Any) -> np.ndarray:
    """f of groups of ten along the last axis."""
    return f(v.reshape(*v.shape[:-1], -1, 10), *parameters).reshape(v.shape)


def block_soft_in_metric(v: np.ndarray, t: float, step: np.ndarray) -> np.ndarray:
    """Newton's method from the left on `1 / |v / (r + t step)| - 1`."""
    step = step.reshape(-1, 10)
    active = np.sum((v / step) ** 2, -1, keepdims=True) > t * t
    r = np.zeros_like(active, v.dtype)
    for _ in range(60):
        ratio = v / (r + t * step)
        h = np.sum(ratio**2, -1, keepdims=True)
        slope = np.sum(ratio**2 / (r + t * step), -1, keepdims=True)
        move = np.where(active, h * (np.sqrt(h) - 1) / slope, 0)
        r = np.maximum(r + move, 0)
        if np.all(np.abs(move) <= 1e-15 * r):
            break
    return r / (r + t * step) * v


def pool(v: np.ndarray, f: Callable) -> np.ndarray:
    """SLOPE from an isotonic regression f."""
    order = np.argsort(-np.abs(v))
    shrunk = np.empty_like(v)
    shrunk[order] = f(np.abs(v)[order])
    return np.sign(v) * np.maximum(shrunk, 0)


def lifted(f: Callable, V: np.ndarray, *parameters: Any) -> np.ndarray:
    U, sigma, Wt = np.linalg.svd(V, full_matrices=False)
    return (U * f(sigma, *parameters)[..., None, :]) @ Wt


def simplex(v: np.ndarray, total: float) -> np.ndarray:
    falling = -np.sort(-v, -1)
    excess = np.cumsum(falling, -1) - total
    count = np.sum(falling * np.arange(1, v.shape[-1] + 1) > excess, -1, keepdims=True)
    return np.maximum(v - np.take_along_axis(excess, count - 1, -1) / count, 0)


def l1_ball(v: np.ndarray, radius: float) -> np.ndarray:
    inside = np.sum(np.abs(v), -1, keepdims=True) <= radius
    return np.where(inside, v, np.sign(v) * simplex(np.abs(v), radius))


def section(v: np.ndarray, lower: Any, upper: Any, a: Any, b: float) -> np.ndarray:
    """Bisection on the multiplier, then one Newton step, which is exact in the last piece."""
    low, high = np.full((*v.shape[:-1], 1), -100.0), np.full((*v.shape[:-1], 1), 100.0)
    for _ in range(60):
        tau = (low + high) / 2
        above = np.sum(a * np.clip(v - tau * a, lower, upper), -1, keepdims=True) > b
        low, high = np.where(above, tau, low), np.where(above, high, tau)
    return np.clip(v - tau * a, lower, upper)


def l0_ball(v: np.ndarray, k: float) -> np.ndarray:
    z, rest = v.copy(), np.argpartition(-np.abs(v), int(k), -1)[..., int(k) :]
    np.put_along_axis(z, rest, 0, -1)
    return z


def linf_sphere(v: np.ndarray, radius: float) -> np.ndarray:
    z, at = np.clip(v, -radius, radius), np.argmax(np.abs(v), -1, keepdims=True)
    np.put_along_axis(z, at, np.sign(np.take_along_axis(v, at, -1)) * radius, -1)
    return z


def halfspace(v: np.ndarray, a: np.ndarray, low: float, high: float) -> np.ndarray:
    at = (v @ a)[..., None]
    return v - (at - np.clip(at, low, high)) / (a @ a) * a


def psd(V: np.ndarray) -> np.ndarray:
    values, U = np.linalg.eigh((V + np.swapaxes(V, -1, -2)) / 2)
    return (U * np.maximum(values, 0)[..., None, :]) @ np.swapaxes(U, -1, -2)


@functools.cache
def compiled(name: str) -> Callable:
    """A scalar function of skglm over the entries of an array."""
    scalar = getattr(prox_funcs, name)

    @numba.njit
    def loop(v, *parameters):
        z = np.empty_like(v)
        for i in range(v.size):
            z[i] = scalar(v[i], *parameters)
        return z

    return lambda v, *parameters: loop(v.ravel(), *parameters).reshape(v.shape)


def slope_of_skglm(v: np.ndarray, t: np.ndarray) -> np.ndarray:
    return pool(v, lambda size: prox_funcs.prox_SLOPE(size, t))


def penalty(make: Callable, *others: Any) -> Callable:
    """Prox of a jreg penalty with groups of ten."""

    def apply(v: jax.Array, lam: jax.Array, step: Any = 1.0) -> jax.Array:
        return make(lam, *others, groups=tens(v.size)).prox(v, step)

    return apply


@functools.cache
def tens(n: int) -> penalties.Groups:
    return penalties.Groups.of_sizes([10] * (n // 10))


@dataclass(frozen=True)
class Operator:
    """What is timed: `ours(v, *parameters)`, and the same of each peer.

    A peer's name is its module's (and perhaps more), or "NumPy" for code of this file, which takes
    a batch along the first axis; the other peers on the host are looped over a batch, unless
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


def entrywise() -> Iterator[Operator]:
    def entries(name: str, ours: Callable, peers: dict, *parameters: Any, **more: Any) -> Operator:
        return Operator(name, ours, peers, fixed(*parameters), entrywise=True, **more)

    yield entries(
        "soft_threshold",
        prox.soft_threshold,
        {
            "NumPy": soft,
            "jaxopt": lambda v, t: jaxopt.prox.prox_lasso(v, t),
            "skglm": lambda v, t: prox_funcs.ST_vec(v, t),
            "pyproximal": lambda v, t: pyproximal.L1().prox(v, t),
        },
        0.5,
    )
    yield entries(
        "elastic_net",
        prox.elastic_net,
        {
            "NumPy": lambda v, t1, t2: soft(v, t1) / (1 + t2),
            "jaxopt": lambda v, t1, t2: jaxopt.prox.prox_elastic_net(v, (t1, t2 / t1)),
        },
        0.5,
        0.3,
    )
    yield entries(
        "ridge",
        prox.ridge,
        {
            "NumPy": lambda v, t: v / (1 + t),
            "jaxopt": lambda v, t: jaxopt.prox.prox_ridge(v, t),
            "pyproximal": lambda v, t: pyproximal.L2(sigma=1.0).prox(v, t),
        },
        0.5,
    )
    yield entries(
        "huber",
        prox.huber,
        {
            "NumPy": lambda v, t, d: v * (1 - t * d / np.maximum(np.abs(v), d * (1 + t))),
            "pyproximal": lambda v, t, d: pyproximal.Huber(d).prox(v, t),
        },
        0.5,
        1.0,
        known={"pyproximal": "pieces meet at delta, not at delta (1 + t)"},
    )
    yield entries(
        "nonnegative_soft_threshold",
        prox.nonnegative_soft_threshold,
        {
            "NumPy": lambda v, t: np.maximum(v - t, 0),
            "jaxopt": lambda v, t: jaxopt.prox.prox_non_negative_lasso(v, t),
        },
        0.5,
    )
    yield entries(
        "asymmetric_soft_threshold",
        prox.asymmetric_soft_threshold,
        {"NumPy": lambda v, below, above: v - np.clip(v, -below, above)},
        0.5,
        1.0,
    )
    yield entries(
        "l0",
        prox.l0,
        {
            "NumPy": lambda v, t: np.where(np.abs(v) > np.sqrt(2 * t), v, 0),
            "pyproximal": lambda v, t: pyproximal.L0().prox(v, t),
        },
        0.7,
        known={"pyproximal": "threshold t, not sqrt(2 t)"},
    )
    yield entries(
        "l_half",
        prox.l_half,
        {"NumPy": l_half, "skglm": lambda *args: compiled("prox_05")(*args)},
        0.5,
    )
    yield entries(
        "mcp",
        prox.mcp,
        {"NumPy": mcp, "skglm": lambda *args: compiled("prox_MCP")(*args)},
        0.5,
        1.0,
        3.0,
    )
    yield entries(
        "scad",
        prox.scad,
        {
            "NumPy": scad,
            "skglm": lambda *args: compiled("prox_SCAD")(*args),
            "pyproximal": lambda v, step, lam, gamma: pyproximal.SCAD(lam, gamma).prox(v, step),
        },
        0.5,
        1.0,
        3.7,
    )
    yield entries(
        "log_sum",
        prox.log_sum,
        {"NumPy": log_sum, "skglm": lambda *args: compiled("prox_log_sum")(*args)},
        0.5,
        0.5,
        limits={"skglm": 70_000},  # a bisection for each entry
    )
    yield entries("capped_l1", prox.capped_l1, {"NumPy": capped_l1}, 0.5, 1.0)
    yield entries(
        "box",
        projections.box,
        {
            "NumPy": np.clip,
            "optax": lambda v, low, high: optax.projections.projection_box(v, low, high),
            "jaxopt": lambda v, low, high: jaxopt.projection.projection_box(v, (low, high)),
            "pyproximal": lambda v, low, high: pyproximal.Box(low, high).prox(v, 1.0),
        },
        -1.0,
        2.0,
    )
    yield entries(
        "linf_ball",
        projections.linf_ball,
        {
            "NumPy": lambda v, r: np.clip(v, -r, r),
            "optax": lambda v, r: optax.projections.projection_linf_ball(v, r),
            "jaxopt": lambda v, r: jaxopt.projection.projection_linf_ball(v, r),
        },
        1.0,
    )
    yield entries(
        "nonnegative",
        projections.nonnegative,
        {
            "NumPy": lambda v: np.maximum(v, 0),
            "optax": lambda v: optax.projections.projection_non_negative(v),
            "jaxopt": lambda v: jaxopt.projection.projection_non_negative(v),
        },
    )


def groups() -> Iterator[Operator]:
    def shared_by_tens(v: jax.Array, t: jax.Array) -> jax.Array:
        by_ten = jax.vmap(jaxopt.prox.prox_group_lasso, in_axes=(0, None))
        return by_ten(v.reshape(-1, 10), t * jnp.sqrt(10)).ravel()

    def sparse(v: np.ndarray, lam: float) -> np.ndarray:
        return in_groups(block_soft, soft(v, lam / 2), lam / 2 * np.sqrt(10))

    def sparse_of_pyproximal(v: np.ndarray, lam: float) -> np.ndarray:
        total = lam / 2 * (1 + np.sqrt(10))
        by_ten = pyproximal.L21_plus_L1(total, lam / 2 / total)
        return by_ten.prox(v.reshape(-1, 10).T, 1.0).T.ravel()

    yield Operator(
        "l2",
        prox.l2,
        {
            "NumPy": block_soft,
            "jaxopt": lambda v, t: jaxopt.prox.prox_group_lasso(v, t),
            "pyproximal": lambda v, t: pyproximal.Euclidean().prox(v, t),
            "skglm": lambda v, t: prox_funcs.BST(v, t),
        },
        fixed(5.0),
    )
    yield Operator(
        "GroupLasso",
        penalty(penalties.GroupLasso),
        {
            "NumPy": lambda v, t: in_groups(block_soft, v, t * np.sqrt(10)),
            "jaxopt": shared_by_tens,
        },
        fixed(2.0),
    )
    yield Operator(
        "GroupLasso, a step per entry",
        lambda v, step, lam: penalty(penalties.GroupLasso)(v, lam, step),
        {"NumPy": lambda v, step, lam: in_groups(block_soft_in_metric, v, lam * np.sqrt(10), step)},
        lambda rng, n: (rng.uniform(0.5, 2, n), 2.0),
    )
    yield Operator(
        "SparseGroupLasso",
        penalty(penalties.SparseGroupLasso),
        {"NumPy": sparse, "pyproximal": sparse_of_pyproximal},
        fixed(1.0),
    )


def order_and_differences() -> Iterator[Operator]:
    def linf_from(ball: Callable) -> Callable:
        return lambda v, t: v - ball(v, t)

    yield Operator(
        "sorted_l1",
        prox.sorted_l1,
        {
            "skglm": slope_of_skglm,
            "sklearn": lambda v, t: pool(
                v, lambda size: sklearn.isotonic.isotonic_regression(size - t, increasing=False)
            ),
        },
        lambda rng, n: (np.linspace(3, 0, n),),
    )
    yield Operator(
        "linf",
        prox.linf,
        {
            "NumPy": linf_from(l1_ball),
            "optax": linf_from(lambda v, t: optax.projections.projection_l1_ball(v, t)),
            "jaxopt": linf_from(lambda v, t: jaxopt.projection.projection_l1_ball(v, t)),
        },
        fixed(20.0),
    )
    yield Operator(
        "total_variation",
        prox.total_variation,
        {
            "prox_tv": lambda v, t: prox_tv.tv1_1d(v, t),
            "prox_tv, Condat": lambda v, t: prox_tv.tv1_1d(v, t, method="condat"),
            "prox_tv, Johnson": lambda v, t: prox_tv.tv1_1d(v, t, method="dp"),
        },
        fixed(2.0),
        noisy_steps,
    )
    yield Operator(
        "fused_lasso",
        prox.fused_lasso,
        {
            "prox_tv": lambda v, t1, t2: soft(prox_tv.tv1_1d(v, t2), t1),
            "prox_tv, Condat": lambda v, t1, t2: soft(prox_tv.tv1_1d(v, t2, method="condat"), t1),
        },
        fixed(0.5, 2.0),
        noisy_steps,
    )
    yield Operator(
        "isotonic",
        projections.isotonic,
        {
            "sklearn": lambda v: sklearn.isotonic.isotonic_regression(v),
            "scipy": lambda v: scipy.optimize.isotonic_regression(v).x,
            "jaxopt": lambda v: jaxopt.isotonic.isotonic_l2_pav(v),
        },
        fixed(),
        noisy_line,
        known={"jaxopt": "a host callback whose compiler rejects the read-only array"},
    )
    yield Operator(
        "l0_ball", projections.l0_ball, {"NumPy": l0_ball}, lambda rng, n: (np.float64(n // 10),)
    )


def balls() -> Iterator[Operator]:
    def of_libraries(name: str, *skip: str) -> dict[str, Callable]:
        of_optax = lambda *args: getattr(optax.projections, f"projection_{name}")(*args)  # noqa: E731
        of_jaxopt = lambda *args: getattr(jaxopt.projection, f"projection_{name}")(*args)  # noqa: E731
        both = {"optax": of_optax, "jaxopt": of_jaxopt}
        return {label: f for label, f in both.items() if label not in skip}

    def box_section_of_jaxopt(v: jax.Array, lower: Any, upper: Any, a: Any, b: Any) -> jax.Array:
        lower, upper, a = (jnp.broadcast_to(x, v.shape) for x in (lower, upper, a))
        return jaxopt.projection.projection_box_section(v, (lower, upper, a, b))

    def scaled(v: np.ndarray, r: float) -> np.ndarray:
        return v * np.minimum(1, r / length(v))

    simplex_of_pyproximal = lambda v, r: pyproximal.Simplex(v.size, r, xtol=1e-13).prox(v, 1.0)  # noqa: E731
    yield Operator(
        "simplex",
        projections.simplex,
        {"NumPy": simplex, "pyproximal": simplex_of_pyproximal} | of_libraries("simplex"),
        fixed(1.0),
    )
    yield Operator(
        "capped_simplex",
        projections.capped_simplex,
        {
            "NumPy": lambda v, total, upper: section(v, 0.0, upper, 1.0, total),
            "jaxopt": lambda v, total, upper: box_section_of_jaxopt(v, 0.0, upper, 1.0, total),
        },
        lambda rng, n: (n / 10, 1.0),
    )
    yield Operator(
        "box_section",
        projections.box_section,
        {"NumPy": section, "jaxopt": box_section_of_jaxopt},
        lambda rng, n: (-1.0, 1.0, rng.uniform(0.5, 2, n), n / 10),
    )
    yield Operator(
        "l1_ball",
        projections.l1_ball,
        {"NumPy": l1_ball} | of_libraries("l1_ball"),
        fixed(10.0),
    )
    yield Operator(
        "l1_sphere",
        projections.l1_sphere,
        {"NumPy": lambda v, r: np.sign(v) * simplex(np.abs(v), r)} | of_libraries("l1_sphere"),
        fixed(10.0),
    )
    yield Operator(
        "l2_ball",
        projections.l2_ball,
        {
            "NumPy": scaled,
            "pyproximal": lambda v, r: pyproximal.EuclideanBall(0.0, r).prox(v, 1.0),
        }
        | of_libraries("l2_ball"),
        fixed(10.0),
    )
    yield Operator(
        "l2_sphere",
        projections.l2_sphere,
        {"NumPy": lambda v, r: v * (r / length(v))} | of_libraries("l2_sphere"),
        fixed(10.0),
    )
    yield Operator("linf_sphere", projections.linf_sphere, {"NumPy": linf_sphere}, fixed(10.0))
    yield Operator(
        "halfspace",
        projections.halfspace,
        {
            "NumPy": lambda v, a, b: halfspace(v, a, -np.inf, b),
            "optax": lambda v, a, b: optax.projections.projection_halfspace(v, a, b),
            "jaxopt": lambda v, a, b: jaxopt.projection.projection_halfspace(v, (a, b)),
            "pyproximal": lambda v, a, b: pyproximal.HalfSpace(a, b).prox(v, 1.0),
        },
        lambda rng, n: (rng.normal(size=n), -n / 2.0),
    )
    yield Operator(
        "hyperplane",
        projections.hyperplane,
        {
            "NumPy": lambda v, a, b: halfspace(v, a, b, b),
            "optax": lambda v, a, b: optax.projections.projection_hyperplane(v, a, b),
            "jaxopt": lambda v, a, b: jaxopt.projection.projection_hyperplane(v, (a, b)),
        },
        lambda rng, n: (rng.normal(size=n), 1.0),
    )
    yield Operator(
        "hyperslab",
        projections.hyperslab,
        {"NumPy": halfspace},
        lambda rng, n: (rng.normal(size=n), n / 2.0, n + 0.0),
    )

    def equations(rng: np.random.Generator, n: int) -> tuple:
        A = rng.normal(size=(10, n))
        return A, rng.normal(size=10), np.linalg.pinv(A)

    yield Operator(
        "affine, 10 equations",
        lambda v, A, b, inverse: projections.AffineSet(A, b, inverse).project(v),
        {
            "NumPy": lambda v, A, b, inverse: v - (v @ A.T - b) @ inverse.T,
            "jaxopt": lambda v, A, b, _: jaxopt.projection.projection_affine_set(v, (A, b)),
        },
        equations,
        largest=10_000,
        limits={"jaxopt": 1024},  # a dense system of n equations
    )


def matrices() -> Iterator[Operator]:
    def nuclear_of_pyproximal(V: np.ndarray, t: float) -> np.ndarray:
        return pyproximal.Nuclear(V.shape).prox(V.ravel(), t).reshape(V.shape)

    yield Operator(
        "nuclear",
        prox.nuclear,
        {
            "NumPy": lambda V, t: lifted(soft, V, t),
            "pyproximal": lambda V, t: (
                pyproximal.Nuclear(V.shape).prox(V.ravel(), t).reshape(V.shape)
            ),
        },
        lambda rng, n: (np.sqrt(n),),
        matrix=500,
    )
    yield Operator(
        "rank",
        prox.rank,
        {"NumPy": lambda V, t: lifted(lambda s: np.where(s > np.sqrt(2 * t), s, 0), V)},
        lambda rng, n: (n / 2.0,),
        matrix=500,
    )
    yield Operator("psd", projections.psd, {"NumPy": psd}, fixed(), matrix=1000)
    yield Operator(
        "unit_rows",
        projections.unit_rows,
        {"NumPy": lambda V: V / length(V)},
        fixed(),
        matrix=1000,
    )
    yield Operator(
        "max_norm",
        projections.max_norm,
        {"NumPy": lambda V, r: V * np.minimum(1, r / length(V))},
        lambda rng, n: (2 * np.sqrt(n),),
        matrix=1000,
    )


def operators() -> list[Operator]:
    return [*entrywise(), *groups(), *order_and_differences(), *balls(), *matrices()]


@dataclass
class Contender:
    """One way to compute a result, with its times in seconds."""

    name: str
    call: Callable[[], Any]
    repeats: int = 1
    rounds: list[float] = field(default_factory=list)

    def round(self) -> None:
        start = time.perf_counter()
        for _ in range(self.repeats):
            self.call()
        self.rounds.append((time.perf_counter() - start) / self.repeats)

    def warm(self) -> float:
        return statistics.median(self.rounds)


def jitted(f: Callable, v: np.ndarray, parameters: tuple, batch: bool) -> Callable[[], Any]:
    if batch:
        f = jax.vmap(f, in_axes=(0, *[None] * len(parameters)))
    run = jax.jit(lambda *args: f(*args))  # a new function: nothing is cached
    args = jax.block_until_ready(jax.tree.map(jnp.asarray, (v, *parameters)))
    return lambda: run(*args).block_until_ready()


def on_host(f: Callable, v: np.ndarray, parameters: tuple, loop: bool) -> Callable[[], Any]:
    if loop:
        return lambda: np.stack([f(row, *parameters) for row in v])
    return lambda: f(v, *parameters)


def timed(call: Callable[[], Any]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    result = call()
    return np.asarray(result), time.perf_counter() - start


@dataclass
class Row:
    """A line of the table."""

    operator: Operator
    size: str
    ours: Contender
    cold: float
    peers: list[Contender]
    one_pass: float  # of XLA over v, dispatch included
    remarks: list[str]

    def ratio(self, peer: Contender) -> float:
        return peer.warm() / self.ours.warm()


def measure(operator: Operator, size: str, rng: np.random.Generator, rounds: int) -> Row:
    shape = tuple(int(float(n)) for n in size.split(" x "))
    single = shape[-2:] if operator.matrix else shape[-1:]
    batch = len(shape) > len(single)
    v = operator.data(rng, shape)
    parameters = operator.parameters(rng, single[-1])

    ours = Contender("jreg", jitted(operator.ours, v, parameters, batch))
    _, cold = timed(ours.call)
    expected, warm = timed(ours.call)
    if warm > SLOW:
        rounds = 1
    peers, remarks = [], []
    for name, f in operator.peers.items():
        library = name.split(",")[0]
        if library in PEERS and globals()[library] is None:
            continue
        if v.size > operator.limits.get(library, v.size):
            remarks.append(f"{name} left out: far slower")
            continue
        if library in IN_JAX:
            call = jitted(f, v, parameters, batch)
        else:
            call = on_host(
                f, v, parameters, batch and library != "NumPy" and not operator.entrywise
            )
        why = operator.known.get(library, "UNEXPECTED")
        try:
            result = np.asarray(call())
        except Exception as error:
            remarks.append(f"{name} fails with {type(error).__name__} ({why})")
            continue
        apart = np.max(np.abs(result - expected)) / max(1.0, np.max(np.abs(expected)))
        if not apart <= TOLERANCE:
            remarks.append(f"{name} differs by {apart:.0e} ({why})")
            continue
        peers.append(Contender(name, call))

    pass_over = Contender("", jitted(lambda v: v + 1, v, (), False))
    pass_over.call()
    contenders = [ours, *peers, pass_over]
    for contender in contenders:
        _, once = timed(contender.call) if contender is not ours else (None, warm)
        contender.repeats = max(1, min(100, int(SHORTEST / once)))
    for _ in range(rounds):
        for contender in contenders:
            contender.round()
    peers.sort(key=Contender.warm)
    return Row(operator, size, ours, cold, peers, pass_over.warm(), remarks)


def duration(seconds: float) -> str:
    scales = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((unit for unit, scale in scales.items() if seconds >= scale), "µs")
    value = seconds / scales[unit]
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"


HEADER = ("operator", "size", "jreg", "best peer", "its time", "ratio", "cold", "notes")


def cells(row: Row) -> list[str]:
    notes = list(row.remarks)
    if not row.peers:
        fastest = ["none here", "", ""]
    else:
        best, *others = row.peers
        fastest = [best.name, duration(best.warm()), f"{row.ratio(best):.2f}"]
        if others:
            notes.insert(0, ", ".join(f"{peer.name} {row.ratio(peer):.2g}" for peer in others))
        if row.ratio(best) < 0.5:
            notes.insert(0, f"**{reason(row)}**")
    start = [row.operator.name, row.size, duration(row.ours.warm())]
    return [*start, *fastest, duration(row.cold), "; ".join(notes)]


# Why jreg takes more than twice as long as the best peer, where it does, from profiles.
COPIES = "each step of the loop copies the arrays it carries: the cost grows as n^2"
GATHER = "`Groups.spread` is a gather: 12 ms for 1e6, where a broadcast takes 0.4 ms"
PASSES = "the norm is scaled against overflow and -0 cleared: more passes than peers make"
SORT = "XLA's sort on the CPU, some 25 times slower than NumPy's"
LAPACK = "LAPACK in both; its threads and other load make it vary by 20 times"
ENTRIES = "arccos, power and cosine of all entries; numba branches"
THREADS = "XLA wakes its second thread: 23 µs on one core (`taskset -c 0`)"
SLOWER = {
    "GroupLasso": GATHER,
    "SparseGroupLasso": GATHER,
    "box_section": f"{SORT}, of 2 n breakpoints; jaxopt bisects",
    "capped_simplex": f"{SORT}, of 2 n breakpoints; jaxopt bisects",
    "fused_lasso": COPIES,
    "halfspace": PASSES,
    "hyperplane": PASSES,
    "hyperslab": PASSES,
    "isotonic": COPIES,
    "l0_ball": f"two of {SORT}; NumPy's partition is linear",
    "l1_ball": f"{SORT}, of 2 n breakpoints where n would do",
    "l1_sphere": f"{SORT}, of 2 n breakpoints where n would do",
    "l2": PASSES,
    "l2_ball": PASSES,
    "l2_sphere": PASSES,
    "l_half": ENTRIES,
    "linf": SORT,
    "max_norm": PASSES,
    "mcp": THREADS,
    "nuclear": LAPACK,
    "psd": LAPACK,
    "rank": LAPACK,
    "simplex": f"{SORT}, of 2 n breakpoints where n would do",
    "sorted_l1": COPIES,
    "total_variation": COPIES,
    "unit_rows": PASSES,
}


def reason(row: Row) -> str:
    """Why jreg takes more than twice as long as the best peer."""
    one_pass = f"a jitted v + 1 takes {duration(row.one_pass)}"
    if row.ours.warm() < 2 * row.one_pass:
        return f"XLA's cost of any call: {one_pass}"
    return f"{SLOWER.get(row.operator.name, 'slower, for a reason not looked into')} ({one_pass})"


def machine() -> str:
    versions = [f"jax {jax.__version__}", f"numpy {np.__version__}"]
    for name in PEERS:
        if globals()[name] is not None:
            versions.append(f"{name} {importlib.metadata.version(DISTRIBUTION.get(name, name))}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [f"XLA {usable}"]
    with contextlib.suppress(ImportError):
        import threadpoolctl

        pools = threadpoolctl.threadpool_info()
        threads += [f"{p['user_api']} ({p['internal_api']}) {p['num_threads']}" for p in pools]
    if skglm:
        threads.append(f"numba {numba.get_num_threads()}")
    return (
        f"{platform.machine()}, {usable} of {os.cpu_count()} cores, {jax.default_backend()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}. "
        f"Threads: {', '.join(dict.fromkeys(threads))}. Load: {os.getloadavg()[0]:.1f}."
    )


DISTRIBUTION = {"sklearn": "scikit-learn", "prox_tv": "prox-tv"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few operators, one size, one round")
    parser.add_argument(
        "--asynchronous", action="store_true", help="jax_cpu_enable_async_dispatch as JAX has it"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the table to this file")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these operators only")
    options = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", options.asynchronous)
    warnings.simplefilter("ignore")  # peers' divisions by zero and deprecations
    logging.disable()  # the tracebacks of their callbacks

    rng = np.random.default_rng(0)
    rows = []
    with jax.enable_x64(True):
        identity = Contender("", jitted(lambda v, t: v, np.ones(100), (1.0,), False), 1000)
        identity.call()
        for _ in range(ROUNDS):
            identity.round()
        lines = [
            "# Proximal operators and projections",
            "",
            f"{machine()} float64; median of {1 if options.smoke else ROUNDS}. An empty jitted "
            f"call of an array of 100 and a scalar takes {duration(identity.warm())}.",
            f"{'With' if options.asynchronous else 'Without'} asynchronous dispatch on the CPU.",
            "",
            f"| {' | '.join(HEADER)} |",
            "|---|---|--:|---|--:|--:|--:|---|",
        ]
        print("\n".join(lines))
        for operator in operators():
            if operator.name not in (options.only or (SMOKE if options.smoke else [operator.name])):
                continue
            for size in sizes(operator, options.smoke):
                if size == "1e6" and rows[-1].ours.warm() > TOO_SLOW:
                    lines.append(f"| {operator.name} | {size} | | | | | | not run: see 1e4 |")
                    print(lines[-1])
                    continue
                rows.append(measure(operator, size, rng, 1 if options.smoke else ROUNDS))
                lines.append(f"| {' | '.join(cells(rows[-1]))} |")
                print(lines[-1], flush=True)
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    wrong = [row for row in rows if any("UNEXPECTED" in remark for remark in row.remarks)]
    return 1 if wrong else 0


def sizes(operator: Operator, smoke: bool) -> list[str]:
    side = operator.matrix
    if smoke:
        return ["10 x 10" if side else "100"]
    if side:
        return ["10 x 10", "100 x 100", f"{side} x {side}", "64 x 32 x 32"]
    ten = "GroupLasso" in operator.name
    lengths = [n for n in ("100", "1e4", "1e6") if float(n) <= operator.largest]
    return [*lengths, "64 x 1020" if ten else "64 x 1024"]


if __name__ == "__main__":
    sys.exit(main())
