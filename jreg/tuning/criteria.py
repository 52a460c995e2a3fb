"""What `tune` minimises: estimates of the error on new data, with derivatives.

A criterion says which fits it needs, all on one X: `variants(problem)` gives their sample weights
and responses, (k, n) each. `score(problem, penalty, params)` is the number to minimise, given the k
solutions (stacked, in original units).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.linalg import dot
from jreg.losses import means
from jreg.problem import Linear, LinearProblem
from jreg.selection.local_fits import without_itself
from jreg.solvers.watch import mean_loss, predictor, read
from jreg.sparse import is_scipy
from jreg.typing import Array, ArrayLike, Scalar, has


@tree.dataclass
class HeldOut:
    """The mean loss on a validation set: a `LinearProblem` with the columns of the data."""

    validation: LinearProblem

    def __post_init__(self) -> None:
        """Read the design, which a compiled program takes in as arrays alone."""
        if isinstance(self.validation, LinearProblem) and is_scipy(self.validation.X):
            object.__setattr__(self, "validation", self.validation.checked())

    def variants(self, problem: LinearProblem) -> tuple[Array, Array]:
        """The data themselves."""
        return problem.sample_weight[None], problem.y[None]

    def score(self, problem: LinearProblem, penalty: Any, params: Linear) -> Array:
        """Weighted mean loss there."""
        del penalty
        held = read(self.validation, problem.X.dtype)
        return mean_loss(held, predictor(held, _first(params)))


@tree.dataclass
class KFold:
    """The mean loss of each sample under the fit that leaves its fold out.

    folds: (n_samples,) integers 0, ..., k - 1; `KFold.random(n_samples, k, seed)` draws them.
    k: None is one more than the largest; needed where they are traced. Raises ValueError for
    numbers outside.
    """

    folds: ArrayLike
    k: int | None = tree.static(default=None)

    def __post_init__(self) -> None:
        """Count concrete folds."""
        if checks.is_traced(self.folds):
            if self.k is None:
                raise ValueError("KFold needs k where its folds are traced")
        elif isinstance(self.folds, list | np.ndarray | jax.Array):
            folds = np.asarray(self.folds)
            if folds.ndim != 1 or folds.size == 0:
                raise ValueError(f"folds must be a non-empty vector; got shape {folds.shape}")
            k = int(folds.max()) + 1 if self.k is None else self.k
            checks.number("folds", folds, low=0, high=k - 1)
            object.__setattr__(self, "folds", folds)
            object.__setattr__(self, "k", k)

    @classmethod
    def random(cls, n_samples: int, k: int = 5, seed: int = 0) -> "KFold":
        """k folds of (almost) equal size, drawn at random."""
        if not 2 <= k <= n_samples:
            raise ValueError(f"k must be between 2 and n_samples = {n_samples}; got {k}")
        return cls(np.random.default_rng(seed).permutation(np.arange(n_samples) % k), k)

    def variants(self, problem: LinearProblem) -> tuple[Array, Array]:
        """Weight 0 for the samples of a fold, fold after fold."""
        n = problem.X.shape[0]
        if np.shape(self.folds) != (n,):
            raise ValueError(f"folds must have shape ({n},); got {np.shape(self.folds)}")
        kept = jnp.arange(self.k)[:, None] != jnp.asarray(self.folds)[None]
        weight = jnp.where(kept, problem.sample_weight[None], 0)
        return weight, jnp.broadcast_to(problem.y[None], (self.k, *problem.y.shape))

    def score(self, problem: LinearProblem, penalty: Any, params: Linear) -> Array:
        """Weighted mean loss over all samples; NaN if a fold is not in 0, ..., k - 1."""
        del penalty
        etas = jax.vmap(lambda params: predictor(problem, params))(params)
        eta = etas.at[self.folds, jnp.arange(etas.shape[1])].get(mode="fill", fill_value=jnp.nan)
        return mean_loss(problem, eta)


@tree.dataclass
class ApproximateLeaveOneOut:
    """The mean loss of each sample, left out by one Newton step on the support.

        eta_i + s_i h_i l'_i / (1 - s_i h_i l''_i),    h_i = z_i' A^-1 z_i,
        A = sum_j s_j l''_j z_j z_j' + (second derivative of the penalty),

    over the support and the intercept. Exact for ridge regression. For separable penalties and
    losses of each sample, of one output; TypeError for others. O(n p^2 + p^3) time and p^2 memory.
    Rad and Maleki (2020), section 2.
    """

    def variants(self, problem: LinearProblem) -> tuple[Array, Array]:
        """The data themselves."""
        if not has(problem.loss, "pointwise") or problem.outputs(problem.X.shape[0]):
            raise TypeError(
                "leave-one-out needs a loss of each sample and one output; "
                f"got {type(problem.loss).__name__} and y of shape {problem.y.shape}"
            )
        return problem.sample_weight[None], problem.y[None]

    def score(self, problem: LinearProblem, penalty: Any, params: Linear) -> Array:
        """Weighted mean loss at the corrected predictors."""
        if not penalty.separable:
            raise TypeError(
                f"leave-one-out needs a separable penalty; got {type(penalty).__name__}"
            )
        centred = problem.centred()
        theta, b = centred.from_original(_first(params))
        eta = centred.image(Linear(theta, b))
        support = jax.lax.stop_gradient(penalty.support(theta))
        columns = jnp.append(support, problem.fit_intercept)
        Z = jax.vmap(centred.times, out_axes=1)(jnp.eye(theta.size, dtype=theta.dtype))
        Z = jnp.where(columns[None], jnp.append(Z, jnp.ones_like(Z[:, :1]), axis=1), 0)
        slope = centred.loss.gradient(eta, centred.y)
        bend = centred.loss.curvature(eta, centred.y)
        _, second = jax.jvp(jax.grad(penalty.value), (theta,), (jnp.ones_like(theta),))
        curvature = jnp.append(jnp.where(support, second, 0), 0) + jnp.where(columns, 0, 1)
        A = dot(Z.T * (centred.weight * bend)[None], Z) + jnp.diag(curvature)
        leverage = centred.weight * jnp.sum(Z * jnp.linalg.solve(A, Z.T).T, axis=1)
        left_out = without_itself(eta, slope, bend, leverage)
        return means.mean(centred.loss, left_out, centred.y, centred.weight)


@tree.dataclass
class SURE:
    """Stein's unbiased estimate of the risk of a Gaussian model with noise of deviation sigma,

        mean (y - eta)^2 - sigma^2 + 2 sigma^2 / n * e . (eta(y + d e) - eta(y)) / d,

    with one random direction e and d = 2 sigma / n^0.3: two fits. Squared loss, no weights.
    Deledalle, Vaiter, Fadili and Peyre (2014), section 4.

    sigma: in units of y. seed: of e.
    """

    sigma: Scalar
    seed: Scalar = 0

    def variants(self, problem: LinearProblem) -> tuple[Array, Array]:
        """The data, and the same with a perturbed response."""
        if not (problem.loss.quadratic and problem.y.ndim == 1):
            raise TypeError(f"SURE needs the squared loss; got {problem.loss}")
        e, d = self._direction(problem.y)
        y = jnp.stack([problem.y, problem.y + d * e])
        return jnp.broadcast_to(problem.sample_weight[None], y.shape), y

    def score(self, problem: LinearProblem, penalty: Any, params: Linear) -> Array:
        """The estimate of `mean (eta - E y)^2`."""
        del penalty
        eta, moved = jax.vmap(lambda params: predictor(problem, params))(params)
        e, d = self._direction(problem.y)
        freedom = jnp.sum(e * (moved - eta)) / d
        risk = jnp.mean((problem.y - eta) ** 2) + self.sigma**2 * (2 * freedom / eta.size - 1)
        return risk.astype(eta.dtype)

    def _direction(self, y: Array) -> tuple[Array, Array]:
        e = jax.random.normal(jax.random.key(self.seed), y.shape, y.dtype)
        return e, jnp.asarray(2 * self.sigma / y.size**0.3, y.dtype)


def _first(params: Linear) -> Linear:
    return Linear(params.coef[0], params.intercept[0])
