"""Derivatives of a solution in everything that it depends on, by implicit differentiation.

A solution is a fixed point of every forward-backward step,

    w = prox(v),    v = w - T grad f(w),    T > 0 diagonal.

With H the Hessian of f, J the Jacobian of the prox at v (`G = J T` is symmetric), and c, dg what a
change of the data does by itself to the prox and to grad f, its derivative is

    dw = G x + c,    x = T^-1 dw - H dw - dg,    hence
    (G - G T^-1 G + G H G) x = G (T^-1 c - H c - dg),

a symmetric positive semidefinite system. For the lasso G keeps the entries that are not 0: this is
then `H dw = -dg` on the support, conjugate gradients need as many steps as the support has entries,
and zeros have derivative 0. Ridges, groups, bounds, fused and spectral penalties bring their
curvature, and what moves with them, in J and c. A penalty of a linear map, or a sum without a prox
of its own, gets one from `jreg.penalties.iterated`, and with it J and c. Bertrand, Klopfenstein,
Massias, Blondel, Vaiter, Gramfort and Salmon (2022), sections 2 and 3; Bolte, Le, Pauwels and
Silveti-Falls (2021).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import tree
from jreg.linalg import solve_psd
from jreg.penalties import has_prox
from jreg.penalties.iterated import Iterated
from jreg.problem import CentredProblem, Linear, LinearProblem, OnCoef
from jreg.typing import Array, PyTree, has


def solution_tangent(
    problem: Any, penalty: Any, params: PyTree, d_problem: Any, d_penalty: Any
) -> PyTree:
    """dw, like params, for tangents of the problem and of the penalty.

    params minimise problem + penalty: a `CentredProblem` and a penalty of its coefficients, or a
    `Problem`. Linear in the tangents, so it serves forward and reverse mode. NaN where the
    conjugate gradients do not get there in 2000 steps. Memory: a few copies of the parameters and
    of the linear predictor; one of their steps costs two products with X, and for a penalty without
    a prox two solutions of linear systems in its maps. Raises TypeError where a part of the penalty
    has no prox, or is not convex while the whole has none.
    """
    iterated = not has_prox(penalty)
    if iterated:
        penalty, d_penalty = Iterated(penalty), Iterated(d_penalty)
    if isinstance(problem, CentredProblem):
        penalty, d_penalty = OnCoef(penalty), OnCoef(d_penalty)

    def slope(w: PyTree, problem: Any) -> PyTree:
        return problem.gradient(problem.image(w))

    g, H = jax.linearize(lambda w: slope(w, problem), params)
    T = _steps(problem, penalty, params, g, H)
    v = jax.tree.map(lambda w, t, g: w - t * g, params, T, g)

    def prox(v: PyTree, penalty: Any) -> PyTree:
        one_a_leaf = jax.tree.map(jnp.min, T)
        z = penalty.prox(v, T if penalty.separable else one_a_leaf)
        if isinstance(problem, CentredProblem) and not problem.fit_intercept:
            return z._replace(intercept=jnp.zeros_like(z.intercept))  # it does not move
        return z

    _, J = jax.linearize(lambda v: prox(v, penalty), v)
    _, dg = jax.jvp(lambda problem: slope(params, problem), (problem,), (d_problem,))
    _, c = jax.jvp(lambda penalty: prox(v, penalty), (penalty,), (d_penalty,))

    def G(u: PyTree) -> PyTree:
        return J(jax.tree.map(jnp.multiply, T, u))

    def over_T(u: PyTree) -> PyTree:
        return jax.tree.map(jnp.divide, u, T)

    # one vector for all leaves, so that transposition sees all of them depend on the tangents
    right = G(jax.tree.map(lambda c, Hc, dg: c - Hc - dg, over_T(c), H(c), dg))
    right, unravel = ravel_pytree(right)

    def system(x: Array) -> Array:
        y = G(unravel(x))
        inner = jax.tree.map(lambda x, y, Hy: x - y + Hy, unravel(x), over_T(y), H(y))
        return ravel_pytree(G(inner))[0]

    tol = float(jnp.finfo(right.dtype).eps) ** (0.65 if iterated else 0.75)
    x = solve_psd(system, right, tol, MAX_STEPS, scale=ravel_pytree(T)[0])
    return jax.tree.map(jnp.add, G(unravel(x)), c)


MAX_STEPS = 2000  # of the conjugate gradients


def _steps(problem: Any, penalty: Any, params: PyTree, g: PyTree, H: Any) -> PyTree:
    """T: about the inverse curvature, entry by entry where the penalty allows."""
    metric = problem.metric(params, penalty.separable)
    scale = jnp.ones((), tree.dtype(params))
    if not isinstance(problem, CentredProblem):
        curvature = tree.total(jnp.multiply, g, H(g))
        size = tree.total(jnp.multiply, g, g)
        known = (curvature > 0) & (size > 0)
        scale = jnp.where(known, size / jnp.where(known, curvature, 1), 1)
    if not penalty.convex:  # a local minimum is a fixed point of short steps only
        scale = scale / 64
    return jax.tree.map(lambda d: scale / d, metric)


class KinkDistance(NamedTuple):
    """How far a solution is from changing its support, where derivatives jump.

    entering: the least of `1 - c_j` over coefficients that are 0, c_j being the multiple of the
    strength at which coefficient j would enter, given its gradient; inf if all have entered.
    leaving: the least of |theta_j| over those that are not 0, relative to the largest; inf if none
    can leave.
    """

    entering: Array
    leaving: Array


def kink_distance(problem: LinearProblem, penalty: Any, params: Linear) -> KinkDistance:
    """How far (coef, intercept), a solution, is from the nearest kinks.

    Derivatives hold within that distance only. Raises TypeError for a penalty that does not say
    where entries enter (`entry`).

    >>> import jreg
    >>> problem = jreg.LinearProblem(jnp.eye(3), jnp.array([3.0, 1.0, -2.0]), fit_intercept=False)
    >>> kink_distance(problem, jreg.L1(0.5), jreg.solve(problem, jreg.L1(0.5)).params)
    KinkDistance(entering=Array(0.333..., dtype=float32), leaving=Array(0.333..., dtype=float32))
    """
    if not has(penalty, "entry"):
        raise TypeError(f"{type(penalty).__name__} does not say where entries enter")
    centred = problem.checked().centred()
    params = centred.from_original(tree.cast(Linear(*params), centred.X.dtype))
    theta, gradient = params.coef, centred.gradient(centred.image(params)).coef
    kinked = ~penalty.support(jnp.zeros_like(theta))
    zero = kinked & (theta == 0)
    entering = jnp.min(jnp.where(zero, 1 - penalty.entry(gradient), jnp.inf), initial=jnp.inf)
    size = jnp.abs(theta) / jnp.max(jnp.abs(theta), initial=jnp.finfo(theta.dtype).tiny)
    leaving = jnp.min(jnp.where(kinked & ~zero, size, jnp.inf), initial=jnp.inf)
    return KinkDistance(entering, leaving)
