"""Penalties that choose among the leaves of the parameters: by a mask, or by their paths."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties.addable import Addable, has_prox, is_smooth
from jreg.penalties.wrapper import optional
from jreg.typing import Array, PyTree, Scalar

Leaves = list[Any]


class TreeWise(Addable):
    """Base: each leaf has one of the penalties, or none.

    A penalty sees the parameters with None in place of the leaves that it has no part in; so do its
    own trees, such as weights.
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    restrict: ClassVar[None] = None

    def _penalties(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _owners(self, w: PyTree) -> list[int | None]:
        """For each leaf the number of its penalty, None if it has none."""
        raise NotImplementedError

    @property
    def convex(self) -> bool:
        """All are."""
        return all(f.convex for f in self._penalties())

    @property
    def separable(self) -> bool:
        """All are."""
        return all(f.separable for f in self._penalties())

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """All are."""
        return all(is_smooth(f) for f in self._penalties())

    @property
    def homogeneous(self) -> bool:
        """All are."""
        return all(f.homogeneous for f in self._penalties())

    @property
    def compares(self) -> bool:
        """Any does."""
        return any(f.compares for f in self._penalties())

    @property
    def has_prox(self) -> bool:
        """All have."""
        return all(has_prox(f) for f in self._penalties())

    def value(self, w: PyTree) -> Array:
        """The sum over leaves that have a penalty."""
        values = [f.value(part) for f, part, _ in self._parts(w)]
        return sum(values[1:], values[0]) if values else _zero(w)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """That of its penalty for each leaf; the others stay."""
        steps = tree.broadcast(step, v)
        return self._join(v, lambda f, v, step: f.prox(v, step), lambda v, step: v, steps)

    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree:
        """That of its penalty for each leaf; |grad| for the others."""
        return self._join(
            w, lambda f, w, g: f.kkt_distance(w, g), lambda w, g: jnp.abs(g), tree.floating(grad)
        )

    def lam_max(self, grad_at_zero: PyTree) -> Array:
        """The largest of the penalties'."""
        found = [f.lam_max(part) for f, part, _ in self._parts(grad_at_zero)]
        return tree.largest(found) if found else _zero(grad_at_zero)

    def unpenalized(self, w: PyTree) -> PyTree:
        """True for leaves without a penalty, and where theirs leaves them free."""

        def own(f: Any, w: PyTree) -> PyTree:
            free = f.unpenalized(w)
            no = jax.tree.map(lambda w: jnp.zeros(w.shape, bool), w)
            return no if free is None else free

        return self._join(w, own, lambda w: jnp.ones(w.shape, bool))

    def support(self, w: PyTree) -> PyTree:
        """That of its penalty for each leaf; all entries of the others."""
        return self._join(w, lambda f, w: f.support(w), lambda w: jnp.ones(w.shape, bool))

    @property
    def conjugate(self) -> Callable[[PyTree], Array] | None:
        """The sum; inf unless u is 0 in leaves without a penalty."""
        if any(optional(f, "conjugate") is None for f in self._penalties()):
            return None

        def of(u: PyTree) -> Array:
            values = [f.conjugate(part) for f, part, _ in self._parts(u)]
            return sum(values, jnp.where(self._outside(u) > 0, jnp.inf, self._outside(u)))

        return of

    @property
    def polar(self) -> Callable[[PyTree], Array] | None:
        """The largest; inf unless u is 0 in leaves without a penalty."""
        if any(optional(f, "polar") is None for f in self._penalties()):
            return None

        def of(u: PyTree) -> Array:
            found = [f.polar(part) for f, part, _ in self._parts(u)]
            rest = jnp.where(self._outside(u) > 0, jnp.inf, self._outside(u))
            return tree.largest([*found, rest])

        return of

    @property
    def entry(self) -> Callable[[PyTree], PyTree] | None:
        """That of its penalty for each leaf; 0 for the others."""
        if any(optional(f, "entry") is None for f in self._penalties()):
            return None
        return lambda grad: self._join(grad, lambda f, g: f.entry(g), jnp.zeros_like)

    def _parts(self, w: PyTree) -> Iterator[tuple[Any, PyTree, list[bool]]]:
        """(penalty, its leaves with None for the others, which they are)."""
        leaves, structure = jax.tree.flatten(tree.floating(w))
        owners = self._owners(w)
        for i, f in enumerate(self._penalties()):
            mine = [owner == i for owner in owners]
            if any(mine):
                yield f, _only(structure, leaves, mine), mine

    def _join(
        self,
        w: PyTree,
        own: Callable[..., PyTree],
        free: Callable[..., Array],
        *more: PyTree,
    ) -> PyTree:
        """`own(f, leaves of f)` of each penalty and `free(leaf)` of other leaves, put together."""
        leaves, structure = jax.tree.flatten(tree.floating(w))
        others = [jax.tree.leaves(m) for m in more]
        result: Leaves = [None] * len(leaves)
        for f, part, mine in self._parts(w):
            rest = [_only(structure, other, mine) for other in others]
            found = iter(jax.tree.leaves(own(f, part, *rest)))
            for i, owned in enumerate(mine):
                if owned:
                    result[i] = next(found)
        for i, owner in enumerate(self._owners(w)):
            if owner is None:
                result[i] = free(leaves[i], *(other[i] for other in others))
        return structure.unflatten(result)

    def _outside(self, u: PyTree) -> Array:
        """The largest entry of u in leaves without a penalty."""
        leaves = jax.tree.leaves(tree.floating(u))
        owners = self._owners(u)
        return tree.largest(
            [_zero(u), *(x for x, o in zip(leaves, owners, strict=True) if o is None)]
        )


@tree.dataclass
class Masked(TreeWise):
    """A penalty on some leaves: see `masked`."""

    penalty: Any
    mask: Any = tree.static()

    def at(self, c: Scalar) -> "Masked":
        """The same of the penalty at strength `c * lam`."""
        return Masked(self.penalty.at(c), self.mask)

    def _penalties(self) -> tuple[Any, ...]:
        return (self.penalty,)

    def _owners(self, w: PyTree) -> list[int | None]:
        chosen = self.mask(w) if callable(self.mask) else self.mask.tree()

        def repeat(choice: Any, part: PyTree) -> PyTree:
            return jax.tree.map(lambda _: bool(choice), part)

        try:
            full = jax.tree.map(repeat, chosen, w)
        except ValueError as error:
            raise ValueError(
                "the mask must be a prefix of the parameters, "
                f"{jax.tree.structure(w)}; got {jax.tree.structure(chosen)}"
            ) from error
        return [0 if choice else None for choice in jax.tree.leaves(full)]


@tree.dataclass
class ByPath(TreeWise):
    """One penalty for each pattern: see `by_path`."""

    penalties: tuple[Any, ...]
    default: Any = None
    patterns: tuple[str, ...] = tree.static(default=())

    def at(self, c: Scalar) -> "ByPath":
        """The same of every penalty at strength `c` times its own."""
        default = None if self.default is None else self.default.at(c)
        penalties = tuple(None if f is None else f.at(c) for f in self.penalties)
        return ByPath(penalties, default, self.patterns)

    def _penalties(self) -> tuple[Any, ...]:
        return tuple(f for f in (*self.penalties, self.default) if f is not None)

    def _owners(self, w: PyTree) -> list[int | None]:
        paths = [
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, _ in jax.tree_util.tree_flatten_with_path(w)[0]
        ]
        for pattern in self.patterns:
            if not any(re.search(pattern, path) for path in paths):
                raise ValueError(f"no parameter matches {pattern!r}; they are {', '.join(paths)}")
        choices = (*self.penalties, self.default)
        given = [i for i, f in enumerate(choices) if f is not None]

        def owner(path: str) -> int | None:
            hits = (i for i, pattern in enumerate(self.patterns) if re.search(pattern, path))
            choice = next(hits, len(self.patterns))
            return given.index(choice) if choice in given else None

        return [owner(path) for path in paths]


class _Mask:
    """A tree of bools as a static value."""

    def __init__(self, mask: PyTree) -> None:
        leaves, self.structure = jax.tree.flatten(mask)
        for leaf in leaves:
            if jnp.ndim(leaf) > 0 or jnp.asarray(leaf).dtype != bool:
                raise TypeError(
                    "a mask has one True or False for each array of parameters (or a whole "
                    "subtree of them); for single entries use weights of the penalty"
                )
        self.leaves = tuple(bool(leaf) for leaf in leaves)

    def tree(self) -> PyTree:
        """The tree of bools."""
        return self.structure.unflatten(self.leaves)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Mask) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return self.structure, self.leaves


