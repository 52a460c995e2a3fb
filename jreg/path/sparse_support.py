"""Newton's method on the support in products with few sparse columns, on the host.

    minimise over w:  F(Z w) + lam sum_j (kink_j(w_j) + ridge_j w_j^2 / 2)

kink_j has the slope low_j on the left of 0 and high_j on the right. Z are columns of a sparse
matrix, lazily centred, and behind them a column of ones without a kink if there is an intercept.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

STEPS = 50
ACCURACY = 0.1  # of a Newton direction: the relative residual of its equation
MOST_PRODUCTS = 200  # with the second derivative, for one direction
SUFFICIENT = 1e-4  # of the decrease that the slope promises
SHORTEST = 1e-3

Vector = Any  # NumPy's


def inner(a: Vector, b: Vector) -> float:
    """`a' b`, not by BLAS, whose threads fight XLA's over vectors of this size."""
    return float(np.sum(a * b))


class Columns(NamedTuple):
    """Columns `matrix - mean`, and one of ones behind them if there is an intercept."""

    matrix: Any  # (n, m), SciPy's, by columns
    transposed: Any  # (m, n), the same memory
    mean: Vector  # (m,)
    intercept: bool

    @classmethod
    def of(cls, matrix: Any, mean: Vector, intercept: bool) -> "Columns":
        """With the transpose."""
        return cls(matrix, matrix.T, mean, intercept)

    def times(self, w: Vector) -> Vector:
        """`Z w`, (n,)."""
        slopes = w[: self.mean.size]
        level = w[-1] if self.intercept else 0
        return self.matrix @ slopes + (level - inner(self.mean, slopes))

    def transposed_times(self, r: Vector) -> Vector:
        """`Z' r`, (m,) or (m + 1,)."""
        total = r.sum()
        product = self.transposed @ r - self.mean * total
        return np.append(product, total) if self.intercept else product

    def chosen(self, flags: Vector) -> "Columns":
        """Those with a flag up; the one of ones always."""
        index = np.nonzero(flags[: self.mean.size])[0]
        return Columns.of(self.matrix[:, index], self.mean[index], self.intercept)


