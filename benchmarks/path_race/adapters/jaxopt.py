"""jaxopt: `ProximalGradient` (FISTA with line search), warm from lambda to lambda."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "jaxopt"
ENVIRONMENT = "jaxopt"
TOLERANCES = [10.0**-k for k in range(2, 13)]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    if kind[1] == "mcp":
        return "has no such penalty"
    return "is not run on sparse matrices" if sparse else [""]


def versions() -> str:
    import importlib.metadata

    import jax

    return f"jaxopt {importlib.metadata.version('jaxopt')}, jax {jax.__version__}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    import jax
    import jax.numpy as jnp
    import jaxopt

    jax.config.update("jax_enable_x64", True)
    X, y, size = np.ascontiguousarray(problem.X), problem.y, problem.group_size
    each = {
        "squared": lambda eta, y: 0.5 * (eta - y) ** 2,
        "logistic": lambda eta, y: jnp.logaddexp(0, eta) - y * eta,
        "poisson": lambda eta, y: jnp.exp(eta) - y * eta,
        "multinomial": lambda eta, y: (
            jax.nn.logsumexp(eta, axis=1)
            - jnp.take_along_axis(eta, y.astype(int)[:, None], axis=1)[:, 0]
        ),
    }[problem.loss]

    def blocks(w: Any, lam: Any, scaling: float = 1.0) -> Any:
        shrink = jax.vmap(jaxopt.prox.prox_group_lasso, in_axes=(0, None, None))
        return shrink(w.reshape(-1, size), lam * np.sqrt(size), scaling).reshape(-1)

    def net(w: Any, lam: Any, scaling: float = 1.0) -> Any:
        ratio = problem.l1_ratio
        return jaxopt.prox.prox_elastic_net(w, (ratio * lam, (1 - ratio) / ratio), scaling)

    prox = {"l1": jaxopt.prox.prox_lasso, "elastic net": net, "group lasso": blocks}
    shape = (X.shape[1],) if problem.n_outputs == 1 else (X.shape[1], problem.n_outputs)

    @jax.jit
    def run(tol: Any, w: Any, lam: Any, X: Any, y: Any) -> Any:
        solver = jaxopt.ProximalGradient(
            lambda w, X, y: jnp.mean(each(X @ w, y)), prox[problem.penalty], tol=tol, maxiter=10**6
        )
        return solver.run(w, lam, X, y).params

    def solve(tol: float) -> np.ndarray:
        Xd, yd, w = jnp.asarray(X), jnp.asarray(y), jnp.zeros(shape)
        found = []
        for lam in problem.lams:
            w = run(tol, w, lam, Xd, yd)
            found.append(w)
        return np.stack(found)

    return solve
