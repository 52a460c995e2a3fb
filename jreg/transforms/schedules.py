"""Learning-rate schedules that optax does not have."""

from collections.abc import Callable

import jax.numpy as jnp

from jreg import checks
from jreg.typing import Array, Scalar


def inverse_sqrt_schedule(peak: Scalar, warmup_steps: int = 1) -> Callable[[Array], Array]:
    """`peak * min(k / m, sqrt(m / k))` at step t, k = t + 1, m = warmup_steps: a linear rise over
    m steps, then 1/sqrt(k), which needs no end to be known.

    With m = 1 it falls from the start. The classical rate for subgradients (Nesterov 2018, section
    3.2.3), with a warm-up that of Vaswani et al. (2017), section 5.3. peak: the largest rate;
    ValueError for a negative one, or for fewer than one step.

    >>> rate = inverse_sqrt_schedule(0.4, warmup_steps=4)
    >>> [round(float(rate(t)), 2) for t in (0, 3, 15)]
    [0.1, 0.4, 0.2]
    """
    checks.concrete_number("peak", peak, low=0)
    checks.concrete_number("warmup_steps", warmup_steps, low=1)

    def rate(count: Array) -> Array:
        t = jnp.asarray(count + 1, jnp.result_type(float))
        return peak * jnp.minimum(t / warmup_steps, jnp.sqrt(warmup_steps / t))

    return rate
