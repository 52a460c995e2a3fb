"""The pool of candidates of a path: which features are in, in what units, at which kinks."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import safe_reciprocal
from jreg.path import candidates
from jreg.path.candidates import Candidates
from jreg.path.compiled import compiled
from jreg.path.condense import Edges
from jreg.path.place import Place
from jreg.path.setup import Data
from jreg.path.sizes import CAPACITIES, bucket
from jreg.problem import Linear
from jreg.sparse import Sparse
from jreg.typing import Array, ArrayLike

ADDED = 64  # columns added at a time
OWN_CURVATURE = 1e-4  # of a unit column's, that keeps more columns than rows well-conditioned
LEAST = 512 - ADDED  # candidates for which there is room from the start
LARGEST_START = 2048 - ADDED  # the same, for large data


class Pool:
    """Candidates in the order in which they came. Features live in units of their columns' norms;
    feature p is the intercept, excluded unless a model frees it.

    low, high: (p + 1,) kinks at lam 1. may_enter: (p + 1,) bool. index: (count,) features of the
    rows. position: (p + 1,) rows of the features, -1 for none. known: their columns and products.
    """

    def __init__(self, data: Data, penalty: Any) -> None:
        self.problem, self.penalty = data.problem, penalty
        self.norm, target, low, high = _describe(data)
        self.n_features = p = data.problem.mean.size
        norm = np.asarray(self.norm)
        self.unit = np.append(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0), 1)
        self.unit = self.unit.astype(norm.dtype)
        self.target = np.append(np.asarray(target), 0)
        absent = norm == 0  # without kinks they would be free, and the support singular
        self.low = np.append(np.where(absent, -np.inf, low), -np.inf).astype(norm.dtype)
        self.high = np.append(np.where(absent, np.inf, high), np.inf).astype(norm.dtype)
        self.may_enter = (self.unit > 0) & np.isfinite(self.high) & (self.high > 0)
        self.ridge = np.zeros_like(self.unit)
        self.index, self.position = np.arange(0), np.full(p + 1, -1)
        nothing: Any = np.zeros((0, 0), norm.dtype)
        self.known = Candidates(nothing, nothing)
        self.capacity = 0
        self.first = self.coefficients(data.null.params)  # of the null model
        self.correlation = self.correlations(data.null.gradient)

    def coefficients(self, params: Linear) -> np.ndarray:
        """(p + 1,) of unit columns, the intercept last."""
        return np.append(np.asarray(params.coef) * np.asarray(self.norm), params.intercept)

    def correlations(self, gradient: ArrayLike) -> np.ndarray:
        """(p + 1,) of unit columns with the residual, 0 for the intercept."""
        return np.append(-np.asarray(gradient) * self.unit[:-1], self.unit.dtype.type(0))

    def take_all(self, gram: Array) -> None:
        """Every feature is a candidate, known by its products alone."""
        self.capacity = bucket(self.n_features, CAPACITIES)
        rest = self.capacity - self.n_features
        self.known = Candidates(self.known.rows, _padded(gram, rest))
        self.index = np.arange(self.n_features)
        self.position[:-1] = self.index
        self._describe()

    def open(self, rank: int, *, products: bool) -> None:
        """Room for columns, with or without their products; of a sparse X for products alone.

        rank: the largest support there can be; half as many candidates more are usual.
        """
        usual = min(max(3 * rank // 2 - ADDED, LEAST), self.n_features, LARGEST_START)
        self.capacity = bucket(max(candidates.CHUNK, usual + ADDED), CAPACITIES)
        if usual == self.n_features >= candidates.CHUNK:  # room for all of them, added in any order
            self.capacity = min(self.capacity, (usual // ADDED + 2) * ADDED)
        n, dtype = self.problem.weight.size, self.problem.weight.dtype
        side = self.capacity if products else 0
        rows = 0 if products and isinstance(self.problem.X, Sparse) else self.capacity
        nothing: Any = np.zeros((rows, n), dtype), np.zeros((side, side), dtype)
        self.known = jax.device_put(Candidates(*nothing))
        self._describe()

    def add(self, features: np.ndarray) -> None:
        """Make candidates of the features that are none yet."""
        new = features[self.position[features] < 0]
        while new.size:
            now, new = new[:ADDED], new[ADDED:]
            count = self.index.size
            if count + ADDED > self.capacity:
                self.capacity = bucket(count + ADDED, CAPACITIES)
                self.known = _enlarge(self.known, self.capacity)
            index = np.zeros(ADDED, np.int32)
            index[: now.size] = now
            self.position[now] = np.arange(count, count + now.size)
            self.index = np.append(self.index, now)
            self._describe()
            sizes = np.int32(now.size), np.int32(count)
            self.known = candidates.grow(
                self.known, self.problem, self.norm, self.features, index, *sizes
            )

    def _describe(self) -> None:
        rest = self.capacity - self.index.size
        nothing = self.n_features + 1
        self.features = np.append(self.index, np.full(rest, nothing))

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """Values (p + 1,) of the features in the order of the rows, 0 in empty ones."""
        return np.append(values, values.dtype.type(0))[self.features]

    def edges(self) -> Edges:
        """Kinks and frozen curvature of the candidates."""
        return Edges(self.of_rows(self.low), self.of_rows(self.high), self.of_rows(self.ridge))

    def restricted(self) -> Any:
        """The penalty on the candidates."""
        return self.penalty.restrict(np.minimum(self.features, self.n_features - 1))

    def freeze(self, place: Place, lam: float) -> bool:
        """Take the curvature of the penalty's smooth part from a place, once it has changed by
        half; whether it did."""
        held = place.support >= 0
        at = self.index[place.support[held]]
        theta = np.ones_like(self.unit)
        theta[at] = np.where(place.coef[held] == 0, 1, place.coef[held] * self.unit[at])
        ridge = np.asarray(_curvature(self.penalty, lam, theta[:-1], self.unit[:-1]))
        moved = np.abs(ridge - self.ridge[:-1]).max() > 0.5 * self.ridge.max()
        if moved:
            self.ridge[:-1] = ridge
        return bool(moved)

    def room(self, rank: int, place: Place) -> np.int32:
        """How far the support may grow: to the rank of the design, and beyond it where every
        feature has a curvature of its own."""
        own = self.ridge[:-1][self.may_enter[:-1]].min(initial=np.inf)
        largest = self.n_features if own > OWN_CURVATURE else rank
        return np.int32(largest - (place.support >= 0).sum())

    def predicted(self, place: Place, level: np.ndarray) -> np.ndarray:
        """Coefficients (rows, capacity) at each level if a place's slopes went on."""
        coef = np.zeros((level.size, self.capacity), self.unit.dtype)
        held = place.support >= 0
        moves = (level - place.lam)[:, None] * place.coef_rate[held][None, :]
        coef[:, place.support[held]] = place.coef[held][None, :] + moves
        return coef


