"""Risk sets of survival data: who was at risk at each event time, and sums over them.

Samples are sorted by stratum and falling time once. A sum over the risk set of an event is then a
cumulative sum that starts anew with each stratum, read at the end of the run of equal times. All
sums are of exponentials, in logarithms, so nothing overflows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jreg.typing import Array


class RiskSets(NamedTuple):
    """What follows from (time, event, stratum) alone; all (n,), rows in sorted order."""

    order: Array  # sorted row -> row
    rank: Array  # row -> sorted row
    event: Array  # 1 for an event, 0 for a censored sample, NaN for neither
    tie: Array  # number of the run of equal times in one stratum
    first: Array  # first sorted row of the run
    last: Array  # last sorted row of the run
    starts: Array  # whether a stratum starts here
    ends: Array  # whether a stratum ends here


def risk_sets(y: Array) -> RiskSets:
    """Of y (n, 2), columns time and event, or (n, 3) with a stratum number; O(n log n)."""
    n = y.shape[0]
    time, event = y[:, 0], y[:, 1]
    stratum = y[:, 2] if y.shape[1] == 3 else jnp.zeros_like(time)
    order = jnp.lexsort((-time, stratum))
    time, event, stratum = time[order], event[order], stratum[order]
    new_stratum = jnp.append(True, stratum[1:] != stratum[:-1])
    new_tie = new_stratum | jnp.append(True, time[1:] != time[:-1])
    tie = jnp.cumsum(new_tie) - 1
    rows = jnp.arange(n)
    wrong = ~jnp.isfinite(time) | ~jnp.isfinite(stratum) | ((event != 0) & (event != 1))
    return RiskSets(
        order=order,
        rank=jnp.zeros(n, order.dtype).at[order].set(rows.astype(order.dtype)),
        event=jnp.where(wrong, jnp.nan, event),
        tie=tie,
        first=jax.ops.segment_min(rows, tie, n)[tie],
        last=jax.ops.segment_max(rows, tie, n)[tie],
        starts=new_stratum,
        ends=jnp.append(new_stratum[1:], True),
    )


def log_zero(like: Array) -> Array:
    """Stands for log 0: finite, so that differences of two are not NaN, yet exp of it is 0."""
    return jnp.full_like(like, jnp.finfo(like.dtype).min / 8)


def log_weight(weight: Array) -> Array:
    """`log(weight)`, and `log_zero` for weight 0."""
    some = weight != 0
    return jnp.where(some, jnp.log(jnp.where(some, weight, 1)), log_zero(weight))


def log_cumulative(terms: Array, restart: Array, reverse: bool = False) -> Array:
    """Cumulative `log sum exp` that begins anew wherever `restart` holds; both (n,)."""

    def combine(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        (flag_a, sum_a), (flag_b, sum_b) = a, b
        return flag_a | flag_b, jnp.where(flag_b, sum_b, jnp.logaddexp(sum_a, sum_b))

    return jax.lax.associative_scan(combine, (restart, terms), reverse=reverse)[1]


def log_by_tie(terms: Array, tie: Array) -> Array:
    """`log sum exp` over each run of ties, (n,): for every row that of its run."""
    n = terms.size
    largest = jax.lax.stop_gradient(jax.ops.segment_max(terms, tie, n)[tie])
    total = jax.ops.segment_sum(jnp.exp(terms - largest), tie, n)[tie]
    return largest + jnp.log(total)


def sum_by_tie(terms: Array, tie: Array) -> Array:
    """Sum over each run of ties, (n,): for every row that of its run."""
    return jax.ops.segment_sum(terms, tie, terms.size)[tie]
