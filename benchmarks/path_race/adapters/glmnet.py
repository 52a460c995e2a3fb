"""glmnet 4 in R, by `glmnet.R` in a process of its own: Rscript reads the same files."""

import shutil

NAME = "glmnet"
ENVIRONMENT = "R"
TOLERANCES = [10.0**-k for k in range(5, 25)]


def variants(kind: tuple[str, str], n: int, p: int, sparse: bool) -> list[str] | str:
    loss, penalty = kind
    if penalty not in ("l1", "elastic net"):
        return "has no such penalty"
    if loss != "squared":
        return ["Newton", "modified.Newton"] if loss == "logistic" else [""]
    return ["naive", "covariance"] if n > p else ["naive"]  # its own choice for many columns


def command(script: str) -> list[str] | str:
    """How to start Rscript, or why that cannot be."""
    found = shutil.which("Rscript")
    return [found, "--vanilla", script] if found else "Rscript is not installed"
