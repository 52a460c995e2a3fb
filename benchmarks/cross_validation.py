"""Cross-validation and stability selection: jreg beside glmnet, adelie, celer, scikit-learn.

`python benchmarks/cross_validation.py` races all solvers on all problems and prints a Markdown
report; `--markdown FILE` and `--json FILE` write it too. `--problems A,B` and `--peers A,B` choose
(`--peers none`: jreg alone). `--smoke` runs one small problem, with `--problems ""` one of every
kind, and each peer in one setting unless `--peers` names it. Peers live where
`benchmarks/install_peers.sh` puts them, and those that are not installed are left out, with the
reason. benchmarks/README.md says what is measured and how each solver is set.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from cv_race import report, runner, studies
from path import PEERS, names, quick_compilation, run

SMOKE = ["lasso 40"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=names, help="parts of names, comma-separated")
    parser.add_argument("--peers", type=names, help="names, comma-separated; or none")
    parser.add_argument("--peers-dir", type=Path, default=PEERS, help="or JREG_PEERS")
    parser.add_argument("--repeats", type=int, help="warm rounds (3)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one run (300)")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--resume", action="store_true", help="keep the problems that the JSON file has"
    )
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.smoke else 3)
    return options


def chosen(options: argparse.Namespace) -> dict[str, studies.Make]:
    """The studies whose names hold one of the parts that were asked for."""
    known = studies.smoke() if options.smoke else studies.race()
    parts = options.problems or (SMOKE if options.smoke else [""])
    found = {name: make for name, make in known.items() if any(part in name for part in parts)}
    if not found:
        raise SystemExit(f"no such problem; there are {list(known)}")
    return found


def main() -> int:
    options = parse()
    with quick_compilation() if options.smoke else contextlib.nullcontext():
        return run(options, chosen(options), runner.race, report, report.failures, who="peer")


if __name__ == "__main__":
    sys.exit(main())
