"""Figures of a path of models: plain arrays in, a matplotlib Axes out; no type of jreg is known.

The x axis is a log scale of lam that decreases to the right, so the model grows from left to
right (as in glmnet since version 5, which plots against -log lambda). As a log scale has no zero,
lam = 0 stands at the right end, behind a cut in the axis, at a tick "0"; the x label says so.
Names and counts stand outside the axes: a figure without a layout engine is given the "tight"
one. Text follows the width of the axes, unless rcParams["font.size"] was changed: then that rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart, without yellow, too pale for
# thin lines on white, and with Tol's wine for black, which a dark style hides. Then the dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))


class _Grid(NamedTuple):
    """A checked path, from the largest lam to the smallest, and its places on the x axis."""

    x: NDArray[Any]  # lam, or `zero` for lam = 0
    values: NDArray[Any]  # 2-d, NaN in the rows that are not fitted; the first and the last are
    alone: NDArray[Any]  # rows without a fitted neighbour: no line shows them, a marker must
    counts: NDArray[Any]  # non-zero coefficients, NaN where not known
    marks: dict[str, float]
    low: float  # the smallest and the largest positive lam on the axis
    high: float
    zero: float | None


def _grid(lams: Any, path: Any, name: str, ndim: int, n_nonzero: Any, marks: Any) -> _Grid:
    """Check the arguments, sort the path and place it; `name` and `ndim` are those of `path`."""
    lam, values = np.asarray(lams, dtype=float), np.asarray(path, dtype=float)
    if lam.ndim != 1 or lam.size == 0:
        raise ValueError(f"lams must be one-dimensional and not empty; got shape {lam.shape}")
    if values.ndim != ndim or len(values) != lam.size:
        shape = f"({lam.size}, n_features)" if ndim == 2 else f"({lam.size},)"
        hint = "; transpose it" if lam.size in values.shape[1:] else ""
        raise ValueError(f"{name} must have shape {shape}, like lams; got {values.shape}{hint}")
    values = values.reshape(lam.size, -1)
    if n_nonzero is None:
        n_nonzero = (values != 0).sum(axis=1) if ndim == 2 else np.full(lam.size, np.nan)
    counts = np.asarray(n_nonzero, dtype=float)
    if counts.shape != lam.shape:
        raise ValueError(f"n_nonzero must have the shape of lams, {lam.shape}; got {counts.shape}")
    at = {str(label): float(mark) for label, mark in (marks or {}).items()}
    for what, numbers in (("lams", lam), ("marks", np.array(list(at.values())))):
        if (wrong := numbers[~(np.isfinite(numbers) & (numbers >= 0))]).size:
            raise ValueError(f"{what} must be finite and not negative; got {wrong[0]}")
    fitted, order = np.isfinite(values).all(axis=1), np.argsort(-lam, kind="stable")
    if (rows := np.flatnonzero(fitted[order])).size == 0:
        raise ValueError(f"{name} has no row without NaN or infinity: there is nothing to draw")
    # An interrupted path ends where its last model does: no empty stretch after it.
    order = order[rows[0] : rows[-1] + 1]
    fitted, lam = fitted[order], lam[order]
    values = np.where(fitted[:, None], values[order], np.nan)
    counts = np.where(fitted, counts[order], np.nan)
    shown = np.concatenate([lam, list(at.values())])
    positive = shown[shown > 0] if shown.any() else np.ones(1)
    low, high = float(positive.min()), float(positive.max())
    gap = (0.1 * math.log10(high / low) or 0.3) if shown.any() else 0
    zero = None if shown.all() else low / 10**gap
    x = np.where(lam > 0, lam, zero or low)
    at = {label: mark or zero or low for label, mark in at.items()}
    around = np.pad(fitted, 1)
    alone = np.flatnonzero(fitted & ((np.ptp(x) == 0) | ~(around[:-2] | around[2:])))
    return _Grid(x, values, alone, counts, at, low, high, zero)


def _prepare(ax: Axes | None) -> tuple[Axes, float]:
    """Return `ax`, or the axes of a new figure, with a plain frame, and its font size."""
    try:
        from matplotlib import pyplot, rcParams, rcParamsDefault
    except ImportError as error:
        raise ImportError('jreg.plots needs matplotlib: pip install "jreg[plots]"') from error
    ax = pyplot.subplots()[1] if ax is None else ax
    figure: Any = ax.figure.figure  # the root, also when the axes are in a subfigure
    # Axes placed by hand have no subplot spec: a layout engine would warn of them.
    if figure.get_layout_engine() is None and all(a.get_subplotspec() for a in figure.axes):
        figure.set_layout_engine("tight")
    text = float(rcParams["font.size"])
    if text == rcParamsDefault["font.size"]:  # from a narrow column to a slide
        text *= min(max(0.6 + 0.08 * ax.bbox.width / figure.dpi, 0.8), 1.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["bottom", "left"]].set(color="0.3", linewidth=0.6)
    ax.tick_params(labelsize=0.9 * text, color="0.3", width=0.6)
    ax.tick_params(which="minor", color="0.3", width=0.4, length=2)
    return ax, text


def _lam_axis(ax: Axes, grid: _Grid, text: float) -> None:
    """Make the x axis a log scale that decreases to the right, with a place for lam = 0."""
    from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator

    low, high, zero = grid.low, grid.high, grid.zero
    left, right = math.log10(high), math.log10(zero or low)
    margin = 0.02 * (left - right) or 0.5
    ax.set_xscale("log")
    ax.set_xlim(10 ** (left + margin), 10 ** (right - margin))
    label = r"$\lambda$ (log scale, decreasing)" if left > right else r"$\lambda$"
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(left) + 1)
    linear = MaxNLocator(5).tick_values(low, high) if high > 1.001 * low else [low]
    for choice in (powers, np.outer(powers, (1, 2, 5)), linear, [low]):
        ticks = [tick for tick in np.ravel(choice) if 1 - 1e-9 <= tick / low <= high / low + 1e-9]
        if len(ticks) > 2:
            break
    ticks = ticks[:: math.ceil(len(ticks) / max(3, 24 * ax.bbox.width / ax.figure.dpi / text))]
    plain = ticks[0] >= 1e-3 and ticks[-1] <= 1e4
    texts = list(map("{:.5g}".format if plain else LogFormatterSciNotation(), ticks))
    if zero == low:  # nothing but lam = 0
        texts = ["0"]
    elif zero is not None:
        ticks, texts = [*ticks, zero], [*texts, "0"]
        label = r"$\lambda$ (log scale, decreasing; 0 set apart)"
        at = (math.sqrt(low * zero), 0)
        cut = ax.annotate("//", at, xycoords=ax.get_xaxis_transform(), ha="center", va="center")
        cut.set(color="0.3", fontsize=0.7 * text)
        cut.set_bbox({"facecolor": ax.figure.get_facecolor(), "edgecolor": "none", "pad": 0})
    ax.set_xticks(ticks, texts)
    minor = np.outer(powers, range(1, 10) if powers.size < 9 else [1])
    minor = minor[(minor >= low) & (minor <= high)]
    ax.set_xticks(minor, [""] * len(minor), minor=True)
    ax.set_xlabel(label, fontsize=text)


def _count_axis(ax: Axes, grid: _Grid, text: float) -> None:
    """Write the number of non-zero coefficients along the top, at some of the lams."""
    rows = np.flatnonzero(np.isfinite(grid.counts))
    left, right = np.log10(ax.get_xlim())
    place = (np.log10(grid.x[rows]) - left) / (right - left) * ax.bbox.width
    # Room for the widest count and a space, in pixels like `place`.
    apart = (0.6 * len(f"{grid.counts[rows].max():g}") + 1) * text * ax.figure.dpi / 72
    chosen: list[int] = []
    # From the largest model on: it is the one to keep when another stands too close to it.
    for wanted in np.linspace(place[-1], place[0], 7):
        nearest = int(np.abs(place - wanted).argmin())
        if np.all(np.abs(place[chosen] - place[nearest]) >= apart):
            chosen.append(nearest)
    upper = ax.secondary_xaxis("top", functions=(np.asarray, np.asarray))  # identities that pickle
    upper.set_xticks(grid.x[rows][chosen], [f"{count:g}" for count in grid.counts[rows][chosen]])
    upper.set_xticks([], minor=True)
    upper.tick_params(labelsize=0.9 * text, color="0.3", width=0.6)
    upper.spines["top"].set(color="0.3", linewidth=0.6)
    upper.set_xlabel("non-zero coefficients", fontsize=text)


def _finish(ax: Axes, grid: _Grid, text: float, title: str | None, ylabel: str) -> Axes:
    """Draw what both figures share: limits, labels, the lam axis, the counts and the marks."""
    _lam_axis(ax, grid, text)
    if np.isfinite(grid.counts).any():
        _count_axis(ax, grid, text)
    # No legend may hide a line: it has a strip of its own at the top, two marks in a row.
    height = 0.8 * ax.bbox.height / ax.figure.dpi * 72  # a layout has yet to take its share
    strip = min(0.5, 1.8 * text * math.ceil(len(grid.marks) / 2) / height)
    shown = np.nan_to_num(grid.values)
    bottom, top = shown.min(initial=0), shown.max(initial=0)
    margin = 0.05 * (top - bottom) or 1.0
    ax.set_ylim(bottom - margin, top + margin + (top - bottom + 2 * margin) * strip / (1 - strip))
    ax.set_ylabel(ylabel, fontsize=text)
    lines = [ax.axvline(at, 0, 1 - strip, label=label) for label, at in grid.marks.items()]
    for index, line in enumerate(lines):
        line.set(color="0.35", lw=0.1 * text, linestyle=_DASHES[1 + index % 3], zorder=1.5)
    if lines:
        style: dict[str, Any] = {"frameon": False, "borderaxespad": 0, "fontsize": 0.9 * text}
        ax.legend(handles=lines, loc="upper left", ncols=2, **style)
    if title is not None:
        ax.set_title(title, fontsize=1.1 * text, pad=text)
    return ax


def _label_place(ax: Axes, ends: NDArray[Any], index: int, text: float, _: object) -> Any:
    """Return where label `index` stands; matplotlib asks at each draw, so a resize is followed."""
    from matplotlib.transforms import Affine2D

    size = text * ax.figure.dpi / 72
    wanted = ax.transData.transform([(ax.get_xlim()[0], end) for end in ends])[:, 1]
    # The nearest heights at least a row apart, from bottom to top: less a ladder of rows that is
    # "not decreasing", so isotonic regression, which pools neighbours that are out of order.
    ladder = np.arange(ends.size) * 1.2 * size
    pools: list[list[float]] = []
    for height in wanted - ladder:
        pools.append([height])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [np.mean(pool) for pool in pools for _ in pool]
    bottom, top = ax.bbox.y0 + 0.3 * size, ax.bbox.y1 - 0.3 * size - ladder[-1]
    heights = np.clip(level, bottom, top) + ladder
    return Affine2D().translate(ax.bbox.x1 + 1.1 * size, heights[index])


def coefficient_path(
    lams: ArrayLike,
    coef: ArrayLike,
    *,
    n_nonzero: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    max_labels: int = 10,
    marks: Mapping[str, Any] | None = None,
    title: str | None = None,
    ylabel: str = "coefficient",
    ax: Axes | None = None,
) -> Axes:
    """Draw the coefficients of a path of models against log lam, and return the Axes.

    `lams`: penalties, shape (n_lams,), in any order; drawn from the largest to the smallest, with
    lam = 0 apart at the right end. `coef`: shape (n_lams, n_features), in your units; a row with
    a NaN or an infinity counts as not fitted and leaves a gap, or nothing at an end of the path.
    Where a coefficient stays zero, only the zero line is drawn. `n_nonzero`: shape (n_lams,), for
    the upper axis; counted in `coef` by default. `names`: one for each feature, by default x0, x1,
    ... The `max_labels` lines with the largest |coef| at the smallest lam are coloured and named
    (fewer in axes too low for so many names), the others grey. `marks`: label -> lam, drawn as
    vertical dashed lines with a legend. `ax`: where to draw; by default in a new figure.

    Raises ValueError when shapes do not match, a lam or a mark is negative or not finite, no row
    of `coef` is finite or `max_labels` is negative, and ImportError without matplotlib.

    >>> ax = coefficient_path([1.0, 0.1, 0.01], [[0, 0], [0, 0.5], [-0.2, 0.8]])
    >>> ax.get_ylabel(), [text.get_text() for text in ax.texts]
    ('coefficient', ['x0', 'x1'])
    """
    grid = _grid(lams, coef, "coef", 2, n_nonzero, marks)
    values, n_features = grid.values, grid.values.shape[1]
    known = [f"x{j}" for j in range(n_features)] if names is None else list(map(str, names))
    if len(known) != n_features:
        raise ValueError(f"names must hold one name for each of {n_features}; got {len(known)}")
    if max_labels < 0:
        raise ValueError(f"max_labels must not be negative; got {max_labels}")
    ax, text = _prepare(ax)
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    drawn = np.flatnonzero((np.nan_to_num(values) != 0).any(axis=0))
    # A row takes 1.2 font sizes; a layout has yet to take its share of the height, hence 0.8.
    room = int(0.8 * ax.bbox.height / (1.2 * 0.9 * text * ax.figure.dpi / 72))
    named = drawn[np.argsort(-np.abs(values[-1, drawn]), kind="stable")[: min(max_labels, room)]]
    named = named[np.argsort(values[-1, named], kind="stable")]  # from bottom to top
    others, ends = np.setdiff1d(drawn, named), values[-1, named]
    # Lines that stay at zero would pile their colours up on the zero line.
    zero = np.pad(values == 0, ((1, 1), (0, 0)), constant_values=True)
    values[zero[:-2] & zero[1:-1] & zero[2:]] = np.nan
    dots: dict[str, Any] = {"marker": "o", "markersize": 0.33 * text}
    ax.axhline(0, color="0.3", linewidth=0.07 * text, zorder=1.2)
    lines = np.stack(np.broadcast_arrays(grid.x, values[:, others].T), axis=-1)
    grey = LineCollection(list(lines), colors="0.8", linewidths=0.08 * text, zorder=1)
    ax.add_collection(grey, autolim=False)
    if others.size and grid.alone.size:
        points = lines[:, grid.alone].reshape(-1, 2).T
        ax.plot(*points, color="0.8", linestyle="none", zorder=1, **dots)
    ranks = np.argsort(np.argsort(-np.abs(ends), kind="stable"))
    for index, (column, rank) in enumerate(zip(named, ranks, strict=True)):
        colour, dashes = _COLOURS[rank % 7], _DASHES[rank // 7 % 4]
        (line,) = ax.plot(grid.x, values[:, column], color=colour, linestyle=dashes, **dots)
        line.set(label=known[column], linewidth=0.13 * text, markevery=grid.alone)
        place = partial(_label_place, ax, ends, index, 0.9 * text)
        leader = dict(arrowstyle="-", color=colour, lw=0.05 * text, relpos=(0, 0.5), shrinkB=0)
        end = (grid.x[-1], ends[index])
        label = ax.annotate(known[column], end, (0, 0), textcoords=place, arrowprops=leader)
        # Letters are thinner than lines: darker, to be as legible.
        label.set(color=[0.75 * part for part in to_rgb(colour)], fontsize=0.9 * text, va="center")
    return _finish(ax, grid, text, title, ylabel)


def deviance_path(
    lams: ArrayLike,
    deviance_ratio: ArrayLike,
    *,
    n_nonzero: ArrayLike | None = None,
    marks: Mapping[str, Any] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the fraction of deviance explained against log lam, and return the Axes.

    `deviance_ratio`: 1 - deviance / null deviance (R squared for least squares), shape (n_lams,);
    NaN or infinity counts as not fitted. `n_nonzero`: shape (n_lams,); without it there is no
    upper axis. `lams`, `marks` and `ax` are as in `coefficient_path`.

    Raises ValueError when shapes do not match, a lam or a mark is negative or not finite or no
    ratio is finite, and ImportError without matplotlib.

    >>> deviance_path([1.0, 0.1, 0.01], [0.0, 0.4, 0.5], n_nonzero=[0, 1, 2]).get_ylabel()
    'fraction of deviance explained'
    """
    grid = _grid(lams, deviance_ratio, "deviance_ratio", 1, n_nonzero, marks)
    ax, text = _prepare(ax)
    (line,) = ax.plot(grid.x, grid.values, color=_COLOURS[0], linewidth=0.15 * text, marker="o")
    line.set(markersize=0.4 * text, markevery=grid.alone)
    return _finish(ax, grid, text, title, "fraction of deviance explained")


