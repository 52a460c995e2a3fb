"""NeMoS, which cannot take part: kept so that the table says why."""

from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "NeMoS"
ENVIRONMENT = "jaxopt"
TOLERANCES = [1e-6]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> str:
    return "always fits an intercept; benchmarks/poisson_folds.py has it"


def versions() -> str:
    import importlib.metadata

    return f"nemos {importlib.metadata.version('nemos')}"


def prepare(problem: Any, variant: str) -> Callable[[float], np.ndarray]:
    raise NotImplementedError(variants(problem.kind(), 0, 0, False))
