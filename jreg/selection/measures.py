"""What a fit is worth on rows it has not seen.

A measure takes a loss, the response y (n[, k]), linear predictors eta (n_lams, n[, k]) and weights
(n,), and gives a number for each lam. Deviances and errors are weighted means over the rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.losses import means
from jreg.typing import ArrayLike, has

Scores = Callable[[Any, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Measure(NamedTuple):
    """A name, how it is computed, and which end is good."""

    name: str
    scores: Scores
    larger_is_better: bool = False


def deviance(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean deviance: the squared error for `Squared`, -2 log likelihood above the saturated model's
    for others; (n_lams,)."""
    return np.asarray(_deviances(loss, y, eta, weight / weight.sum()))


@jax.jit
def _deviances(loss: Any, y: Any, eta: Any, share: Any) -> Any:
    y = means.prepare(loss, y)
    return jax.vmap(lambda eta: means.mean_deviance(loss, eta, y, share))(eta)


def squared_error(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of `(mean - y)^2`, summed over responses; probabilities against 0 and 1 for classes."""
    return _mean(_over_outputs(np.square(_error(loss, y, eta))), weight)


def absolute_error(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of `|mean - y|`, summed over responses or classes."""
    return _mean(_over_outputs(np.abs(_error(loss, y, eta))), weight)


def misclassification(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Share of the rows whose likeliest class is not theirs."""
    guess = np.asarray(loss.classify(jnp.asarray(eta)))
    return _mean((guess != y[None]).astype(float), weight)


def auc(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a row of class 1 is above one of class 0, ties
    counting half. Hanley and McNeil (1982). NaN where a class is missing."""
    del loss
    positive, negative = weight * (y == 1), weight * (y == 0)
    pairs = positive.sum() * negative.sum()

    def one(eta: np.ndarray) -> float:
        _, level = np.unique(eta, return_inverse=True)
        of = np.bincount(level, negative)
        below = np.cumsum(of) - 0.5 * of
        return float(np.sum(positive * below[level]) / pairs) if pairs > 0 else np.nan

    return np.array([one(row) for row in eta])


def concordance(loss: Any, y: np.ndarray, eta: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Harrell's C: of pairs in which one is known to live longer (in a stratum), the share in which
    it has the smaller eta, ties counting half. Harrell, Lee and Mark (1996), section 5.5."""
    del loss
    time, event = y[:, 0], y[:, 1] == 1
    stratum = y[:, 2] if y.shape[1] == 3 else np.zeros(len(y))
    shares = []
    for value in np.unique(stratum):
        rows = np.nonzero((stratum == value) & (weight > 0))[0]
        # from the longest time, those censored at a time before those with an event
        order = rows[np.lexsort((event[rows], -time[rows]))]
        t, d, s = time[order], event[order], weight[order]
        change = np.append(True, (t[1:] != t[:-1]) | (d[1:] != d[:-1]))
        start = np.maximum.accumulate(np.where(change, np.arange(t.size), 0))
        pairs = np.sum((s * d) * np.append(0, np.cumsum(s))[start])
        one = [_concordant(row[order], s, d, start) for row in eta]
        shares.append((np.array(one), pairs))
    total = sum(pairs for _, pairs in shares)
    if total == 0:
        return np.full(len(eta), np.nan)
    return sum(found for found, _ in shares) / total


def _concordant(eta: np.ndarray, weight: np.ndarray, event: np.ndarray, start: np.ndarray) -> float:
    """Weight of the pairs (i, j), i with an event and j < start_i, in which eta_j < eta_i, and half
    of those in which they are equal.

    The rows before start_i are a union of dyadic blocks, one for each binary digit of start_i; in
    each block, sorted by eta, a search finds the weight below.
    """
    n = eta.size
    _, rank = np.unique(eta, return_inverse=True)
    total, position = np.zeros(n), np.arange(n)
    size = 1
    while size < n + 1:
        key = (position // size) * n + rank
        order = np.argsort(key, kind="stable")
        cumulative = np.append(0, np.cumsum(weight[order]))
        asks = event & ((start & size) > 0)
        block = start[asks] // size - 1  # the block of this size that ends the prefix's upper part
        base = np.searchsorted(key[order], block * n)
        low = np.searchsorted(key[order], block * n + rank[asks], side="left")
        high = np.searchsorted(key[order], block * n + rank[asks], side="right")
        below = 0.5 * (cumulative[low] + cumulative[high]) - cumulative[base]
        total[asks] += below
        size *= 2
    return float(np.sum(weight * event * total))


def _error(loss: Any, y: np.ndarray, eta: np.ndarray) -> np.ndarray:
    mean = np.asarray(loss.inverse_link(jnp.asarray(eta)))
    if y.ndim == 1 and mean.ndim == 3:  # classes
        y = np.eye(mean.shape[2], dtype=mean.dtype)[y.astype(int)]
    return mean - y[None]


def _over_outputs(error: np.ndarray) -> np.ndarray:
    return error if error.ndim == 2 else error.sum(axis=2)


def _mean(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    # not `@`: the threads of BLAS, which wait for more work for a while, would slow down other fits
    return np.einsum("ln,n->l", error, weight / weight.sum())


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("deviance", deviance),
        Measure("mse", squared_error),
        Measure("mae", absolute_error),
        Measure("misclassification", misclassification),
        Measure("auc", auc, larger_is_better=True),
        Measure("concordance", concordance, larger_is_better=True),
    )
}


def allowed(loss: Any) -> tuple[str, ...]:
    """The names of the measures that a loss has a meaning for."""
    if has(loss, "mean"):
        return ("deviance", "concordance")
    names: tuple[str, ...] = ("deviance", "mse", "mae")
    if has(loss, "classify"):
        names += ("misclassification",)
        names += ("auc",) if not has(loss, "n_classes") else ()
    return names


def read_measure(measure: Any, loss: Any) -> Measure:
    """A measure by name, the deviance by default, or a function as it is (smaller is better)."""
    if isinstance(measure, Measure):
        return measure
    if callable(measure):
        return Measure(getattr(measure, "__name__", "score"), measure)
    names = allowed(loss)
    if measure is not None and measure not in names:
        raise ValueError(
            f"measure must be one of {', '.join(names)} for {type(loss).__name__}, or a function "
            f"(loss, y, eta, weight) -> (n_lams,); got {measure!r}"
        )
    return MEASURES["deviance" if measure is None else measure]


def check_scores(scores: Any, n_lams: int, name: str) -> np.ndarray:
    """Scores of a fold, (n_lams,)."""
    array: ArrayLike = np.asarray(scores, dtype=float)
    if array.shape != (n_lams,):
        raise ValueError(f"measure {name} must give shape ({n_lams},); got {array.shape}")
    return array