def masked(penalty: Any, mask: PyTree | Callable[[PyTree], PyTree]) -> Masked:
    """The penalty on the leaves where the mask is True; the others are unpenalised.

    mask: a tree of bools like the parameters, or a prefix of them (one bool for a subtree), or a
    function from the parameters to such a tree, which looks at shapes only and is compared by
    identity (define it once). Raises TypeError for masks of single entries, ValueError for one
    that does not fit.

    >>> from jreg.penalties.l1 import L1
    >>> w = {"kernel": jnp.ones(2), "bias": jnp.ones(1)}
    >>> masked(L1(0.5), {"kernel": True, "bias": False}).prox(w, step=1.0)
    {'bias': Array([1.], dtype=float32), 'kernel': Array([0.5, 0.5], dtype=float32)}
    """
    return Masked(penalty, mask if callable(mask) else _Mask(mask))


def by_path(penalties: Mapping[str, Any], default: Any = None) -> ByPath:
    """One penalty for the leaves of each pattern, a regular expression.

    A pattern is looked for anywhere (`re.search`) in the path of a leaf, its keys joined by "/",
    such as `Dense_0/kernel`. The first that matches wins; None as a penalty leaves a leaf
    unpenalised, and so does `default` None where no pattern matches. Raises ValueError, at first
    use, for a pattern that matches no leaf at all: a mistyped one would silently do nothing.

    >>> from jreg.penalties.l1 import L1
    >>> w = {"dense": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}}
    >>> by_path({"kernel$": L1(0.5)}).value(w)
    Array(1., dtype=float32)
    """
    for pattern in penalties:
        re.compile(pattern)
    return ByPath(tuple(penalties.values()), default, tuple(penalties))