def error_path(
    lams: ArrayLike,
    mean: ArrayLike,
    standard_error: ArrayLike,
    *,
    n_nonzero: ArrayLike | None = None,
    marks: Mapping[str, Any] | None = None,
    title: str | None = None,
    ylabel: str = "error",
    ax: Axes | None = None,
) -> Axes:
    """Draw an error estimated by cross-validation against log lam, and return the Axes.

    `mean`, `standard_error`: shape (n_lams,), drawn as points with bars of one standard error.
    `lams`, `n_nonzero`, `marks` and `ax` are as in `deviance_path`.

    Raises ValueError when shapes do not match, a lam or a mark is negative or not finite or no
    mean is finite, and ImportError without matplotlib.

    >>> error_path([1.0, 0.1], [2.0, 1.0], [0.2, 0.1], ylabel="mse").get_ylabel()
    'mse'
    """
    middle, half = np.asarray(mean, dtype=float), np.asarray(standard_error, dtype=float)
    if half.shape != middle.shape:
        raise ValueError(
            f"standard_error must have the shape of mean, {middle.shape}; got {half.shape}"
        )
    wide = np.stack([middle - half, middle, middle + half], axis=-1) if middle.ndim == 1 else middle
    grid = _grid(lams, wide, "mean", 2, np.full(np.shape(lams), np.nan), marks)
    if n_nonzero is not None:
        grid = grid._replace(counts=_grid(lams, middle, "mean", 1, n_nonzero, marks).counts)
    ax, text = _prepare(ax)
    low, centre, high = grid.values.T
    ax.vlines(grid.x, low, high, color="0.6", linewidth=0.08 * text, zorder=1)
    (line,) = ax.plot(grid.x, centre, color=_COLOURS[1], linestyle="none", marker="o")
    line.set(markersize=0.3 * text, zorder=2)
    return _finish(ax, grid, text, title, ylabel)


