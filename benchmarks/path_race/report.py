"""The results as Markdown: per problem and level the ratios, then the goals, then every solver."""

import math
import statistics
from collections.abc import Callable, Iterable

from tools.timing import duration

SUMMARY = (
    "problem", "level", "jreg", "best peer", "its time", "ratio", "x floor", "cold",
    "memory cold, warm", "programs", "passes",
)  # fmt: skip
EVERY = ("problem", "level", "solver", "warm", "min to max", "ratio", "tol", "reached", "cold",
         "memory cold, warm")  # fmt: skip
WIDE, TALL = "squared loss, p >= n", "squared loss, n > p"


def table(header: tuple[str, ...], rows: Iterable[tuple], left: int) -> list[str]:
    align = ["---" if k < left else "--:" for k in range(len(header))]
    lines = [header, tuple(align), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def warm(clock: dict) -> float:
    return statistics.median(clock["rounds"])


def is_jreg(clock: dict) -> bool:
    return clock["name"] == "jreg"


def is_floor(clock: dict) -> bool:
    return clock["name"].startswith("floor")


class Level:
    """One problem at one level of accuracy."""

    def __init__(self, result: dict, word: str) -> None:
        self.result, self.word, self.data = result, word, result["levels"][word]
        clocks = self.data["clocks"]
        self.jreg = next(filter(is_jreg, clocks), None)
        floors = [clock for clock in clocks if is_floor(clock) and warm(clock) > 0]
        self.floor = min(floors, key=warm, default=None)
        peers = [c for c in clocks if not c["name"].startswith(("jreg", "floor"))]
        self.best = min(peers, key=warm, default=None)

    def ratio(self) -> float | None:
        """The best peer's time over jreg's; 0 where jreg does not reach the level."""
        if self.best is None:
            return None
        return warm(self.best) / warm(self.jreg) if self.jreg else 0.0

    def over_floor(self) -> float | None:
        return warm(self.jreg) / warm(self.floor) if self.jreg and self.floor else None

    def bound(self) -> str:
        return f"{self.word} {self.data['bound']:.2g}"


def levels(results: list[dict]) -> list[Level]:
    return [Level(result, word) for result in results for word in result["levels"]]


def figure(value: float | None, form: str = ".2f") -> str:
    return "" if value is None or math.isnan(value) else format(value, form)


def megabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} MB"


def memory(clock: dict) -> str:
    return ", ".join(filter(None, map(megabytes, (clock["memory"], clock["memory_warm"]))))


def passes(said: dict) -> str:
    """Whole ones, and what the work between them reads."""
    if said.get("passes") is None:
        return ""
    inner = said.get("inner_passes")
    return f"{said['passes']} + {'?' if inner is None else format(inner, '.1f')}"


def summary(results: list[dict]) -> list[str]:
    rows = []
    for level in levels(results):
        jreg, best = level.jreg, level.best
        said = jreg["says"] if jreg else {}
        rows.append(
            (
                level.result["problem"],
                level.bound(),
                duration(warm(jreg)) if jreg else "not reached",
                f"{best['name']} (tol {best['tol']:.0e})" if best else "none reaches it",
                duration(warm(best)) if best else "",
                figure(level.ratio()),
                figure(level.over_floor(), ".1f"),
                duration(jreg["cold"]) if jreg and jreg["cold"] is not None else "",
                memory(jreg) if jreg else "",
                said.get("programs", ""),
                passes(said),
            )
        )
    return table(SUMMARY, rows, 2)


def every(results: list[dict]) -> list[str]:
    """All solvers at all levels, those that do not reach one with the best that they reach."""
    rows = []
    for level in levels(results):
        front = level.result["problem"], level.bound()
        for clock in sorted(level.data["clocks"], key=warm):
            rounds = clock["rounds"]
            spread = f"{duration(min(rounds))} to {duration(max(rounds))}"
            ratio = warm(clock) / warm(level.jreg) if level.jreg else None
            floor = is_floor(clock)
            rows.append(
                (
                    *front,
                    clock["name"],
                    duration(warm(clock)),
                    spread if len(rounds) > 1 else "one run",
                    figure(ratio),
                    "" if floor else f"{clock['tol']:.0e}",
                    "" if floor else f"{max(clock['reached'], 0):.0e}",
                    "" if clock["cold"] is None else duration(clock["cold"]),
                    memory(clock),
                )
            )
        for missed in level.data["not_reached"]:
            if missed["reached"] is None:
                words = ("not reached", missed["why"][:60], *[""] * 5)
            else:
                best = f"{missed['reached']:.0e} in {duration(missed['seconds'])}"
                words = ("not reached", missed["why"][:60], "", f"{missed['tol']:.0e}", best, "")
                words = (*words, "")
            rows.append((*front, missed["name"], *words))
    return table(EVERY, rows, 3)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values))


def group(result: dict) -> str:
    loss, penalty = result["kind"]
    n, p = result["shape"]
    if loss != "squared" or penalty in ("group lasso", "mcp"):
        return "others"
    return WIDE if p >= n else TALL


def goal(name: str, wanted: str, found: list[tuple[str, float | None]]) -> tuple:
    """A row of the goals: geometric mean, and the worst with its problem."""
    known = [(value, problem) for problem, value in found if value is not None]
    positive = [value for value, _ in known if value > 0]
    mean = f"{geometric_mean(positive):.2f}" if positive else ""
    missed = len(known) - len(positive)
    mean += f" and {missed} where jreg does not reach the level" if missed else ""
    worst = f"{min(known)[0]:.2f} ({min(known)[1]})" if known else ""
    return name, wanted, len(known), mean, worst


