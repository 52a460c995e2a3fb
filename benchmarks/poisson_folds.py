"""A user's story: Poisson regression, 21,676 x 180, l1_ratio 0.9, 8 lambdas x 3 folds.

`python benchmarks/poisson_folds.py` times it by sweeps under one vmap over the folds, by the same
one fold after the other, and by NeMoS if it is installed (`pip install nemos`), each lambda to its
default tolerance from the last one's solution. float64; `--markdown FILE` writes the table,
`--smoke` makes it small. For every method: the worst suboptimality over all 24 fits, relative to
the null objective, against the best value known; and how many fits ended without convergence.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tools.timing import duration, machine

import jreg

L1_RATIO, FOLDS, LAMS = 0.9, 3, 8
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
        return coef, intercept, np.zeros((FOLDS, LAMS), int)

    return run


def methods(X: np.ndarray, y: np.ndarray, fold: np.ndarray, lams: Any) -> Iterator[tuple]:
    weights = jnp.asarray((np.arange(FOLDS)[:, None] != fold[None]).astype(float))
    Xd, yd, lams_d = map(jnp.asarray, (X, y, lams))
    for solver in (jreg.ProxNewton(), jreg.FISTA()):
        name = f"jreg.sweep, {type(solver).__name__}"
        yield f"{name}, folds by vmap", of_jreg(Xd, yd, weights, lams_d, True, solver)
        yield f"{name}, folds in turn", of_jreg(Xd, yd, weights, lams_d, False, solver)
    try:
        nemos = importlib.import_module("nemos")
    except ImportError as error:
        print(f"without NeMoS: {error}")
    else:
        yield f"NeMoS {nemos.__version__}", of_nemos(nemos, X, y, weights, lams)


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
                start = time.perf_counter()
                found = call()
                clock.append(time.perf_counter() - start)
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
        worst, failed = np.max(value - best) / null, int(np.sum(found[2] != 0))
        lines.append(f"| {name} | {duration(warm)} | {duration(cold)} | {worst:.1e} | {failed} |")
    print("\n".join(lines))
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
