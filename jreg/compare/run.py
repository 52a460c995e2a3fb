"""`compare`: the door of the race, its runs and its clock."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jreg import checks, tree
from jreg.compare.race import Entry, Race, first_below, held, or_inf
from jreg.penalties import Ridge
from jreg.problem import LinearProblem, Problem
from jreg.solvers import Minibatch, Optax, Solution, solve
from jreg.solvers.solve import check_inputs
from jreg.typing import Array, Penalty, PyTree, Scalar, has

CHUNKS = 8  # runs of the clock, each longer than the one before
ROUNDS = 5  # of which the median counts


def compare(
    problem: LinearProblem | Problem | Callable[..., Array],
    methods: Mapping[str, Any],
    *,
    penalty: Penalty | None = None,
    params: PyTree | None = None,
    optimum: Scalar | None = None,
    budget: int | Mapping[str, int] = 1000,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    target: float = 1e-4,
    tol: Scalar | None = None,
    clock: bool = True,
    keep_params: bool = False,
) -> Race:
    """Race optimisers on `problem + penalty` from one start, and tell what each step bought.

    Every method runs in the one outer loop, `solve(history=True)`, certified after each step. With

        gap_k = (F(w_k) - F*) / (F(w_0) - F*)

    a race shows gap, KKT residual and exact zeros against steps, gradient evaluations, passes over
    the data, and seconds.

    * **Evaluations**: 1 for a gradient with its value, 2 for a Hessian times a vector, 1/2 for a
      value alone or one product with X; line searches included, certificates not. One **pass** is
      one evaluation on all rows: on a minibatch it is batch_size / n_samples of a pass.
    * **Learning rates** and seeds run side by side under `vmap` (on a CPU, where that would copy
      all traces at every step, one after the other, in one compiled program). The best rate is
      chosen by one rule: *of the rates that bring the gap below `target` for good, the one that
      needs the fewest steps, in the median over seeds; if none does, the one that ends with the
      smallest median gap.* The whole curve stays in `Entry.final_gap`; `Race.plot_rates()` draws
      it.
    * **Seconds** are those of the chosen rate and the longest run of a seed, without the history,
      warm: medians of five runs of 8 lengths, `Solution` in, `Solution` out, the certificate that
      the solver asks for (every `check_every` steps) included. Compilation is told apart.

    Args:
      problem: a `LinearProblem`, a `Problem`, or a function of the parameters.
      methods: names, and for each a solver (`jreg.solvers`), an optax transform, or a function of a
        learning rate that returns one (`optax.adam`). Transforms minimise a smooth objective;
        `OptaxProximal`, `OptaxSubgradient` and `Minibatch` are solvers.
      penalty, params: as in `solve`; the start, and every method's.
      optimum: F*; None: that of `solve` with its default solver, to a tight tol, or what a method
        finds if that is less.
      budget: steps of every method, or a mapping from names to steps.
      seeds: integers for methods that have a seed (`Minibatch`).
      learning_rates: what to try, for every method that has a learning rate, or a mapping from
        names to rates. None: the rate that each has.
      target: the relative gap of the rule above, in (0, 1).
      tol: where a method stops, see `solve`; None: 1e-10 in float64 and 1e-5 in float32. Gaps of
        1e-8 need float64.
      clock: whether to time, which takes some 40 more runs.
      keep_params: whether to keep the parameters of every step (chosen rate, first seed).

    Returns a `Race`, which prints as a table. Raises ValueError or TypeError for what `solve`
    refuses, and for an empty set of methods, unknown names, rates or budgets that are not positive.

    >>> problem = Problem(lambda w: 0.5 * jnp.sum(jnp.array([1.0, 10.0]) * (w - 1) ** 2))
    >>> race = compare(
    ...     problem, {"gradient": optax.sgd, "momentum": lambda rate: optax.sgd(rate, 0.5)},
    ...     params=jnp.zeros(2), learning_rates=[0.03, 0.1, 0.3], budget=200, clock=False)
    >>> [entry.name for entry in race.entries if entry.reached]
    ['gradient', 'momentum']
    """
    if not isinstance(methods, Mapping) or not methods:
        raise ValueError("methods must be a mapping from names to solvers, with at least one")
    if not 0 < target < 1:
        raise ValueError(f"target must be in (0, 1); got {target}")
    solvers = {name: _solver(name, method) for name, method in methods.items()}
    budgets = _budgets(budget, solvers)
    rates = _rates(learning_rates, solvers)
    seeds = tuple(int(seed) for seed in seeds)
    if not seeds:
        raise ValueError("seeds must hold at least one integer")
    problem = problem if isinstance(problem, LinearProblem | Problem) else Problem(problem)
    penalty = Ridge(0.0) if penalty is None else penalty
    problem, penalty, params = check_inputs(problem, penalty, params)
    dtype = tree.dtype((problem.X,) if isinstance(problem, LinearProblem) else params)
    wide = dtype == jnp.float64
    tol = (1e-10 if wide else 1e-5) if tol is None else tol

    def run(solver: Any, steps: int, history: bool | str = False) -> Solution:
        return solve(
            problem, penalty, params, solver=solver, tol=tol, max_steps=steps, history=history
        )

    found = {}
    for name, solver in solvers.items():
        steps = budgets[name]

        def lane(rate: Array, seed: Array, solver: Any = solver, steps: int = steps) -> Solution:
            return run(_seeded(_rated(solver, rate), seed), steps, history=True)

        shots = jnp.asarray(seeds if _has_seed(solver) else seeds[:1])
        found[name] = _each(lane, jnp.asarray(rates[name], dtype), shots)

    traces = {name: f.history.value for name, f in found.items()}
    start, seen = _start_and_best(traces)
    certificate, by_methods = np.nan, False
    if optimum is None:
        tight = 1e-12 if wide else 1e-5
        # with a history, so that it compiles nothing that a method is clocked with
        reference = solve(problem, penalty, params, tol=tight, history=True)
        optimum, certificate = float(reference.value), _error(reference)
        by_methods = seen < optimum
    best = seen if by_methods else float(optimum)
    if not start > best:
        raise ValueError(f"nothing to race for: the start has objective {start}, F* is {best}")

    entries = []
    for name, solver in solvers.items():
        gaps = or_inf(held((traces[name] - best) / (start - best), found[name].num_steps))
        k = choose(gaps, target)
        rate = jnp.asarray(rates[name][k], dtype)
        again = _seeded(_rated(solver, rate), jnp.asarray(seeds[0]))
        entry = _entry(name, again, rates[name], gaps, k, found[name], problem, target)
        if keep_params:
            history: Any = run(again, budgets[name], "params").history
            trail = jax.tree.map(np.asarray, history.params)
            entry = dataclasses.replace(entry, params=trail)
        if clock:
            j = int(np.argmax(entry.steps))
            longest = _seeded(again, jnp.asarray(seeds[j]))
            timed = _clock(lambda n, s=longest: run(s, n), int(entry.steps[j]))  # type: ignore[misc]
            entry = dataclasses.replace(entry, **timed)
        entries.append(entry)
    return Race(tuple(entries), best, start, target, seeds, certificate, by_methods)


def _each(lane: Callable[[Array, Array], Solution], rates: Array, seeds: Array) -> Any:
    """Every rate with every seed, in arrays (n_rates, n_seeds, ...): side by side on an
    accelerator; one after the other on a CPU, where vmap would copy all traces at every step."""
    if jax.default_backend() != "cpu":
        lanes = jax.vmap(jax.vmap(lane, in_axes=(None, 0)), in_axes=(0, None))
        return jax.tree.map(np.asarray, lanes(rates, seeds))
    rows = [[lane(rate, seed) for seed in seeds] for rate in rates]
    found = [jax.tree.map(lambda *lanes: np.stack(lanes), *row) for row in rows]
    return jax.tree.map(lambda *lanes: np.stack(lanes), *found)


def _start_and_best(traces: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The objective where all begin, and the smallest that any met."""
    start = float(next(iter(traces.values()))[0, 0, 0])
    if not np.isfinite(start):
        raise ValueError(f"the objective at the start must be finite; got {start}")
    return start, min(float(np.nanmin(values)) for values in traces.values())


