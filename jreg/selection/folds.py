"""Folds of cross-validation as two masks: which rows a fold fits, which it scores."""

from collections.abc import Iterable
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from jreg import checks
from jreg.typing import ArrayLike


class Folds(NamedTuple):
    """Boolean arrays (n_folds, n_samples)."""

    train: np.ndarray
    test: np.ndarray


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator from a whole number or a key of JAX; None is 0."""
    if key is None or isinstance(key, int | np.integer):
        return np.random.default_rng(0 if key is None else int(key))
    import jax

    typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else key
    return np.random.default_rng(np.asarray(data).ravel().astype(np.uint32).tolist())


def read_folds(
    folds: Any,
    X: Any,
    y: np.ndarray,
    *,
    groups: ArrayLike | None = None,
    repeats: int = 1,
    key: Any = None,
    classes: bool = False,
) -> Folds:
    """The masks of all folds.

    folds: how many (drawn at random; with `classes` every fold gets its share of each class of y),
      (n_samples,) fold numbers, a splitter of scikit-learn, or pairs (train, test) of indices or
      masks.
    groups: (n_samples,) labels; folds drawn here keep each group together, and ValueError is raised
      for others that fit and score rows of one.
    repeats: how often folds are drawn anew, a whole number.
    """
    n = len(y)
    checks.whole_number("repeats", repeats, low=1)
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups must have shape ({n},); got {np.shape(groups)}")
    if hasattr(folds, "split"):
        _once(repeats, "a splitter")
        found = _of_pairs(folds.split(X, y, groups), n)
    elif not isinstance(folds, Iterable) or isinstance(folds, str):
        rng = generator(key)
        found = _joined([_drawn(folds, y, groups, rng, classes) for _ in range(int(repeats))])
    else:
        _once(repeats, "folds that are given")
        folds = np.asarray(folds) if hasattr(folds, "__array__") else list(folds)
        found = _of_ids(np.asarray(folds), n) if _are_numbers(folds) else _of_pairs(folds, n)
    if groups is not None:
        _keep_whole(np.asarray(groups), found)
    return found


def _are_numbers(folds: np.ndarray | list[Any]) -> bool:
    if isinstance(folds, np.ndarray) and folds.dtype != object:
        return folds.ndim == 1 and folds.size > 0
    return len(folds) > 0 and all(isinstance(entry, Number | np.generic) for entry in folds)


def _keep_whole(groups: np.ndarray, folds: Folds) -> None:
    """ValueError if a fold both fits and scores rows of one group."""
    for k, (train, test) in enumerate(zip(*folds, strict=True)):
        both = np.intersect1d(groups[train], groups[test])
        if both.size:
            raise ValueError(
                f"fold {k} both fits and scores rows of group {both[0]}; give folds that keep "
                "groups together, or their number alone"
            )


def _once(repeats: int, what: str) -> None:
    if repeats != 1:
        raise ValueError(f"repeats={repeats} draws folds anew, which {what} cannot be")


def _drawn(
    count: Any, y: np.ndarray, groups: ArrayLike | None, rng: np.random.Generator, classes: bool
) -> Folds:
    """Folds of (almost) equal size."""
    n = len(y)
    units = n if groups is None else np.unique(np.asarray(groups)).size
    if isinstance(count, str) or int(count) != count or not 2 <= count <= units:
        what = "n_samples" if groups is None else "the number of groups"
        raise ValueError(
            f"folds must be a whole number between 2 and {what} = {units}; got {count}"
        )
    count = int(count)
    if groups is not None:
        return _of_ids(_of_groups(np.asarray(groups), count, rng), n)
    ids = np.empty(n, int)
    order = rng.permutation(n)
    if classes:  # class after class, each dealt out like cards
        order = order[np.argsort(y[order], kind="stable")]
    ids[order] = np.arange(n) % count
    return _of_ids(ids, n)


def _of_groups(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Fold numbers: the largest group that is left goes to the smallest fold."""
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(sizes.size)
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, fold = np.zeros(count), np.empty(sizes.size, int)
    for group in order:
        fold[group] = int(np.argmin(load))
        load[fold[group]] += sizes[group]
    return fold[index.ravel()]


def _of_ids(ids: np.ndarray, n: int) -> Folds:
    if ids.shape != (n,):
        raise ValueError(f"fold numbers must have shape ({n},); got {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"fold numbers must be integers; got dtype {ids.dtype}")
    values = np.unique(ids)
    if values.size < 2:
        raise ValueError(f"there must be two folds at least; every fold number is {values[0]}")
    test = ids[None, :] == values[:, None]
    return Folds(~test, test)


def _of_pairs(pairs: Iterable[Any], n: int) -> Folds:
    """From (train, test), indices or masks."""
    train, test = [], []
    for k, pair in enumerate(pairs):
        try:
            fit, score = pair
        except (TypeError, ValueError) as error:
            raise ValueError(f"folds must be pairs (train, test); number {k} is not") from error
        train.append(_mask(fit, n, k))
        test.append(_mask(score, n, k))
        both = np.nonzero(train[-1] & test[-1])[0]
        if both.size:
            raise ValueError(f"fold {k} both fits and scores row {both[0]}")
    if not train:
        raise ValueError("folds are empty: there is nothing to fit")
    return Folds(np.stack(train), np.stack(test))


def _mask(rows: ArrayLike, n: int, k: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        mask = rows
    else:
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows.size and not -n <= rows.min()):
            raise ValueError(f"fold {k} must hold row numbers, or a mask of shape ({n},)")
        if rows.size and rows.max() >= n:
            raise ValueError(f"fold {k} names row {rows.max()} of {n}")
        mask = np.zeros(n, bool)
        mask[rows] = True
    if not mask.any():
        raise ValueError(f"fold {k} fits or scores no row")
    return mask


def _joined(parts: list[Folds]) -> Folds:
    return Folds(*(np.concatenate(masks) for masks in zip(*parts, strict=True)))
