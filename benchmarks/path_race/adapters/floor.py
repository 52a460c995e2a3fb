"""No solver: the products that any certificate of n_lams lambdas needs, X'R once and X'y once."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "floor"
ENVIRONMENT = None
TOLERANCES = [0.0]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str]:
    return ["NumPy"] if sparse else ["NumPy", "XLA"]


def versions() -> str:
    import jax

    return f"jax {jax.__version__}, numpy {np.__version__}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    X = problem.X
    columns = problem.lams.size * problem.n_outputs
    R = np.random.default_rng(0).standard_normal((columns, X.shape[0]))
    y = np.random.default_rng(1).standard_normal((problem.n_outputs, X.shape[0]))
    if variant == "NumPy":
        across = X.T
        R, y = np.asfortranarray(R.T), np.asfortranarray(y.T)

        def products(tol: float) -> np.ndarray:
            across @ y
            return across @ R

        return products

    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    Xd, Rd, yd = jnp.asarray(np.ascontiguousarray(X)), jnp.asarray(R), jnp.asarray(y)
    multiply = jax.jit(lambda y, R, X: (y @ X, R @ X))  # the faster form in XLA

    def compiled(tol: float) -> np.ndarray:
        return np.asarray(jax.block_until_ready(multiply(yd, Rd, Xd))[1])

    return compiled
