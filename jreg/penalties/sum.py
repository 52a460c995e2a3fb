"""The sum of penalties: always there, with a prox where a proved rule gives one."""

import dataclasses
from collections.abc import Callable
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties import strength
from jreg.penalties.addable import Addable, has_prox, is_smooth
from jreg.penalties.box import Box
from jreg.penalties.intervals import Interval, distance, has_interval, interval, total
from jreg.penalties.ridge import Huber, Ridge
from jreg.penalties.sum_rules import base, chain, conflict
from jreg.penalties.wrapper import clean, fixed_point_residual, like
from jreg.typing import Array, PyTree, Scalar, has


class Plan(NamedTuple):
    """The prox of a sum: ridges go into the step, then a chain of terms, then boxes."""

    ridges: list[Any]
    order: list[Any]
    boxes: list[Any]


@tree.dataclass
class Sum(Addable):
    """`f_1(w) + ... + f_k(w)`: see `add`.

    `at` goes to each term. `prox` raises TypeError unless `has_prox`.
    """

    terms: tuple[Any, ...]

    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    conjugate: ClassVar[None] = None
    polar: ClassVar[None] = None

    @property
    def convex(self) -> bool:
        """All terms are."""
        return all(f.convex for f in self.terms)

    @property
    def separable(self) -> bool:
        """All terms are."""
        return all(f.separable for f in self.terms)

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """All terms are."""
        return all(is_smooth(f) for f in self.terms)

    @property
    def homogeneous(self) -> bool:
        """All terms are."""
        return all(f.homogeneous for f in self.terms)

    @property
    def compares(self) -> bool:
        """Any term does."""
        return any(f.compares for f in self.terms)

    @property
    def entry(self) -> Callable[[Array], Array] | None:
        """Per entry of a gradient at 0 the smallest c at which `at(c)` keeps it 0; None unless all
        terms are convex and act on single entries."""
        known = self.convex and all(has_interval(f) for f in self.terms)
        return self._entry if known else None

    @property
    def restrict(self) -> Callable[[Any], "Sum"] | None:
        """The sum on some entries of one array; None unless every term has it."""
        if not all(has(f, "restrict") for f in self.terms):
            return None
        return lambda index: Sum(tuple(f.restrict(index) for f in self.terms))

    @property
    def has_prox(self) -> bool:
        """Whether a proved rule makes the prox from those of the terms."""
        return self._plan() is not None

    def value(self, w: PyTree) -> Array:
        """The sum of values."""
        return reduce(jnp.add, [f.value(w) for f in self.terms])

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`argmin_z step * sum(z) + 1/2 |z - v|^2` by the rules of `sum_rules`, else TypeError."""
        plan = self._plan()
        if plan is None:
            _, rest = _split(self.terms, Ridge)
            pair = conflict(rest if len(rest) > 1 else list(self.terms))
            f, g = (type(term).__name__ for term in pair)
            raise TypeError(
                f"the sum of {f} and {g} has no prox by a known rule; use a splitting solver, "
                "which takes the prox of each term alone"
            )
        v = tree.floating(v)
        if plan.ridges:
            rho = _strengths(plan.ridges, v)
            uniform = all(base(f)[0].weights is None for f in plan.ridges)
            by_entry = strength.times(step, rho, v)
            v = jax.tree.map(lambda v, h: v / (1 + h), v, by_entry)
            step = jax.tree.map(lambda step, h: step / (1 + h), like(step, v), by_entry)
            if not uniform:
                step = jax.tree.map(lambda h, v: jnp.broadcast_to(h, v.shape), step, v)
        z = v
        for term in plan.order + plan.boxes:
            z = term.prox(z, step)
        return clean(z)

    def at(self, c: Scalar) -> "Sum":
        """Every term at strength `c` times its own; fixed ones and constraints stay."""
        return dataclasses.replace(self, terms=tuple(f.at(c) for f in self.terms))

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """Of -grad from the sum of the subdifferentials.

        Exact where the terms act on single entries (intervals add), and for one other term with
        smooth ones; otherwise the lower bound `|w - prox(w - grad; 1)|`, 0 at the same points.
        Raises TypeError if the sum has no prox either.
        """
        w, grad = tree.floating(w), tree.floating(grad)
        single = self._interval(w)
        if single is not None:
            return jax.tree.map(lambda g, a, b: distance(-g, a, b), grad, *single)
        smooth = [f for f in self.terms if isinstance(base(f)[0], Ridge | Huber)]
        others = [f for f in self.terms if not isinstance(base(f)[0], Ridge | Huber)]
        if len(others) == 1 and all(base(f)[0].weights is None for f in smooth):
            slopes = [interval(f, w)[0] for f in smooth]  # type: ignore[index]
            moved = reduce(lambda a, b: jax.tree.map(jnp.add, a, b), slopes, grad)
            return others[0].kkt_distance(w, moved)
        if not self.has_prox:
            f, g = (type(term).__name__ for term in others[:2])
            raise TypeError(f"no rule for the subdifferential of the sum of {f} and {g}")
        return fixed_point_residual(self, w, grad)

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The smallest c at which `at(c)` gives 0 in every penalised entry.

        For terms of single entries, or one term with ridge and Huber; otherwise TypeError.
        """
        if self.entry is not None:
            return tree.largest(self.entry(grad_at_zero))
        others = [f for f in self.terms if not isinstance(base(f)[0], Ridge | Huber)]
        if len(others) == 1:
            return others[0].lam_max(grad_at_zero)
        names = " and ".join(type(f).__name__ for f in others)
        raise TypeError(f"no rule for lam_max of the sum of {names}; give the strengths")

    def _entry(self, grad_at_zero: PyTree) -> PyTree:
        grad = tree.floating(grad_at_zero)
        zero = jax.tree.map(jnp.zeros_like, grad)
        constant, whole = self.at(0.0)._total(zero), self._total(zero)

        def needed(g: Array, a0: Array, b0: Array, a: Array, b: Array) -> Array:
            """c with `a0 + c (a - a0) <= -g <= b0 + c (b - b0)`."""
            below = jnp.where(jnp.isinf(a0), 0, a0 - a)
            above = jnp.where(jnp.isinf(b0), 0, b - b0)
            down = strength.ratio_or_limit(jnp.maximum(a0 + g, 0), below)
            up = strength.ratio_or_limit(jnp.maximum(-g - b0, 0), above)
            held = (below >= 0) & (above >= 0)  # else 0 is no minimum of what varies
            return jnp.where(held | jnp.isnan(g), jnp.maximum(down, up), jnp.inf)

        found = jax.tree.map(needed, grad, *constant, *whole)
        free = self.unpenalized(grad)
        if free is None:
            return found
        return jax.tree.map(lambda c, free: jnp.where(free, 0, c), found, free)

    def unpenalized(self, w: PyTree) -> PyTree | None:
        """Where every term leaves an entry free; None if one of them has none such."""
        free = [f.unpenalized(w) for f in self.terms]
        if any(f is None for f in free):
            return None
        return reduce(lambda a, b: jax.tree.map(jnp.logical_and, a, b), free)

    def support(self, w: PyTree) -> PyTree:
        """Entries around which every term is smooth."""
        return reduce(
            lambda a, b: jax.tree.map(jnp.logical_and, a, b), [f.support(w) for f in self.terms]
        )

    def _interval(self, w: PyTree) -> Interval | None:
        return None if self.entry is None else self._total(w)

    def _total(self, w: PyTree) -> Interval:
        return total([interval(f, w) for f in self.terms])  # type: ignore[misc]

    def _plan(self) -> Plan | None:
        ridges, rest = _split(self.terms, Ridge)
        if not all(has_prox(f) for f in self.terms):
            return None
        weighted = any(base(f)[0].weights is not None for f in ridges)
        if weighted and not all(f.separable for f in rest):
            return None  # a step for each entry
        boxes: list[Any] = []
        if all(f.separable and f.convex for f in rest):
            boxes, rest = _split(rest, Box)
        order = rest if len(rest) < 2 else chain(rest)
        return None if order is None else Plan(ridges, order, boxes)


