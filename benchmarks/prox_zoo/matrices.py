"""Operators of matrices: of their singular values, eigenvalues or rows."""

from collections.abc import Iterator

import numpy as np

from jreg import projections, prox
from prox_zoo.in_numpy import length, lifted, psd, soft
from prox_zoo.operator import Operator, fixed
from prox_zoo.peers import pyproximal


def matrices() -> Iterator[Operator]:
    def nuclear_of_pyproximal(V: np.ndarray, t: float) -> np.ndarray:
        return pyproximal.Nuclear(V.shape).prox(V.ravel(), t).reshape(V.shape)

    yield Operator(
        "nuclear",
        prox.nuclear,
        {
            "NumPy": lambda V, t: lifted(soft, V, t),
            "pyproximal": nuclear_of_pyproximal,
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
