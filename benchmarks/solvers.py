"""Solvers of jreg beside those of jaxopt, optimistix, scikit-learn and SciPy on the same problems.

`python benchmarks/solvers.py` prints a Markdown table, `--markdown FILE` writes it too, `--smoke`
runs one small problem. One strength each, no intercept, float64. A method counts as there when its
suboptimality, computed in NumPy against the best value of all, is at most 1e-6 of the null
objective; of the tolerances 1e-2, 1e-3, ..., 1e-12 each gets the loosest that leads there, and "not
reached" if none does. Warm times, methods taking turns; jreg's certificate is part of its time.

A second table has no times: three lassos on which jaxopt's methods are known to fail (columns times
1000, single precision, coordinate descent for a mean loss), at the default tolerances of both.

Peers that are not installed are left out: `pip install jaxopt optimistix scikit-learn scipy`.
NeMoS, which always fits an intercept, is in `poisson_folds.py`.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tools.timing import Contender, duration, machine, take_turns, timed

import jreg

LEVEL = 1e-6
TOLERANCES = [10.0**-k for k in range(2, 13)]
HEADER = ("problem", "method", "warm", "ratio to the fastest", "cold", "tol", "suboptimality")


def installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # an old peer may fail in any way under a new JAX
        print(f"without {name}: {error}")
        return None


@dataclass(frozen=True)
class Task:
    """`mean loss(X w, y) + lam |w|_1` or, smooth, `+ lam/2 |w|^2`."""

    name: str
    X: np.ndarray
    y: np.ndarray
    logistic: bool
    smooth: bool
    lam: float

    def value(self, w: np.ndarray) -> float:
        eta = self.X @ w
        if self.logistic:
            data = np.mean(np.logaddexp(0, eta) - self.y * eta)
        else:
            data = 0.5 * np.mean((eta - self.y) ** 2)
        size = 0.5 * w @ w if self.smooth else np.abs(w).sum()
        return float(data + self.lam * size)


def tasks(smoke: bool) -> list[Task]:
    def make(name: str, n: int, p: int, scale: float, logistic: bool, smooth: bool) -> Task:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n, p)) + 0.5 * rng.normal(size=(n, 1))
        y = X[:, :5] @ np.linspace(2, 1, 5) + rng.normal(size=n)
        X = X * np.geomspace(1 / scale, scale, p)[None]
        y = (y > 0) * 1.0 if logistic else y
        lam = 0.01 if smooth else 0.02 * np.abs(X.T @ (y - y.mean())).max() / n
        return Task(name, X, y, logistic, smooth, float(lam))

    if smoke:
        return [make("lasso 40 x 8", 40, 8, 1.0, False, False)]
    return [
        make("lasso 500 x 100", 500, 100, 1.0, False, False),
        make("lasso 500 x 100, columns scaled by 1e-1 to 1e1", 500, 100, 10.0, False, False),
        make("lasso 200 x 1000", 200, 1000, 1.0, False, False),
        make("logistic lasso 500 x 100", 500, 100, 1.0, True, False),
        make("ridge logistic 500 x 100", 500, 100, 1.0, True, True),
    ]


def of_jreg(task: Task, solver: Any, tol: float) -> Callable:
    loss = jreg.Logistic() if task.logistic else jreg.Squared()
    penalty = jreg.Ridge(task.lam) if task.smooth else jreg.L1(task.lam)
    X, y = jnp.asarray(task.X), jnp.asarray(task.y)
    problem = jreg.LinearProblem(X, y, loss, fit_intercept=False)
    start = jreg.Linear(jnp.zeros(X.shape[1]), jnp.zeros(()))
    return lambda: jreg.solve(problem, penalty, start, solver=solver, tol=tol).params.coef


def objective(task: Task) -> Callable:
    """The smooth part as a function of (w, X, y) in JAX, with the ridge if there is one."""

    def fun(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
        eta = X @ w
        losses = jnp.logaddexp(0, eta) - y * eta if task.logistic else 0.5 * (eta - y) ** 2
        return jnp.mean(losses) + (0.5 * task.lam * w @ w if task.smooth else 0.0)

    return fun


def of_jaxopt(task: Task, jaxopt: Any, kind: str, tol: float) -> Callable:
    fun, options = objective(task), {"tol": tol, "maxiter": 20_000}
    X, y, start = jnp.asarray(task.X), jnp.asarray(task.y), jnp.zeros(task.X.shape[1])
    if kind == "LBFGS":
        run = jax.jit(jaxopt.LBFGS(fun, **options).run)
        return lambda: run(start, X, y).params
    solver = jaxopt.ProximalGradient(fun, jaxopt.prox.prox_lasso, **options)
    run = jax.jit(solver.run)
    return lambda: run(start, task.lam, X, y).params


def of_optimistix(task: Task, optimistix: Any, tol: float) -> Callable:
    fun = objective(task)
    data = jnp.asarray(task.X), jnp.asarray(task.y)
    solver = optimistix.BFGS(rtol=tol, atol=tol)

    @jax.jit
    def run(data: Any) -> jax.Array:
        found = optimistix.minimise(
            lambda w, data: fun(w, *data),
            solver,
            jnp.zeros(task.X.shape[1]),
            data,
            max_steps=20_000,
            throw=False,
        )
        return found.value

    return lambda: run(data)


def of_sklearn(task: Task, linear_model: Any, tol: float) -> Callable:
    if not task.logistic:
        model = linear_model.Lasso(task.lam, fit_intercept=False, tol=tol, max_iter=100_000)
        X = np.asfortranarray(task.X)
    else:
        strength = 1 / (len(task.y) * task.lam)
        ratio = {"l1_ratio": 0.0 if task.smooth else 1.0}
        solver = "lbfgs" if task.smooth else "saga"
        model = linear_model.LogisticRegression(
            C=strength, fit_intercept=False, tol=tol, solver=solver, max_iter=20_000, **ratio
        )
        X = task.X
    return lambda: np.ravel(model.fit(X, task.y).coef_)


def of_scipy(task: Task, optimize: Any, tol: float) -> Callable:
    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        eta = task.X @ w
        slope = task.X.T @ (1 / (1 + np.exp(-eta)) - task.y) / len(task.y) + task.lam * w
        return task.value(w), slope

    options = {"gtol": tol, "ftol": tol**2, "maxiter": 20_000}
    start = np.zeros(task.X.shape[1])
    return lambda: optimize.minimize(fun, start, jac=True, method="L-BFGS-B", options=options).x


def methods(task: Task) -> dict[str, Callable[[float], Callable]]:
    """For each method, the call for a tolerance."""
    found: dict[str, Callable] = {}
    if task.smooth:
        solvers = (jreg.LBFGS(), jreg.Newton(), jreg.NewtonCG(), jreg.ProxNewton())
    else:
        solvers = (jreg.ProxNewton(), jreg.FISTA(), jreg.ProxLBFGS(), jreg.CoordinateDescent())
    for solver in solvers:
        found[f"jreg {type(solver).__name__}"] = partial(of_jreg, task, solver)
    if jaxopt := installed("jaxopt"):
        kind = "LBFGS" if task.smooth else "ProximalGradient"
        found[f"jaxopt {kind}"] = partial(of_jaxopt, task, jaxopt, kind)
    if linear_model := installed("sklearn.linear_model"):
        found["scikit-learn"] = partial(of_sklearn, task, linear_model)
    if task.smooth:
        if optimize := installed("scipy.optimize"):
            found["SciPy L-BFGS-B"] = partial(of_scipy, task, optimize)
        if optimistix := installed("optimistix"):
            found["optimistix BFGS"] = partial(of_optimistix, task, optimistix)
    return found


def loosest(make: Callable[[float], Callable], task: Task, best: float, size: float) -> Any:
    """(tol, call, cold, suboptimality) of the loosest tolerance that reaches the level, or None."""
    jax.clear_caches()
    cold = None
    for tol in TOLERANCES:
        call = make(tol)
        try:
            w, once = timed(call)
        except Exception as error:
            print(f"fails: {error}")
            return None
        cold = once if cold is None else cold  # with compilation
        if (task.value(w) - best) / size <= LEVEL:
            return tol, call, cold, (task.value(w) - best) / size
    return None


@dataclass(frozen=True)
class Hard:
    """A lasso, 200 x 50 with 5 useful columns, whose columns are multiplied by `scale`."""

    name: str
    solver: Any  # of jreg
    peer: str  # of jaxopt
    scale: float = 1.0
    dtype: str = "float64"
    limit: int = 3000


HARD = (
    Hard("columns times 1000", jreg.FISTA(), "ProximalGradient", scale=1e3),
    Hard("columns times 1000", jreg.FISTA(), "ProximalGradient", scale=1e3, dtype="float32"),
    Hard("columns times 10", jreg.FISTA(), "ProximalGradient", scale=10.0, dtype="float32"),
    Hard("mean of squares", jreg.CoordinateDescent(), "BlockCoordinateDescent"),
)


def hard_rows(case: Hard) -> list[str]:
    """Steps taken, the KKT residual relative to lam_max (in NumPy), and what the method reports."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 50))
    y = X[:, :5] @ np.linspace(3, 1, 5) + 0.5 * rng.normal(size=200)
    X *= case.scale
    largest = np.abs(X.T @ y).max() / 200
    lam = 0.05 * largest

    def row(method: str, coef: Any, steps: Any, ends: str) -> str:
        coef = np.asarray(coef, float)
        slope = X.T @ (y - X @ coef) / 200
        apart = np.where(coef == 0, np.abs(slope) - lam, np.abs(slope - lam * np.sign(coef)))
        residual = max(apart.max(), 0) / largest
        name = f"{case.name}, {case.dtype}"
        return f"| {name} | {method} | {int(steps)} | {residual:.0e} | {ends} |"

    with jax.enable_x64(case.dtype == "float64"):
        Xd, yd = jnp.asarray(X, case.dtype), jnp.asarray(y, case.dtype)
        problem = jreg.LinearProblem(Xd, yd, fit_intercept=False)
        start = jreg.Linear(jnp.zeros(50), jnp.zeros(()))
        found = jreg.solve(problem, jreg.L1(lam), start, solver=case.solver, max_steps=case.limit)
        status = jreg.Status(int(found.status)).name.lower()
        name = f"jreg {type(case.solver).__name__}"
        rows = [row(name, found.params.coef, found.num_steps, status)]
        if jaxopt := installed("jaxopt"):
            fun: Any = jaxopt.objective.least_squares
            peer = getattr(jaxopt, case.peer)
            run = peer(fun, jaxopt.prox.prox_lasso, maxiter=case.limit).run
            coef, state = jax.jit(run)(jnp.zeros(50, case.dtype), lam, (Xd, yd))
            ends = "at its limit" if state.iter_num >= case.limit else "stops"
            ends = ends if np.isfinite(coef).all() else "NaN"
            rows.append(row(f"jaxopt {case.peer}", coef, state.iter_num, ends))
    return rows


