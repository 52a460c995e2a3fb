"""The lasso that `debias` starts from, and its noise level: for the squared loss the scaled one."""

from statistics import NormalDist
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jreg.path.engine import path
from jreg.penalties import L1
from jreg.status import is_solved

ITERATIONS = 100  # of the scaled lasso


class Fitted(NamedTuple):
    """The fit that is debiased, with the loss's derivatives at each sample."""

    coef: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    sigma: float
    lam: float


def fitted_lasso(
    X: np.ndarray, y: np.ndarray, loss: Any, n: float, sigma: Any, lam: Any,
    options: dict[str, Any],
) -> Fitted:  # fmt: skip
    """The lasso of standardised columns at the strength and noise level that `debias` states."""
    unit = unit_strength(n, X.shape[1])

    def at(lam: float | None) -> Any:
        """The lasso at lam; None: without features, as the first lambda of a grid leaves it."""
        grid = {"lams": [lam]} if lam is not None else {"n_lams": 2, "lam_min_ratio": 0.99}
        found = path(X, y, L1(), loss, tol=1e-9, **grid, **options)
        if not is_solved(found.status[0]):
            raise RuntimeError(f"the lasso at lam {found.lams[0]:.4g} has not converged")
        return found

    def derivatives(found: Any) -> tuple[np.ndarray, np.ndarray]:
        eta = jnp.asarray(found.predict(X, "link", options["offset"])[0])
        slope, bend = loss.gradient(eta, jnp.asarray(y)), loss.curvature(eta, jnp.asarray(y))
        return np.asarray(slope), np.asarray(bend)

    def deviation(found: Any, lost: float = 0.0) -> float:
        rss = options["sample_weight"] @ derivatives(found)[0] ** 2
        return float(np.sqrt(rss / max(n - lost, 1)))

    if not loss.quadratic:
        if lam is None:
            bend = options["sample_weight"] @ derivatives(at(None))[1] / n
            lam = unit * np.sqrt(bend) / 2  # the whole shrinks so far that one step falls short
        sigma, found = 1.0, at(lam)
    elif sigma is not None:
        lam = unit * sigma if lam is None else lam
        found = at(lam)
    elif lam is not None:
        found = at(lam)
        sigma = deviation(found, float(found.n_nonzero[0]) + options["fit_intercept"])
    else:
        sigma = largest = deviation(at(None))
        for _ in range(ITERATIONS):
            if not sigma > 1e-6 * largest:
                raise ValueError(
                    "the lasso fits y without an error, so it shows no noise level; give sigma"
                )
            before, lam = sigma, unit * sigma
            found = at(lam)
            sigma = deviation(found)
            if abs(sigma - before) <= 1e-6 * before:
                break
    return Fitted(found.coef[0], *derivatives(found), float(sigma), float(lam))


def unit_strength(n: float, p: int) -> float:
    """The strength of a lasso under noise of deviation 1: sqrt(2/n) L, the smallest for which the
    scaled lasso's theory holds, L = Phi^-1(1 - k/p), k = L^4 + 2 L^2.

    Sun and Zhang (2013), section 2.

    >>> round(unit_strength(100, 200), 3)
    0.224
    """
    normal = NormalDist()
    low, high = 0.0, 10.0
    for _ in range(60):  # the two sides cross once
        L = (low + high) / 2
        share = (L**4 + 2 * L**2) / p
        below = share < 1 and -normal.inv_cdf(max(share, 1e-300)) >= L
        low, high = (L, high) if below else (low, L)
    return float(np.sqrt(2 / n) * low)