@compiled
def _describe(data: Data) -> tuple[Array, ...]:
    """Norms of the columns of Z; of unit columns the correlations with y and the kinks at lam 1."""
    problem, kink = data.problem, data.kink
    assert kink is not None  # or there is nothing to walk
    low, high = kink
    bound = 1.0 if problem.loss.smoothness is None else problem.loss.smoothness
    norm = jnp.sqrt(data.null.curvature / bound)
    per = safe_reciprocal(norm)
    return norm, data.cross * per, low * per, high * per


@partial(compiled, static_argnames="more")
def _padded(gram: Array, more: int) -> Array:
    return jnp.pad(gram, (0, more))


@partial(compiled, static_argnames="capacity")
def _enlarge(known: Candidates, capacity: int) -> Candidates:
    rows, gram = known
    if rows.size:
        rows = jnp.pad(rows, ((0, capacity - rows.shape[0]), (0, 0)))
    if gram.size:
        gram = jnp.pad(gram, (0, capacity - gram.shape[0]))
    return Candidates(rows, gram)


@compiled
def _curvature(penalty: Any, lam: Array, theta: Array, unit: Array) -> Array:
    """Second derivative of the penalty in unit columns where it is positive, else 0."""
    slope = penalty.at(lam).slope
    second = jax.jvp(slope, (theta,), (jnp.ones_like(theta),))[1]
    return jnp.maximum(second, 0) * unit**2
