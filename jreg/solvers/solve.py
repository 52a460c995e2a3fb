"""`solve`: one problem, one penalty, one certified solution, by the one outer loop."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.certificates import (
    Certificate,
    certify,
    certify_smooth,
    gradient_scale,
    null_model,
    on_coef,
)
from jreg.implicit import solution_tangent
from jreg.penalties import Ridge, has_prox
from jreg.problem import CentredProblem, Linear, LinearProblem, Problem
from jreg.solvers.choice import check_needs, default_solver
from jreg.solvers.watch import Watch, check_watch
from jreg.status import Status, is_solved
from jreg.stopping import EarlyStopping, Stopping
from jreg.typing import Array, Penalty, PyTree, Scalar, Solver, has


@tree.dataclass
class Solution:
    """What a solver found, and how good it is.

    params: like the start, in original units. value: the objective there. gap: duality gap over the
    null model's objective, NaN where there is no dual. residual: largest KKT distance over the
    size of the null model's gradient. num_steps: steps taken. status: a `Status`, as an integer.
    aux: what `fun` returns beside its value, at params. history: a `History` if asked for. early:
    with `stop`, its last state (best_value, best_step, ...), best_params being None.
    """

    params: PyTree
    value: Array
    gap: Array
    residual: Array
    num_steps: Array
    status: Array
    aux: PyTree = None
    history: "History | None" = None
    early: Stopping | None = None


@tree.dataclass
class History:
    """The certificate after every step, entry 0 being the start; arrays (max_steps + 1,).

    Entries after the last step are NaN, and -1 in num_zeros: the number of parameters (of a linear
    model: coefficients) that are exactly 0. evaluations: gradient evaluations so far, those of
    certificates apart: 1 for a gradient with its value, 2 for a Hessian times a vector, 1/2 for a
    value alone or one product with X; NaN for a solver that does not count (`ADMM`). params: the
    parameters, with history="params".
    """

    value: Array
    gap: Array
    residual: Array
    num_zeros: Array
    evaluations: Array
    params: PyTree = None


class Record(NamedTuple):
    """What a history holds: so many entries, with the parameters or without."""

    length: int
    params: bool


def solve(
    problem: Problem | LinearProblem | Callable[..., Array],
    penalty: Penalty | None,
    params: PyTree | None = None,
    *args: Any,
    solver: Solver | None = None,
    tol: Scalar | None = None,
    max_steps: int | None = None,
    history: bool | str = False,
    stop: EarlyStopping | None = None,
    measure: Problem | LinearProblem | Callable[..., Array] | None = None,
) -> Solution:
    """Minimise `problem + penalty` to a certificate of `tol`.

    Args:
      problem: a `LinearProblem`, a `Problem`, or a function `fun(params, *args)` (compiled once
        per function object: pass data through args). A function that returns more than its
        value is a `Problem(fun, args, has_aux=True)`, or `value_and_grad=True`.
      penalty: a member of `jreg.penalties`; on a linear problem it applies to coef only. None is
        no penalty.
      params: the start. Optional for a linear problem (default: the null model), needed otherwise.
      solver: a member of `jreg.solvers`; None chooses (`default_solver`).
      tol: bound of the relative duality gap, or of the KKT residual where there is no dual.
        None: 1e-6 in float64, 1e-4 in float32.
      max_steps: limit of steps; None is the solver's own.
      history: whether to certify and record every step, without leaving compiled code; "params"
        records the parameters too, max_steps + 1 times the memory of one set.
      stop: an `EarlyStopping`, whose updates are the start and every step. Params are then the best
        by the measure, and value, gap and residual are theirs; status is STOPPED unless they are
        also the solution. num_steps counts all steps, `early.best_step` those to params.
      measure: what `stop` watches: a `LinearProblem` on other rows (its mean loss), a `Problem`
        or a function of the parameters (compiled once per function object).

    Returns a `Solution`. It never raises for numbers met on the way: look at `status`. Raises
    ValueError or TypeError for shapes, dtypes, concrete out-of-range numbers, a tol below the
    dtype's reach, or a solver that does not fit.

    The dtype is that of the data. Works under jit and vmap: `jax.vmap(lambda lam: solve(problem,
    L1(lam)))(lams)`; finished lanes wait unchanged for the slowest. `params` and `value` have
    derivatives, forward and reverse, in the data, in what `fun` captures and in every
    hyper-parameter, by `jreg.implicit`; NaN unless the solution has converged.

    >>> from jreg import L1
    >>> solution = solve(lambda w: jnp.sum((w - 2.0) ** 2), L1(1.0), jnp.zeros(2))
    >>> solution.params
    Array([1.5, 1.5], dtype=float32)
    """
    if isinstance(problem, LinearProblem | Problem):
        if args:
            raise TypeError(f"args belong to a function; {type(problem).__name__} has its own data")
    elif callable(problem):
        problem = Problem(problem, args)
    else:
        raise TypeError(
            "problem must be a LinearProblem, a Problem or a function of the parameters; "
            f"got {type(problem).__name__}"
        )
    penalty = Ridge(0.0) if penalty is None else penalty
    problem, penalty, params = check_inputs(problem, penalty, params)
    solver = default_solver(problem, penalty) if solver is None else solver
    check_needs(solver, problem, penalty)
    checks.number("max_steps", max_steps, low=0)
    dtype = tree.dtype((problem.X,) if isinstance(problem, LinearProblem) else params)
    tol = jnp.asarray(checks.tolerance(tol, dtype), dtype)
    max_steps = solver.max_steps if max_steps is None else max_steps
    if history and checks.is_traced(max_steps):
        raise TypeError("history=True needs a concrete max_steps: it is the length of the arrays")
    if history not in (True, False, "params"):
        raise ValueError(f'history must be True, False or "params"; got {history!r}')
    record = Record(int(max_steps) + 1, history == "params") if history else None
    limit = jnp.asarray(max_steps, jnp.int32)
    watch = check_watch(stop, measure, problem, params)
    return _solve(problem, penalty, params, tree.cast(solver, dtype), tol, limit, watch, record)


def check_inputs(
    problem: Problem | LinearProblem, penalty: Penalty, params: PyTree | None
) -> tuple[Any, Any, Any]:
    """Shapes, dtypes and concrete ranges at the door; everything cast to the data's dtype."""
    if isinstance(penalty, type) or not isinstance(penalty, Penalty):
        raise TypeError(f"penalty must be a member of jreg.penalties; got {penalty!r}")
    if isinstance(problem, LinearProblem):
        problem = problem.checked()
        if problem.standardize and penalty.compares:
            raise ValueError(
                f"{type(penalty).__name__} compares coefficients with one another, which has no "
                "meaning once columns are rescaled; use standardize=False"
            )
        dtype, n_features = problem.X.dtype, problem.X.shape[1]
        if params is not None:
            coef, intercept = params
            outputs = problem.outputs(problem.X.shape[0])
            shape = (n_features, *outputs)
            if jnp.shape(coef) != shape or jnp.shape(intercept) != outputs:
                raise ValueError(
                    f"params must be Linear(coef {shape}, intercept {outputs}); got shapes "
                    f"{jnp.shape(coef)} and {jnp.shape(intercept)}"
                )
            params = tree.cast(Linear(coef, intercept), dtype)
    else:
        if params is None:
            raise ValueError("solve needs params to start from when problem is a function")
        params = jax.tree.map(lambda leaf: checks.floating("params", leaf), params)
        if not jax.tree.leaves(params):
            raise ValueError("params has no arrays")
        dtype = tree.dtype(params)
        problem = problem.closed(params)
    checks.ranges(penalty)
    return problem, tree.cast(penalty, dtype), params


