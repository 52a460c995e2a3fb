"""When the prox of a sum is made of the proxes of its terms: a table of proved rules.

`|z| + |z - 1|` shows that "separable" is no such rule. There are three.

1. A ridge term goes into the step: `prox_{f + rho/2 |.|^2}(v; s) = prox_f(v / (1 + s rho);
   s / (1 + s rho))`, by completing the square. Combettes and Pesquet (2011), table 10.1.
2. A box comes last if all others are separable and convex: on an interval a convex function of one
   variable is least at the point nearest its free minimiser.
3. A chain: `prox_{f_1 + ... + f_k} = prox_{f_k} o ... o prox_{f_1}` if for all i < j and all y

       subdifferential of f_i at prox_{f_j}(y)  contains  that of f_i at y.                  (*)

   For then z_1 = prox_{f_1}(v), ..., z_k have z_{i-1} - z_i in s times the subdifferential of f_i
   at z_i, hence at z_k; these sum to v - z_k in that of the whole. Yu (2013), theorem 1.

`CHAINS` holds the pairs (f_i, f_j) that satisfy (*), each with its reason.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jreg.penalties.box import Box, NonNegative
from jreg.penalties.calculus import Fixed, Scaled
from jreg.penalties.group_sparse import NonNegativeGroupLasso, SparseGroupLasso
from jreg.penalties.isotonic import Isotonic
from jreg.penalties.l1 import L1, NonNegativeL1
from jreg.penalties.radial import GroupLasso, Radial
from jreg.penalties.separable import Separable
from jreg.penalties.total_variation import FusedLasso, TotalVariation

# A convex member f(w; s) of these is least at 0, so its prox moves each entry towards 0 and not
# past it.
TOWARDS_ZERO = (Separable,)
GROUPED = (GroupLasso, SparseGroupLasso, NonNegativeGroupLasso)


class Chain(NamedTuple):
    """`first` may precede `then`, if `when(first, then)`."""

    first: tuple[type, ...]
    then: tuple[type, ...]
    when: Callable[[Any, Any], bool]


def convex(first: Any, then: Any) -> bool:
    """Both are."""
    return first.convex and then.convex


def uniform(first: Any, then: Any) -> bool:
    """`then` is one convex function for all entries, so that its prox keeps their order."""
    if isinstance(then, Box):
        return jnp.ndim(then.lower) == jnp.ndim(then.upper) == 0
    return convex(first, then) and then.weights is None


def nested(first: Radial, then: Radial) -> bool:
    """Each group of `first` lies within one of `then`."""
    if then.groups is None and then.axis is None:
        return True  # one group
    if first.groups is None or then.groups is None:
        return first.groups is then.groups and first.axis == then.axis
    a, b = first.groups.ids, then.groups.ids
    return a.shape == b.shape and all(np.unique(b[a == g]).size == 1 for g in np.unique(a))


CHAINS = (
    # The subdifferential of |w_j| depends on the sign and is largest at 0; `then` moves entries
    # towards 0, or scales whole groups of them by a number in [0, 1].
    Chain((L1,), TOWARDS_ZERO, convex),
    Chain((L1,), (NonNegative,), convex),
    Chain((L1,), GROUPED, convex),
    # The same for the cone of w_j >= 0: positive entries stay positive or become 0.
    Chain((NonNegative, NonNegativeL1), GROUPED, convex),
    Chain((NonNegativeL1,), TOWARDS_ZERO, convex),
    # Total variation and order constraints see which neighbours differ and how; an increasing
    # function of each entry keeps that, or makes them equal, where the subdifferential is larger.
    Chain((TotalVariation, Isotonic), (Separable, Box), uniform),
    Chain((FusedLasso,), (Separable,), uniform),
    Chain((FusedLasso,), (NonNegative,), uniform),
    # Groups within groups: the outer prox scales the inner group as a whole. Jenatton, Mairal,
    # Obozinski and Bach (2011), theorem 1.
    Chain((GroupLasso,), (GroupLasso,), nested),
)


def base(term: Any) -> tuple[Any, Any]:
    """(f, c) for a term that is c f: scaling changes no rule."""
    factor: Any = 1.0
    while isinstance(term, Scaled | Fixed):
        if isinstance(term, Scaled):
            factor = factor * term.c
        term = term.penalty
    return term, factor


def may_precede(first: Any, then: Any) -> bool:
    """Whether (*) is known for the two."""
    (f, _), (g, _) = base(first), base(then)
    return any(
        isinstance(f, rule.first) and isinstance(g, rule.then) and rule.when(f, g)
        for rule in CHAINS
    )


def chain(terms: list[Any]) -> list[Any] | None:
    """The terms in an order in which (*) holds for every pair, or None."""
    rest, order = list(terms), []
    while rest:
        for i, term in enumerate(rest):
            others = rest[:i] + rest[i + 1 :]
            if all(may_precede(term, other) for other in others):
                order.append(term)
                rest = others
                break
        else:
            return None
    return order


def conflict(terms: list[Any]) -> tuple[Any, Any]:
    """Two terms for which no rule is known."""
    for i, f in enumerate(terms):
        for g in terms[i + 1 :]:
            if not may_precede(f, g) and not may_precede(g, f):
                return f, g
    return terms[0], terms[1]
