"""Every proximal operator and projection of jreg beside the fastest peer at hand, in one run.

`python benchmarks/prox.py` prints a Markdown table of times in float64, `--markdown FILE` writes it
too. A ratio is the peer's time over that of jreg: above 1, jreg is faster. Both sides are given
arrays of their own kind and take turns; "cold" is the first call, with tracing and compilation.
Each peer's result is compared with that of jreg first; one that differs is not timed.

Peers that are not installed are left out. For all of them: `pip install jaxopt optax prox_tv
pyproximal scikit-learn skglm` (`prox_tv` needs a C++ compiler and lapacke.h).
"""

import argparse
import logging
import sys
import warnings
from dataclasses import dataclass

import jax
import numpy as np
from prox_zoo import coupled, entrywise, matrices, sets
from prox_zoo.operator import Operator
from prox_zoo.peers import IN_JAX, LIBRARIES, threads, versions
from tools.timing import Contender, duration, jitted, machine, on_host, take_turns, timed

TOLERANCE = 1e-6  # on the largest difference, relative to the largest entry
ROUNDS = 5
SLOW = 1.0  # seconds; one round is enough where jreg takes longer
TOO_SLOW = 0.1  # seconds for 1e4; then 1e6 is left out
SMOKE = {"soft_threshold", "mcp", "GroupLasso", "sorted_l1", "simplex", "l2_ball", "psd"}


def operators() -> list[Operator]:
    families = entrywise.entrywise, coupled.groups, coupled.order_and_differences, sets.sets
    return [operator for family in (*families, matrices.matrices) for operator in family()]


@dataclass
class Row:
    """A line of the table."""

    operator: Operator
    size: str
    ours: Contender
    cold: float
    peers: list[Contender]
    one_pass: float  # of XLA over v, dispatch included
    remarks: list[str]

    def ratio(self, peer: Contender) -> float:
        return peer.warm() / self.ours.warm()


def measure(operator: Operator, size: str, rng: np.random.Generator, rounds: int) -> Row:
    shape = tuple(int(float(n)) for n in size.split(" x "))
    single = shape[-2:] if operator.matrix else shape[-1:]
    batch = len(shape) > len(single)
    v = operator.data(rng, shape)
    parameters = operator.parameters(rng, single[-1])

    ours = Contender("jreg", jitted(operator.ours, v, parameters, batch))
    _, cold = timed(ours.call)
    expected, warm = timed(ours.call)
    if warm > SLOW:
        rounds = 1
    peers, remarks = [], []
    for name, f in operator.peers.items():
        library = name.split(",")[0]
        if library != "NumPy" and LIBRARIES[library] is None:
            continue
        if v.size > operator.limits.get(library, v.size):
            remarks.append(f"{name} left out: far slower")
            continue
        if library in IN_JAX:
            call = jitted(f, v, parameters, batch)
        else:
            call = on_host(
                f, v, parameters, batch and library != "NumPy" and not operator.entrywise
            )
        why = operator.known.get(library, "UNEXPECTED")
        try:
            result = np.asarray(call())
        except Exception as error:
            remarks.append(f"{name} fails with {type(error).__name__} ({why})")
            continue
        apart = np.max(np.abs(result - expected)) / max(1.0, np.max(np.abs(expected)))
        if not apart <= TOLERANCE:
            remarks.append(f"{name} differs by {apart:.0e} ({why})")
            continue
        peers.append(Contender(name, call))

    pass_over = Contender("", jitted(lambda v: v + 1, v, (), False))
    pass_over.call()
    take_turns([ours, *peers, pass_over], rounds)
    peers.sort(key=Contender.warm)
    return Row(operator, size, ours, cold, peers, pass_over.warm(), remarks)


HEADER = ("operator", "size", "jreg", "best peer", "its time", "ratio", "cold", "notes")


def cells(row: Row) -> list[str]:
    notes = list(row.remarks)
    if not row.peers:
        fastest = ["none here", "", ""]
    else:
        best, *others = row.peers
        fastest = [best.name, duration(best.warm()), f"{row.ratio(best):.2f}"]
        if others:
            notes.insert(0, ", ".join(f"{peer.name} {row.ratio(peer):.2g}" for peer in others))
        if row.ratio(best) < 0.5:
            notes.insert(0, f"**{reason(row)}**")
    start = [row.operator.name, row.size, duration(row.ours.warm())]
    return [*start, *fastest, duration(row.cold), "; ".join(notes)]


