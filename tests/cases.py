"""The members of each family: one row adds a member and every test that its family has.

A row says how to make the member and, independently of jreg, what it is: textbook formulas in plain
Python, typical responses, wrong input. A law that does not hold for a member is named in `exempt`
with one of the reasons of `Exempt`; the tests check that the reason is true.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import jax
import numpy as np
import pytest

import jreg

SIZE = 5  # entries of every penalty of the table
DTYPES = ("float32", "float64")


def precision(dtype):
    """The context in which JAX computes in `dtype`."""
    return jax.enable_x64(dtype == "float64")


def rows(table, law=None):
    """The rows of a table to which a law applies, as parameters of a test."""
    return [pytest.param(case, id=name) for name, case in table.items() if law not in case.exempt]


def exemptions(table):
    """(name, row, law, reason) of every exemption of a table, as parameters of a test."""
    return [
        pytest.param(case, law, reason, id=f"{name}-{law}")
        for name, case in table.items()
        for law, reason in case.exempt.items()
    ]


class Exempt(enum.Enum):
    """Why a law does not apply."""

    NOT_HOMOGENEOUS = "value(c w) is not |c| value(w), so there is no dual norm"
    NO_ZEROS = "smooth at 0, so no finite strength sets an entry to exactly 0"


@dataclasses.dataclass(frozen=True)
class Naive:
    """A separable convex penalty by its textbook formulas, one Python number at a time.

    Each function takes the strength s of the entry, 0 < s < inf; the methods add the two limits: an
    entry with s = 0 is free, one with s = inf must be 0.
    """

    strengths: tuple[float, ...]
    entry: Callable[[float, float], float]  # (w, s)
    entry_conjugate: Callable[[float, float], float]  # (u, s): sup_w u w - entry(w, s)
    # (x, t, s): argmin_u t entry_conjugate(u, s) + 1/2 (u - x)^2
    entry_conjugate_prox: Callable[[float, float, float], float]

    def _each(self, general, free, excluded, x, *more):
        def one(x, s, *more):
            if s == 0:
                return free(x)
            return excluded(x) if s == inf else general(x, *more, s)

        more = [np.broadcast_to(m, np.shape(x)) for m in more]
        return np.array(
            [one(float(x), s, *m) for x, s, *m in zip(x, self.strengths, *more, strict=True)]
        )

    def values(self, w):
        """The penalty, entry by entry."""
        return self._each(self.entry, lambda w: 0.0, lambda w: 0.0 if w == 0 else inf, w)

    def value(self, w):
        return self.values(w).sum()

    def conjugate(self, u):
        free = lambda u: 0.0 if u == 0 else inf  # noqa: E731
        return self._each(self.entry_conjugate, free, lambda u: 0.0, u).sum()

    def conjugate_prox(self, x, t):
        """argmin_u t conjugate(u) + 1/2 |u - x|^2; for a norm the projection on the dual ball."""
        return self._each(self.entry_conjugate_prox, lambda x: 0.0, lambda x: x, x, t)

    def prox(self, v, t):
        """By Moreau's identity from the conjugate."""
        v, t = np.asarray(v, float), np.broadcast_to(t, np.shape(v))
        return v - t * self.conjugate_prox(v / t, 1 / t)

    def subdifferential(self, w):
        """(low, high) of each entry: the one-sided slopes of the value, by differences."""
        h = 1e-7 * np.maximum(1, np.abs(w))
        with np.errstate(invalid="ignore"):
            high = (self.values(w + h) - self.values(w)) / h
            low = (self.values(w) - self.values(w - h)) / h
        infeasible = np.isinf(self.values(w))
        return np.where(infeasible, inf, low), np.where(infeasible, -inf, high)

    def distance(self, w, grad):
        """Of -grad from the subdifferential at w, entry by entry; inf where that is empty."""
        low, high = self.subdifferential(np.asarray(w, float))
        u = -np.asarray(grad, float)
        return np.where(low > high + 1e-3, inf, np.maximum(0, np.maximum(low - u, u - high)))


def clip(x, a):
    return min(max(x, -a), a)


def naive_l1(*strengths):
    return Naive(
        strengths,
        entry=lambda w, s: s * abs(w),
        entry_conjugate=lambda u, s: 0.0 if abs(u) <= s else inf,
        entry_conjugate_prox=lambda x, t, s: clip(x, s),
    )


def naive_ridge(*strengths):
    return Naive(
        strengths,
        entry=lambda w, s: s * w * w / 2,
        entry_conjugate=lambda u, s: u * u / (2 * s),
        entry_conjugate_prox=lambda x, t, s: x / (1 + t / s),
    )


def naive_elastic_net(ratio, *strengths):
    """For 0 < ratio < 1; the ends are the other two."""

    def conjugate_prox(x, t, s):
        beyond = x - clip(x, ratio * s)
        return clip(x, ratio * s) + beyond / (1 + t / ((1 - ratio) * s))

    return Naive(
        strengths,
        entry=lambda w, s: s * (ratio * abs(w) + (1 - ratio) / 2 * w * w),
        entry_conjugate=lambda u, s: max(abs(u) - ratio * s, 0) ** 2 / (2 * (1 - ratio) * s),
        entry_conjugate_prox=conjugate_prox,
    )


