"""A lambda path by `path`, by `sweep` with several block sizes, and by a loop of `solve`.

`python benchmarks/sweep.py` prints a Markdown table, `--markdown FILE` writes it too, `--smoke`
runs one small problem. All solve the same lambdas to a relative duality gap of 1e-6 in float64 and
take turns; times start and end at arrays of their own kind. "wasted" is the share of lane steps in
which a lane that was done waited for the slowest of its block,

    sum over lanes (steps of the slowest lane of the block - own steps) / all lane steps;

"cold" is the first call, with compilation. A second table sums up over the problems: it is the one
from which the default block is chosen, the fastest on this kind of device.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tools.timing import Contender, duration, machine, take_turns, timed

import jreg

BLOCKS = (1, 2, 4, 8, 16, 50)
DEFAULT = "sweep, default block"
HEADER = (
    "problem",
    "method",
    "warm",
    "ratio to the default",
    "cold",
    "steps",
    "wasted",
    "worst gap",
)


def lasso(n: int, p: int, **options: Any) -> tuple[str, Any, Any, dict]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1))
    y = X[:, :10] @ np.linspace(2, 0.2, 10) + rng.normal(size=n)
    return f"lasso {n} x {p}", X, y, {"loss": jreg.Squared(), **options}


def logistic(n: int, p: int, **options: Any) -> tuple[str, Any, Any, dict]:
    name, X, y, _ = lasso(n, p)
    return name.replace("lasso", "logistic"), X, (y > 0) * 1.0, {"loss": jreg.Logistic(), **options}


def problems(smoke: bool) -> list[tuple[str, Any, Any, dict]]:
    if smoke:
        return [lasso(50, 10)]
    return [lasso(500, 100), lasso(200, 800), logistic(500, 50), logistic(200, 800)]


def contenders(X: np.ndarray, y: np.ndarray, loss: Any, lams: np.ndarray) -> dict[str, Callable]:
    """Each a call that gives something with num_steps and gap."""
    problem = jreg.LinearProblem(jnp.asarray(X), jnp.asarray(y), loss)
    penalty, device = jreg.L1(), jnp.asarray(lams)
    calls: dict[str, Callable] = {
        "path": lambda: jreg.path(X, y, penalty, loss, lams=lams, standardize=False),
        "solve, a warm-started loop": lambda: loop(problem, lams),
    }
    for block in BLOCKS:
        if block <= lams.size and (lams.size > 10 or block <= 2):
            calls[f"sweep, block={block}"] = lambda block=block: jreg.sweep(
                problem, penalty, device, block=block
            )
    calls[DEFAULT] = lambda: jreg.sweep(problem, penalty, device)
    return calls


def loop(problem: Any, lams: np.ndarray) -> Any:
    params, found = None, []
    for lam in lams:
        found.append(jreg.solve(problem, jreg.L1(lam), params))
        params = found[-1].params
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def lane_steps(name: str, steps: np.ndarray) -> tuple[int, int] | None:
    """(those in which a lane waits, all) of a sweep in blocks of falling lambdas."""
    if "block=" not in name:
        return None
    block = int(name.split("=")[1])
    padded = np.append(steps, np.repeat(steps[-1:], -len(steps) % block)).reshape(-1, block)
    slowest = padded.max(axis=1, keepdims=True)
    return int((slowest - padded).sum()), int(slowest.sum() * block)


def summary(seen: dict[str, list[tuple[float, tuple[int, int]]]]) -> list[str]:
    """For every block size, over all problems: time against the default, and steps wasted."""
    lines = ["", "| block | ratio to the default, geometric mean | wasted |", "|---|--:|--:|"]
    ratios = {name: float(np.exp(np.mean([np.log(r) for r, _ in seen[name]]))) for name in seen}
    for name, ratio in ratios.items():
        waits, total = np.sum([steps for _, steps in seen[name]], axis=0)
        lines.append(f"| {name.split('=')[1]} | {ratio:.2f} | {waits / total:.0%} |")
    fastest = min(ratios, key=lambda name: ratios[name])
    return [*lines, "", f"Fastest here ({jax.default_backend()}): {fastest}."]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    lines = [
        "# Sweeps",
        "",
        f"{machine([])} float64, 50 lambdas, gap 1e-6; median of {1 if options.smoke else 5}.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines))
    seen: dict[str, list] = {}
    with jax.enable_x64(True):
        for name, X, y, more in problems(options.smoke):
            n_lams = 6 if options.smoke else 50
            first = float(np.abs((X - X.mean(0)).T @ (y - y.mean())).max()) / len(y)
            lams = np.geomspace(0.95 * first, 0.02 * first, n_lams)
            rows = []
            for method, call in contenders(X, y, more["loss"], lams).items():
                clock = Contender(method, call)
                cold = timed(lambda call=call: call().num_steps)[1]
                rows.append((clock, call(), cold))
            take_turns([row[0] for row in rows], 1 if options.smoke else 5)
            default = rows[-1][0].warm()
            for clock, found, cold in rows:
                steps, gap = np.asarray(found.num_steps), np.asarray(found.gap)
                lanes, ratio = lane_steps(clock.name, steps), clock.warm() / default
                if lanes:
                    seen.setdefault(clock.name, []).append((ratio, lanes))
                cells = (
                    name,
                    clock.name,
                    duration(clock.warm()),
                    f"{ratio:.2f}",
                    duration(cold),
                    str(steps.sum()),
                    f"{lanes[0] / lanes[1]:.0%}" if lanes else "",
                    f"{gap.max():.1e}",
                )
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    lines += summary(seen)
    print("\n".join(summary(seen)))
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
