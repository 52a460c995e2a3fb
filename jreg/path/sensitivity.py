"""`path_sensitivity`: how the solutions of a finished path change with lambda."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.implicit import kink_distance, solution_tangent
from jreg.path.inputs import precision, read_matrix
from jreg.path.result import Path
from jreg.problem import Linear, LinearProblem
from jreg.solvers.solve import check_inputs
from jreg.status import is_solved
from jreg.typing import Array, ArrayLike, has


class PathSensitivity(NamedTuple):
    """Derivatives along a path; lambdas come first, as in `Path`.

    coef and intercept are derivatives in lam, NaN where the path has not converged. entering and
    leaving (n_lams,) are the distances from the nearest kinks (`KinkDistance`), NaN for a penalty
    that does not say where entries enter.
    """

    coef: ArrayLike
    intercept: ArrayLike
    entering: ArrayLike
    leaving: ArrayLike


def path_sensitivity(
    path: Path,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
) -> PathSensitivity:
    """d coef / d lam at every lambda of a finished `path`, with the data it was fitted to.

    By implicit differentiation at the stored solutions: nothing is solved again. Computed in the
    precision of the path. Raises ValueError if X does not fit the path.

    >>> import jreg
    >>> X, y = np.eye(4), np.array([3.0, 1.0, -2.0, 0.0])
    >>> path = jreg.path(X, y, lams=[0.25], fit_intercept=False, standardize=False)
    >>> path_sensitivity(path, X, y).coef  # coef_j = y_j - 4 lam sign(coef_j), where not 0
    array([[-4.,  0.,  4.,  0.]])
    """
    X, _ = read_matrix(X, None)
    if X.shape[1] != np.shape(path.coef)[1]:
        raise ValueError(
            f"X must have the {np.shape(path.coef)[1]} columns of the path; got {X.shape[1]}"
        )
    options = {"fit_intercept": path.fit_intercept, "standardize": path.standardize}
    with precision(np.asarray(path.coef).dtype):
        X = X.astype(np.asarray(path.coef).dtype)
        problem = LinearProblem(X, np.asarray(y), path.loss, sample_weight, offset, **options)
        problem, penalty, _ = check_inputs(problem, path.penalty, None)
        solutions = map(jnp.asarray, (path.lams, path.coef, path.intercept))
        found = _sensitivity(problem, penalty, *solutions)
        solved = is_solved(np.asarray(path.status))
        coef, intercept, *kinks = map(np.asarray, found)
        where = lambda a: np.where(solved.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan)  # noqa: E731
        return PathSensitivity(where(coef), where(intercept), *map(where, kinks))


@jax.jit
def _sensitivity(
    problem: LinearProblem, penalty: Any, lams: Array, coef: Array, intercept: Array
) -> PathSensitivity:
    centred = problem.centred()
    still = tree.no_tangent(centred)

    def one(lam: Array, coef: Array, intercept: Array) -> PathSensitivity:
        params = centred.from_original(Linear(coef, intercept))
        strong, change = jax.jvp(penalty.at, (lam,), (jnp.ones_like(lam),))
        d = solution_tangent(centred, strong, params, still, change)
        _, d = jax.jvp(centred.to_original, (params,), (d,))
        nan = jnp.full((), jnp.nan, lam.dtype)
        kinks = (nan, nan)
        if has(penalty, "entry"):
            kinks = kink_distance(problem, strong, Linear(coef, intercept))
        return PathSensitivity(d.coef, d.intercept, *kinks)

    return jax.vmap(one)(lams, coef, intercept)
