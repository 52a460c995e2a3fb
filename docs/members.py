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
    for _, case in first_rows(LOSSES):
        member = case.make()
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
        "and `unpenalized`. The other pieces exist where the mathematics has them. The column "
        "*prox* is its cost: " + "; ".join(f"{k} {v}" for k, v in COSTS.items()) + ". Every law of "
        "`tests/laws.py` is tested on every member, but for those in the last column, each with "
        "its reason.",
        "",
        *penalty_lines(),
        "",
        "## Losses",
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
