"""What a race returns: the traces of every method, tables and pictures of them."""

import dataclasses
from typing import Any

import numpy as np

from jreg import plots
from jreg.status import Status

LEVELS = (1e-2, 1e-4, 1e-8)
AXES = {
    "steps": "steps",
    "evaluations": "gradient evaluations",
    "passes": "passes over the data",
    "seconds": "seconds",
}
MEASURES = {"gap": "relative gap", "residual": "KKT residual", "zeros": "exact zeros"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One method of a race. Traces start with the start and hold their last value after the end.

    Attributes:
      name: as given. solver: at the rate chosen, with the first seed. rates: learning rates tried,
        () if it has none. chosen: which of them.
      gap, residual, zeros, evaluations: (n_seeds, budget + 1) at the chosen rate; see `compare`.
        evaluations are NaN for a solver that does not count them.
      batch: the share of the rows that an evaluation sees. steps, status: (n_seeds,).
      final_gap: (n_rates, n_seeds), how far each rate came. reached: whether every seed came below
        the target for good.
      steps_timed, seconds_timed: lengths of runs and their median seconds; None without a clock.
      compile_seconds: what the first call took beyond a warm one.
      params: the parameters after each step, of the first seed, if kept.
    """

    name: str
    solver: Any
    rates: tuple[float, ...]
    chosen: int
    gap: np.ndarray
    residual: np.ndarray
    zeros: np.ndarray
    evaluations: np.ndarray
    batch: float
    steps: np.ndarray
    status: np.ndarray
    final_gap: np.ndarray
    reached: bool
    steps_timed: np.ndarray | None = None
    seconds_timed: np.ndarray | None = None
    compile_seconds: float | None = None
    params: Any = None

    @property
    def rate(self) -> float | None:
        """The learning rate chosen."""
        return self.rates[self.chosen] if self.rates else None

    def axis(self, name: str) -> np.ndarray:
        """(n_seeds, budget + 1) steps, evaluations, passes or seconds at each step."""
        steps = np.broadcast_to(np.arange(self.gap.shape[1]), self.gap.shape)
        steps = np.minimum(steps, self.steps[:, None])
        match name:
            case "steps":
                return steps
            case "evaluations":
                return self.evaluations
            case "passes":
                return self.evaluations * self.batch
            case "seconds":
                if self.steps_timed is None or self.seconds_timed is None:
                    raise ValueError("this race had no clock: compare(..., clock=True)")
                return np.interp(steps, self.steps_timed, self.seconds_timed)
        raise ValueError(f"an axis is one of {', '.join(AXES)}; got {name!r}")

    def to_reach(self, level: float, axis: str = "steps") -> float:
        """The median over seeds of what it takes to bring the gap to `level` for good; inf where
        most seeds never do, NaN on an axis that the solver does not count."""
        steps = first_below(self.gap, level)
        values = self.axis(axis)
        taken = [
            row[int(k)] if np.isfinite(k) else np.inf for row, k in zip(values, steps, strict=True)
        ]
        return float(np.median(taken))

    @property
    def verdict(self) -> str:
        """How it ended, in words."""
        codes = [Status(int(code)) for code in self.status]
        worst = max(codes, key=lambda code: _ORDER.index(code))
        seeds = sum(code == worst for code in codes)
        words = _WORDS[worst]
        if worst == Status.MAX_STEPS and self.reached:
            words = "reached the target, not the certificate"
        return words if len(codes) == 1 else f"{words} ({seeds} of {len(codes)} seeds)"


_ORDER = [
    Status.CONVERGED,
    Status.AT_PRECISION,
    Status.STOPPED,
    Status.NOT_RUN,
    Status.MAX_STEPS,
    Status.NO_DESCENT,
    Status.NOT_FINITE,
]
_WORDS = {
    Status.CONVERGED: "certified",
    Status.AT_PRECISION: "at the precision of the dtype",
    Status.STOPPED: "stopped",
    Status.NOT_RUN: "not run",
    Status.MAX_STEPS: "budget spent before the target",
    Status.NO_DESCENT: "no step makes progress",
    Status.NOT_FINITE: "diverged: not finite",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Race:
    """The result of `compare`; prints as a table.

    Attributes:
      entries: one `Entry` for each method, in the order given.
      optimum: F*, to which gaps refer. start: F at the start. target: of the rule for rates.
      seeds: as given. certificate: gap or KKT residual of the F* that `solve` found, NaN if it was
        given. by_methods: whether a method went below that, and its value is F*.
    """

    entries: tuple[Entry, ...]
    optimum: float
    start: float
    target: float
    seeds: tuple[int, ...]
    certificate: float
    by_methods: bool

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"{name!r} did not take part; these did: {[e.name for e in self.entries]}")

    @property
    def axes(self) -> list[str]:
        """What this race may be drawn against: seconds only if it had a clock."""
        clocked = self.entries[0].steps_timed is not None
        return [axis for axis in AXES if clocked or axis != "seconds"]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each method: rate, what the levels 1e-2, 1e-4 and 1e-8 took, and the end."""
        axes = [axis for axis in self.axes if axis != "steps"]
        rows = []
        for entry in self.entries:
            row: dict[str, Any] = {"method": entry.name, "rate": entry.rate}
            for axis in axes:
                row |= {f"{axis} to {level:g}": entry.to_reach(level, axis) for level in LEVELS}
            row["steps"] = int(np.median(entry.steps))
            row["final gap"] = float(np.median(entry.final_gap[entry.chosen]))
            row["zeros"] = float(np.median(entry.zeros[:, -1]))
            if "seconds" in axes:
                row["compile seconds"] = entry.compile_seconds
            row["end"] = entry.verdict
            rows.append(row)
        return rows

    def to_dataframe(self, traces: bool = False) -> Any:
        """A pandas DataFrame of `rows`; with `traces` of every method, seed and step."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError('to_dataframe needs pandas: pip install "jreg[data]"') from error
        if not traces:
            return pandas.DataFrame(self.rows())
        frames = []
        for entry in self.entries:
            for i, seed in enumerate(self.seeds[: len(entry.gap)]):
                last = int(entry.steps[i]) + 1
                columns: dict[str, Any] = {"method": entry.name, "seed": seed}
                columns |= {axis: entry.axis(axis)[i, :last] for axis in self.axes}
                columns |= {name: getattr(entry, name)[i, :last] for name in MEASURES}
                frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        head = ("method", "rate", *(f"evaluations to {x:g}" for x in LEVELS), "final gap", "end")
        table = [head]
        for row in self.rows():
            rate = "" if row["rate"] is None else f"{row['rate']:.3g}"
            reach = [_number(row[f"evaluations to {x:g}"]) for x in LEVELS]
            table.append((row["method"], rate, *reach, f"{row['final gap']:.1e}", row["end"]))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
        known = "by a method" if self.by_methods else f"certificate {self.certificate:.0e}"
        known = "given" if not self.by_methods and np.isnan(self.certificate) else known
        first = (
            f"race of {len(self.entries)}: F from {self.start:.6g} to {self.optimum:.6g} ({known})"
        )
        return "\n".join([first, *lines])

    def plot(self, x: str | None = None, y: str = "gap", *, ax: Any = None) -> Any:
        """Draw a measure ("gap", "residual" or "zeros") against an axis: the median over seeds, and
        from the smallest to the largest a band. x None draws all axes that there are, side by side,
        and returns their Axes in an array; `ax` is for one x. ImportError without matplotlib."""
        if y not in MEASURES:
            raise ValueError(f"y is one of {', '.join(MEASURES)}; got {y!r}")
        if x is None and ax is not None:
            raise ValueError(f"one ax is for one x: {', '.join(self.axes)}")
        if x is None:
            from matplotlib import pyplot

            size = (3.6 * len(self.axes), 3.6)
            figure, axes = pyplot.subplots(
                1, len(self.axes), figsize=size, sharey=True, layout="constrained"
            )
            for name, one in zip(self.axes, axes, strict=True):
                self.plot(name, y, ax=one)
                one.get_legend().remove()
            for one in axes[1:]:
                one.set_ylabel("")
            lines = axes[0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside lower center", ncols=5, frameon=False)
            return axes
        curves = {}
        for entry in self.entries:
            values = getattr(entry, y).astype(float)
            middle = np.median(entry.axis(x).astype(float), axis=0)
            bands = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
            curves[entry.name] = (middle, *bands)
        logarithmic = y != "zeros"
        ax = plots.traces(curves, xlabel=AXES[x], ylabel=MEASURES[y], log_y=logarithmic, ax=ax)
        if y == "gap":
            ax.axhline(self.target, color="0.6", linewidth=0.8, linestyle=":")
        return ax

    def plot_rates(self, *, ax: Any = None) -> Any:
        """Draw the final gap against the learning rate, of every method that has one."""
        curves = {}
        for entry in self.entries:
            if len(entry.rates) > 1:
                order = np.argsort(entry.rates)
                final = np.where(np.isfinite(entry.final_gap), entry.final_gap, np.nan)[order]
                middle = np.median(final, axis=1)
                low, high = final.min(axis=1), final.max(axis=1)
                curves[entry.name] = (np.asarray(entry.rates)[order], middle, low, high)
        if not curves:
            raise ValueError("no method of this race tried several learning rates")
        return plots.traces(
            curves,
            xlabel="learning rate",
            ylabel="final relative gap",
            log_x=True,
            marker="o",
            ax=ax,
        )


def held(trace: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Traces (..., budget + 1) with the entry of the last step, steps (...), in place of those
    after it."""
    index = np.minimum(np.arange(trace.shape[-1]), steps[..., None])
    return np.take_along_axis(trace.astype(float), index, axis=-1)


def or_inf(trace: np.ndarray) -> np.ndarray:
    """NaN, of a run that diverged, as inf."""
    return np.where(np.isnan(trace), np.inf, trace)


def first_below(gap: np.ndarray, level: float) -> np.ndarray:
    """The first step from which on the gap stays at or below `level`, inf if there is none. Along
    the last axis."""
    above = ~(gap <= level)  # NaN is above
    n = gap.shape[-1]
    step = np.where(above.any(axis=-1), n - above[..., ::-1].argmax(axis=-1), 0)
    return np.where(step < n, step, np.inf)


def _number(value: float) -> str:
    return "?" if np.isnan(value) else "-" if np.isinf(value) else f"{value:.0f}"
