"""The work of the command line: read a CSV file, draw a path, look after the files written.

`jreg.__main__` parses the options, fits and prints. Here functions take values and return values,
and raise `Refused` for what the user can put right.
"""

import difflib
import io
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as File
from typing import Any, NamedTuple

import numpy as np

from jreg import plots
from jreg.path import Path


class Refused(Exception):
    """Input that cannot be used; the message is one sentence for the user."""


class Table(NamedTuple):
    """A CSV file as finite numbers, and what had to be done to it."""

    X: Any  # DataFrame of floats
    y: np.ndarray
    weight: np.ndarray | None
    offset: np.ndarray | None
    notes: list[str]


def read_table(
    file: str,
    target: str,
    *,
    logistic: bool = False,
    weight: str | None = None,
    offset: str | None = None,
    drop: Sequence[str] = (),
    dummies: bool = False,
    missing: str = "error",
) -> Table:
    """The columns of a CSV file in their roles; each column without a role is a feature.

    logistic: whether the target has two classes. dummies: make columns of 0 and 1 of text columns.
    missing: "error", "drop" (rows) or "mean". Raises Refused.
    """
    frame = _read_csv(file)
    roles = {"--target": target, "--weight": weight, "--offset": offset}
    roles = {option: name for option, name in roles.items() if name is not None}
    _check_columns(file, frame, roles, drop)
    frame = frame.drop(columns=list(drop))
    others = [name for name in roles.values() if name is not None]
    features = [name for name in frame.columns if name not in others]
    if not features:
        raise Refused(f"{file} has no column left to be a feature")
    text = _text_columns(frame, features)
    if text and not dummies:
        raise Refused(
            f"columns hold text, not numbers: {_shown(text)}; "
            "add --dummies to make columns of 0 and 1 of them, or leave them out with --drop"
        )
    for name in others[1:]:
        if wrong := _text_columns(frame, [name]):
            raise Refused(f"the column of weights or offsets holds text: {_shown(wrong)}")
    frame, notes = _complete(frame, others, text, missing)
    w, o = (None if name is None else frame[name].to_numpy(float) for name in (weight, offset))
    if w is not None and not (np.all(w >= 0) and np.any(w > 0)):
        raise Refused(f"weights must be at least 0 and not all 0; {weight} has {w.min():g}")
    y, told = _response(frame[target], logistic)
    present = np.ones(len(y), bool) if w is None else w > 0
    if np.ptp(y[present]) == 0:
        raise Refused(f"the target {target} is {frame[target][present].iloc[0]} in every row")
    frame, filled = _fill(frame, [name for name in features if name not in text], w)
    X, encoded = _encode(frame[features], list(text))
    same = [name for name, span in np.ptp(X[present], axis=0).items() if span == 0]
    if len(same) == X.shape[1]:
        raise Refused(f"every feature is the same in all rows: {_listed([*text, *same])}")
    constant = [f"the same in every row, so of no use: {_listed(same)}"] if same else []
    return Table(X, y, w, o, told + notes + filled + encoded + constant)