def add(p: Any, q: Any) -> Sum:
    """`p(w) + q(w)`, what `p + q` gives; terms that are sums are taken apart.

    A sum has a value and `at`; it has a `prox` (see `has_prox`) by proved rules only: + ridge,
    box + separable convex, L1 + group lasso, total variation or an order constraint + equal
    penalties of single entries, non-negative + group lasso, groups within groups. Raises TypeError
    if p or q is no penalty.

    >>> from jreg.penalties.l1 import L1
    >>> from jreg.penalties.box import Box
    >>> add(L1(0.5), Box(-1.0, 1.0)).prox(jnp.array([3.0, 0.75]), step=1.0)
    Array([1.  , 0.25], dtype=float32)
    """
    for term in (p, q):
        if not (hasattr(term, "value") and hasattr(term, "at")):
            raise TypeError(f"expected a penalty to add; got {type(term).__name__}")
    flat = [term.terms if isinstance(term, Sum) else (term,) for term in (p, q)]
    return Sum(flat[0] + flat[1])


def _split(terms: Any, kind: type) -> tuple[list[Any], list[Any]]:
    """(those of a kind, the others)."""
    chosen = [f for f in terms if isinstance(base(f)[0], kind)]
    return chosen, [f for f in terms if not isinstance(base(f)[0], kind)]


def _strengths(ridges: list[Any], v: PyTree) -> PyTree:
    """The sum of the strengths of ridge terms."""
    each = [
        jax.tree.map(lambda s, c=c: s * c, f.strengths(v)) for f, c in (base(r) for r in ridges)
    ]
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), each)


Addable.join = staticmethod(add)
