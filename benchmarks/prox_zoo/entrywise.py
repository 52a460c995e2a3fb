"""Operators that treat each entry alone."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jreg import projections, prox
from prox_zoo.in_numpy import capped_l1, l_half, log_sum, mcp, scad, soft
from prox_zoo.operator import Operator, fixed
from prox_zoo.peers import compiled, jaxopt, optax, prox_funcs, pyproximal


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