@dataclasses.dataclass(frozen=True)
class PenaltyCase:
    """A penalty on SIZE entries; its numbers are exact in float32.

    Laws with exemptions: "dual_norm" (`polar` is the dual norm of the value) and "lam_max" (some
    finite strength sets every counted entry to 0).
    """

    make: Callable[[], Any]
    naive: Naive
    exempt: Mapping[str, Exempt] = dataclasses.field(default_factory=dict)

    @property
    def counted(self):
        """Entries that are penalised and not excluded."""
        s = np.array(self.naive.strengths)
        return (s > 0) & (s < inf)


EQUAL = (0.75,) * SIZE
WEIGHTS = (1.0, 0.5, 2.0, 0.0, inf)
WEIGHTED = (0.75, 0.375, 1.5, 0.0, inf)
SMOOTH = {"dual_norm": Exempt.NOT_HOMOGENEOUS, "lam_max": Exempt.NO_ZEROS}
MIXED = {"dual_norm": Exempt.NOT_HOMOGENEOUS}


def weights():
    return np.array(WEIGHTS)


PENALTIES = {
    "l1": PenaltyCase(lambda: jreg.L1(0.75), naive_l1(*EQUAL)),
    "l1_weighted": PenaltyCase(lambda: jreg.L1(0.75, weights=weights()), naive_l1(*WEIGHTED)),
    "elastic_net": PenaltyCase(
        lambda: jreg.ElasticNet(0.75, l1_ratio=0.25), naive_elastic_net(0.25, *EQUAL), MIXED
    ),
    "elastic_net_weighted": PenaltyCase(
        lambda: jreg.ElasticNet(0.75, l1_ratio=0.25, weights=weights()),
        naive_elastic_net(0.25, *WEIGHTED),
        MIXED,
    ),
    "elastic_net_as_l1": PenaltyCase(
        lambda: jreg.ElasticNet(0.75, l1_ratio=1.0, weights=weights()), naive_l1(*WEIGHTED), MIXED
    ),
    "elastic_net_as_ridge": PenaltyCase(
        lambda: jreg.ElasticNet(0.75, l1_ratio=0.0, weights=weights()),
        naive_ridge(*WEIGHTED),
        SMOOTH,
    ),
    "ridge": PenaltyCase(lambda: jreg.Ridge(0.75), naive_ridge(*EQUAL), SMOOTH),
    "ridge_weighted": PenaltyCase(
        lambda: jreg.Ridge(0.75, weights=weights()), naive_ridge(*WEIGHTED), SMOOTH
    ),
}


@dataclasses.dataclass(frozen=True)
class LossCase:
    """A loss with a canonical link: its gradient is `inverse_link(eta) - target(y)`.

    responses(rng, n): typical y. dual(rng, y): points inside the domain of the conjugate.
    outside(y): points outside it, None if there are none. wrong: (y, what the error must say).
    extremes: the exact losses at eta = -1000 and 1000 for responses(...) = y.
    """

    make: Callable[[], Any]
    responses: Callable[[np.random.Generator, int], np.ndarray]
    target: Callable[[np.ndarray], np.ndarray]
    value: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (eta, y) of moderate size
    dual: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    outside: Callable[[np.ndarray], np.ndarray] | None
    extreme: Callable[[float, np.ndarray], np.ndarray]  # the value at |eta| = 1000
    wrong: tuple[tuple[list[float], str], ...]
    exempt: Mapping[str, Exempt] = dataclasses.field(default_factory=dict)


def positive(y):
    return (y > 0).astype(float)


def logistic(labels, wrong):
    return LossCase(
        make=jreg.Logistic,
        responses=lambda rng, n: rng.permutation(np.resize(labels, n)),
        target=positive,
        value=lambda eta, y: np.log(1 + np.exp(eta)) - positive(y) * eta,
        dual=lambda rng, y: rng.uniform(0.01, 0.99, y.size) - positive(y),
        outside=lambda y: np.where(np.arange(y.size) % 2, -0.01, 1.01) - positive(y),
        extreme=lambda eta, y: np.maximum(eta, 0) - positive(y) * eta,
        wrong=wrong,
    )


LOSSES = {
    "squared": LossCase(
        make=jreg.Squared,
        responses=lambda rng, n: 3 * rng.normal(size=n),
        target=lambda y: y,
        value=lambda eta, y: (y - eta) ** 2 / 2,
        dual=lambda rng, y: 2 * rng.normal(size=y.size),
        outside=None,
        extreme=lambda eta, y: (eta - y) ** 2 / 2,
        wrong=(
            ([1.0, np.nan], "1 value is NaN or infinite"),
            ([np.inf, np.nan, 0.0], "2 values are NaN or infinite"),
        ),
    ),
    "logistic": logistic(
        [0.0, 1.0],
        (
            ([0.0, 2.0], r"0 and 1, or -1 and 1.*got 0.0, 2.0"),
            ([0.0, 0.5, 1.0], r"got 0.0, 0.5, 1.0"),
            ([np.nan, 1.0], "nan"),
            ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], r"5.0, \.\.\."),
        ),
    ),
    "logistic_signs": logistic([-1.0, 1.0], (([-1.0, 0.0, 1.0], "got -1.0, 0.0, 1.0"),)),
}


@dataclasses.dataclass(frozen=True)
class SolverCase:
    """A solver. linear_only: it needs a LinearProblem, and says so."""

    make: Callable[[], Any]
    linear_only: bool = True
    exempt: Mapping[str, Exempt] = dataclasses.field(default_factory=dict)


SOLVERS = {
    "fista": SolverCase(jreg.FISTA, linear_only=False),
    "coordinate_descent": SolverCase(jreg.CoordinateDescent),
    "prox_newton": SolverCase(jreg.ProxNewton),
}