def _read_csv(file: str) -> Any:
    """The file as a DataFrame; columns of truth values as numbers."""
    try:
        import pandas as pd
    except ImportError as error:
        raise Refused('reading a CSV file needs pandas: pip install "jreg[data]"') from error
    if not File(file).exists():
        raise Refused(f"there is no file {file}")
    try:
        frame = pd.read_csv(file, low_memory=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refused(f"cannot read {file} as a CSV file: {reason}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise Refused(f"{file} has rows with more fields than its first line has column names")
    if len(frame) == 0:
        raise Refused(f"{file} has no rows below its line of column names")
    truths = [name for name in frame if set(frame[name].dropna().map(type)) == {bool}]
    return frame.astype(dict.fromkeys(truths, float))


def _check_columns(file: str, frame: Any, roles: dict[str, Any], drop: Sequence[str]) -> None:
    """Every name is a column, and has one role."""
    known, seen = list(frame.columns), set[str]()
    for option, name in [*roles.items(), *(("--drop", name) for name in drop)]:
        if name not in known:
            lower = {column.lower(): column for column in known}
            near = difflib.get_close_matches(name.lower(), lower, 1)
            hint = f"did you mean {lower[near[0]]}?" if near else f"there are {_listed(known)}"
            if len(known) == 1 and not known[0].isidentifier():
                hint = f"its only column is {known[0]!r}: are its values separated by commas?"
            raise Refused(f"{option}: {file} has no column {name}; {hint}")
        if name in seen:
            raise Refused(f"{option}: the column {name} has another role already")
        seen.add(name)


def _text_columns(frame: Any, names: Iterable[str]) -> dict[str, str]:
    """Columns that are not numbers, each with what it holds."""
    from pandas import to_numeric
    from pandas.api.types import is_numeric_dtype

    found = {}
    for name in names:
        column = frame[name].dropna()
        if is_numeric_dtype(column.dtype):
            continue
        wrong = column[to_numeric(column, errors="coerce").isna()]
        if len(wrong) < 0.5 * len(column):
            found[name] = f"numbers but for {len(wrong)}, as {wrong.iloc[0]!r}"
        else:
            found[name] = _listed([str(value) for value in column.unique()], 3)
    return found


def _complete(
    frame: Any, others: Sequence[str], text: dict[str, str], missing: str
) -> tuple[Any, list[str]]:
    """The rows to keep: with `mean` those whose target, weight and offset are known."""
    numbers = frame.select_dtypes("number")
    infinite = np.isinf(numbers.to_numpy(float)).sum(axis=0)
    if infinite.any():
        raise Refused(f"infinite values in {_counted(numbers.columns, infinite)}")
    counts = frame.isna().sum()
    counts = counts[counts > 0]
    if counts.empty:
        return frame, []
    keep = frame.notna().all(axis=1)
    where, n = _counted(counts.index, counts), len(frame)
    if missing == "error":
        raise Refused(
            f"missing values in {where}; --missing drop leaves out {n - keep.sum()} of {n} rows, "
            "--missing mean puts the mean of the column in their place"
        )
    if missing == "mean":
        wrong = [name for name in counts.index if name in text]
        if wrong:
            raise Refused(
                f"text has no mean, and values are missing in {_listed(wrong)}; "
                "use --missing drop, or leave the column out with --drop"
            )
        keep = frame[list(others)].notna().all(axis=1)
    if not keep.any():
        raise Refused(f"no row is left without the rows that miss values in {where}")
    notes = [f"missing values: {where}"]
    if not keep.all():
        notes.append(f"left out {n - keep.sum()} of {n} rows with missing values")
    return frame[keep], notes


def _fill(frame: Any, numbers: list[str], weight: np.ndarray | None) -> tuple[Any, list[str]]:
    """Means of the present rows, by weight, in the place of missing numbers."""
    means = {}
    for name in numbers:
        column = frame[name].to_numpy(float)
        known = ~np.isnan(column)
        counts = known if weight is None else known * weight
        if known.all():
            continue
        if not counts.any():
            raise Refused(f"the column {name} is empty; leave it out with --drop")
        means[name] = float(np.average(column[known], weights=counts[known]))
    notes = [f"filled in the mean of {name}, {mean:.6g}" for name, mean in means.items()]
    return frame.fillna(means), notes


def _response(column: Any, logistic: bool) -> tuple[np.ndarray, list[str]]:
    """The target as numbers, and which class is which number."""
    values = sorted(set(column), key=str)
    shown = f"{column.name} holds {_listed([str(value) for value in values], 5)}"
    is_text = bool(_text_columns(column.to_frame(), [column.name]))
    if not logistic:
        if is_text:
            raise Refused(f"the target {shown}, not numbers; for two classes use --loss logistic")
        return column.to_numpy(float), [f"target: {column.name}"]
    if is_text and len(values) == 2:
        y = (column == values[1]).to_numpy(float)
        return y, [f"target: {column.name}, {values[0]} as 0 and {values[1]} as 1"]
    if is_text or not any(set(values) <= pair for pair in ({0, 1}, {-1, 1})):
        raise Refused(f"--loss logistic needs two classes, 0 and 1, -1 and 1 or two texts; {shown}")
    return column.to_numpy(float), [f"target: {column.name}, the probability of 1"]


def _encode(frame: Any, text: list[str]) -> tuple[Any, list[str]]:
    """A column of 0 and 1 for each value of a text column but the first in alphabetical order."""
    import pandas as pd

    frame = frame.astype(dict.fromkeys(text, str))
    notes = []
    for name in text:
        first, *rest = sorted(frame[name].unique())
        if rest:
            notes.append(f"{name} is {first} where none of these is 1: {_listed(rest)}")
        else:
            notes.append(f"left out {name}, which is {first} in every row")
    X = pd.get_dummies(frame, columns=text, drop_first=True, prefix_sep="=", dtype=float)
    return X.astype(float), notes


def _counted(names: Iterable[Any], counts: Iterable[int]) -> str:
    return _listed([f"{n} ({k})" for n, k in zip(names, counts, strict=True) if k])


def _shown(found: dict[str, str]) -> str:
    return ", ".join(f"{name} ({content})" for name, content in found.items())


def _listed(names: Sequence[str], limit: int = 10) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def check_output(option: str, file: str) -> None:
    """Whether the file can be written, before any work; an existing file stays as it is."""
    path = File(file)
    try:
        new = not path.exists()
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise Refused(f"{option}: cannot write {file}: {error.strerror}") from error


def check_picture(option: str, file: str) -> None:
    """Whether a picture can be written."""
    if File(file).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise Refused(f"{option}: the name of a picture ends in .png, .pdf or .svg; got {file}")
    if not can_draw():
        raise Refused(f'{option} needs matplotlib: pip install "jreg[plots]"')
    check_output(option, file)


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def first_explaining(found: Path, ratio: float) -> int | None:
    """The place of the largest lam that explains this fraction of the deviance, if one does."""
    lams = np.asarray(found.lams)
    enough = np.flatnonzero(np.asarray(found.deviance_ratio) >= ratio)  # NaN is not enough
    return int(enough[np.argmax(lams[enough])]) if enough.size else None


def draw(file: str, panels: Sequence[tuple[str, Path, dict[str, float]]]) -> None:
    """For each (title, path, marks) the coefficients, and below them the deviance explained.

    Coefficients are those of columns of standard deviation 1 where the path standardised.
    Ctrl-C leaves the file as it is.
    """
    with _ctrl_c_at_the_end():
        picture = _picture(panels, File(file).suffix[1:].lower())
    File(file).write_bytes(picture)


@contextmanager
def _ctrl_c_at_the_end() -> Iterator[None]:
    """Put off Ctrl-C: compiled code of matplotlib may take it for a ValueError of its own."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (usual and threading.current_thread() is threading.main_thread()):
        yield
        return
    pressed = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def _picture(panels: Sequence[tuple[str, Path, dict[str, float]]], form: str) -> bytes:
    """The content of a file of this form (png, pdf, svg)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5 * len(panels), 8.5), dpi=150)
    figure.set_layout_engine("tight", pad=1.5, h_pad=2.5, w_pad=4)
    axes = figure.subplots(2, len(panels), squeeze=False, height_ratios=[3, 2])
    for column, (title, found, marks) in zip(axes.T, panels, strict=True):
        plots.coefficient_path(
            found.lams,
            found.coef * found.scale,
            n_nonzero=found.n_nonzero,
            names=found.names(),
            marks=marks,
            title=title,
            ylabel="coefficient" + found.standardize * " per standard deviation",
            ax=column[0],
        )
        plots.deviance_path(found.lams, found.deviance_ratio, marks=marks, ax=column[1])
    content = io.BytesIO()
    figure.savefig(content, format=form)
    return content.getvalue()
