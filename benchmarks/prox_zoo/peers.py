"""The libraries that jreg is held against, each None where it is not installed."""

import functools
import importlib
import importlib.metadata
from collections.abc import Callable
from types import ModuleType

import numpy as np

from prox_zoo.in_numpy import pool

# what is imported beside the package itself, and its name on PyPI
PEERS = {
    "optax": ("projections", "optax"),
    "jaxopt": ("isotonic", "jaxopt"),
    "sklearn": ("isotonic", "scikit-learn"),
    "scipy": ("optimize", "scipy"),
    "skglm": ("utils.prox_funcs", "skglm"),
    "pyproximal": ("", "pyproximal"),
    "prox_tv": ("", "prox-tv"),
}
IN_JAX = ("optax", "jaxopt")


def load(name: str, part: str) -> ModuleType | None:
    """A peer, or None with the reason printed."""
    try:
        importlib.import_module(f"{name}.{part}".rstrip("."))
        return importlib.import_module(name)
    except Exception as error:  # an old peer may fail in any way under a new JAX
        print(f"without {name}: {error}")
        return None


LIBRARIES = {name: load(name, part) for name, (part, _) in PEERS.items()}
optax, jaxopt, sklearn, scipy, skglm, pyproximal, prox_tv = LIBRARIES.values()
prox_funcs = skglm and skglm.utils.prox_funcs


def versions() -> list[str]:
    here = [name for name in PEERS if LIBRARIES[name]]
    return [f"{name} {importlib.metadata.version(PEERS[name][1])}" for name in here]


def threads() -> list[str]:
    if not skglm:
        return []
    import numba

    return [f"numba {numba.get_num_threads()}"]


@functools.cache
def compiled(name: str) -> Callable:
    """A scalar function of skglm over the entries of an array."""
    import numba

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