def hard_table(smoke: bool) -> list[str]:
    lines = [
        "",
        "| problem | method | steps | KKT residual | ends |",
        "|---|---|--:|--:|---|",
    ]
    for case in HARD[-1:] if smoke else HARD:
        lines += hard_rows(case)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of peers that do not converge
    rounds = 1 if options.smoke else 5
    lines = [
        "# Solvers",
        "",
        f"{machine([])} float64, suboptimality {LEVEL:g}; median of {rounds}.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines))
    with jax.enable_x64(True):
        for task in tasks(options.smoke):
            size = task.value(np.zeros(task.X.shape[1]))
            best = task.value(np.asarray(of_jreg(task, None, 1e-11)()))
            reached, rows = {}, []
            for name, make in methods(task).items():
                found = loosest(make, task, best, size)
                if found is None:
                    rows.append(f"| {task.name} | {name} | not reached | | | | |")
                else:
                    reached[name] = (Contender(name, found[1]), found)
            take_turns([clock for clock, _ in reached.values()], rounds)
            fastest = min(clock.warm() for clock, _ in reached.values())
            for name, (clock, (tol, _, cold, gap)) in reached.items():
                time = clock.warm()
                cells = (
                    task.name,
                    name,
                    duration(time),
                    f"{time / fastest:.1f}",
                    duration(cold),
                    f"{tol:g}",
                    f"{max(gap, 0):.0e}",
                )
                rows.append(f"| {' | '.join(cells)} |")
            lines += rows
            print("\n".join(rows), flush=True)
    hard = hard_table(options.smoke)
    lines += hard
    print("\n".join(hard))
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