def traces(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    log_x: bool = False,
    log_y: bool = True,
    marker: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw lines with bands, one for each name, and a legend; return the Axes.

    curves: `(x, middle, low, high)`, each (n_points,); what is not finite, or on a log scale not
    positive, is left out. A log scale of y spans at most 16 decades.

    Raises ValueError when shapes do not match or there is no curve, and ImportError without
    matplotlib.

    >>> steps = np.arange(3)
    >>> curve = (steps, [1.0, 0.1, 0.01], [1.0, 0.1, 0.01], [1.0, 0.2, 0.1])
    >>> traces({"descent": curve}, xlabel="steps", ylabel="gap").get_legend_handles_labels()[1]
    ['descent']
    """
    if not curves:
        raise ValueError("curves must have at least one entry")
    ax, text = _prepare(ax)
    lowest = np.inf
    for index, (name, curve) in enumerate(curves.items()):
        parts = [np.asarray(part, dtype=float) for part in curve]
        if len(parts) != 4 or any(p.ndim != 1 or p.shape != parts[0].shape for p in parts):
            shapes = [p.shape for p in parts]
            raise ValueError(f"curve {name!r} must be four arrays of one length; got {shapes}")
        keep = np.isfinite(parts[1]) & (parts[1] > (0 if log_y else -np.inf))
        x, middle, low, high = (np.where(keep, part, np.nan) for part in parts)
        colour, dashes = _COLOURS[index % 7], _DASHES[index // 7 % 4]
        (line,) = ax.plot(x, middle, color=colour, linestyle=dashes, label=name, marker=marker)
        line.set(linewidth=0.13 * text, markersize=0.4 * text)
        if (low < high).any():
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        lowest = min(lowest, np.nanmin(middle, initial=np.inf))
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, lowest / 3, 1e-16 * top), top)
    ax.set_xlabel(xlabel, fontsize=text)
    ax.set_ylabel(ylabel, fontsize=text)
    if title is not None:
        ax.set_title(title, fontsize=1.1 * text)
    ax.legend(frameon=False, fontsize=0.9 * text)
    return ax
