"""The prox of a penalty in parts, by iteration, and its derivatives.

For `sum_k f_k(A_k x)`, see `parts`, with the maps and functions scaled so that the stack B of all
A_k / n_k has |B| <= 1, and p the stack of the proxes of `f_k(n_k .)` with step t,

    x = v - B' u,    B x = p(B x + u).

u is found by FISTA on the dual. With J the Jacobian of p there, and c, db what a change of v, t and
of the penalty does by itself to p and to B x, u being fixed, the derivative is

    dx = (its part at fixed u) - B' du,    du = (I - J) y - c,
    ((I - J) J + (I - J) B B' (I - J)) y = (I - J) (db - c + B B' c),

symmetric and positive semidefinite: for `|A x|_1` a least squares problem on the entries of A x
that are 0. Where the constraints there are redundant, y is not unique and dx is. Chambolle and Pock
(2016), section 4; Vaiter, Deledalle, Fadili, Peyre and Dossal (2017).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jreg import tree
from jreg.linalg import solve_psd
from jreg.penalties.parts import Term, adjoint_sum, map_norm, parts
from jreg.penalties.wrapper import Wrapper
from jreg.typing import Array, PyTree

MAX_STEPS = 20_000  # of the iteration
MAX_CG_STEPS = 2_000
MARGIN = 1.2  # of |A_k|^2, which is known from below


@tree.dataclass
class Iterated(Wrapper):
    """A penalty in parts with a prox, for implicit derivatives.

    `prox(v, t)`, t one number, is found to rounding and has derivatives, forward and reverse, in v,
    t and the penalty; NaN where 20 000 steps are not enough. Memory: 5 copies of v and 8 of all
    A_k x. Raises TypeError if a part has no prox or is not convex.

    >>> from jreg.penalties import L1, of_map
    >>> jump = of_map(L1(1.0), jnp.array([[-1.0, 1.0]]))
    >>> jax.jacobian(lambda v: Iterated(jump).prox(v, 1.0))(jnp.array([3.0, 4.0]))
    Array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """

    penalty: Any

    separable: ClassVar[bool] = False
    has_prox: ClassVar[bool] = True

    def value(self, w: PyTree) -> Array:
        """That of the penalty."""
        return self.penalty.value(w)

    def prox(self, v: PyTree, step: PyTree) -> PyTree:
        """`argmin_x step * penalty(x) + 1/2 |x - v|^2`."""
        steps = jnp.stack(jax.tree.leaves(step))
        return _prox(self.penalty, tree.floating(v), jnp.min(steps))[0]


def _terms(penalty: Any) -> tuple[Term, ...]:
    found = parts(penalty)
    if found is None or not penalty.convex:
        lack = "is not convex" if found else "has no prox"
        raise TypeError(f"a part of {type(penalty).__name__} {lack}: no derivatives of its prox")
    return found


def _bounds(penalty: Any, like: PyTree) -> tuple[Array, ...]:
    """n_k, so that |B| <= 1."""
    terms, ones = _terms(penalty), jax.tree.map(jnp.ones_like, like)
    return tuple(jnp.sqrt(MARGIN * len(terms)) * map_norm(term, ones) for term in terms)


def _each(operation: Callable[[Array, Array], Array], u: tuple, n: tuple) -> tuple[PyTree, ...]:
    """`operation(u_k, n_k)` in every array of u_k."""
    return tuple(jax.tree.map(lambda u, n=n: operation(u, n), u) for u, n in zip(u, n, strict=True))


def _image(penalty: Any, n: tuple, x: PyTree) -> tuple[PyTree, ...]:
    """`B x`."""
    return _each(jnp.divide, tuple(term.map(x) for term in _terms(penalty)), n)


def _adjoint(penalty: Any, n: tuple, u: tuple[PyTree, ...], x: PyTree) -> PyTree:
    """`B' u`, like x."""
    return adjoint_sum(_terms(penalty), _each(jnp.divide, u, n), x)


def _proxes(penalty: Any, n: tuple, v: tuple[PyTree, ...], t: Array) -> tuple[PyTree, ...]:
    """`prox_{f_k}(v_k; n_k^2 t)`: n_k times the k-th part of p at v_k / n_k."""
    terms = zip(_terms(penalty), n, v, strict=True)
    return tuple(f.prox(v, n**2 * t) for (f, _), n, v in terms)


def _p(penalty: Any, n: tuple, q: tuple[PyTree, ...], t: Array) -> tuple[PyTree, ...]:
    """`p(q)`."""
    return _each(jnp.divide, _proxes(penalty, n, _each(jnp.multiply, q, n), t), n)


@jax.custom_jvp
def _prox(penalty: Any, v: PyTree, t: Array) -> tuple[PyTree, tuple[PyTree, ...], tuple]:
    """(x, u, n)."""
    n = _bounds(penalty, v)
    tol = jnp.finfo(t.dtype).eps ** 0.75

    def step(carry: tuple) -> tuple:
        u, ahead, momentum, count, _ = carry
        image = _image(penalty, n, tree.subtract(v, _adjoint(penalty, n, ahead, v)))
        q = jax.tree.map(jnp.add, image, ahead)
        z = _p(penalty, n, q, t)
        new = tree.subtract(q, z)
        turned = tree.total(lambda a, b, c: (a - b) * (b - c), ahead, new, u) > 0
        momentum = jnp.where(turned, 0, momentum + 1)
        weight = (momentum / (momentum + 3)).astype(t.dtype)
        ahead = jax.tree.map(lambda a, b: a + weight * (a - b), new, u)
        apart = tree.largest(tree.subtract(image, z))
        size = jnp.maximum(tree.largest(new), tree.largest(z))
        return new, ahead, momentum, count + 1, ~(apart > tol * size)

    def unfinished(carry: tuple) -> Array:
        return ~carry[-1] & (carry[-2] < MAX_STEPS)

    zero, false = jnp.zeros((), jnp.int32), jnp.asarray(False)
    u = jax.tree.map(jnp.zeros_like, _image(penalty, n, v))
    u, _, _, _, done = jax.lax.while_loop(unfinished, step, (u, u, zero, zero, false))
    x = tree.subtract(v, _adjoint(penalty, n, u, v))
    return jax.tree.map(lambda x: jnp.where(done, x, jnp.nan), x), u, n


@_prox.defjvp
def _derivative(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    penalty, v, t = primals
    x, u, n = _prox(*primals)

    def at_fixed_u(penalty: Any, v: PyTree, t: Array) -> tuple:
        x = tree.subtract(v, _adjoint(penalty, n, u, v))
        image = _image(penalty, n, x)
        return x, image, _p(penalty, n, jax.tree.map(jnp.add, image, u), t)

    (_, image, _), (dx, db, dz) = jax.jvp(at_fixed_u, primals, tangents)
    # of the proxes at n q, so that no rounding of n blurs where J is 1
    nq, unravel = ravel_pytree(_each(jnp.multiply, jax.tree.map(jnp.add, image, u), n))
    _, J = jax.linearize(lambda v: ravel_pytree(_proxes(penalty, n, unravel(v), t))[0], nq)
    db = ravel_pytree(db)[0]
    c = ravel_pytree(dz)[0] - J(db)

    def BBt(u: Array) -> Array:
        return ravel_pytree(_image(penalty, n, _adjoint(penalty, n, unravel(u), v)))[0]

    def not_J(y: Array) -> Array:
        return y - J(y)

    def system(y: Array) -> Array:
        r = not_J(y)
        return J(r) + not_J(BBt(r))

    tol = float(jnp.finfo(nq.dtype).eps) ** 0.85  # tighter than that of who asks
    y = solve_psd(system, not_J(db - c + BBt(c)), tol, MAX_CG_STEPS)
    du = unravel(not_J(y) - c)
    dx = tree.subtract(dx, _adjoint(penalty, n, du, v))
    return (x, u, n), (dx, du, jax.tree.map(jnp.zeros_like, n))
