"""Writes docs/members.md, the table of all members, from the tables that drive the tests.

python docs/members.py           writes the page
python docs/members.py --check   fails if the page is not what it would write
"""

import inspect
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from loss_cases import LOSSES  # noqa: E402
from penalty_cases import PENALTIES  # noqa: E402

from jreg.losses import Cox  # noqa: E402
from jreg.typing import has  # noqa: E402

PIECES = ("conjugate", "polar", "entry", "restrict")
COSTS = {
    "C": "closed form, entry by entry",
    "R": "one reduction, then closed",
    "S": "a sort",
    "F": "a few iterations of fixed kind",
    "W": "a loop whose length depends on the data",
    "D": "a matrix decomposition",
}


def formula(member):
    """The first sentence of the docstring, on one line, safe inside a table."""
    first = inspect.getdoc(type(member)).split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[a-z`)])\. ", first)[0].rstrip(".").replace("|", "\\|")


def first_rows(table):
    """The first row of each class of a table."""
    found = {}
    for name, case in table.items():
        found.setdefault(type(case.make()), (name, case))
    return found.values()


def yes(condition):
    return "yes" if condition else ""


def penalty_lines():
    yield (
        "| penalty | formula | convex | prox | step per entry | "
        + " | ".join(PIECES)
        + " | exempt from |"
    )
    yield "| --- | --- | --- | --- | --- | " + " | ".join("---" for _ in PIECES) + " | --- |"
    reasons = []
    for _, case in first_rows(PENALTIES):
        for reason in case.exempt.values():
            if reason not in reasons:
                reasons.append(reason)
    for _, case in first_rows(PENALTIES):
        member = case.make()
        marks = sorted({reasons.index(r) + 1 for r in case.exempt.values()})
        laws = "; ".join(
            f"{', '.join(law for law, r in case.exempt.items() if r is reasons[k - 1])} ({k})"
            for k in marks
        )
        cells = [
            f"`{type(member).__name__}`",
            formula(member),
            yes(member.convex),
            case.cost,
            yes("metric" not in case.exempt),
            *(yes(has(member, piece)) for piece in PIECES),
            laws,
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    for k, reason in enumerate(reasons, 1):
        yield f"({k}) {reason.value}  "


def loss_lines():
    yield "| loss | formula | bounded curvature | quadratic |"
    yield "| --- | --- | --- | --- |"
    for member in [*(case.make() for _, case in first_rows(LOSSES)), Cox()]:
        smooth = getattr(member, "smoothness", None) is not None
        cells = [f"`{type(member).__name__}`", formula(member), yes(smooth), yes(member.quadratic)]
        yield "| " + " | ".join(cells) + " |"


def page():
    lines = [
        "# The members",
        "",
        "Written by `python docs/members.py` from the tables that drive the tests; not by hand.",
        "",
        "## Penalties",
        "",
        "Every member has `value`, `prox` (any step), `at`, `kkt_distance`, `lam_max`, `support` "
        "and `unpenalized`. The other pieces exist where the mathematics has them; `jreg.typing` "
        "has the contract. The columns:",
        "",
        "* *prox*: its cost. " + "; ".join(f"{k} {v}" for k, v in COSTS.items()) + ".",
        "* *step per entry*: the prox takes an array of steps, one for each entry, as solvers with "
        "a diagonal metric ask for.",
        "* *conjugate*: `f*(u) = sup_w <u, w> - f(w)`, from which the duality gap follows.",
        "* *polar*: the smallest c with `f*(u / c) = 0`; of a norm it is the dual norm.",
        "* *entry*: for each entry the multiple of the strength at which it may leave 0, which "
        "screening and `path` ask for.",
        "* *restrict*: the penalty on some entries, so that a solver may work on few columns.",
        "* *exempt from*: every law of `tests/laws.py` is tested on every member, but for these, "
        "each with its reason.",
        "",
        *penalty_lines(),
        "",
        "## Losses",
        "",
        "*Bounded curvature*: a step that is safe everywhere is known in advance; without it, "
        "solvers search for theirs. *Quadratic*: the second derivative is constant. `Cox` is a "
        "mean of all samples together, without a conjugate: its solutions are certified by the "
        "distance from stationarity.",
        "",
        *loss_lines(),
        "",
    ]
    return "\n".join(lines)


def main():
    target = HERE / "members.md"
    if "--check" not in sys.argv[1:]:
        target.write_text(page())
    elif target.read_text() != page():
        sys.exit("docs/members.md is out of date: run python docs/members.py")


if __name__ == "__main__":
    main()
