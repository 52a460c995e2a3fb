"""After training: what is zero, and fine-tuning on the support."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jreg.penalties import GroupL0, NonNegativeGroupLasso, SparseGroupLasso
from jreg.penalties.radial import Radial
from jreg.penalties.tree_wise import ByPath, Masked
from jreg.transforms import doors, rounding
from jreg.transforms.proximal import optimality
from jreg.typing import PyTree


@dataclasses.dataclass(frozen=True)
class LeafReport:
    """One array: its path, shape, exact zeros, and slices along the last axis that are not all 0.

    For kernels (..., n_in, n_out) the slices are output neurons or filters.
    """

    path: str
    shape: tuple[int, ...]
    size: int
    zeros: int
    active_slices: int


@dataclasses.dataclass(frozen=True)
class SparsityReport:
    """See `sparsity_report`. Prints as a table."""

    leaves: tuple[LeafReport, ...]
    size: int
    zeros: int
    penalty: float | None = None
    active_groups: int | None = None
    optimality: float | None = None

    @property
    def sparsity(self) -> float:
        """The share of exact zeros."""
        return self.zeros / max(self.size, 1)

    def __str__(self) -> str:
        rows = [("array", "shape", "zeros", "of", "share", "active slices")]
        for leaf in self.leaves:
            share = f"{leaf.zeros / max(leaf.size, 1):.1%}"
            numbers = (str(leaf.zeros), str(leaf.size), share, str(leaf.active_slices))
            rows.append((leaf.path, str(leaf.shape), *numbers))
        rows.append(("all", "", str(self.zeros), str(self.size), f"{self.sparsity:.1%}", ""))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        named = ("penalty", "active_groups", "optimality")
        known = [(name, getattr(self, name)) for name in named]
        lines += [f"{name.replace('_', ' ')}: {v:g}" for name, v in known if v is not None]
        return "\n".join(lines)


def sparsity_report(
    params: PyTree, penalty: Any = None, grads: PyTree = None, state: PyTree = None
) -> SparsityReport:
    """Exact zeros (`== 0`) of every array, on the host.

    penalty: adds its value, and the number of groups that are not 0 if it is one of groups. grads
    and state (of `proximal`, both or none): add the bound `optimality(grads, state)` of the KKT
    distance; ValueError for one of them alone. The report has `leaves`, `zeros`, `size`,
    `sparsity`, and prints as a table.

    >>> print(sparsity_report({"kernel": jnp.array([[0.0, 1.0], [0.0, 0.0]]), "bias": jnp.ones(2)}))
    array   shape   zeros  of  share  active slices
    bias    (2,)    0      2   0.0%   2
    kernel  (2, 2)  3      4   75.0%  1
    all             3      6   50.0%
    """
    if (grads is None) != (state is None):
        raise ValueError("optimality needs both grads and state")
    leaves = tuple(
        _leaf_report(jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    )
    params = rounding.wide(params)  # a bfloat16 counts to 256
    return SparsityReport(
        leaves,
        size=sum(leaf.size for leaf in leaves),
        zeros=sum(leaf.zeros for leaf in leaves),
        penalty=None if penalty is None else float(penalty.value(params)),
        active_groups=_active_groups(penalty, params),
        optimality=None if state is None else float(optimality(grads, state)),
    )


def freeze_zeros(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Fine-tune on the support: what is exactly 0 stays 0.

        u = inner's update for where(w == 0, 0, g);    u <- where(w == 0, 0, u)

    Without a penalty this removes the bias of the penalty on the weights that were kept. Clipping
    and norms inside see the gradient of the support alone. No memory of its own. Arrays that start
    at 0 without being pruned, such as fresh biases, would stay there: leave them out by
    `optax.partition`. TypeError for an inner that is no transform, ValueError without params.

    >>> tx = freeze_zeros(optax.sgd(1.0))
    >>> w = jnp.array([0.0, 2.0])
    >>> tx.update(jnp.array([1.0, 1.0]), tx.init(w), w)[0]
    Array([ 0., -1.], dtype=float32)
    """
    inner = doors.inner(inner)

    def on_support(params: PyTree, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda w, x: jnp.where(w == 0, 0, x), params, tree)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        doors.update("freeze_zeros", params, {})
        u, state = inner.update(on_support(params, grads), state, params, **extra)
        return on_support(params, u), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _leaf_report(path: str, w: np.ndarray) -> LeafReport:
    active = int((w != 0).any(axis=tuple(range(w.ndim - 1))).sum())
    return LeafReport(path, w.shape, w.size, int((w == 0).sum()), active)


def _active_groups(penalty: Any, params: PyTree) -> int | None:
    """The number of groups that are not 0; None if the penalty has no groups."""
    count = _counting(penalty)
    return None if count is None else round(float(count.value(params)))


def _counting(penalty: Any) -> Any:
    """The penalty that counts the same groups on the same arrays; None for one without groups."""
    match penalty:
        case Radial() | SparseGroupLasso() | NonNegativeGroupLasso():
            return GroupL0(1.0, groups=penalty.groups, axis=penalty.axis)
        case Masked():
            inner = _counting(penalty.penalty)
            return None if inner is None else Masked(inner, penalty.mask)
        case ByPath():
            members = [_counting(f) for f in (*penalty.penalties, penalty.default)]
            if any(f is not None for f in members):
                return ByPath(tuple(members[:-1]), members[-1], penalty.patterns)
    return None
