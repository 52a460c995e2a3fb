"""A user's story: Poisson regression, 21,676 x 180, l1_ratio 0.9, 8 lambdas x 3 folds.

`python benchmarks/poisson_folds.py` times it by `path` fold after fold, by sweeps under one vmap
over the folds and fold after fold, by NeMoS if it is installed (`pip install nemos`) and by glmnet
if R has it, each lambda to its default tolerance from the last one's solution. float64;
`--markdown FILE` writes the table, `--smoke` makes it small. For every method: the worst
suboptimality over all 24 fits, relative to the null objective, against the best value known; and
how many fits ended without convergence, where the method says so.
"""

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tools.timing import duration, machine

import jreg

L1_RATIO, FOLDS, LAMS = 0.9, 3, 8
GLMNET = """
suppressPackageStartupMessages(library(glmnet))
read <- function(name) readBin(name, "double", file.size(name) / 8)
y <- read("y"); fold <- read("fold"); lams <- read("lams"); x <- matrix(read("X"), length(y))
fit_fold <- function(k) {
  fit <- glmnet(x[fold != k, ], y[fold != k], "poisson", alpha = read("l1_ratio"), lambda = lams,
                standardize = FALSE)
  as.vector(rbind(as.matrix(fit$beta), fit$a0))
}
start <- Sys.time()
found <- sapply(sort(unique(fold)), fit_fold)
cat(as.numeric(difftime(Sys.time(), start, units = "secs")))
writeBin(as.vector(found), "found")
"""
HEADER = ("method", "warm", "cold", "worst suboptimality", "not converged")


