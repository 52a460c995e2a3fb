"""celer: a loop over `celer_path`, which is what its LassoCV makes of it.

`celer.LassoCV` 0.7.4 itself fails under scikit-learn 1.9, whose LinearModelCV has lost an argument;
its logistic regression has no CV.
"""

from path_race.adapters import celer as path

from cv_race.adapters import Solver, loops
from cv_race.studies import Study

NAME, ENVIRONMENT, TOLERANCES = path.NAME, path.ENVIRONMENT, path.TOLERANCES
DEFAULT = 10.0**-4
versions = path.versions


def variants(study: Study) -> list[str] | str:
    if study.problem.loss == "logistic":
        kinds = ["proximal Newton", "coordinate descent"]
        return [f"{kind}, {order}" for kind in kinds for order in ("2 processes", "in turn")]
    return ["2 processes", "in turn"]


def prepare(study: Study, variant: str) -> Solver:
    *kind, order = variant.split(", ")
    fit = loops.path_of_rows(study, path, kind[0] if kind else "")
    return (loops.in_turn if order == "in turn" else loops.two_at_a_time)(study, fit)
