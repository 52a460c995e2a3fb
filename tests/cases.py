"""The members of each family: one row adds a member and every test that its family has.

A row says how to make the member and, independently of jreg, what it is: textbook formulas in plain
Python, typical responses, wrong input. A law that does not hold for a member is named in `exempt`
with one of the reasons of `Exempt`; the tests check that the reason is true.
"""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jreg

DTYPES = ("float32", "float64")


def mixing(l1_ratio):
    """LogisticRegression's names for the elastic net, which changed in scikit-learn 1.8."""
    version = importlib.metadata.version("scikit-learn")
    if tuple(int(part) for part in version.split(".")[:2]) >= (1, 8):
        return {"l1_ratio": l1_ratio}
    return {"penalty": "l1"} if l1_ratio == 1 else {"penalty": "elasticnet", "l1_ratio": l1_ratio}


def precision(dtype):
    """The context in which JAX computes in `dtype`."""
    return jax.enable_x64(dtype == "float64")


def on_eight_devices(script):
    """Run a script of this folder in a process whose CPU pretends to be eight devices."""
    flags = "--xla_force_host_platform_device_count=8"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, Path(__file__).parent / script]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def rows(table, law=None):
    """The rows of a table to which a law applies, as parameters of a test."""
    return [pytest.param(case, id=name) for name, case in table.items() if law not in case.exempt]


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
class SolverCase:
    """A solver. linear_only: it needs a LinearProblem, and says so."""

    make: Callable[[], Any]
    linear_only: bool = True
    exempt: Mapping[str, str] = dataclasses.field(default_factory=dict)


SOLVERS = {
    "fista": SolverCase(jreg.FISTA, linear_only=False),
    "coordinate_descent": SolverCase(jreg.CoordinateDescent),
    "prox_newton": SolverCase(jreg.ProxNewton),
}