def _entry(
    name: str,
    solver: Any,
    rates: Sequence[float],
    gaps: np.ndarray,
    k: int,
    found: Any,
    problem: Any,
    target: float,
) -> Entry:
    """What the traces of one method say; k is the number of the rate chosen."""
    chosen = jax.tree.map(lambda a: a[k], found)
    history, steps = chosen.history, chosen.num_steps
    return Entry(
        name=name,
        solver=solver,
        rates=tuple(rates) if _has_rate(solver) else (),
        chosen=k,
        gap=gaps[k],
        residual=or_inf(held(history.residual, steps)),
        zeros=held(history.num_zeros, steps),
        evaluations=held(history.evaluations, steps),
        batch=_batch(solver, problem),
        steps=steps,
        status=chosen.status,
        final_gap=gaps[:, :, -1],
        reached=bool(np.isfinite(first_below(gaps[k], target)).all()),
    )


def choose(gaps: np.ndarray, target: float) -> int:
    """The number of the best rate by the rule of `compare`; gaps (rates, seeds, steps + 1)."""
    steps = np.median(first_below(gaps, target), axis=-1)
    final = gaps[:, :, -1]
    final = np.median(np.where(np.isfinite(final), final, np.inf), axis=-1)
    return int(np.argmin(steps) if np.isfinite(steps).any() else np.argmin(final))


