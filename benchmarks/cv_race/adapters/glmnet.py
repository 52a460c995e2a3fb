"""glmnet 4 in R: `cv.glmnet` with given folds, by `cv_glmnet.R` in a process of its own; for
stability selection a loop over `glmnet`. "2 processes" is `parallel = TRUE` with two forks."""

from pathlib import Path

from path_race import adapters
from path_race.adapters import glmnet as path

from cv_race.studies import Study

NAME, ENVIRONMENT, TOLERANCES = path.NAME, path.ENVIRONMENT, path.TOLERANCES
DEFAULT = 10.0**-7


def variants(study: Study) -> list[str] | str:
    n, p = study.problem.X.shape
    if study.problem.loss == "logistic":
        kinds = ["Newton", "modified.Newton"]
    else:
        kinds = ["naive", "covariance"] if n > p else ["naive"]  # its own choice for many columns
    return [f"{kind}, {order}" for kind in kinds for order in ("2 processes", "in turn")]


def command() -> list[str] | str:
    """How to start Rscript, or why that cannot be."""
    found = path.command(str(Path(__file__).with_name("cv_glmnet.R")))
    shared = str(Path(adapters.__file__).with_name("glmnet.R"))
    return found if isinstance(found, str) else [*found, shared]
