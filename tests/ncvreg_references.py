"""The numbers of ncvreg that tests compare with: `python tests/ncvreg_references.py` writes them.

Needs R with ncvreg. The data are those of Stamey et al. (1989) as Hastie, Tibshirani and Friedman
(2009), section 3.2, use them: eight clinical measures of 97 men, the log of a tumour marker, and
which rows are their training set.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
from r_references import store

FILE = Path(__file__).with_suffix(".json")
TABLE = Path(__file__).with_name("prostate.csv")
FOLDS = np.arange(97) % 10

SCRIPT = r"""
library(ncvreg)
folder <- commandArgs(TRUE)[1]
data <- read.csv(file.path(folder, "prostate.csv")); X <- as.matrix(data[, 1:8]); y <- data$lpsa
for (penalty in c("lasso", "MCP", "SCAD")) {
  lambda <- 0.84342743826 * 0.9^(0:30)
  found <- cv.ncvreg(X, y, penalty = penalty, lambda = lambda, fold = (0:96) %% 10 + 1, eps = 1e-10,
    max.iter = 1e6)
  say <- function(key, v) cat(penalty, key, format(v, digits = 15, scientific = TRUE), "\n",
    file = file.path(folder, "out.txt"), append = TRUE)
  say("lams", found$lambda); say("mean", found$cve); say("min", found$lambda.min)
  say("coef", coef(found$fit, lambda = lambda[16]))
}
"""


def prostate() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, y, train): (97, 8), (97,), (97,) bool."""
    with TABLE.open() as file:
        rows = np.array([[float(v) for v in row.values()] for row in csv.DictReader(file)])
    return rows[:, :8], rows[:, 8], rows[:, 9] == 1


def copy(folder: Path) -> None:
    """The data as a file."""
    shutil.copy(TABLE, folder)


if __name__ == "__main__":
    store(FILE, SCRIPT, copy)
