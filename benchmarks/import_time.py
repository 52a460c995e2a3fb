"""What `import jreg` costs beside `import jax, optax`, from `python -X importtime`.

Prints the median of several fresh processes, in milliseconds: `python benchmarks/import_time.py`.
"""

import argparse
import platform
import statistics
import subprocess
import sys


def cumulative_ms(statement: str) -> float:
    """Time of the statement's top-level imports in a fresh process."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {name.strip() for name in statement.removeprefix("import ").split(",")}
    total = 0
    for line in run.stderr.splitlines():
        _, cumulative, name = line.removeprefix("import time:").split("|")
        if name.strip() in wanted and name.startswith(" ") and not name.startswith("  "):
            total += int(cumulative)
    return total / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one process each")
    runs = 1 if parser.parse_args().smoke else 7
    print(f"{platform.machine()}, Python {platform.python_version()}, median of {runs}")
    for statement in ("import jax, optax", "import jreg"):
        times = [cumulative_ms(statement) for _ in range(runs)]
        spread = f"{min(times):.0f} to {max(times):.0f}"
        print(f"{statement:20} {statistics.median(times):6.0f} ms   ({spread})")


if __name__ == "__main__":
    main()