@partial(jax.jit, static_argnames="record")
def _solve(
    problem: Any,
    penalty: Any,
    params: PyTree | None,
    solver: Any,
    tol: Array,
    limit: Array,
    watch: Watch | None,
    record: Record | None,
) -> Solution:
    if isinstance(problem, LinearProblem):
        centred = problem.centred()
        start = None if params is None else centred.from_original(params)
        found = _minimise(centred, penalty, start, solver, tol, limit, watch, record)
        history = found.history
        if history is not None and history.params is not None:
            trail = jax.vmap(centred.to_original)(history.params)
            history = dataclasses.replace(history, params=trail)
        params = centred.to_original(found.params)
        return dataclasses.replace(found, params=params, history=history)
    found = _minimise(problem, penalty, params, solver, tol, limit, watch, record)
    return dataclasses.replace(found, aux=problem.aux(found.params))


@partial(jax.custom_jvp, nondiff_argnums=(7,))
def _minimise(
    problem: Any,
    penalty: Any,
    start: PyTree | None,
    solver: Any,
    tol: Array,
    limit: Array,
    watch: Watch | None,
    record: Record | None,
) -> Solution:
    """The solution in the variables that solvers see."""
    if isinstance(problem, CentredProblem):
        null = null_model(problem, penalty)
        start = null.params if start is None else start

        def certificate(w: PyTree, penalty: Any) -> Certificate:
            return certify(problem, penalty, w, null)

    else:
        scale = gradient_scale(problem, start)

        def certificate(w: PyTree, penalty: Any) -> Certificate:
            return certify_smooth(problem, penalty, w, scale)

    return iterate(solver, problem, penalty, start, certificate, tol, limit, record, watch)


