"""Operators of norms of groups, and those that order or compare entries."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jreg import penalties, projections, prox
from prox_zoo.in_numpy import (
    block_soft,
    block_soft_in_metric,
    in_groups,
    l0_ball,
    l1_ball,
    pool,
    soft,
)
from prox_zoo.operator import Operator, fixed, noisy_line, noisy_steps, penalty
from prox_zoo.peers import (
    jaxopt,
    optax,
    prox_funcs,
    prox_tv,
    pyproximal,
    scipy,
    sklearn,
    slope_of_skglm,
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
