"""Is this gradient right? Central differences of a function against its derivative."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg import checks
from jreg.typing import Array, PyTree, Scalar

COARSEST = 0.1  # a check that would pass an error of more than a tenth has shown nothing


@dataclasses.dataclass(frozen=True)
class LeafGradient:
    """What `check_gradient` found in one array of parameters.

    checked: the number of differences. error: the largest `|difference - derivative|` over the size
    of the gradient; where: its entry or direction; difference and derivative: those there. allowed:
    `tol`, plus what rounding of fun does to a difference, over that size. verdict: "ok", "wrong",
    "unresolved" or "not finite".
    """

    path: str
    shape: tuple[int, ...]
    checked: int
    error: float
    allowed: float
    where: str
    difference: float
    derivative: float
    verdict: str

    def __str__(self) -> str:
        if self.verdict == "ok":
            return "ok"
        hint = {
            "unresolved": "; too small beside the rounding of fun: use float64, or another point",
            "not finite": "; choose a point around which fun is finite",
        }
        return (
            f"{self.verdict}: {self.difference:.4g} by differences, {self.derivative:.4g} by the "
            f"gradient {self.where}{hint.get(self.verdict, '')}"
        )


@dataclasses.dataclass(frozen=True, repr=False)
class GradientReport:
    """See `check_gradient`. True as a condition if ok; prints as a table."""

    leaves: tuple[LeafGradient, ...]
    evaluations: int

    @property
    def ok(self) -> bool:
        """Whether every array was found right; one that cannot be judged is not."""
        return all(leaf.verdict == "ok" for leaf in self.leaves)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        bad = sum(leaf.verdict != "ok" for leaf in self.leaves)
        verdict = "ok" if self.ok else f"NOT ok in {bad} of {len(self.leaves)} arrays"
        rows = [("array", "shape", "checked", "error", "allowed", "verdict")]
        for leaf in self.leaves:
            numbers = (str(leaf.checked), f"{leaf.error:.1e}", f"{leaf.allowed:.1e}")
            rows.append((leaf.path, str(leaf.shape), *numbers, str(leaf)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([f"gradient {verdict}, by {self.evaluations} evaluations of fun", *lines])


class _Found(NamedTuple):
    """Along each direction: both derivatives, the larger |fun|, and the length of the move."""

    difference: Array
    derivative: Array
    value: Array
    length: Array


def check_gradient(
    fun: Callable[..., Any],
    params: PyTree,
    *args: Any,
    gradient: Callable[..., PyTree] | None = None,
    step: Scalar | None = None,
    tol: Scalar | None = None,
    n_entries: int | None = None,
    n_directions: int | None = None,
    key: Array | None = None,
) -> GradientReport:
    """Compare `jax.grad(fun)` with central differences, entry by entry:

        d_i = (fun(w + h_i e_i) - fun(w - h_i e_i)) / (2 h_i),    h_i = eps^(1/3) max(1, |w_i|)

    whose truncation h^2 and rounding eps / h are then both near eps^(2/3): 4e-11 in float64, 2e-5
    in float32. In each array the largest `|d_i - g_i|` must be at most `tol` times the largest
    entry, plus the rounding. A gradient that this drowns by more than a tenth is "unresolved", and
    not ok.

    **Cost**: 2 p evaluations of fun for p parameters, where the gradient itself takes as long as a
    few, whatever p. So for many parameters check some of them: n_entries random entries of each
    array, or n_directions random directions in each (one wrong entry of n shows there with
    1/sqrt(n) of its size). Compiled anew in each call; for tests, not for loops.

    Args:
      fun: `fun(params, *args)`, one real number; traceable by JAX, also around params. At a kink no
        gradient is right.
      params: any pytree of float32 or float64 arrays, in whose precision all is computed; float64
        under `jax.enable_x64(True)` sees much more.
      args: arrays, or trees of them.
      gradient: `gradient(params, *args)`, a tree like params; None for that of JAX, which follows
        custom rules.
      step: the factor in h_i instead of eps^(1/3), > 0: smaller where fun bends fast.
      tol: a relative error, in (0, 0.1); eps^(1/3) if None, 6e-6 in float64 and 5e-3 in float32.
      n_entries, n_directions: at least 1, not both, with a key; None for all entries.
      key: a random key.

    Returns a `GradientReport`: `ok`, `leaves` with the relative error of each array, `evaluations`.
    It is true as a condition if ok, and prints as a table. Raises ValueError for a fun that is no
    scalar, a gradient unlike params, numbers out of range, a missing key, or under jit; TypeError
    for other dtypes. Nocedal and Wright (2006), section 8.1; Dennis and Schnabel (1996), algorithm
    A5.6.4.

    >>> def squares(w):
    ...     return jnp.sum(w["a"] ** 2)
    >>> check_gradient(squares, {"a": jnp.array([1.0, -2.0])}).ok
    True
    >>> check_gradient(squares, {"a": jnp.array([1.0, -2.0])}, gradient=lambda w: w)
    gradient NOT ok in 1 of 1 arrays, by 4 evaluations of fun
    array  shape  checked  error    allowed  verdict
    a      (2,)   2        5.0e-01  5.0e-03  wrong: -4 by differences, -2 by the gradient at (1,)
    """
    if checks.is_traced(params, args):
        raise ValueError("check_gradient makes a report of numbers: call it outside jit and grad")
    paths, leaves, structure = _flat(params)
    unflatten = structure.unflatten
    dtypes = {_scalar_dtype(fun, unflatten(leaves), args), *(leaf.dtype for leaf in leaves)}
    eps = max(float(jnp.finfo(dtype).eps) for dtype in dtypes)
    step, tol = _positive("step", step, eps, np.inf), _positive("tol", tol, eps, COARSEST)
    picks = _picks([leaf.size for leaf in leaves], n_entries, n_directions, key)

    @jax.jit
    def differences(leaves: list[Array], args: tuple, picks: Any) -> tuple[list[Array], _Found]:
        slopes = (jax.grad(fun) if gradient is None else gradient)(unflatten(leaves), *args)
        slopes = _like(leaves, structure, slopes)

        def value(leaves: list[Array]) -> Array:
            return jnp.asarray(fun(unflatten(leaves), *args))

        along = jax.lax.map(lambda pick: _along(value, leaves, slopes, step, pick), picks)
        return [jnp.sqrt(jnp.mean(slope**2)) for slope in slopes], along

    sizes, along = jax.tree.map(np.asarray, differences(leaves, args, picks))
    owner = np.asarray(picks[0])
    reports = []
    for j, (path, leaf) in enumerate(zip(paths, leaves, strict=True)):
        mine = owner == j
        if not mine.any():  # an array without entries
            continue
        found = _judge(_Found(*(part[mine].astype(float) for part in along)), sizes[j], eps, tol)
        k = found.pop("number")
        if n_directions is None:
            entry = np.unravel_index(int(picks[1][mine][k]), leaf.shape)
            where = f"at {tuple(map(int, entry))}"
        else:
            where = f"along direction {k}"
        reports.append(LeafGradient(path, leaf.shape, where=where, **found))
    return GradientReport(tuple(reports), 2 * owner.size)


def _along(
    value: Callable[[list[Array]], Array],
    leaves: list[Array],
    slopes: list[Array],
    step: float,
    pick: tuple[Array, Array],
) -> _Found:
    """The derivative along one direction of unit length in one array."""
    owner, entry = pick
    moves = [_move(w, step, owner == j, entry) for j, w in enumerate(leaves)]
    above = [w + move for w, move in zip(leaves, moves, strict=True)]
    below = [w - move for w, move in zip(leaves, moves, strict=True)]
    # w + h is rounded: what counts is how far it went
    went = [a - b for a, b in zip(above, below, strict=True)]
    length = jnp.sqrt(sum(jnp.sum(d**2) for d in went))
    up, down = value(above), value(below)
    slope = sum(jnp.sum(g * d) for g, d in zip(slopes, went, strict=True))
    size = jnp.maximum(jnp.abs(up), jnp.abs(down))
    return _Found((up - down) / length, slope / length, size, length)


def _move(w: Array, step: float, here: Array, entry: Array) -> Array:
    """`h_i e_i` for the number i of an entry; for a key random signs."""
    h = step * jnp.maximum(1, jnp.abs(w))
    if jnp.issubdtype(entry.dtype, jax.dtypes.prng_key):
        signs = jax.random.rademacher(entry, w.shape, w.dtype)
        return jnp.where(here, signs * h / max(w.size, 1) ** 0.5, 0)
    return jnp.where(here & (jnp.arange(w.size) == entry).reshape(w.shape), h, 0)


def _judge(found: _Found, size: float, eps: float, tol: float) -> dict[str, Any]:
    """The verdict on one array; `size`: the root mean square of its gradient."""
    errors = np.abs(found.difference - found.derivative)
    k = int(np.argmax(np.where(np.isfinite(errors), errors, np.inf)))
    scale = np.abs([size, *found.difference, *found.derivative]).max()  # NaN if one is
    # each of the two values is taken to be right to four units in its last place
    rounding = (8 * eps * found.value / found.length).max()
    if not np.isfinite(scale):
        error, allowed, verdict = np.nan, tol, "not finite"
    elif scale == 0:
        error, allowed, verdict = 0.0, tol, "ok"
    else:
        error, allowed = errors[k] / scale, tol + rounding / scale
        verdict = "wrong" if error > allowed else "unresolved" if allowed > COARSEST else "ok"
    return {
        "checked": errors.size,
        "error": float(error),
        "allowed": float(allowed),
        "number": k,
        "difference": float(found.difference[k]),
        "derivative": float(found.derivative[k]),
        "verdict": verdict,
    }


# --- what comes in ----------------------------------------------------------------------------


def _flat(params: PyTree) -> tuple[list[str], list[Array], Any]:
    """Paths, floating leaves and structure."""
    found, structure = jax.tree_util.tree_flatten_with_path(params)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
    leaves = [checks.floating(f"params{jax.tree_util.keystr(path)}", leaf) for path, leaf in found]
    if not sum(leaf.size for leaf in leaves):
        raise ValueError(f"params must hold at least one number; got {params!r}")
    return paths, leaves, structure


def _scalar_dtype(fun: Callable[..., Any], params: PyTree, args: tuple) -> Any:
    shown = jax.eval_shape(fun, params, *args)
    shape, dtype = getattr(shown, "shape", None), getattr(shown, "dtype", None)
    if shape != () or dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"fun must return one number of float32 or float64, with shape (); got {shown}"
        )
    return dtype


def _like(leaves: list[Array], structure: Any, slopes: PyTree) -> list[Array]:
    """The leaves of a gradient, which must have the shapes of params."""
    found = jax.tree.leaves(slopes)
    shapes, expected = [jnp.shape(g) for g in found], [w.shape for w in leaves]
    if jax.tree.structure(slopes) != structure or shapes != expected:
        raise ValueError(
            f"gradient must return a tree like params, {structure} of shapes {expected}; "
            f"got {jax.tree.structure(slopes)} of shapes {shapes}"
        )
    return [jnp.asarray(g, w.dtype) for g, w in zip(found, leaves, strict=True)]


def _positive(name: str, given: Scalar | None, eps: float, below: float) -> float:
    value = eps ** (1 / 3) if given is None else float(given)
    if not 0 < value < below:
        raise ValueError(f"{name} must be in (0, {below:g}); got {value:g}")
    return value


def _picks(
    sizes: list[int], n_entries: int | None, n_directions: int | None, key: Array | None
) -> tuple[Array, Array]:
    """For each difference the number of its array, and the number of its entry or its key."""
    for name, count in {"n_entries": n_entries, "n_directions": n_directions}.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")
    if (n_entries is not None) + (n_directions is not None) != (key is not None):
        raise ValueError(
            "a random check takes one of n_entries and n_directions, and a key, say "
            f"jax.random.key(0); got {n_entries=}, {n_directions=}, key={key}"
        )
    if key is not None and not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if key is None:
        counts, entries = sizes, jnp.concatenate([jnp.arange(size) for size in sizes])
    elif n_directions is None:
        counts = [min(size, n_entries or size) for size in sizes]
        keys = jax.random.split(key, len(sizes))
        chosen = map(jax.random.permutation, keys, sizes)
        entries = jnp.concatenate([c[:count] for c, count in zip(chosen, counts, strict=True)])
    else:
        counts = [n_directions if size else 0 for size in sizes]
        entries = jax.random.split(key, sum(counts))
    return jnp.repeat(jnp.arange(len(sizes)), np.array(counts)), entries
