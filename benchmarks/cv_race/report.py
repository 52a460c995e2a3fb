"""The results as Markdown: per study and level the ratio, then every solver, then who is absent."""

import math

import numpy as np
from path_race.report import ending, figure, table, versions, warm
from tools.timing import duration

from cv_race.contenders import adapters
from cv_race.studies import GOALS

LEVEL = 1e-6
SUMMARY = ("problem", "level", "jreg", "best peer", "its time", "ratio", "goal", "cold",
           "passes", "of one path", "times", "largest curve difference")  # fmt: skip
EVERY = ("problem", "level", "solver", "warm", "min to max", "ratio", "tol", "gap reached",
         "curve difference", "cold", "memory cold, warm")  # fmt: skip
LEVELS = {"default": "default tolerances", "gap": "gap 1e-06"}
NOTES = """\
* Ten folds and 100 lambdas, the same for all; no intercept and columns as they are, so that a fold
  is the same problem for everyone. Default tolerances:
  {defaults}.
* jreg and cv.glmnet solve eleven paths, that of all rows among them. The CVs of scikit-learn solve
  those of the folds and refit one lambda; loops (adelie, celer, stability selection) solve those of
  the sets of rows alone.
* The gap is that of the worst lambda of the worst fold, relative to the fold's null objective, in
  NumPy from coefficients. They are those of the CV's own fits for jreg, adelie, celer and
  scikit-learn; cv.glmnet keeps none, and its gaps are those of glmnet on each fold's rows at the
  same tolerance, which is the call that it makes.
* Curve difference: the largest distance to jreg's mean curve at the same level: mean deviance of
  the held-out rows; for stability selection the mean number of features selected.
* Passes: products of all columns of X, and columns read between them over those of X, of the
  cross-validation and of `jreg.path` on all rows. "one run": too slow to take turns; the time is
  that of its fits, without scores."""


class Level:
    """One study at one level."""

    def __init__(self, result: dict, word: str) -> None:
        self.result, self.word, self.data = result, word, result["levels"][word]
        clocks = self.data["clocks"]
        self.jreg = next((c for c in clocks if is_jreg(c)), None)
        self.best = min((c for c in clocks if not is_jreg(c)), key=warm, default=None)

    def ratio(self) -> float | None:
        """The best peer's time over jreg's; 0 where jreg does not reach the level."""
        if self.best is None:
            return None
        return warm(self.best) / warm(self.jreg) if self.jreg else 0.0

    def difference(self, clock: dict) -> float | None:
        """The largest distance of a clock's mean curve to jreg's."""
        own = curve_of(self.jreg) if self.jreg else None
        other = curve_of(clock)
        if own is None or other is None or is_jreg(clock):
            return None
        return float(np.max(np.abs(other - own)))

    def largest_difference(self) -> float | None:
        found = [self.difference(clock) for clock in self.data["clocks"]]
        return max((value for value in found if value is not None), default=None)

    def passes(self) -> tuple[float | None, float | None]:
        """Of the cross-validation and of one path, at jreg's tolerance."""
        if self.jreg is None:
            return None, None
        runs = [s["runs"] for s in self.result["searches"] if is_jreg(s)]
        said = next(r["says"] for r in runs[0] if r["tol"] == self.jreg["tol"])
        return said.get("passes"), said.get("passes_of_path")


def is_jreg(clock: dict) -> bool:
    return clock["name"] == "jreg"


def curve_of(clock: dict) -> np.ndarray | None:
    """NaN (which JSON does not have) where a solver did not come to a lambda."""
    curve = clock["says"].get("curve")
    return np.array(curve, float) if curve else None


def small(value: float | None) -> str:
    return figure(value, ".1e")


def summary(results: list[dict]) -> list[str]:
    rows = []
    for level in levels(results):
        jreg, best = level.jreg, level.best
        whole, single = level.passes()
        times = whole / single if whole is not None and single else None
        goal = GOALS.get(level.result["problem"])
        rows.append(
            (
                level.result["problem"],
                LEVELS[level.word],
                duration(warm(jreg)) if jreg else "not reached",
                f"{best['name']} (tol {best['tol']:.0e})" if best else "none reaches it",
                duration(warm(best)) if best else "",
                figure(level.ratio()),
                f">= {goal:g}" if goal and level.word == "gap" else "",
                duration(jreg["cold"]) if jreg and jreg["cold"] is not None else "",
                figure(whole, ".1f"),
                figure(single, ".1f"),
                figure(times, ".1f"),
                small(level.largest_difference()),
            )
        )
    return table(SUMMARY, rows, 2)


def levels(results: list[dict]) -> list[Level]:
    return [Level(result, word) for result in results for word in result["levels"]]


def every(results: list[dict]) -> list[str]:
    """All solvers at both levels, those that do not reach one with the best that they reach."""
    rows = []
    for level in levels(results):
        front = level.result["problem"], LEVELS[level.word]
        rows += [(*front, *timed(level, c)) for c in sorted(level.data["clocks"], key=warm)]
        rows += [(*front, *missed(m)) for m in level.data["not_reached"]]
    return table(EVERY, rows, 3)


def timed(level: Level, clock: dict) -> tuple:
    rounds = clock["rounds"]
    spread = f"{duration(min(rounds))} to {duration(max(rounds))}"
    memory = [m for m in (clock["memory"], clock["memory_warm"]) if m is not None]
    return (
        clock["name"],
        duration(warm(clock)),
        spread if len(rounds) > 1 else "one run",
        figure(warm(clock) / warm(level.jreg)) if level.jreg else "",
        f"{clock['tol']:.0e}",
        f"{max(clock['reached'], 0):.0e}" if is_finite(clock["reached"]) else "not finite",
        small(level.difference(clock)),
        "" if clock["cold"] is None else duration(clock["cold"]),
        ", ".join(f"{value:.0f} MB" for value in memory),
    )


def is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def missed(entry: dict) -> tuple:
    if entry["reached"] is None:
        return entry["name"], "not reached", entry["why"][:60], *[""] * 6
    best = f"{entry['reached']:.0e} in {duration(entry['seconds'])}"
    return (
        entry["name"],
        "not reached",
        entry["why"][:60],
        "",
        f"{entry['tol']:.0e}",
        best,
        *[""] * 3,
    )


def failures(results: list[dict]) -> list[str]:
    """Where jreg does not certify every fit, or a curve is another problem's."""
    found = []
    for level in levels(results):
        name = f"{level.result['problem']}, {LEVELS[level.word]}"
        if level.jreg is None:
            found.append(f"{name}: jreg does not reach it")
        elif not is_finite(level.jreg["reached"]) or level.jreg["reached"] > LEVEL:
            found.append(f"{name}: jreg's fits have gaps up to {level.jreg['reached']}")
    return found


def defaults() -> str:
    return ", ".join(f"{each.NAME} {each.DEFAULT:.0e}" for each in adapters(None))


def markdown(results: list[dict], machine: str, repeats: int) -> str:
    """The whole report."""
    lines = [
        "# Cross-validation",
        "",
        f"{machine} {versions(results)}. float64; warm median of {repeats}, solvers taking turns; "
        "ratio: time over jreg's.",
        "",
        *summary(results),
        "",
        NOTES.format(defaults=defaults()),
        "",
        "## Every solver",
        "",
        *every(results),
        "",
    ]
    lines += ending(results, "Not certified by jreg", failures(results))
    return "\n".join(lines)
