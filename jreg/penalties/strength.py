"""Strength per entry, `lam * weights`, shared by the separable penalties.

A weight of 0 leaves an entry unpenalised, an infinite one excludes it (its value must be 0), and
neither depends on lam: products such as `0 * inf` never arise. A negative traced lam or weight
becomes NaN, which ends in `Status.NOT_FINITE`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks, tree
from jreg.typing import Array, PyTree, Scalar


def strengths(lam: Scalar, weights: PyTree | None, like: PyTree) -> PyTree:
    """A tree like `like` with `lam * weights` (inf where a weight is inf)."""
    lam = jnp.where(jnp.asarray(lam) >= 0, lam, jnp.nan)
    if weights is None:
        return jax.tree.map(lambda leaf: lam.astype(leaf.dtype), like)

    def one(leaf: Array, weight: Any) -> Array:
        excluded = jnp.isinf(weight)
        finite = jnp.where(excluded | ~(weight >= 0), 0, weight)
        free = jnp.where(jnp.isinf(lam), 0, lam) * 0  # NaN if lam is
        strength = jnp.where(finite == 0, free, lam * jnp.where(finite == 0, 1, finite))
        strength = jnp.where(excluded, jnp.inf, strength)
        return jnp.where(weight >= 0, strength, jnp.nan).astype(leaf.dtype)

    return jax.tree.map(one, like, _like(weights, like))


def scaled(s: Array, w: Array, size: Array) -> Array:
    """`s * size`; for an excluded entry 0 if w is 0, else inf (even where size underflows)."""
    excluded = jnp.isinf(s)
    return jnp.where(excluded & (w != 0), jnp.inf, jnp.where(excluded, 0, s) * size)


def times(step: PyTree, strength: PyTree, like: PyTree) -> PyTree:
    """`step * strength` per entry, infinite where the strength is, also for step 0."""
    step = tree.broadcast(step, like)
    return jax.tree.map(
        lambda h, s: jnp.where(jnp.isinf(s), jnp.inf, h * jnp.where(jnp.isinf(s), 0, s)),
        step,
        strength,
    )


def part(ratio: Scalar, strength: PyTree) -> PyTree:
    """The share `ratio` of each strength; an excluded entry stays excluded."""
    return jax.tree.map(
        lambda s: jnp.where(jnp.isinf(s), jnp.inf, ratio * jnp.where(jnp.isinf(s), 0, s)), strength
    )


def unpenalized(weights: PyTree | None, like: PyTree) -> PyTree | None:
    """True where the weight is 0, whatever lam; None if there are no weights."""
    if weights is None:
        return None
    return jax.tree.map(
        lambda leaf, w: jnp.broadcast_to(w == 0, leaf.shape), like, _like(weights, like)
    )


def counted(weights: PyTree | None, like: PyTree) -> PyTree:
    """True where an entry is penalised and not excluded: those that decide lam_max."""
    if weights is None:
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), like)
    return jax.tree.map(
        lambda leaf, w: jnp.broadcast_to((w != 0) & ~jnp.isinf(w), leaf.shape),
        like,
        _like(weights, like),
    )


def take(weights: PyTree | None, index: Any) -> PyTree | None:
    """The weights of some entries of one array."""
    return None if weights is None else jnp.asarray(weights)[index]


def ratio_or_limit(a: Array, b: Array) -> Array:
    """`a / b` for a, b >= 0, with 0/0 = 0 and a/0 = inf: a gauge."""
    return jnp.where(a == 0, 0, jnp.where(b == 0, jnp.inf, a / jnp.where(b == 0, 1, b)))


def _like(weights: PyTree, like: PyTree) -> PyTree:
    """Weights with the structure and shapes of the parameters, or a message."""
    if jax.tree.structure(weights) != jax.tree.structure(like):
        raise ValueError(
            "weights must have the structure of the parameters, "
            f"{jax.tree.structure(like)}; got {jax.tree.structure(weights)}. "
            "Use an array, not a list, for an array of coefficients."
        )

    def one(leaf: Array, weight: Any) -> Array:
        if jnp.shape(weight) != jnp.shape(leaf):
            raise ValueError(
                f"weights must have the shape of the coefficients, {jnp.shape(leaf)}; "
                f"got {jnp.shape(weight)}"
            )
        return jnp.asarray(weight)

    return jax.tree.map(one, like, weights)


def share(ratio: Scalar, lam: Scalar) -> Array:
    """`ratio * lam`, and 0 rather than NaN where the ratio is 0 and lam infinite."""
    ratio = jnp.asarray(ratio)
    return jnp.where(ratio == 0, 0, ratio) * jnp.where((ratio == 0) & jnp.isinf(lam), 0, lam)


def finite(weights: Any) -> bool:
    """Whether no concrete weight is infinite; traced ones are taken to be finite."""
    known = [leaf for leaf in jax.tree.leaves(weights) if not checks.is_traced(leaf)]
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in known)