class Kinks(NamedTuple):
    """A penalty of single entries at lam 1; low <= 0 <= high, both 0 for a free entry."""

    low: Vector
    high: Vector
    ridge: Vector

    def at(self, index: Vector) -> "Kinks":
        """Of some entries."""
        return Kinks(self.low[index], self.high[index], self.ridge[index])

    @property
    def free(self) -> Vector:
        """Entries without a penalty."""
        return (self.low == 0) & (self.high == 0)

    def closeness(self, gradient: Vector, lam: float) -> Vector:
        """Multiples of lam at which entries would enter: above 1 for a violation at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.maximum(-gradient / (lam * self.high), -gradient / (lam * self.low))
        return np.where(self.free, 0, ratio)

    def edge(self, w: Vector) -> Vector:
        """The slope of the kink; 0 at 0."""
        return np.where(w > 0, self.high, np.where(w < 0, self.low, 0))

    def value(self, w: Vector) -> float:
        """The penalty."""
        return inner(self.edge(w) + 0.5 * self.ridge * w, w)


class Fit(NamedTuple):
    """The mean loss F at a linear predictor, and its derivatives in each of its entries."""

    value: float
    residual: Vector  # (n,)
    curvature: Vector  # (n,)


class Found(NamedTuple):
    """Where `minimise` ended."""

    w: Vector
    eta: Vector  # Z w
    steps: int
    converged: bool


def minimise(
    columns: Columns,
    squares: Vector,
    kinks: Kinks,
    lam: float,
    start: Vector,
    fit: Callable[[Vector], Fit],
    enough: float,
) -> Found:
    """From `start` until the duality gap is about `enough`.

    A step takes as support A what is not 0, what violates its condition at 0, and what is free;
    solves `H d = -g` on A, `H = Z_A' F'' Z_A + lam ridge`, by conjugate gradients; and goes the
    longest of 1, 1/2, 1/4, ... along d that lowers the objective enough, where entries that would
    turn round are held at 0. So tens of entries enter and leave in one step, and near the end it is
    Newton's method. squares: mean squares of the columns, which precondition.

    Bertsekas (1982), Projected Newton methods, section 2; Nocedal and Wright (2006), section 7.1.
    """
    w, eta = start, columns.times(start)
    here = fit(eta)
    for steps in range(STEPS):
        gradient = columns.transposed_times(here.residual)
        gap = duality_gap(kinks, squares, lam, w, gradient, here)
        if gap <= enough:
            return Found(w, eta, steps, True)
        edge = np.where(w != 0, kinks.edge(w), _entered(kinks, gradient, lam))
        active = (w != 0) | (edge != 0) | kinks.free
        slope = (gradient + lam * (edge + kinks.ridge * w))[active]
        d = np.zeros_like(w)
        d[active] = _direction(
            columns.chosen(active),
            here.curvature,
            lam * kinks.ridge[active],
            squares[active],
            slope,
            accuracy=min(max(ACCURACY, 0.5 * enough / gap), 0.5),
        )
        promised, before, t = inner(slope, d[active]), kinks.value(w), 2.0
        rounding = 8 * np.finfo(w.dtype).eps * abs(here.value)
        while True:
            t /= 2
            new = w + t * d
            new[new * edge < 0] = 0
            eta = columns.times(new)
            there = fit(eta)
            change = there.value - here.value + lam * (kinks.value(new) - before)
            if change <= SUFFICIENT * t * promised + rounding:
                break
            if t < SHORTEST or not np.isfinite(promised):
                return Found(w, columns.times(w), steps, False)
        w, here = new, there
    return Found(w, eta, STEPS, False)


def duality_gap(
    kinks: Kinks, squares: Vector, lam: float, w: Vector, gradient: Vector, here: Fit
) -> float:
    """About the gap at c times the residual, c <= 1 the largest that suits the kinks without a
    ridge, less the share that lies along free columns."""
    free = kinks.free
    soft = kinks.ridge > 0
    closeness = kinks.closeness(gradient, lam)
    inverse = np.where(here.curvature > 0, 1 / np.where(here.curvature > 0, here.curvature, 1), 0)
    size = inner(here.residual**2, inverse)
    bends = squares[free] * here.curvature.sum() * size
    along = gradient[free] ** 2 / np.where(bends > 0, bends, 1)
    c = 1 / (closeness[~soft].max(initial=1) + np.sqrt(along.max(initial=0)))
    # the conjugate of kink and ridge
    room = lam * np.where(gradient < 0, kinks.high, -kinks.low)[soft]
    excess = np.maximum(c * np.abs(gradient[soft]) - room, 0)
    conjugate = float(np.sum(excess**2 / (2 * lam * kinks.ridge[soft])))
    penalty = lam * kinks.value(w)
    return 0.5 * (1 - c) ** 2 * size + penalty + conjugate + c * inner(gradient[~free], w[~free])


def _entered(kinks: Kinks, gradient: Vector, lam: float) -> Vector:
    """The edge that an entry at 0 leaves on; 0 where it stays."""
    up, down = -gradient > lam * kinks.high, -gradient < lam * kinks.low
    return np.where(up, kinks.high, np.where(down, kinks.low, 0))


def _direction(
    columns: Columns,
    curvature: Vector,
    ridge: Vector,
    squares: Vector,
    gradient: Vector,
    accuracy: float,
) -> Vector:
    """d with `(Z' diag(curvature) Z + diag(ridge)) d = -gradient`."""

    def second(d: Vector) -> Vector:
        return columns.transposed_times(curvature * columns.times(d)) + ridge * d

    diagonal = squares * curvature.sum() + ridge
    return conjugate_gradients(second, gradient, np.where(diagonal > 0, diagonal, 1), accuracy)


def conjugate_gradients(
    second: Callable[[Vector], Vector], gradient: Vector, diagonal: Vector, accuracy: float
) -> Vector:
    """d with `second(d) = -gradient`, the residual being `accuracy` of what it was at 0.

    Every iterate is a direction of descent, so it may end anywhere: at a direction without
    curvature, or after `MOST_PRODUCTS`.
    """
    d, r = np.zeros_like(gradient), -gradient
    z = r / diagonal
    p, rho = z, inner(r, z)
    first, steepest = rho, 0.0
    for k in range(MOST_PRODUCTS):
        if not rho > accuracy**2 * first:
            break
        Hp = second(p)
        bend, length = inner(p, Hp), inner(p, diagonal * p)
        steepest = max(steepest, bend / length)
        if not bend > 16 * np.finfo(gradient.dtype).eps * steepest * length:
            return p if k == 0 else d
        t = rho / bend
        d, r = d + t * p, r - t * Hp
        z = r / diagonal
        before, rho = rho, inner(r, z)
        p = z + (rho / before) * p
    return d
