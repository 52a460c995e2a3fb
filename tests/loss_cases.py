"""The losses: one row adds a member and every test that losses have.

A row says how to make the member and, independently of jreg, what it is: textbook formulas in
NumPy, typical responses, wrong input.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax, xlogy

import jreg.losses as L

K = 3  # outputs of the rows that have several


@dataclasses.dataclass(frozen=True)
class LossCase:
    """A loss that is one number per sample.

    responses(rng, n): typical y. value(eta, y): by the book. infimum(y): its least value over eta.
    mean(eta): the fitted mean. dual(rng, y): points inside the domain of the conjugate, outside(y):
    points outside it, None if there are none. extreme(eta, y): the value at eta = -1000 or 1000.
    wrong: (y, what the error must say). outputs: 0 if eta is like y (n,), else columns of eta.
    canonical: the gradient is mean(eta) - y.
    """

    make: Callable[[], Any]
    responses: Callable[[np.random.Generator, int], np.ndarray]
    value: Callable[[np.ndarray, np.ndarray], np.ndarray]
    mean: Callable[[np.ndarray], np.ndarray]
    dual: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    outside: Callable[[np.ndarray], np.ndarray] | None
    wrong: tuple[tuple[Any, str], ...]
    infimum: Callable[[np.ndarray], np.ndarray] = lambda y: np.zeros(len(y))
    extreme: Callable[[float, np.ndarray], np.ndarray] | None = None  # None: as value
    outputs: int = 0
    canonical: bool = False
    exempt: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def etas(self, values):
        """A predictor for len(values) samples out of these values."""
        if not self.outputs:
            return np.array(values)
        return np.stack([np.roll(values, j) * (1 - 0.3 * j) for j in range(self.outputs)], 1)

    def far(self, eta, n):
        """eta everywhere; for classes, in one of them."""
        if not self.outputs:
            return np.full(n, eta)
        return eta * (np.arange(n)[:, None] % self.outputs == np.arange(self.outputs))


def positive(y):
    return (y > 0).astype(float)


def sign(y):
    return np.where(y > 0, 1.0, -1.0)


def identity(eta):
    return eta


NOT_FINITE = (
    ([1.0, np.nan], "1 value is NaN or infinite"),
    ([np.inf, np.nan, 0.0], "2 values are NaN or infinite"),
)
NOT_LABELS = (
    ([0.0, 2.0], r"0 and 1, or -1 and 1.*got 0.0, 2.0"),
    ([0.0, 0.5, 1.0], r"got 0.0, 0.5, 1.0"),
    ([np.nan, 1.0], "nan"),
    ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], r"5.0, \.\.\."),
)
NOT_SIGNS = (([-1.0, 0.0, 1.0], "got -1.0, 0.0, 1.0"),)


def reals(rng, n):
    return 3 * rng.normal(size=n)


def labels(*values):
    return lambda rng, n: rng.permutation(np.resize(values, n))


def logistic(values, wrong):
    return LossCase(
        make=L.Logistic,
        responses=labels(*values),
        value=lambda eta, y: np.log(1 + np.exp(eta)) - positive(y) * eta,
        extreme=lambda eta, y: np.maximum(eta, 0) - positive(y) * eta,
        mean=lambda eta: 1 / (1 + np.exp(-eta)),
        dual=lambda rng, y: rng.uniform(0.01, 0.99, y.size) - positive(y),
        outside=lambda y: np.where(np.arange(y.size) % 2, -0.01, 1.01) - positive(y),
        wrong=wrong,
        canonical=set(values) == {0.0, 1.0},
    )


def squared_hinge(values, wrong):
    return LossCase(
        make=L.SquaredHinge,
        responses=labels(*values),
        value=lambda eta, y: np.maximum(0, 1 - sign(y) * eta) ** 2,
        mean=identity,
        dual=lambda rng, y: -sign(y) * rng.uniform(0.1, 4, y.size),
        outside=lambda y: 0.01 * sign(y),
        wrong=wrong,
    )


def huber(delta):
    def value(eta, y):
        r = np.abs(eta - y)
        return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2))

    return LossCase(
        make=lambda: L.Huber(delta),
        responses=reals,
        value=value,
        mean=identity,
        dual=lambda rng, y: rng.uniform(-delta, delta, y.size),
        outside=lambda y: np.where(np.arange(y.size) % 2, 1.01 * delta, -1.01 * delta),
        wrong=NOT_FINITE,
    )


def smoothed_pinball(quantile, width):
    def value(eta, y):
        r = y - eta
        low, high = -width * (1 - quantile), width * quantile
        above = quantile * r - width * quantile**2 / 2
        below = (quantile - 1) * r - width * (1 - quantile) ** 2 / 2
        return np.where(r > high, above, np.where(r < low, below, r**2 / (2 * width)))

    return LossCase(
        make=lambda: L.SmoothedPinball(quantile, width=width),
        responses=reals,
        value=value,
        mean=identity,
        dual=lambda rng, y: rng.uniform(-quantile, 1 - quantile, y.size),
        outside=lambda y: np.where(np.arange(y.size) % 2, 1.01 - quantile, -quantile - 0.01),
        wrong=NOT_FINITE,
    )


def one_hot(y):
    return np.equal.outer(y, np.arange(K)).astype(float)


LOSSES = {
    "squared": LossCase(
        make=L.Squared,
        responses=reals,
        value=lambda eta, y: (y - eta) ** 2 / 2,
        mean=identity,
        dual=lambda rng, y: 2 * rng.normal(size=y.size),
        outside=None,
        wrong=NOT_FINITE,
        canonical=True,
    ),
    "squared_multi": LossCase(
        make=L.Squared,
        responses=lambda rng, n: 3 * rng.normal(size=(n, K)),
        value=lambda eta, y: ((y - eta) ** 2 / 2).sum(1),
        mean=identity,
        dual=lambda rng, y: 2 * rng.normal(size=y.shape),
        outside=None,
        wrong=(([[1.0, np.nan], [0.0, 1.0]], "1 value is NaN or infinite"),),
        canonical=True,
        outputs=K,
    ),
    "logistic": logistic([0.0, 1.0], NOT_LABELS),
    "logistic_signs": logistic([-1.0, 1.0], NOT_SIGNS),
    "huber": huber(1.5),
    "huber_small": huber(0.25),
    "pinball": LossCase(
        make=lambda: L.Pinball(0.25),
        responses=reals,
        value=lambda eta, y: np.maximum(0.25 * (y - eta), -0.75 * (y - eta)),
        mean=identity,
        dual=lambda rng, y: rng.uniform(-0.25, 0.75, y.size),
        outside=lambda y: np.where(np.arange(y.size) % 2, 0.76, -0.26),
        wrong=NOT_FINITE,
    ),
    "smoothed_pinball": smoothed_pinball(0.25, 0.5),
    "smoothed_pinball_wide": smoothed_pinball(0.75, 4.0),
    "squared_hinge": squared_hinge([0.0, 1.0], NOT_LABELS),
    "squared_hinge_signs": squared_hinge([-1.0, 1.0], NOT_SIGNS),
    "poisson": LossCase(
        make=L.Poisson,
        responses=lambda rng, n: rng.permutation(np.resize([0.0, 1.0, 2.0, 5.0, 0.5], n)),
        value=lambda eta, y: np.exp(eta) - y * eta,
        extreme=lambda eta, y: np.where(eta > 0, np.inf, -y * eta),
        infimum=lambda y: y - xlogy(y, y),
        mean=np.exp,
        dual=lambda rng, y: rng.uniform(0.05, 6, y.size) - y,
        outside=lambda y: -0.01 - y,
        wrong=(
            ([1.0, -1.0], "at least 0, for Poisson; got -1.0"),
            ([1.0, np.nan, np.inf], "2 values are NaN or infinite"),
        ),
        canonical=True,
    ),
    "gamma": LossCase(
        make=L.Gamma,
        responses=lambda rng, n: rng.uniform(0.25, 4, n),
        value=lambda eta, y: eta + y * np.exp(-eta),
        extreme=lambda eta, y: np.where(eta < 0, np.inf, eta),
        infimum=lambda y: 1 + np.log(y),
        mean=np.exp,
        dual=lambda rng, y: 1 - rng.uniform(0.05, 3, y.size),
        outside=lambda y: np.full(y.size, 1.01),
        wrong=(
            ([1.0, 0.0], "positive for Gamma; got 0.0"),
            ([1.0, -2.0], "got -2.0"),
            ([np.nan, 1.0], "1 value is NaN"),
        ),
    ),
    "multinomial": LossCase(
        make=lambda: L.Multinomial(K),
        responses=lambda rng, n: rng.permutation(np.resize(np.arange(float(K)), n)),
        value=lambda eta, y: -(one_hot(y) * log_softmax(eta, axis=1)).sum(1),
        mean=lambda eta: softmax(eta, axis=1),
        dual=lambda rng, y: rng.dirichlet(np.ones(K), y.size) - one_hot(y),
        outside=lambda y: (
            np.where(np.arange(y.size)[:, None] % 2, [[1.01, 0, -0.01]], [[0.3, 0.3, 0.41]])
            - one_hot(y)
        ),
        wrong=(
            ([0.0, 1.5], r"whole numbers from 0 to 2, for Multinomial\(n_classes=3\); got 1.5"),
            ([0.0, 3.0, -1.0], "got -1.0, 3.0"),
            ([np.nan, 1.0], "1 value is NaN"),
        ),
        canonical=True,
        outputs=K,
    ),
}
