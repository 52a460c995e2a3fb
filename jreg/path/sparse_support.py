"""Newton's method on the support in products with few sparse columns, on the host.

    minimise over w:  F(Z w) + lam sum_j (kink_j(w_j) + ridge_j w_j^2 / 2)

kink_j has the slope low_j on the left of 0 and high_j on the right. Z are columns of a sparse
matrix, lazily centred, and behind them a column of ones without a kink if there is an intercept.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

STEPS = 50
ACCURACY = 0.05  # of a Newton direction: the relative residual of its equation
MOST_PRODUCTS = 200  # with the second derivative, for one direction
SUFFICIENT = 1e-4  # of the decrease that the slope promises
HALVES = 0.5 ** np.arange(10)

Vector = Any  # NumPy's


def inner(a: Vector, b: Vector) -> float:
    """`a' b`, not by BLAS, whose threads fight XLA's over vectors of this size."""
    return float(np.einsum("i,i", a, b))


class Columns(NamedTuple):
    """Columns `matrix - mean` and behind them one of ones, for an intercept; or `matrix` alone."""

    matrix: Any  # (n, m), SciPy's, by columns
    transposed: Any  # (m, n), the same memory
    mean: Vector | None  # (m,); None without an intercept

    @classmethod
    def of(cls, matrix: Any, mean: Vector | None) -> "Columns":
        """With the transpose."""
        return cls(matrix, matrix.T, mean)

    def times(self, w: Vector) -> Vector:
        """`Z w`, (n,)."""
        if self.mean is None:
            return self.matrix @ w
        return self.matrix @ w[:-1] + (w[-1] - inner(self.mean, w[:-1]))

    def transposed_times(self, r: Vector) -> Vector:
        """`Z' r`, (m,) or (m + 1,)."""
        product = self.transposed @ r
        if self.mean is None:
            return product
        total = r.sum()
        return np.append(product - self.mean * total, total)

    def chosen(self, index: Vector) -> "Columns":
        """Some of them, in order; among them that of ones."""
        if self.mean is None:
            return Columns.of(self.matrix[:, index], None)
        return Columns.of(self.matrix[:, index[:-1]], self.mean[index[:-1]])


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

    def prox(self, v: Vector, step: Vector) -> Vector:
        """`argmin_z step * penalty(z) + 1/2 |z - v|^2`, entry by entry; step > 0."""
        return (v - np.clip(v, step * self.low, step * self.high)) / (1 + step * self.ridge)


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


class Reduced(NamedTuple):
    """A problem on few columns, at one lam."""

    columns: Columns
    squares: Vector  # mean squares of the columns of Z
    kinks: Kinks
    fit: Callable[[Vector], Fit]  # of Z w
    lam: float


def minimise(problem: Reduced, start: Vector, enough: float) -> Found:
    """From `start` until the duality gap is about `enough`.

    A step takes as support A what is not 0, what violates its condition at 0, and what is free;
    solves `H d = -g` on A, `H = Z_A' F'' Z_A + lam ridge`, by conjugate gradients; and goes the
    longest of 1, 1/2, 1/4, ... along d that lowers the objective enough, where entries that would
    turn round are held at 0. So tens of entries enter and leave in one step, and near the end it is
    Newton's method. Where H is singular this may lead nowhere, and the step is one of proximal
    gradients.

    Bertsekas (1982), Projected Newton methods, section 2; Nocedal and Wright (2006), section 7.1.
    """
    columns, kinks, lam = problem.columns, problem.kinks, problem.lam
    w, eta = start, columns.times(start)
    here = problem.fit(eta)
    for steps in range(STEPS):
        gradient = columns.transposed_times(here.residual)
        gap = duality_gap(problem, w, gradient, here)
        if gap <= enough:
            return Found(w, eta, steps, True)
        accuracy = min(max(ACCURACY, 0.5 * enough / gap), 0.5)
        before = kinks.value(w)
        rounding = 8 * np.finfo(w.dtype).eps * abs(here.value)
        for new, promised in _trials(problem, w, gradient, here.curvature, accuracy):
            new_eta = columns.times(new)
            there = problem.fit(new_eta)
            change = there.value - here.value + lam * (kinks.value(new) - before)
            if change <= SUFFICIENT * promised + rounding:
                break
        else:
            return Found(w, eta, steps, False)
        w, eta, here = new, new_eta, there
    return Found(w, eta, STEPS, False)


