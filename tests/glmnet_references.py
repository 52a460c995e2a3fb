"""The numbers of glmnet that tests compare with: `python tests/glmnet_references.py` writes them.

Needs R with glmnet. Data come from NumPy's frozen generator, so tests make them again.
"""

from pathlib import Path

import numpy as np
from r_references import store

FILE = Path(__file__).with_suffix(".json")
RATIOS = 0.8 ** np.arange(20)

SCRIPT = r"""
library(glmnet); library(survival)
folder <- commandArgs(TRUE)[1]
read <- function(name) as.matrix(read.csv(file.path(folder, paste0(name, ".csv")), header = FALSE))
X <- read("X"); foldid <- read("foldid")[, 1]; w <- read("weight")[, 1]
gaussian <- read("gaussian")[, 1]; binomial <- read("binomial")[, 1]
classes <- factor(read("multinomial")[, 1]); responses <- read("responses")
times <- read("survival"); times <- Surv(times[, 1], times[, 2]); ratios <- read("ratios")[, 1]
say <- function(...) cat(..., "\n", file = file.path(folder, "out.txt"), append = TRUE)
glmnet.control(fdev = 0, devmax = 1)
one <- function(name, y, family, measure, ..., weights = rep(1, nrow(X)), relax = FALSE) {
  common <- list(x = X, y = y, family = family, thresh = 1e-14, maxit = 1e7, weights = weights, ...)
  first <- do.call(glmnet, c(common, list(nlambda = 3)))$lambda[1]
  cv <- do.call(cv.glmnet, c(common, list(lambda = first * ratios, foldid = foldid,
    type.measure = measure, relax = relax)))
  number <- function(key, v) say(name, key, format(v, digits = 15, scientific = TRUE))
  number("lams", cv$lambda); number("mean", cv$cvm); number("error", cv$cvsd)
  number("min", cv$lambda.min); number("1se", cv$lambda.1se)
  if (!relax) return(invisible())
  for (i in seq_along(cv$relaxed$gamma))
    number(paste0("gamma=", cv$relaxed$gamma[i]), cv$relaxed$statlist[[i]]$cvm)
  number("best", c(cv$relaxed$lambda.min, cv$relaxed$gamma.min))
  number("refit", coef(cv$glmnet.fit, s = cv$lambda[8], gamma = 0)[, 1])
}
one("gaussian", gaussian, "gaussian", "mse")
one("weighted", gaussian, "gaussian", "mse", weights = w)
one("absolute", gaussian, "gaussian", "mae")
one("binomial", binomial, "binomial", "deviance")
one("class", binomial, "binomial", "class")
one("auc", binomial, "binomial", "auc")
one("poisson", read("poisson")[, 1], "poisson", "deviance")
one("multinomial", classes, "multinomial", "deviance")
one("grouped", classes, "multinomial", "deviance", type.multinomial = "grouped")
one("mgaussian", responses, "mgaussian", "mse", standardize.response = FALSE)
one("cox", times, "cox", "deviance")
one("concordance", times, "cox", "C")
one("relaxed", gaussian, "gaussian", "mse", relax = TRUE)
"""


def data():
    """200 rows of 12 columns, a response of each family, weights and ten folds."""
    rng = np.random.RandomState(0)
    n, p = 200, 12
    X = rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1))
    signal = X[:, :4] @ [1.0, -0.8, 0.5, 0.3]
    kinds = np.stack([signal, X[:, 4] - signal, X[:, 5]], axis=1)
    kinds += rng.gumbel(size=kinds.shape)
    time = rng.exponential(size=n) * np.exp(-signal)
    return {
        "X": X,
        "gaussian": signal + rng.normal(size=n),
        "binomial": (signal + rng.logistic(size=n) > 0).astype(int),
        "poisson": rng.poisson(np.exp(0.5 * signal)),
        "multinomial": np.argmax(kinds, axis=1),
        "responses": np.stack([signal, X[:, 4] + X[:, 0]], axis=1) + rng.normal(size=(n, 2)),
        "survival": np.stack([time, rng.uniform(size=n) < 0.7], axis=1).astype(float),
        "weight": rng.randint(1, 4, size=n),
        "foldid": np.arange(n) % 10 + 1,
        "ratios": RATIOS,
    }


def write(folder: Path) -> None:
    """The data as files."""
    for name, value in data().items():
        np.savetxt(folder / f"{name}.csv", value, delimiter=",", fmt="%.17g")


if __name__ == "__main__":
    store(FILE, SCRIPT, write)
