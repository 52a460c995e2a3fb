"""`jreg.path` as a user calls it, with its certificate. Arrays in C order; variant "float32"."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from path_race.passes import count

NAME = "jreg"
ENVIRONMENT = None
TOLERANCES = [10.0**-k for k in range(2, 13)]

_said: dict[str, Any] = {}
_compiled: list[float] = []  # seconds of every program compiled in this process


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str]:
    return [""]


def versions() -> str:
    import jax

    import jreg

    return f"jreg {jreg.__version__}, jax {jax.__version__} on {jax.default_backend()}"


def terms(problem: Any) -> tuple[Any, Any]:
    """The loss and the penalty as jreg writes them."""
    import jreg

    loss = {
        "squared": lambda: jreg.Squared(),
        "logistic": lambda: jreg.Logistic(),
        "poisson": lambda: jreg.Poisson(),
        "multinomial": lambda: jreg.Multinomial(problem.n_outputs),
    }[problem.loss]()
    p, size = problem.X.shape[1], problem.group_size
    penalty = {
        "l1": lambda: jreg.L1(),
        "elastic net": lambda: jreg.ElasticNet(l1_ratio=problem.l1_ratio),
        "group lasso": lambda: jreg.GroupLasso(groups=jreg.Groups(np.arange(p) // size)),
        "mcp": lambda: jreg.MCP(gamma=problem.gamma),
    }[problem.penalty]()
    return loss, penalty


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    import jax

    import jreg

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            _compiled.append(seconds)

    with contextlib.suppress(AttributeError):
        jax.monitoring.register_event_duration_secs_listener(listen)
    X = problem.X if problem.sparse else np.ascontiguousarray(problem.X)
    y, lams = problem.y, problem.lams
    if variant == "float32":
        X, y = X.astype(np.float32), y.astype(np.float32)
    loss, penalty = terms(problem)
    passes = count(X.shape[1])

    def solve(tol: float) -> np.ndarray:
        before = len(_compiled)
        passes.restart()
        found = jreg.path(
            X, y, penalty, loss, lams=lams, fit_intercept=False, standardize=False, tol=tol
        )
        coef = np.asarray(found.coef)
        _said.update(
            programs=len(_compiled) - before,
            compile_seconds=sum(_compiled[before:]),
            passes=passes.whole,
            inner_passes=passes.inner,
            largest_gap=float(np.max(found.gap)),
            not_converged=int(np.sum(np.asarray(found.status) != int(jreg.Status.CONVERGED))),
        )
        return coef

    return solve


def says() -> dict[str, Any]:
    return dict(_said)
