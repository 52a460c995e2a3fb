"""Cox's partial likelihood for survival times."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jreg import tree
from jreg.losses.responses import refuse
from jreg.losses.risk_sets import (
    RiskSets,
    log_by_tie,
    log_cumulative,
    log_weight,
    log_zero,
    risk_sets,
    sum_by_tie,
)
from jreg.typing import Array, ArrayLike


@tree.value_dataclass
class Cox:
    """Cox's partial likelihood of survival data; eta is the log of the hazard ratio.

    y is (n_samples, 2): the time and the event (1 observed, 0 censored); or (n_samples, 3) with a
    stratum number, each stratum having a baseline hazard of its own. With the risk set R_t of the
    samples whose time is at least t (in the same stratum), D_t those with an event at t, and
    d_t = sum_{D_t} s_i, the loss is minus the log partial likelihood above that of the saturated
    model, for weights s that sum to 1:

        sum_t d_t log(sum_{R_t} s_j exp(eta_j) / d_t) - sum_{events} s_i eta_i       (Breslow)

    ties: "breslow" (1974), or "efron" (1977), where the m events of D_t leave the risk set one
    after another: sum_{R_t} is replaced by sum_{R_t} - l/m sum_{D_t}, l = 0 .. m - 1, each with
    d_t / m. Weight k is the row k times for Breslow; for Efron it is the weighted form of survival
    packages: m counts the rows with an event and a positive weight, whatever the weights.

    The loss is at least 0, does not change when a constant is added to eta (in a stratum), and has
    only a mean: no `pointwise`, no conjugate, hence no duality gap. There is no intercept.
    Cox (1972); Simon, Friedman, Hastie and Tibshirani (2011).

    >>> y = jnp.array([[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])
    >>> Cox().log_likelihood(jnp.zeros(3), y)
    Array(-1.0986123, dtype=float32)
    """

    ties: str = tree.static(default="breslow")

    smoothness: ClassVar[float | None] = None  # none per sample: all samples act together
    smooth: ClassVar[bool] = True
    strictly_convex: ClassVar[bool] = True  # but for the constant
    quadratic: ClassVar[bool] = False
    translates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.ties not in ("breslow", "efron"):
            raise ValueError(f'ties must be "breslow" or "efron"; got {self.ties!r}')

    def outputs(self, row: tuple[int, ...]) -> tuple[int, ...]:
        """One predictor, for rows (time, event) or (time, event, stratum)."""
        if row in ((2,), (3,)):
            return ()
        raise ValueError(
            "y must have shape (n_samples, 2), time and event, or (n_samples, 3), time, event and "
            f"stratum, for Cox; got rows of shape {row}"
        )

    def prepare(self, y: Array | RiskSets) -> RiskSets:
        """The sorted risk sets; every method takes them in place of y."""
        return y if isinstance(y, RiskSets) else risk_sets(y)

    def mean(self, eta: Array, y: Array | RiskSets, weight: Array) -> Array:
        """Minus the log partial likelihood above the saturated one, over the sum of the weights.

        eta (n,), y as above or prepared, weight (n,) summing to 1.
        """
        sets = self.prepare(y)
        eta, weight = _sorted(sets, eta, weight)
        share, sums, _, saturated = self._terms(sets, eta, weight)
        # row by row against the own risk set, so that what all eta share cancels first
        rest = (share - _events(sets, weight)) * eta
        return jnp.sum(share * (sums - eta - saturated) + rest)

    def mean_gradient(self, eta: Array, y: Array | RiskSets, weight: Array) -> Array:
        """`s_i (exp(eta_i) A_i - event_i)`, A_i the Breslow cumulative hazard at time i; (n,)."""
        sets = self.prepare(y)
        eta, weight = _sorted(sets, eta, weight)
        expected, less = self._expected(sets, eta, weight)
        return ((expected - less) - _events(sets, weight))[sets.rank]

    def mean_curvature(self, eta: Array, y: Array | RiskSets, weight: Array) -> Array:
        """`s_i exp(eta_i) A_i`, a diagonal matrix above the second derivative; (n,)."""
        sets = self.prepare(y)
        eta, weight = _sorted(sets, eta, weight)
        expected, less = self._expected(sets, eta, weight)
        return (expected - less + 0 * _events(sets, weight))[sets.rank]

    def mean_deviance(self, eta: Array, y: Array | RiskSets, weight: Array) -> Array:
        """Twice the loss, which is 0 for the saturated model."""
        return 2 * self.mean(eta, y, weight)

    def log_likelihood(self, eta: Array, y: Array | RiskSets, weight: Array | None = None) -> Array:
        """The log partial likelihood itself; weight (n,) are counts (None: 1 each)."""
        sets = self.prepare(y)
        weight = jnp.ones_like(eta) if weight is None else weight
        eta, weight = _sorted(sets, eta, weight)
        share, sums, _, _ = self._terms(sets, eta, weight)
        return jnp.sum(_events(sets, weight) * eta - share * sums)

    def inverse_link(self, eta: Array) -> Array:
        """The hazard ratio, `exp(eta)`."""
        return jnp.exp(eta)

    def in_domain(self, y: Array) -> Array:
        """Finite times and strata, events 0 or 1; like y."""
        event = jnp.arange(y.shape[1])[None, :] == 1
        return jnp.isfinite(y) & (~event | (y == 0) | (y == 1))

    def check(self, y: ArrayLike) -> None:
        """Raise ValueError for times that are not finite, events other than 0 and 1, or none."""
        y = np.asarray(y)
        refuse(y[:, 0], ~np.isfinite(y[:, 0]), "y[:, 0] must hold finite times for Cox")
        wrong = ~np.isin(y[:, 1], (0, 1))
        refuse(y[:, 1], wrong, "y[:, 1] must be 1 for an event, 0 for a censored time")
        if y.shape[1] == 3:
            refuse(y[:, 2], ~np.isfinite(y[:, 2]), "y[:, 2] must hold finite stratum numbers")
        if not (y[:, 1] == 1).any():
            raise ValueError("y holds no event: every time is censored, so there is nothing to fit")

    def check_intercept(self, y: ArrayLike) -> None:
        """Raise ValueError: a constant added to eta changes nothing."""
        del y
        raise ValueError(
            "Cox has no intercept: a constant added to eta changes nothing. Use fit_intercept=False"
        )

    def _terms(
        self, sets: RiskSets, eta: Array, weight: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Of each event row: its share of d_t, the log of its risk sum, the fraction l / m of D_t
        that has left, and the log of the risk sum in the saturated model."""
        terms = log_weight(weight) + eta
        log_risk = log_cumulative(terms, sets.starts)[sets.last]
        here = _events(sets, weight)
        total = sum_by_tie(here, sets.tie)
        log_total = log_weight(jnp.where(here > 0, total, 1))
        if self.ties == "breslow":
            return here, log_risk, jnp.zeros_like(here), log_total
        counts = (here > 0).astype(eta.dtype)
        count = jnp.maximum(sum_by_tie(counts, sets.tie), 1)
        before = jnp.cumsum(counts) - counts
        left = (before - before[sets.first]) / count
        left = jnp.where(counts > 0, left, 0)
        log_tied = self._log_tied(sets, terms)
        # log(risk - left * tied); tied is part of risk, so the ratio is at most 1
        ratio = jnp.exp(jnp.minimum(jnp.where(left > 0, log_tied - log_risk, 0), 0))
        sums = log_risk + jnp.log1p(-left * ratio)
        share = jnp.where(counts > 0, total / count, 0 * here)
        return share, sums, left, log_total + jnp.log1p(-left)

    def _log_tied(self, sets: RiskSets, terms: Array) -> Array:
        """Log of the sum over the events of the run."""
        return log_by_tie(jnp.where(sets.event == 1, terms, log_zero(terms)), sets.tie)

    def _expected(self, sets: RiskSets, eta: Array, weight: Array) -> tuple[Array, Array]:
        """`s_i exp(eta_i) A_i`, the events expected of a sample, and under Efron's ties what the
        samples of D_t have less."""
        share, sums, left, _ = self._terms(sets, eta, weight)
        hazard = log_weight(share) - sums  # of each event
        hazard = jnp.where(share == 0, log_zero(eta), hazard)
        until = log_cumulative(hazard, sets.ends, reverse=True)[sets.first]
        own = log_weight(weight) + eta
        expected = jnp.exp(own + until)
        if self.ties == "breslow":
            return expected, jnp.zeros_like(eta)
        less = log_by_tie(hazard + log_weight(left), sets.tie)
        return expected, jnp.where(sets.event == 1, jnp.exp(own + less), 0)


def _sorted(sets: RiskSets, eta: Array, weight: Array) -> tuple[Array, Array]:
    """In the order of the risk sets; the eta of absent samples does not count."""
    eta = jnp.where(weight == 0, 0, eta)
    return eta[sets.order], weight[sets.order]


def _events(sets: RiskSets, weight: Array) -> Array:
    """Weight of an event, 0 for a censored or absent row."""
    return jnp.where(weight == 0, 0, weight * sets.event)
