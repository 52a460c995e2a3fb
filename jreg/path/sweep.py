"""`sweep`: a whole lambda path as one pure function."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.certificates import NullModel, certify, null_model
from jreg.losses import mean_deviance
from jreg.path.result import Path
from jreg.penalties import L1
from jreg.problem import CentredProblem, Linear, LinearProblem
from jreg.solvers import Solution, default_solver
from jreg.solvers.choice import check_needs
from jreg.solvers.solve import check_inputs, differentiate, iterate, prepared
from jreg.typing import Array, ArrayLike, Penalty, Scalar, Solver


def sweep(
    problem: LinearProblem,
    penalty: Penalty,
    lams: ArrayLike,
    *,
    block: int | None = None,
    solver: Solver | None = None,
    tol: Scalar | None = None,
    max_steps: int | None = None,
) -> Path:
    """Minimise `problem + penalty.at(lam)` for every lam: pure, so it jits, vmaps and shards.

    Lambdas are taken in falling order in blocks: `vmap` inside a block, `lax.scan` with warm starts
    from one block to the next. Within a block, lanes that are done wait unchanged for the slowest.
    What does not depend on lam (null model, Gram matrix, column curvatures) is computed once.

    Args:
      problem: a `LinearProblem`; its data may be traced or batched.
      penalty: multiplied by each lam: `L1(2.)` at lam 0.1 has strength 0.2.
      lams: (n_lams,) in any order, duplicates allowed; results come in the order given.
      block: lambdas per block; 1 is a sequential warm-started path. None: 1 on a CPU, where lanes
        share the cores and each gains more from its neighbour's solution (`benchmarks/sweep.py`),
        and 8 on an accelerator.
      solver, tol, max_steps: as for `solve`.

    Returns a `Path` of JAX arrays in the dtype of the data. Raises as `solve` does, and TypeError
    for a problem that is not linear. Numbers that go wrong on the way end in `status`, lane by
    lane. Coefficients, intercepts and deviance ratios have derivatives, as `solve`.

    On several devices: X and y sharded over samples (or X over features) on a `jax.sharding.Mesh`
    go in as they are; lambdas are split by `jax.shard_map(..., check_vma=False)` around sweep, so
    that each device solves its own.

    >>> from jreg import LinearProblem, L1
    >>> problem = LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> sweep(problem, L1(), jnp.array([0.25, 0.5])).n_nonzero.tolist()
    [3, 2]
    """
    if not isinstance(problem, LinearProblem):
        raise TypeError(f"sweep needs a LinearProblem; got {type(problem).__name__}")
    problem, penalty, _ = check_inputs(problem, penalty, None)
    solver = default_solver(problem, penalty) if solver is None else solver
    check_needs(solver, problem, penalty)
    checks.number("max_steps", max_steps, low=0)
    dtype = problem.X.dtype
    lams = jnp.asarray(lams, dtype)
    if lams.ndim != 1 or lams.size == 0:
        raise ValueError(f"lams must have shape (n_lams,) with n_lams >= 1; got {lams.shape}")
    checks.concrete_number("lams", lams, low=0)
    if block is None:
        block = 1 if jax.default_backend() == "cpu" else 8
    block = min(int(block), lams.size)
    if block < 1:
        raise ValueError(f"block must be at least 1; got {block}")
    tol = jnp.asarray(checks.tolerance(tol, dtype), dtype)
    limit = jnp.asarray(solver.max_steps if max_steps is None else max_steps, jnp.int32)
    return _sweep(problem, penalty, lams, tree.cast(solver, dtype), tol, limit, block)


@partial(jax.jit, static_argnames="block")
def _sweep(
    problem: LinearProblem,
    penalty: Any,
    lams: Array,
    solver: Any,
    tol: Array,
    limit: Array,
    block: int,
) -> Path:
    centred = problem.centred()
    found = _solutions(centred, penalty, lams, solver, tol, limit, block)
    return assemble(problem, centred, penalty, lams, found)


@partial(jax.custom_jvp, nondiff_argnums=(6,))
def _solutions(
    problem: CentredProblem,
    penalty: Any,
    lams: Array,
    solver: Any,
    tol: Array,
    limit: Array,
    block: int,
) -> Solution:
    """Solutions in (theta, b), in the order of lams."""
    null = null_model(problem, penalty)
    order = jnp.argsort(-lams)
    padding = -lams.size % block
    falling = jnp.concatenate([lams[order], jnp.repeat(lams[order][-1:], padding)])
    found = solve_blocks(
        solver, problem, penalty, null, falling.reshape(-1, block), null.params, tol, limit
    )
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back], found)


@_solutions.defjvp
def _derivatives(block: int, primals: tuple, tangents: tuple) -> tuple[Solution, Solution]:
    """By the implicit function theorem, lambda by lambda."""
    found = _solutions(*primals, block)
    problem, penalty, lams = primals[:3]
    d_problem, d_penalty, d_lams = tangents[:3]

    def one(found: Solution, lam: Array, d_lam: Array) -> tuple[Linear, Array]:
        at = jax.jvp(lambda p, c: p.at(c), (penalty, lam), (d_penalty, d_lam))
        tangent = differentiate(found, problem, at[0], d_problem, at[1])
        return tangent.params, tangent.value

    params, value = jax.vmap(one)(found, lams, d_lams)
    constant = tree.no_tangent(found)
    return found, dataclasses.replace(constant, params=params, value=value)


def solve_blocks(
    solver: Any,
    problem: CentredProblem,
    penalty: Any,
    null: NullModel,
    blocks: Array,
    start: Linear,
    tol: Array,
    limit: Array,
) -> Solution:
    """Solutions in (theta, b) for blocks (n_blocks, block) of falling lambdas, flattened."""
    problem = prepared(solver, problem)

    def one(lam: Array, start: Linear) -> Solution:
        strong = penalty.at(lam)
        return iterate(
            solver,
            problem,
            strong,
            start,
            lambda w, penalty: certify(problem, penalty, w, null),
            tol,
            limit,
        )

    def solve_block(start: Linear, lams: Array) -> tuple[Linear, Solution]:
        found = jax.vmap(one, in_axes=(0, None))(lams, start)
        last = jax.tree.map(lambda leaf: leaf[-1], found.params)
        sound = jnp.isfinite(found.value[-1])
        return tree.select(sound, last, start), found

    _, found = jax.lax.scan(solve_block, start, blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


def assemble(
    problem: LinearProblem, centred: CentredProblem, penalty: Any, lams: Array, found: Solution
) -> Path:
    """A `Path` in original units from solutions in (theta, b)."""
    params = jax.vmap(centred.to_original)(found.params)
    eta = jax.vmap(centred.image)(found.params)
    deviance = jax.vmap(lambda eta: weighted_deviance(centred, eta))(eta)
    return Path(
        lams=lams,
        coef=params.coef,
        intercept=params.intercept,
        gap=found.gap,
        residual=found.residual,
        num_steps=found.num_steps,
        status=found.status,
        n_nonzero=jnp.sum(params.coef.reshape(lams.size, -1) != 0, axis=1),
        deviance_ratio=explained(deviance, null_deviance(centred)),
        scale=centred.scale if problem.standardize else jnp.ones_like(centred.scale),
        penalty=penalty,
        loss=problem.loss,
        fit_intercept=problem.fit_intercept,
        standardize=problem.standardize,
    )


def explained(deviance: Array, null: Array) -> Array:
    """`1 - deviance / null`, with rounding around 0 taken away; 0 where null is 0."""
    ratio = 1 - deviance / jnp.where(null > 0, null, deviance)
    ratio = jnp.where(null == 0, 0, ratio)
    return jnp.where(jnp.abs(ratio) <= 16 * jnp.finfo(ratio.dtype).eps, 0, ratio)


def weighted_deviance(problem: CentredProblem, eta: Array) -> Array:
    """Weighted mean deviance at a linear predictor."""
    return mean_deviance(problem.loss, eta, problem.y, problem.weight)


def null_deviance(problem: CentredProblem) -> Array:
    """Deviance of the intercept (if any) and offset alone; 0 if they explain y fully."""
    fixed = jax.lax.stop_gradient(dataclasses.replace(problem, gram=None))
    null = jax.lax.stop_gradient(null_model(fixed, L1()))  # an optimum: only the data count
    deviance = weighted_deviance(problem, problem.image(null.params))
    return jnp.where(null.value == 0, 0, deviance)