@_minimise.defjvp
def _derivative(
    record: Record | None, primals: tuple, tangents: tuple
) -> tuple[Solution, Solution]:
    """By the implicit function theorem, whatever the solver did."""
    found = _minimise(*primals, record)
    return found, differentiate(found, *primals[:2], *tangents[:2])


def differentiate(
    found: Solution, problem: Any, penalty: Any, d_problem: Any, d_penalty: Any
) -> Solution:
    """The tangent of a solution: of params and value; NaN unless it has converged.

    The gap, the residual and the history count as constants.
    """
    w = found.params
    dw = solution_tangent(problem, penalty, w, d_problem, d_penalty)
    factor = jnp.where(is_solved(found.status), 1, jnp.nan)
    dw = jax.tree.map(lambda d: d * factor.astype(d.dtype), dw)

    def objective(w: PyTree, problem: Any, penalty: Any) -> Array:
        return problem.value(problem.image(w)) + on_coef(problem, penalty).value(w)

    _, d_value = jax.jvp(objective, (w, problem, penalty), (dw, d_problem, d_penalty))
    return dataclasses.replace(tree.no_tangent(found), params=dw, value=d_value)


def prepared(solver: Any, problem: Any) -> Any:
    """The problem with what the solver wants computed ahead, if anything."""
    return solver.prepare(problem) if has(solver, "prepare") else problem


