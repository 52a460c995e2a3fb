"""Projections on balls, simplices and sets given by linear equations and inequalities."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import projections
from prox_zoo.in_numpy import halfspace, l1_ball, length, linf_sphere, section, simplex
from prox_zoo.operator import Operator, fixed
from prox_zoo.peers import jaxopt, optax, pyproximal


def sets() -> Iterator[Operator]:
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