# Why jreg takes more than twice as long as the best peer, where it does, from profiles in float64.
STEPS = "linear time, but one entry after the other: XLA takes 50 ns a step, compiled C 5"
KERNELS = (
    "linear time, 3 n steps of 4 µs: XLA compiles a step as a whole in float32 (45 ns), in float64 "
    "the bytes that it moves are too many"
)
ORDER = "XLA's argsort, 0.4 of 0.6 s for 1e6, where NumPy takes 0.07; then steps one by one"
SEARCH = "a search of 2 to 20 passes, each some six kernels of XLA: 1.6 ms a pass of 1e6"
COUNTS = "25 to 45 passes that count, where NumPy's partition is linear"
NORM = "the norm is scaled against overflow: 1.25 ms for 1e6 where sqrt(sum v^2) takes 0.15"
GROUPS = "norms are scaled against overflow and -0 cleared: 4 ms for 1e6, the bare formula 1.7"
PRODUCT = (
    "the size of a is scaled against overflow and -0 cleared: 4.9 ms for 1e6, the bare formula 2.9"
)
LAPACK = "LAPACK in both; its threads and other load make it vary by 20 times"
ENTRIES = "arccos, power and cosine of all entries; numba branches"
THREADS = "XLA wakes its second thread: 23 µs on one core (`taskset -c 0`)"
SMALL = "two products with ten rows: XLA's cost of a small product, where BLAS is called at once"
SLOWER = {
    "GroupLasso": GROUPS,
    "SparseGroupLasso": GROUPS,
    "box_section": SEARCH,
    "capped_simplex": SEARCH,
    "fused_lasso": KERNELS,
    "halfspace": PRODUCT,
    "affine, 10 equations": SMALL,
    "elastic_net": THREADS,
    "hyperplane": PRODUCT,
    "hyperslab": PRODUCT,
    "isotonic": STEPS,
    "l0_ball": COUNTS,
    "l1_ball": SEARCH,
    "l1_sphere": SEARCH,
    "l2": NORM,
    "l2_ball": NORM,
    "l2_sphere": NORM,
    "l_half": ENTRIES,
    "linf": SEARCH,
    "max_norm": NORM,
    "mcp": THREADS,
    "nuclear": LAPACK,
    "psd": LAPACK,
    "rank": LAPACK,
    "simplex": SEARCH,
    "sorted_l1": ORDER,
    "total_variation": KERNELS,
    "unit_rows": NORM,
}


def reason(row: Row) -> str:
    """Why jreg takes more than twice as long as the best peer."""
    one_pass = f"a jitted v + 1 takes {duration(row.one_pass)}"
    if row.ours.warm() < 2 * row.one_pass:
        return f"XLA's cost of any call: {one_pass}"
    return f"{SLOWER.get(row.operator.name, 'slower, for a reason not looked into')} ({one_pass})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few operators, one size, one round")
    parser.add_argument(
        "--asynchronous", action="store_true", help="jax_cpu_enable_async_dispatch as JAX has it"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the table to this file")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these operators only")
    options = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", options.asynchronous)
    warnings.simplefilter("ignore")  # peers' divisions by zero and deprecations
    logging.disable()  # the tracebacks of their callbacks

    rng = np.random.default_rng(0)
    rounds = 1 if options.smoke else ROUNDS
    rows = []
    with jax.enable_x64(True):
        identity = Contender("", jitted(lambda v, t: v, np.ones(100), (1.0,), False))
        identity.call()
        take_turns([identity], ROUNDS)
        empty = duration(identity.warm())
        lines = [
            "# Proximal operators and projections",
            "",
            f"{machine(versions(), threads())} float64; median of {rounds}. "
            f"An empty jitted call of an array of 100 and a scalar takes {empty}.",
            f"{'With' if options.asynchronous else 'Without'} asynchronous dispatch on the CPU.",
            "",
            f"| {' | '.join(HEADER)} |",
            "|---|---|--:|---|--:|--:|--:|---|",
        ]
        print("\n".join(lines))
        for operator in operators():
            if operator.name not in (options.only or (SMOKE if options.smoke else [operator.name])):
                continue
            for size in sizes(operator, options.smoke):
                if size == "1e6" and rows[-1].ours.warm() > TOO_SLOW:
                    lines.append(f"| {operator.name} | {size} | | | | | | not run: see 1e4 |")
                    print(lines[-1])
                    continue
                rows.append(measure(operator, size, rng, rounds))
                lines.append(f"| {' | '.join(cells(rows[-1]))} |")
                print(lines[-1], flush=True)
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    wrong = [row for row in rows if any("UNEXPECTED" in remark for remark in row.remarks)]
    return 1 if wrong else 0


def sizes(operator: Operator, smoke: bool) -> list[str]:
    side = operator.matrix
    if smoke:
        return ["10 x 10" if side else "100"]
    if side:
        return ["10 x 10", "100 x 100", f"{side} x {side}", "64 x 32 x 32"]
    ten = "GroupLasso" in operator.name
    lengths = [n for n in ("100", "1e4", "1e6") if float(n) <= operator.largest]
    return [*lengths, "64 x 1020" if ten else "64 x 1024"]


if __name__ == "__main__":
    sys.exit(main())