def duality_gap(problem: Reduced, w: Vector, gradient: Vector, here: Fit) -> float:
    """About the gap at c times the residual: c is the largest number up to 1 that suits the kinks
    without a ridge, less the share of the residual that lies along free columns.

    To second order in 1 - c, `(1 - c)^2 / 2 r' (F'')^-1 r + lam penalty(w) + conjugate + c g'w`.
    """
    kinks, lam = problem.kinks, problem.lam
    free, soft = kinks.free, kinks.ridge > 0
    curved = here.curvature > 0
    size = float(np.sum(here.residual[curved] ** 2 / here.curvature[curved]))
    bends = problem.squares[free] * here.curvature.sum() * size
    along = gradient[free] ** 2 / np.where(bends > 0, bends, 1)
    closeness = kinks.closeness(gradient, lam)[~soft]
    c = 1 / (closeness.max(initial=1) + np.sqrt(along.max(initial=0)))
    room = lam * np.where(gradient < 0, kinks.high, -kinks.low)[soft]
    excess = np.maximum(c * np.abs(gradient[soft]) - room, 0)
    conjugate = float(np.sum(excess**2 / (2 * lam * kinks.ridge[soft])))
    pull = inner(gradient, np.where(free, 0, w))
    return 0.5 * (1 - c) ** 2 * size + lam * kinks.value(w) + conjugate + c * pull


def _trials(
    problem: Reduced, w: Vector, gradient: Vector, curvature: Vector, accuracy: float
) -> Iterator[tuple[Vector, float]]:
    """Where a step may go, the best first, and the change that is promised to first order."""
    kinks, lam = problem.kinks, problem.lam
    up, down = -gradient > lam * kinks.high, -gradient < lam * kinks.low
    entered = np.where(up, kinks.high, np.where(down, kinks.low, 0))
    edge = np.where(w != 0, kinks.edge(w), entered)
    active = np.nonzero((w != 0) | (edge != 0) | kinks.free)[0]
    diagonal = problem.squares * curvature.sum() + lam * kinks.ridge
    diagonal = np.where(diagonal > 0, diagonal, 1)

    columns, ridge = problem.columns.chosen(active), lam * kinks.ridge[active]

    def second(d: Vector) -> Vector:
        return columns.transposed_times(curvature * columns.times(d)) + ridge * d

    slope = (gradient + lam * (edge + kinks.ridge * w))[active]
    d = np.zeros_like(w)
    d[active] = conjugate_gradients(second, slope, diagonal[active], accuracy)
    promised = inner(slope, d[active])
    for t in HALVES:
        new = w + t * d
        new[new * edge < 0] = 0
        yield new, t * promised
    for t in HALVES:
        new = kinks.prox(w - t * gradient / diagonal, lam * t / diagonal)
        yield new, -inner((new - w) ** 2, diagonal) / t


def conjugate_gradients(
    second: Callable[[Vector], Vector], gradient: Vector, diagonal: Vector, accuracy: float
) -> Vector:
    """d with `second(d) = -gradient`, the residual being `accuracy` of what it was at 0.

    Every iterate is a direction of descent, so it may end anywhere: at a direction without
    curvature, or after `MOST_PRODUCTS`. diagonal: the preconditioner. See `support_newton`.
    """
    d, r = np.zeros_like(gradient), -gradient
    p = z = r / diagonal
    rho = first = length = inner(r, z)  # length of p, measured by the preconditioner
    steepest = 0.0
    for k in range(MOST_PRODUCTS):
        if not rho > accuracy**2 * first:
            break
        Hp = second(p)
        bend = inner(p, Hp)
        steepest = max(steepest, bend / length)
        if not bend > 16 * np.finfo(gradient.dtype).eps * steepest * length:
            return p if k == 0 else d
        t = rho / bend
        d += t * p
        r -= t * Hp
        z = r / diagonal
        before, rho = rho, inner(r, z)
        keep = rho / before
        p = z + keep * p
        length = rho + keep**2 * length
    return d