def by_label(penalties: Mapping[str, Any], labels: PyTree) -> ByPath:
    """One penalty for the leaves of each label, as `optax.partition` has one transform.

    labels: a tree of strings like the parameters, or a prefix of them (one label for a subtree).
    None as a penalty leaves a leaf unpenalised. Raises ValueError for a label without a penalty,
    and at first use for one whose leaf does not exist.

    >>> from jreg.penalties.l1 import L1
    >>> w = {"dense": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}, "scale": jnp.ones(1)}
    >>> by_label({"sparse": L1(0.5), "free": None}, {"dense": "sparse", "scale": "free"}).value(w)
    Array(1.5, dtype=float32)
    """
    paths: dict[str, list[str]] = {}
    for path, label in jax.tree_util.tree_flatten_with_path(labels)[0]:
        if label not in penalties:
            raise ValueError(f"no penalty for label {label!r}; they are for {', '.join(penalties)}")
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        paths.setdefault(label, []).append(f"^{re.escape(name)}(/|$)" if name else "")
    given = {"|".join(patterns): penalties[label] for label, patterns in paths.items()}
    return by_path(given)


def kernels_only(penalty: Any) -> Masked:
    """The penalty on arrays of rank 2 and above: kernels, not biases or scales of norms.

    >>> from jreg.penalties.l1 import L1
    >>> w = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    >>> kernels_only(L1(0.5)).value(w)
    Array(2., dtype=float32)
    """
    return masked(penalty, _kernels)


def _kernels(w: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, w)


def _only(structure: Any, leaves: Leaves, mine: list[bool]) -> PyTree:
    return structure.unflatten([x if m else None for x, m in zip(leaves, mine, strict=True)])


def _zero(w: PyTree) -> Array:
    w = tree.floating(w)
    return jnp.zeros((), tree.dtype(w) if jax.tree.leaves(w) else None)
