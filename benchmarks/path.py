"""Certified lambda paths: jreg beside glmnet, adelie, celer, skglm, scikit-learn and jaxopt.

`python benchmarks/path.py` races all solvers on all problems and prints a Markdown report;
`--markdown FILE` and `--json FILE` write it too. `--problems A,B` and `--peers A,B` choose
(`--peers none`: jreg alone). `--smoke` runs one small problem; with `--problems ""` it runs one of
every kind. Each solver runs in a process of its own; peers live in virtual environments that
`benchmarks/install_peers.sh` makes, and those that are not installed are left out, with the reason.
benchmarks/README.md says what is measured and how each solver is set.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from path_race import problems, report, runner
from path_race.contenders import THREADS
from tools.timing import machine

PEERS = Path(os.environ.get("JREG_PEERS", Path.home() / ".cache" / "jreg-peers"))
SMOKE = ["lasso 30"]
FIGURES = ("reference_within", "suboptimality", "certificate", "seconds")  # never None


def names(text: str) -> list[str]:
    return [] if text == "none" else [name.strip() for name in text.split(",")]


def plain(value: Any) -> Any:
    """What json cannot write itself."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return value.tolist()


def finite(value: Any) -> Any:
    """With null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def restored(value: Any, key: str = "") -> Any:
    """What `finite` was given, but for the kind of what was not finite."""
    if isinstance(value, dict):
        return {key: restored(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    return math.nan if value is None and key in FIGURES else value


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=names, help="parts of names, comma-separated")
    parser.add_argument("--peers", type=names, help="names, comma-separated; or none")
    parser.add_argument("--peers-dir", type=Path, default=PEERS, help="or JREG_PEERS")
    parser.add_argument("--repeats", type=int, help="warm rounds (5)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one run (120)")
    parser.add_argument("--float32", action="store_true", help="jreg in float32 takes part too")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--resume", action="store_true", help="keep the problems that the JSON file has"
    )
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.smoke else 5)
    return options


def chosen(options: argparse.Namespace) -> dict:
    """The problems whose names hold one of the parts that were asked for."""
    known = problems.smoke() if options.smoke else problems.race()
    parts = options.problems or (SMOKE if options.smoke else [""])
    found = {name: make for name, make in known.items() if any(part in name for part in parts)}
    if not found:
        raise SystemExit(f"no such problem; there are {list(known)}")
    return found


def main() -> int:
    options = parse()
    with quick_compilation() if options.smoke else contextlib.nullcontext():
        return run(options, chosen(options), runner.race, report, report.doubts, who="solver")


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """Workers compile with few optimisations, and only what no worker compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        yield


def earlier(options: argparse.Namespace) -> list[dict]:
    """The results of a run that was not finished."""
    if not (options.resume and options.json and Path(options.json).exists()):
        return []
    return [restored(result) for result in json.loads(Path(options.json).read_text())["results"]]


def run(
    options: argparse.Namespace, contests: dict, race: Any, report: Any, failures: Any, who: str
) -> int:
    """Race after race of `contests`, and the report; 1 if `failures` finds any.

    race(problem, options): a dict of plain values. report: a module with summary and markdown.
    """
    setting = machine([], [f"every {who} {THREADS}"])
    print(setting)
    results = earlier(options)
    done = {result["problem"] for result in results}
    for name, make in contests.items():
        if name in done:
            continue
        start = time.perf_counter()
        print(name, flush=True)
        try:
            problem = make(name)
        except ImportError as error:  # of scikit-learn, which has the data
            print(f"  left out: {error}")
            continue
        result = json.loads(json.dumps(race(problem, options), default=plain))
        results.append(result)
        print("\n".join(report.summary([result])))
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
        if options.json:  # after every problem: a run takes hours
            words = {"machine": setting, "results": results}
            Path(options.json).write_text(json.dumps(finite(words), indent=1, allow_nan=False))
    text = report.markdown(results, setting, options.repeats)
    print(f"\n{text}")
    if options.markdown:
        Path(options.markdown).write_text(text)
    return 1 if failures(results) else 0


if __name__ == "__main__":
    sys.exit(main())
