"""A path on a large sparse X: Newton's method on the support, and one product with X a block.

Sparse columns overlap little, so that conjugate gradients need few products with the columns of
the support, which cost what their entries cost; the dense inverse that `walk` keeps would cost the
square of the support. One turn:

1. The candidates of a block of lambdas are the support, and the features whose gradient, predicted
   from its slope along the path, comes near its kink at the block's end (Larsson and Wallin 2022).
2. Lambda after lambda is solved on the candidate columns, started from the tangent of the path
   through the last two (`sparse_support.minimise`), in SciPy on the host, by two threads.
3. One product with the whole of X certifies all of them. The leading rows within tol are accepted,
   and features that violate their condition are forced into the next turn. Where nothing is
   accepted and nobody is missing, the plain way of `blocks` solves one lambda.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import safe_reciprocal
from jreg.losses import means
from jreg.path.blocks import Block, Point, certify_fits, filled_up, solve_block
from jreg.path.compiled import compiled
from jreg.path.setup import Data
from jreg.path.sparse_support import Columns, Fit, Found, Kinks, Reduced, Vector, inner, minimise
from jreg.path.threads import in_threads
from jreg.path.units import Units
from jreg.problem import CentredProblem, Linear
from jreg.sparse import Sparse, by_columns
from jreg.status import Status
from jreg.typing import Array, has

LARGE = 500  # a support that may outgrow this is better met by products than by dense algebra
LAMBDAS = 10  # in a block
FIRST_CHAIN = 0.6  # of these, solved beside the others, which are harder
MARGIN = 0.25  # a feature whose gradient is predicted this close to its kink is a candidate
INNER = 0.7  # of tol, within which a lambda is solved on its candidates


def suits(data: Data, penalty: Any) -> bool:
    """Whether X is sparse and large, the penalty kinks and a ridge, and a dual is known."""
    problem = data.problem
    large = isinstance(problem.X, Sparse) and min(problem.X.shape) > LARGE
    known = penalty.convex and has(problem.loss, "fenchel_young")
    return large and known and problem.gram is None and _kinks(data, penalty) is not None


class Model(NamedTuple):
    """The data on the host; behind the features stands the intercept, if there is one."""

    X: Any  # (n, p), SciPy's, by columns
    mean: Vector  # (p,)
    per: Vector  # (p,) 1 / scale
    squares: Vector  # (p [+ 1],) mean squares of the columns of Z
    kinks: Kinks

    @property
    def intercept(self) -> bool:
        """Whether there is one."""
        return self.squares.size > self.mean.size

    def columns(self, chosen: Vector) -> Columns:
        """Of Z."""
        matrix, per = self.X[:, chosen], self.per[chosen]
        matrix.data *= np.repeat(per, np.diff(matrix.indptr))
        return Columns.of(matrix, self.mean[chosen] * per if self.intercept else None)

    def with_intercept(self, chosen: Vector) -> Vector:
        """Positions of the features, and of the intercept."""
        return np.append(chosen, self.mean.size) if self.intercept else chosen


class Place(NamedTuple):
    """The last lambda that is done, and the slopes per lambda there."""

    lam: float
    w: Vector  # (p [+ 1],)
    gradient: Vector  # (p,)
    entry: Vector  # multiples of lam at which features would enter
    w_rate: Vector
    gradient_rate: Vector

    def after(self, lams: Vector, w: Vector, block: Block) -> "Place":
        """The end of a block with the rows w."""
        lams = np.append(self.lam, lams)
        w, gradient = (
            np.stack([first, *rest][-2:])
            for first, rest in ((self.w, w), (self.gradient, block.gradient))
        )
        step = float(lams[-1] - lams[-2])
        per = 1 / step if step else 0.0
        slopes = (w[1] - w[0]) * per, (gradient[1] - gradient[0]) * per
        return Place(float(lams[-1]), w[1], gradient[1], np.asarray(block.entry)[-1], *slopes)


def solve_sparse(
    data: Data, penalty: Any, units: Units, lams: np.ndarray, tol: float
) -> Iterator[Block]:
    """Blocks of rows for all `lams` (falling, positive), in this order."""
    model, place = _model(data, penalty), _start(data)
    forced, size, k = np.zeros(model.mean.size, bool), LAMBDAS, 0
    while k < lams.size:
        ends = lams[k : k + size]
        chosen = choose(model.kinks, place, float(ends[-1]), forced)
        w, block = try_block(data, penalty, model, place, chosen, ends, tol)
        accepted = block.accepted
        missed = np.zeros_like(forced)
        if accepted < ends.size:
            missed = np.asarray(block.entry)[accepted] > 1
            missed[chosen] = False
        size = min(size + 1, LAMBDAS) if accepted == ends.size else max(accepted, 1)
        if accepted:
            w, block = w[:accepted], block.first(accepted)
        elif missed.any():
            forced |= missed
            continue
        else:
            params = _linear(model, place.w)
            point = Point(params, place.entry)
            block = solve_block(data, penalty, units, ends[:1], point, tol)
            w = block.params.coef
            if model.intercept:
                w = np.column_stack([w, block.params.intercept])
        ends, forced = ends[: block.status.size], missed
        if np.isfinite(block.certificate.value).all():
            place = place.after(ends, w, block)
        yield block
        k += ends.size


def choose(kinks: Kinks, place: Place, lam: float, forced: Vector) -> Vector:
    """The candidates down to `lam`, in order."""
    p = place.gradient.size
    features = kinks.at(slice(p))
    ahead = place.gradient + (lam - place.lam) * place.gradient_rate
    close = features.closeness(place.gradient, max(place.lam, lam)) >= 1 - MARGIN
    close |= features.closeness(ahead, lam) >= 1 - MARGIN
    return np.nonzero(close | forced | features.free | (place.w[:p] != 0))[0]


def try_block(
    data: Data,
    penalty: Any,
    model: Model,
    place: Place,
    chosen: Vector,
    lams: np.ndarray,
    tol: float,
) -> tuple[Vector, Block]:
    """Solve on the candidates, certify on everything; the rows (lams, p [+ 1]), and the block."""
    found = _solve(data, model, place, chosen, lams, tol)
    found += [found[-1]] * (LAMBDAS - lams.size)  # a short block is filled up with its last lambda
    w = np.zeros((LAMBDAS, model.squares.size), lams.dtype)
    w[:, model.with_intercept(chosen)] = [row.w for row in found]
    params, eta = _linear(model, w), np.stack([row.eta for row in found])
    status = [Status.CONVERGED if row.converged else Status.MAX_STEPS for row in found]
    steps = Steps(np.array([row.steps for row in found]), np.array(status))
    level = filled_up(lams, LAMBDAS)
    certified = jax.device_get(certify_fits(data, penalty, level, params, eta))
    return w[: lams.size], Block.of(params, steps, certified, lams, tol)


class Steps(NamedTuple):
    """What a solver says of every row."""

    num_steps: Vector
    status: Vector


def _solve(
    data: Data, model: Model, place: Place, chosen: Vector, lams: np.ndarray, tol: float
) -> list[Found]:
    """Lambda after lambda on the candidates, each started from the tangent before it; at the same
    time those beyond `FIRST_CHAIN` of the block by a chain of their own."""
    columns, index = model.columns(chosen), model.with_intercept(chosen)
    squares, kinks = model.squares[index], model.kinks.at(index)
    offset = np.asarray(data.problem.offset)
    precise = 4 * float(np.finfo(lams.dtype).eps)
    enough = max(INNER * tol, precise) * float(data.null.value)

    fit = fits(data.problem)

    def chain(lams: np.ndarray) -> list[Found]:
        w, rate, before = place.w[index], place.w_rate[index], place.lam
        rows = []
        for lam in map(float, lams):
            ahead = w + (lam - before) * rate
            start = np.where(kinks.free | (w * ahead > 0), ahead, 0).astype(w.dtype)
            found = minimise(Reduced(columns, squares, kinks, fit, lam), start, enough)
            rate = (found.w - w) / (lam - before) if lam != before else rate
            w, before = found.w, lam
            rows.append(found._replace(eta=found.eta + offset))
        return rows

    first = math.ceil(FIRST_CHAIN * lams.size)
    parts = [part for part in (lams[:first], lams[first:]) if part.size]
    chains = in_threads(iter(parts), chain, lams.dtype, len(parts))
    return [row for rows in chains for row in rows]


def fits(problem: CentredProblem) -> Callable[[Vector], Fit]:
    """The mean loss at `eta - offset`; of a quadratic loss by its expansion at 0, in NumPy."""
    offset = np.asarray(problem.offset)

    def fit(eta: Vector) -> Fit:
        value, residual, curvature = jax.device_get(_fit(problem, eta + offset))
        return Fit(float(value), residual, curvature)

    if not problem.loss.quadratic:
        return fit
    value, first, curvature = fit(0 * offset)

    def expanded(eta: Vector) -> Fit:
        residual = first + curvature * eta
        return Fit(value + 0.5 * inner(first + residual, eta), residual, curvature)

    return expanded


def _model(data: Data, penalty: Any) -> Model:
    problem = data.problem
    kinks = _kinks(data, penalty)
    assert kinks is not None  # or it does not suit
    bound = 1.0 if problem.loss.smoothness is None else problem.loss.smoothness
    squares = np.asarray(data.null.curvature) / bound
    absent = squares == 0
    kinks = Kinks(
        np.where(absent, -np.inf, kinks.low), np.where(absent, np.inf, kinks.high), kinks.ridge
    )
    if problem.fit_intercept:
        squares = np.append(squares, 1).astype(squares.dtype)
        kinks = Kinks(*(np.append(part, 0).astype(part.dtype) for part in kinks))
    per = np.asarray(safe_reciprocal(problem.scale))
    return Model(by_columns(problem.X), np.asarray(problem.mean), per, squares, kinks)


def _start(data: Data) -> Place:
    """The null model."""
    params, gradient = jax.tree.map(np.asarray, (data.null.params, data.null.gradient))
    w = params.coef
    if data.problem.fit_intercept:
        w = np.append(w, params.intercept).astype(w.dtype)
    entry = np.asarray(data.entry)
    return Place(float(data.lam_max), w, gradient, entry, 0 * w, 0 * gradient)


def _linear(model: Model, w: Vector) -> Linear:
    """Parameters of w (p [+ 1],), or of rows of these."""
    p = model.mean.size
    return Linear(w[..., :p], w[..., p] if model.intercept else np.zeros(w.shape[:-1], w.dtype))


def _kinks(data: Data, penalty: Any) -> Kinks | None:
    """The penalty at lam 1, if its slope is that of a kink and of a ridge, as far as four points
    tell; else None."""
    if data.kink is None:
        return None
    low, high = map(np.asarray, data.kink)
    inside = np.isfinite(low) | np.isfinite(high)
    points = np.array([-2, -1, 1, 2], low.dtype)
    slopes = np.asarray(_slopes(penalty, points, low))
    edge = np.where(points[:, None] > 0, high[None], low[None])
    ridge = np.where(inside, slopes[3] - slopes[2], 0)
    wanted = np.where(np.isfinite(edge), edge + points[:, None] * ridge[None], slopes)
    known = np.where(inside[None], np.isclose(slopes, wanted), True)
    return Kinks(low, high, ridge) if known.all() and (ridge >= 0).all() else None


@compiled
def _slopes(penalty: Any, points: Array, like: Array) -> Array:
    return jax.vmap(lambda point: penalty.slope(jnp.full_like(like, point)))(points)


@compiled
def _fit(problem: CentredProblem, eta: Array) -> tuple[Array, Array, Array]:
    curvature = means.mean_curvature(problem.loss, eta, problem.y, problem.weight)
    return problem.value(eta), problem.residual(eta), curvature