def iterate(
    solver: Any,
    problem: Any,
    penalty: Any,
    params: PyTree,
    certificate: Callable[[PyTree, Any], Certificate],
    tol: Array,
    limit: Array,
    record: Record | None = None,
    watch: Watch | None = None,
) -> Solution:
    """Steps of `solver` until the certificate is within tol, or a reason to stop. Pure.

    A certificate is taken at the start and after every `solver.check_every` steps, or after each
    one to record a history. A solver that splits the penalty supplies what
    stands for it in the certificate, `solver.certified(penalty, state)`, with its dual variables.
    A `watch` is asked after every step whether to stop early; its best parameters come back.
    """
    problem = prepared(solver, problem)
    whole, penalty = penalty, on_coef(problem, penalty)
    if has_prox(whole):  # a start outside the penalty's domain is first brought to it
        outside = jnp.isinf(penalty.value(params))
        params = tree.select(outside, penalty.prox(params, jnp.zeros((), tol.dtype)), params)
    check_every = 1 if record or watch else solver.check_every
    patience = 2 * solver.check_every  # steps without a move
    eps = jnp.finfo(tol.dtype).eps

    def status(found: Certificate, steps: Array, still: Array, early: Any) -> Array:
        """The first reason that holds; -1 to go on."""
        # a start may lie outside the penalty's domain: infinite is then not the end
        started = steps > 0
        broken = jnp.isnan(found.value) | jnp.isnan(found.residual)
        broken = broken | (started & (jnp.isinf(found.value) | jnp.isinf(found.residual)))
        near, no = found.error <= jnp.sqrt(eps), jnp.zeros((), bool)
        rules: list[tuple[Array, Status]] = [
            (broken, Status.NOT_FINITE),
            (found.error <= tol, Status.CONVERGED),
            (no if early is None else early.stop, Status.STOPPED),
            ((still >= patience) & near, Status.AT_PRECISION),
            (still >= patience, Status.NO_DESCENT),
            (steps >= limit, Status.MAX_STEPS),
        ]
        code = jnp.asarray(_RUNNING)
        for holds, value in reversed(rules):
            code = jnp.where(holds, int(value), code)
        return code.astype(jnp.int32)

    def advance(carry: tuple) -> tuple:
        params, state, _, steps, still, _, count, trace, early = carry
        new, state = jax.lax.fori_loop(
            0, count, lambda _, ps: solver.update(problem, penalty, *ps), (params, state)
        )
        shown = solver.certified(whole, state) if has(solver, "certified") else whole
        found = certificate(new, shown)
        measured = (found.value, found.gap, found.residual)
        steps = steps + count
        moved = tree.largest(tree.subtract(new, params)) > 4 * eps * tree.largest(new)
        moved = moved | getattr(state, "moved", False)  # dual variables, while params rest
        still = jnp.where(moved | (count == 0), 0, still + count)
        count = jnp.minimum(check_every, limit - steps)
        if trace is not None:
            zeros = tree.total(lambda w: w == 0, new.coef if isinstance(new, Linear) else new)
            cost = solver.evaluations(state) if has(solver, "evaluations") else nan
            trail = None if trace.params is None else new
            entry = History(*measured, zeros.astype(jnp.int32), cost.astype(tol.dtype), trail)
            trace = jax.tree.map(lambda all, one: all.at[steps].set(one), trace, entry)
        if watch is not None:
            early = watch.stop.update(early, watch.value(problem, new), (new, measured))
        code = status(found, steps, still, early)
        return new, state, measured, steps, still, code, count, trace, early

    def unfinished(carry: tuple) -> Array:
        return carry[5] == _RUNNING

    zero = jnp.zeros((), jnp.int32)
    state = solver.init(problem, penalty, params)
    nan = jnp.full((), jnp.nan, tol.dtype)
    trace = _empty_history(record, params, tol.dtype) if record else None
    # the first turn takes no step, so that the certificate is compiled once
    measured = (nan,) * 3
    early = None if watch is None else watch.stop.init((params, measured), tol.dtype)
    running = jnp.full_like(zero, _RUNNING)
    carry = (params, state, measured, zero, zero, running, zero, trace, early)
    params, _, measured, steps, _, code, _, trace, early = jax.lax.while_loop(
        unfinished, advance, carry
    )
    if early is not None:
        params, measured = tree.select(early.best_step >= 0, early.best_params, (params, measured))
        another = is_solved(code) & (early.best_step >= 0) & (early.best_step < steps)
        code = jnp.where(another, int(Status.STOPPED), code)
        early = dataclasses.replace(early, best_params=None)
    return Solution(params, *measured, steps, code, history=trace, early=early)


def _empty_history(record: Record, params: PyTree, dtype: Any) -> History:
    """Of no steps yet."""
    nothing = jnp.full(record.length, jnp.nan, dtype)
    zeros, trail = jnp.full(record.length, -1, jnp.int32), None
    if record.params:
        trail = jax.tree.map(
            lambda w: jnp.full((record.length, *w.shape), jnp.nan, w.dtype), params
        )
    return History(nothing, nothing, nothing, zeros, nothing, trail)


_RUNNING = -1