def _clock(run: Callable[[int], Solution], steps: int) -> dict[str, Any]:
    """Numbers of steps, the median seconds of each, and those of compilation."""

    def seconds(n: int) -> float:
        before = time.perf_counter()
        jax.block_until_ready(run(n))
        return time.perf_counter() - before

    lengths = np.unique(np.geomspace(1, max(steps, 1), CHUNKS).round().astype(int))
    cold = seconds(int(lengths[0]))
    times = [statistics.median(seconds(int(n)) for _ in range(ROUNDS)) for n in lengths]
    return {
        "steps_timed": lengths,
        "seconds_timed": np.maximum.accumulate(times),
        "compile_seconds": max(cold - times[0], 0.0),
    }


def _error(found: Solution) -> float:
    return float(found.residual if np.isnan(found.gap) else found.gap)


# --- what comes in ----------------------------------------------------------------------------


def _solver(name: str, method: Any) -> Any:
    """A solver as it is, a transform in its adapter, a function of a rate with one to replace."""
    if isinstance(method, optax.GradientTransformation):
        return Optax(method)
    if has(method, "init") and has(method, "update") and not isinstance(method, type):
        return method
    if callable(method) and not isinstance(method, type):
        return Optax(method, np.nan)  # a rate must be given
    raise TypeError(
        f"method {name!r} must be a solver, an optax transform, or a function of a learning rate "
        f"that returns one; got {method!r}"
    )


def _budgets(budget: Any, solvers: Mapping[str, Any]) -> dict[str, int]:
    given = dict(budget) if isinstance(budget, Mapping) else dict.fromkeys(solvers, budget)
    _same_names("budget", given, solvers)
    for name, steps in given.items():
        checks.concrete_number(f"budget of {name!r}", steps, low=1)
    return {name: int(steps) for name, steps in given.items()}


def _rates(given: Any, solvers: Mapping[str, Any]) -> dict[str, list[float]]:
    """The learning rates to try, one number that nobody reads where there is none."""
    rated = [name for name, solver in solvers.items() if _has_rate(solver)]
    if given is None:
        rates = {name: [_innermost(solvers[name]).learning_rate] for name in rated}
    else:
        rates = dict(given) if isinstance(given, Mapping) else dict.fromkeys(rated, given)
        _same_names("learning_rates", rates, rated)
    for name, values in rates.items():
        numbers = np.ravel(np.asarray(values, float)).tolist()
        if not numbers or not all(0 < number < np.inf for number in numbers):
            raise ValueError(f"learning_rates of {name!r} must be positive numbers; got {numbers}")
        rates[name] = numbers
    return {name: rates.get(name, [1.0]) for name in solvers}


def _same_names(what: str, given: Mapping[str, Any], names: Any) -> None:
    if set(given) != set(names):
        raise ValueError(f"{what} must have an entry for {list(names)}; got {list(given)}")


# --- learning rates, seeds and batches, wherever in a solver they are -------------------------


def _innermost(solver: Any) -> Any:
    return _innermost(solver.solver) if isinstance(solver, Minibatch) else solver


def _has_rate(solver: Any) -> bool:
    return has(_innermost(solver), "learning_rate")


def _rated(solver: Any, rate: Array) -> Any:
    """The solver at another learning rate, if it has one."""
    if isinstance(solver, Minibatch):
        return dataclasses.replace(solver, solver=_rated(solver.solver, rate))
    return dataclasses.replace(solver, learning_rate=rate) if _has_rate(solver) else solver


def _has_seed(solver: Any) -> bool:
    return isinstance(solver, Minibatch)


def _seeded(solver: Any, seed: Array) -> Any:
    return dataclasses.replace(solver, seed=seed) if _has_seed(solver) else solver


def _batch(solver: Any, problem: Any) -> float:
    """The share of the rows that one evaluation sees."""
    if not isinstance(solver, Minibatch):
        return 1.0
    rows = problem.X.shape[0] if isinstance(problem, LinearProblem) else problem.n_rows
    return solver.batch_size / rows