def largest(name: str, wanted: str, found: list[tuple[float, str]], form: Callable) -> tuple:
    worst = f"{form(max(found)[0])} ({max(found)[1]})" if found else ""
    return name, wanted, len(found), "", worst


def goals(results: list[dict]) -> list[str]:
    """What was to be reached beside what was."""
    every_level = levels(results)
    certified = [level for level in every_level if level.word != "suboptimality"]

    def ratios(chosen: Iterable[Level], *groups: str) -> list[tuple[str, float | None]]:
        return [
            (level.result["problem"], level.ratio())
            for level in chosen
            if group(level.result) in groups
        ]

    loose = [level for level in every_level if level.word == "suboptimality"]
    reached = [level for level in every_level if level.jreg]
    names = [level.result["problem"] for level in reached]
    colds = [
        (level.jreg["cold"], name)
        for level, name in zip(reached, names, strict=True)
        if level.jreg["cold"] is not None
    ]
    passes = [
        (level.jreg["says"]["passes"], name)
        for level, name in zip(reached, names, strict=True)
        if level.jreg["says"].get("passes") is not None
    ]
    programs = [
        (level.jreg["says"].get("programs", 0), name)
        for level, name in zip(reached, names, strict=True)
    ]
    beyond = {
        part: [
            (level.jreg[part] - level.result["size_of_X_mb"], name)
            for level, name in zip(reached, names, strict=True)
            if level.jreg[part] is not None
        ]
        for part in ("memory", "memory_warm")
    }
    floors = [
        (level.over_floor(), name)
        for level, name in zip(reached, names, strict=True)
        if name == "lasso 1000 x 10000" and level.floor
    ]
    rows = [
        goal(f"certificate, {WIDE}", "each >= 5", ratios(certified, WIDE)),
        goal(f"certificate, {TALL}", "each >= 1.5", ratios(certified, TALL)),
        goal("suboptimality, squared loss", "each >= 1, mean >= 2", ratios(loose, WIDE, TALL)),
        goal(
            "logistic, Poisson, multinomial, group, MCP: best certificate",
            "mean >= 1.5, each >= 0.7",
            ratios(certified, "others"),
        ),
        largest("multiple of the floor, 1000 x 10000", "<= 15", floors, "{:.1f}".format),
        largest("passes over X", "<= 25", passes, str),
        largest("programs compiled by a first call", "<= 30", programs, str),
        largest("first call", "<= 5 s", colds, duration),
        largest("cold memory beyond X, less X", "<= 200 MB", beyond["memory"], megabytes),
        largest("warm memory beyond X, less X", "<= 200 MB", beyond["memory_warm"], megabytes),
        deep(every_level),
    ]
    header = ("goal", "wanted", "figures", "geometric mean", "worst")
    return table(header, rows, 2)


def deep(every_level: list[Level]) -> tuple:
    """The time to lam_max/10000 over that to lam_max/100."""
    times = {
        level.result["problem"]: warm(level.jreg)
        for level in every_level
        if level.word == "gap" and level.jreg
    }
    near, far = times.get("lasso 200 x 5000"), times.get("lasso deep 200 x 5000")
    figures = [] if near is None or far is None else [(far / near, "200 x 5000")]
    return largest("deep saturation over the usual path", "<= 10", figures, "{:.1f}".format)


def doubts(results: list[dict]) -> list[str]:
    """Where jreg's own gap is refuted: suboptimality can never exceed a true gap."""
    found = []
    for result in results:
        for search in result["searches"]:
            for run in search["runs"]:
                claimed = run["says"].get("largest_gap")
                if claimed is not None and run["suboptimality"] > claimed + 1e-12:
                    found.append(
                        f"{result['problem']}, tol {run['tol']:.0e}: gap {claimed:.1e} claimed, "
                        f"suboptimality {run['suboptimality']:.1e}"
                    )
    return found


def absent(results: list[dict]) -> list[str]:
    """Who did not take part and why, each once per reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, why in result["absent"].items():
            reasons.setdefault((name, why), []).append(result["problem"])
        for search in result["searches"]:
            if search["reason"]:
                reasons.setdefault((search["name"], search["reason"]), []).append(result["problem"])
    return [f"* {name}: {why} ({', '.join(where)})" for (name, why), where in reasons.items()]


def versions(results: list[dict]) -> str:
    found = {}
    for result in results:
        for search in result["searches"]:
            if search["versions"]:
                threads = f" [{search['threads']}]" if search["threads"] else ""
                found[search["versions"] + threads] = None
    return "; ".join(found)


def ending(results: list[dict], title: str, wrong: list[str]) -> list[str]:
    """Who did not take part, and what went wrong, if anything."""
    left_out, lines = absent(results), list[str]()
    if left_out:
        lines += ["## Not taking part", "", *left_out, ""]
    if wrong:
        lines += [f"## {title}", "", *[f"* {line}" for line in wrong], ""]
    return lines


def markdown(results: list[dict], machine: str, repeats: int) -> str:
    """The whole report."""
    within = [r["reference_within"] for r in results if not math.isnan(r["reference_within"])]
    known = f"The best objective is known to {max(within):.0e} or better. " if within else ""
    lines = [
        "# Paths",
        "",
        f"{machine} {versions(results)}. float64; warm median of {repeats}, solvers taking turns; "
        "ratio: time over jreg's. Each solver gets the loosest tolerance of its decades that "
        f"reaches the level at every lambda. {known}",
        "",
        *summary(results),
        "",
        "## Goals",
        "",
        *goals(results),
        "",
        "## Every solver",
        "",
        *every(results),
        "",
    ]
    lines += ending(results, "Refuted certificates of jreg", doubts(results))
    return "\n".join(lines)