def data(n: int, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated columns of different scales, counts of a log-linear model, folds."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1))
    X *= np.geomspace(0.3, 3, p)[None]
    eta = X[:, :: max(1, p // 10)] @ rng.normal(size=len(range(0, p, max(1, p // 10)))) * 0.1
    return X, rng.poisson(np.exp(eta - 1)).astype(float), np.arange(n) % FOLDS


def of_jreg(X: Any, y: Any, weights: Any, lams: Any, together: bool, solver: Any) -> Callable:
    penalty, loss = jreg.ElasticNet(l1_ratio=L1_RATIO), jreg.Poisson()

    def one(weight: jax.Array) -> Any:
        problem = jreg.LinearProblem(X, y, loss, weight)
        found = jreg.sweep(problem, penalty, lams, block=1, solver=solver)
        return found.coef, found.intercept, found.status

    if together:
        run = jax.jit(jax.vmap(one))
        return lambda: jax.tree.map(np.asarray, run(weights))
    single = jax.jit(one)
    return lambda: jax.tree.map(lambda *a: np.stack(a), *[single(w) for w in weights])


def of_nemos(nemos: Any, X: Any, y: Any, weights: Any, lams: np.ndarray) -> Callable:
    def run() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = []
        for weight in weights:
            rows, start = np.asarray(weight) > 0, None
            for lam in lams:
                regularizer = nemos.regularizer.ElasticNet()
                model = nemos.glm.GLM(
                    regularizer=regularizer,
                    regularizer_strength=(float(lam), L1_RATIO),
                    inverse_link_function=jnp.exp,
                )
                model.fit(X[rows], y[rows], init_params=start)
                start = (model.coef_, model.intercept_)
                found.append((np.asarray(model.coef_), float(model.intercept_[0])))
        coef = np.stack([c for c, _ in found]).reshape(FOLDS, LAMS, -1)
        intercept = np.array([b for _, b in found]).reshape(FOLDS, LAMS)
        return coef, intercept, None

    return run


def of_path(X: np.ndarray, y: np.ndarray, weights: Any, lams: np.ndarray) -> Callable:
    def run() -> tuple[np.ndarray, ...]:
        paths = [
            jreg.path(
                X,
                y,
                jreg.ElasticNet(l1_ratio=L1_RATIO),
                jreg.Poisson(),
                lams=lams,
                sample_weight=weight,
                standardize=False,
            )
            for weight in np.asarray(weights)
        ]
        found = [(path.coef, path.intercept, path.status) for path in paths]
        return tuple(np.stack(part) for part in zip(*found, strict=True))

    return run


def of_glmnet(X: np.ndarray, y: np.ndarray, fold: np.ndarray, lams: np.ndarray) -> Callable:
    """R says itself how long it took, without its start and the reading of the data."""
    parts = {"X": X.T, "y": y, "fold": fold, "lams": lams, "l1_ratio": L1_RATIO}

    def run() -> tuple[tuple, float]:
        with tempfile.TemporaryDirectory() as folder:
            for name, part in parts.items():
                np.ascontiguousarray(part, float).tofile(Path(folder, name))
            command = ["Rscript", "--vanilla", "-e", GLMNET]
            said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if said.returncode:
                raise RuntimeError(said.stderr)
            found = np.fromfile(Path(folder, "found")).reshape(FOLDS, LAMS, -1)
        return (found[..., :-1], found[..., -1], None), float(said.stdout)

    return run


def has_glmnet() -> bool:
    if not shutil.which("Rscript"):
        return False
    return not subprocess.run(["Rscript", "-e", "library(glmnet)"], capture_output=True).returncode


def timed(call: Callable) -> Callable:
    def run() -> tuple[tuple, float]:
        start = time.perf_counter()
        found = call()
        return found, time.perf_counter() - start

    return run


def methods(X: np.ndarray, y: np.ndarray, fold: np.ndarray, lams: Any) -> Iterator[tuple]:
    weights = jnp.asarray((np.arange(FOLDS)[:, None] != fold[None]).astype(float))
    Xd, yd, lams_d = map(jnp.asarray, (X, y, lams))
    yield "jreg.path, folds in turn", timed(of_path(X, y, weights, lams))
    for solver in (jreg.ProxNewton(), jreg.FISTA()):
        name = f"jreg.sweep, {type(solver).__name__}"
        yield f"{name}, folds by vmap", timed(of_jreg(Xd, yd, weights, lams_d, True, solver))
        yield f"{name}, folds in turn", timed(of_jreg(Xd, yd, weights, lams_d, False, solver))
    try:
        nemos = importlib.import_module("nemos")
    except ImportError as error:
        print(f"without NeMoS: {error}")
    else:
        yield f"NeMoS {nemos.__version__}", timed(of_nemos(nemos, X, y, weights, lams))
    if has_glmnet():
        yield "glmnet", of_glmnet(X, y, fold, lams)
    else:
        print("without glmnet")


def objectives(found: tuple, X: np.ndarray, y: np.ndarray, fold: np.ndarray, lams: Any) -> Any:
    """In NumPy, (folds, lams)."""
    coef, intercept, _ = found
    values = np.empty((FOLDS, LAMS))
    for k in range(FOLDS):
        rows = fold != k
        for j, lam in enumerate(lams):
            w, eta = coef[k, j], X[rows] @ coef[k, j] + intercept[k, j]
            size = L1_RATIO * np.abs(w).sum() + (1 - L1_RATIO) / 2 * w @ w
            values[k, j] = np.mean(np.exp(eta) - y[rows] * eta) + lam * size
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    n, p = (300, 12) if options.smoke else (21_676, 180)
    X, y, fold = data(n, p)
    first = np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / n / L1_RATIO
    lams = np.geomspace(0.5 * first, 5e-3 * first, LAMS)
    null = np.mean(y) * (1 - np.log(np.mean(y))) + np.mean(
        np.where(y > 0, y * np.log(np.maximum(y, 1)) - y, 0)
    )
    results = []
    with jax.enable_x64(True):
        for name, call in methods(X, y, fold, lams):
            clock = []
            for _ in range(2 if options.smoke else 4):
                found, seconds = call()
                clock.append(seconds)
            cold, *warm = clock
            results.append((name, found, cold, float(np.median(warm))))
            print(name, [duration(t) for t in clock], flush=True)
    values = [objectives(found, X, y, fold, lams) for _, found, _, _ in results]
    best = np.min(values, axis=0)
    lines = [
        "# Poisson, folds x lambdas",
        "",
        f"{n} x {p}, {LAMS} lambdas x {FOLDS} folds. {machine([])} float64; median of 3 warm runs.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|---|--:|--:|--:|--:|",
    ]
    for (name, found, cold, warm), value in zip(results, values, strict=True):
        worst = np.max(value - best) / null
        failed = "" if found[2] is None else int(np.sum(np.asarray(found[2]) != 0))
        lines.append(f"| {name} | {duration(warm)} | {duration(cold)} | {worst:.1e} | {failed} |")
    print("\n".join(lines))
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
