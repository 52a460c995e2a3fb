"""The race of optimisers: who is first at a gap of 1e-2, 1e-4 and 1e-8, and at what price.

`python benchmarks/optimisers.py` prints Markdown tables, `--markdown FILE` writes them too, `--only
NAME ...` is for some of the problems, `--smoke` runs one small problem.

float64; the gap is relative to that of the start; learning rates from a fixed grid, a factor of
10^(1/2) apart, the best by the rule of `jreg.compare`; minibatches with three seeds, on softmax and
network with one. Methods that need no rate get none.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer, load_digits
from tools.timing import duration, machine

import jreg
from jreg import landscapes
from jreg.compare.race import LEVELS

RATES = tuple(10.0 ** (k / 2) for k in range(-8, 4))  # 1e-4 to 30
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Course:
    """A problem, its start, and what else it needs."""

    problem: Any
    start: Any = None
    penalty: Any = None
    lam: float = 0.0  # of a ridge, for AdamW
    rows: int = 0  # of data, for minibatches
    dense: bool = True  # whether p^2 numbers are a matter of course
    steps: int = 2000
    quick: int = 300  # steps of second-order methods
    small_steps: int | None = None  # of first-order methods on minibatches; None: as others
    seeds: tuple[int, ...] = SEEDS


def momentum(rho: float, nesterov: bool = False) -> Callable:
    return lambda rate: optax.sgd(rate, momentum=rho, nesterov=nesterov)


def first_order(lam: float) -> dict[str, Any]:
    """Transforms with a learning rate; AdamW takes the ridge out of the gradient again."""

    def adamw(rate: Any) -> Any:
        return optax.chain(optax.add_decayed_weights(-lam), optax.adamw(rate, weight_decay=lam))

    return {
        "gradient descent": optax.sgd,
        "momentum 0.9": momentum(0.9),
        "momentum 0.99": momentum(0.99),
        "Nesterov 0.9": momentum(0.9, nesterov=True),
        "AdaGrad": optax.adagrad,
        "RMSProp 0.9": lambda rate: optax.rmsprop(rate, decay=0.9),
        "RMSProp 0.99": lambda rate: optax.rmsprop(rate, decay=0.99),
        "RMSProp 0.999": lambda rate: optax.rmsprop(rate, decay=0.999),
        "Adam": optax.adam,
        "Adam at 1e-3": optax.adam(1e-3),
        "Adam at 5e-4": optax.adam(5e-4),
        **({"AdamW": adamw} if lam else {}),
    }


def smooth_methods(course: Course) -> dict[str, Any]:
    methods: dict[str, Any] = first_order(course.lam)
    methods |= {
        "gradient, line search": jreg.GradientDescent(barzilai_borwein=False),
        "Barzilai-Borwein": jreg.GradientDescent(),
        "FISTA": jreg.FISTA(),
        "L-BFGS 3": jreg.LBFGS(3),
        "L-BFGS 10": jreg.LBFGS(10),
        "L-BFGS 30": jreg.LBFGS(30),
        "Newton-CG": jreg.NewtonCG(),
        "low-rank Newton": jreg.LowRankNewton(),
    }
    if course.dense:
        methods |= {
            "BFGS": jreg.BFGS(),
            "Newton, damped": jreg.Newton(),
            "Newton, pure": jreg.Newton(damped=False),
        }
    if course.rows:
        batches = [b for b in (32, 64, 128, 256) if b < course.rows]
        methods |= {f"SGD, batch {b}": jreg.Minibatch(_rated(optax.sgd), b) for b in batches}
        methods["Adam, batch 64"] = jreg.Minibatch(_rated(optax.adam), 64)
        methods["L-BFGS 10, batch 64"] = jreg.Minibatch(jreg.LBFGS(10), 64)
    return methods


def sparse_methods(course: Course) -> dict[str, Any]:
    kinds = {"gradient": optax.sgd, "momentum 0.9": momentum(0.9), "Adam": optax.adam}
    methods: dict[str, Any] = {
        f"subgradient {name}": jreg.OptaxSubgradient(make, 0.1) for name, make in kinds.items()
    }
    methods |= {f"proximal {name}": jreg.OptaxProximal(make, 0.1) for name, make in kinds.items()}
    methods |= {
        "subgradient, 1/sqrt(k)": jreg.Subgradient(),
        "ISTA": jreg.ISTA(),
        "FISTA": jreg.FISTA(),
        "Anderson": jreg.Anderson(),
        "OWL-QN": jreg.OWLQN(),
        "proximal L-BFGS": jreg.ProxLBFGS(),
    }
    if isinstance(course.problem, jreg.LinearProblem):
        if course.problem.loss.smoothness is not None:
            methods["coordinate descent"] = jreg.CoordinateDescent()
        methods["proximal Newton"] = jreg.ProxNewton()
    if course.rows:
        for b in (32, 128):
            proximal = jreg.OptaxProximal(optax.sgd, 0.1)
            methods[f"proximal SGD, batch {b}"] = jreg.Minibatch(proximal, b)
    return methods


def _rated(make: Callable) -> Any:
    return jreg.Optax(make, 0.1)


def cancer() -> tuple[Any, Any]:
    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return jnp.asarray(X), jnp.asarray(data.target, float)


def digits() -> tuple[Any, Any]:
    data = load_digits()
    return jnp.asarray(data.data / 16.0), jnp.asarray(data.target, float)


def network(w: Any, X: Any, y: Any) -> Any:
    """A softmax network of one hidden layer, mean cross-entropy and 1e-3/2 of the squares."""
    hidden = jnp.tanh(X @ w["W1"] + w["b1"])
    logits = hidden @ w["W2"] + w["b2"]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y.astype(int)).mean()
    return loss + 0.5e-3 * sum(jnp.sum(a**2) for a in jax.tree.leaves(w))


def network_start() -> Any:
    rng = np.random.default_rng(0)
    shapes = {"W1": (64, 16), "b1": (16,), "W2": (16, 10), "b2": (10,)}
    return {
        name: jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]) * (len(shape) > 1))
        for name, shape in shapes.items()
    }


def courses(smoke: bool) -> dict[str, Course]:
    if smoke:
        problem, start = landscapes.quadratic(10.0, 6)
        return {"quadratic, condition 1e1": Course(problem, start, steps=40, quick=10)}
    found = {}
    for condition in (1e1, 1e3, 1e6):
        problem, start = landscapes.quadratic(condition, 100)
        found[f"quadratic, condition {condition:.0e}"] = Course(problem, start, steps=5000)
    problem, start = landscapes.rosenbrock(10)
    found["Rosenbrock, p = 10"] = Course(problem, start, steps=5000)
    X, y = cancer()
    linear = jreg.LinearProblem(X, y, jreg.Logistic())
    n = X.shape[0]
    found["logistic, ridge, 569 x 30"] = Course(linear, None, jreg.Ridge(1e-3), 1e-3, n)
    found["logistic, L1, 569 x 30"] = Course(linear, None, jreg.L1(3e-3), rows=n)
    X, y = digits()
    softmax = jreg.LinearProblem(X, y, jreg.Multinomial(10))
    n = X.shape[0]
    found["softmax, ridge, 1797 x 64"] = Course(
        softmax, None, jreg.Ridge(1e-2), 1e-2, n, steps=300, quick=50, seeds=(0,)
    )
    found["softmax, L1, 1797 x 64"] = Course(
        softmax, None, jreg.L1(1e-3), rows=n, steps=300, quick=50, seeds=(0,)
    )
    found["network 64-16-10, 1797 rows"] = Course(
        jreg.Problem(network, (X, y)),
        network_start(),
        rows=n,
        dense=False,
        steps=400,
        quick=50,
        small_steps=4000,
        seeds=(0,),
    )
    return found


SECOND = ("Newton", "BFGS")  # in the names of methods that get `quick` steps


def run(course: Course, clock: bool = True) -> jreg.Race:
    is_sparse = isinstance(course.penalty, jreg.L1)
    methods = sparse_methods(course) if is_sparse else smooth_methods(course)
    quick = [name for name in methods if any(part in name for part in SECOND)]
    budget = {name: course.quick if name in quick else course.steps for name in methods}
    if course.small_steps:
        small = [n for n, m in methods.items() if isinstance(m, jreg.Minibatch) and n not in quick]
        budget |= dict.fromkeys(small, course.small_steps)
    return jreg.compare(
        course.problem,
        methods,
        penalty=course.penalty,
        params=course.start,
        budget=budget,
        seeds=course.seeds if course.rows else (0,),
        learning_rates=RATES,
        clock=clock,
    )


def first(race: jreg.Race, level: float, axis: str) -> str:
    """The method that needs the least of an axis, and how much."""
    taken = {entry.name: entry.to_reach(level, axis) for entry in race.entries}
    name = min(taken, key=lambda name: taken[name])
    if not np.isfinite(taken[name]):
        return "nobody"
    amount = duration(taken[name]) if axis == "seconds" else f"{taken[name]:.3g}"
    return f"{name} ({amount})"


def summary(races: dict[str, jreg.Race]) -> list[str]:
    lines = [
        "| problem | gap | fewest gradient evaluations | fewest passes over the data | least time "
        "|",
        "| --- | --: | --- | --- | --- |",
    ]
    for name, race in races.items():
        for level in LEVELS:
            cells = [first(race, level, axis) for axis in ("evaluations", "passes", "seconds")]
            lines.append(f"| {name} | {level:.0e} | {' | '.join(cells)} |")
    return lines


def table(race: jreg.Race) -> list[str]:
    lines = [
        "| method | rate | evaluations to 1e-2, 1e-4, 1e-8 | time to the same | a step "
        "| compiled in | final gap | zeros | end |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --- |",
    ]
    for entry in race.entries:
        reach = [entry.to_reach(level, "evaluations") for level in LEVELS]
        times = [entry.to_reach(level, "seconds") for level in LEVELS]
        step = entry.seconds_timed[-1] / entry.steps_timed[-1]
        cells = (
            entry.name,
            "" if entry.rate is None else f"{entry.rate:.2g}",
            ", ".join(f"{k:.0f}" if np.isfinite(k) else "-" for k in reach),
            ", ".join(duration(t) if np.isfinite(t) else "-" for t in times),
            duration(step),
            duration(entry.compile_seconds),
            f"{np.median(entry.final_gap[entry.chosen]):.0e}",
            f"{np.median(entry.zeros[:, -1]):.0f}",
            entry.verdict,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[""])
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    races = {}
    lines = ["# Optimisers", "", machine([f"optax {optax.__version__}"]), ""]
    print(lines[2], flush=True)
    details: list[str] = []
    with jax.enable_x64(True):
        for name, course in courses(options.smoke).items():
            if any(part in name for part in options.only):
                races[name] = run(course)
                jax.clear_caches()
                details += ["", f"## {name}", "", *table(races[name])]
                print("\n".join(details[-len(races[name].entries) - 4 :]), flush=True)
                if options.markdown:  # after every problem
                    with open(options.markdown, "w") as file:
                        file.write("\n".join([*lines, *summary(races), *details]) + "\n")
    print("\n".join(["", *summary(races)]))


if __name__ == "__main__":
    main()
