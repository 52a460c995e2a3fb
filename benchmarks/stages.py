"""Where the time of a `jreg.path` goes: its parts when warm, its compilation in the first call.

`python benchmarks/stages.py` prints Markdown tables for the problems of `path.py`, `--markdown
FILE` writes them too, `--problems A,B` chooses by parts of names, `--smoke` runs a small one.

A part is a compiled program, named by its module and function, or what NumPy does with all of X
(`PARTS`). Each is waited for, so that nothing overlaps, and its time is without that of parts
within it; "between" is the rest: Python, NumPy, and the way to a program and back. The warm time
beside it is the median of calls that nobody watched. First calls start from empty caches of JAX.
"""

import argparse
import contextlib
import importlib
import pkgutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from path import chosen, names
from path_race.adapters.jreg_path import terms
from tools.timing import duration, machine

import jreg
from jreg import checks
from jreg.path.compiled import compiled

PARTS = {"reading": "read_data", "moments": "moments"}  # beside the compiled programs
COMPILE = {  # events of JAX
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
SHOWN = 5  # parts of a problem

Events = list[tuple[str, float, str]]  # what, seconds, of which function


class Clock:
    """Calls and seconds of every part, while it runs."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        self.running = False
        self._inner = [0.0]  # seconds of parts within those that are under way

    def timed(self, name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        """`part`, which is waited for and counted."""

        def call(*args: Any, **options: Any) -> Any:
            if not self.running or checks.is_traced(args, options):
                return part(*args, **options)
            start = time.perf_counter()
            self._inner.append(0.0)
            found = jax.block_until_ready(part(*args, **options))
            seconds = time.perf_counter() - start
            own = self.parts[name]
            own[0] += 1
            own[1] += seconds - self._inner.pop()
            self._inner[-1] += seconds
            return found

        return call

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        self.parts.clear()
        self.running = True
        try:
            yield
        finally:
            self.running = False


def watch() -> Clock:
    """A clock on every part of jreg's paths, wherever a module has it under a name."""
    package = importlib.import_module("jreg.path")  # `jreg.path` itself is the function
    found = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"jreg.path.{name}") for name in found]
    code = compiled(lambda: None).__code__  # that of all compiled programs
    clock, seen = Clock(), dict[int, Callable]()
    for module in modules:
        for name, value in list(vars(module).items()):
            home = getattr(value, "__module__", "").removeprefix("jreg.path.")
            if getattr(value, "__code__", None) is code or PARTS.get(home) == name:
                timed = seen.setdefault(id(value), clock.timed(f"{home}.{name}", value))
                setattr(module, name, timed)
    return clock


def listen() -> Events:
    """What JAX compiles from now on."""
    events: Events = []

    def heard(event: str, seconds: float, **about: Any) -> None:
        if event in COMPILE:
            events.append((COMPILE[event], seconds, str(about.get("fun_name", ""))))

    jax.monitoring.register_event_duration_secs_listener(heard)
    return events


def rows_of(name: str, problem: Any, clock: Clock, events: Events, calls: int) -> tuple[str, str]:
    """The lines of a problem in both tables."""
    loss, penalty = terms(problem)
    X = problem.X if problem.sparse else np.ascontiguousarray(problem.X)
    options = {"lams": problem.lams, "fit_intercept": False, "standardize": False, "tol": 1e-6}

    def call() -> float:
        start = time.perf_counter()
        jreg.path(X, problem.y, penalty, loss, **options)
        return time.perf_counter() - start

    jax.clear_caches()
    events.clear()
    cold, compilation = call(), list(events)
    warm = statistics.median(call() for _ in range(calls))
    with clock.run():
        watched = sum(call() for _ in range(calls))
    return warm_row(name, warm, watched, calls, clock), cold_row(name, cold, compilation)


def warm_row(name: str, warm: float, watched: float, calls: int, clock: Clock) -> str:
    parts = sorted(clock.parts.items(), key=lambda part: -part[1][1])
    between = watched - sum(seconds for _, seconds in clock.parts.values())
    shown = [
        f"{part} {100 * seconds / watched:.0f} % ({count / calls:.0f})"
        for part, (count, seconds) in parts[:SHOWN]
    ]
    rest = sum(seconds for _, (_, seconds) in parts[SHOWN:])
    return (
        f"| {name} | {duration(warm)} | {', '.join(shown)} | {100 * rest / watched:.0f} % "
        f"| {100 * between / watched:.0f} % |"
    )


def cold_row(name: str, cold: float, events: Events) -> str:
    total = {kind: sum(s for what, s, _ in events if what == kind) for kind in COMPILE.values()}
    of: dict[str, float] = defaultdict(float)
    for what, seconds, function in events:
        if what == "compiling":
            of[function] += seconds
    largest = sorted(of.items(), key=lambda pair: -pair[1])[:3]
    programs = sum(what == "compiling" for what, _, _ in events)
    named = ", ".join(f"{function} {duration(seconds)}" for function, seconds in largest)
    times = " | ".join(duration(total[kind]) for kind in COMPILE.values())
    return f"| {name} | {duration(cold)} | {programs} | {times} | {named} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", type=names, help="parts of names, comma-separated")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    clock, events = watch(), listen()
    warm = [
        "| problem | warm | parts: share of the time (calls) | other parts | between |",
        "| --- | --: | --- | --: | --: |",
    ]
    cold = [
        "| problem | first call | programs | tracing | lowering | compiling | longest |",
        "| --- | --: | --: | --: | --: | --: | --- |",
    ]
    for name, make in chosen(options).items():
        rows = rows_of(name, make(name), clock, events, 1 if options.smoke else 5)
        print(*rows, sep="\n", flush=True)
        warm.append(rows[0])
        cold.append(rows[1])
    lines = ["# Where the time goes", "", machine([]), "", *warm, "", *cold, ""]
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines))


if __name__ == "__main__":
    main()
