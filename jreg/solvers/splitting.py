"""What splitting methods share: copies, dual variables, and a certificate without a prox.

    penalty(x) = sum_k f_k(A_k x),    x = the parameters; of a linear model its coefficients

See `jreg.penalties.parts`. The methods hold a copy z_k of A_k x and a dual variable u_k of its
shape.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties import has_prox
from jreg.penalties.parts import Term, adjoint_sum, map_norm, parts
from jreg.problem import Linear, OnCoef
from jreg.solvers.forward_backward import first_step
from jreg.typing import Array, PyTree

# --- the parameters that are penalised --------------------------------------------------------


def terms_of(penalty: Any) -> tuple[Term, ...]:
    """The terms of a penalty as solvers see it. TypeError where one has no prox."""
    whole = penalty.penalty if isinstance(penalty, OnCoef) else penalty
    found = parts(whole)
    if found is None:
        raise TypeError(f"a part of {type(whole).__name__} has no prox")
    return found


def penalised(penalty: Any, w: PyTree) -> PyTree:
    """x of parameters w: the coefficients of a linear model, else w."""
    return w.coef if isinstance(penalty, OnCoef) else w


def with_penalised(penalty: Any, w: PyTree, x: PyTree) -> PyTree:
    """w with its x replaced."""
    return Linear(x, w.intercept) if isinstance(penalty, OnCoef) else x


def plus_adjoint(penalty: Any, terms: tuple[Term, ...], w: PyTree, u: tuple[PyTree, ...]) -> PyTree:
    """w with `sum_k A_k' u_k` added to its x."""
    x = penalised(penalty, w)
    return with_penalised(penalty, w, jax.tree.map(jnp.add, x, adjoint_sum(terms, u, x)))


# --- scales: every step length is made of these -----------------------------------------------


class Scales(NamedTuple):
    """Sizes of the problem and of the maps, so that steps have the units of the data."""

    metric: PyTree  # D, a positive diagonal like the parameters
    lipschitz: Array  # of the gradient, in that metric
    norms: tuple[Array, ...]  # |A_k D^-1/2|
    unit: Array  # largest root of D over x

    def sigmas(self, rho: Array) -> tuple[Array, ...]:
        """Dual step of each term, `rho / norm^2`; rho is a curvature, as `lipschitz`."""
        return tuple(rho / norm**2 for norm in self.norms)

    def weights(self) -> tuple[Array, ...]:
        """`lipschitz / |A_k|`: what a copy off by 1 can do to the gradient."""
        return tuple(self.lipschitz * self.unit / norm for norm in self.norms)


def scales(problem: Any, penalty: Any, terms: tuple[Term, ...], params: PyTree) -> Scales:
    """Scales at the start; the Lipschitz constant is the curvature along the gradient."""
    separable = all(f.separable for f, A in terms if A is None)
    metric = problem.metric(params, separable)
    D, image = penalised(penalty, metric), problem.image(params)
    return Scales(
        metric=metric,
        lipschitz=1 / first_step(problem, params, image, problem.gradient(image), metric),
        norms=tuple(map_norm(term, D) for term in terms),
        unit=jnp.sqrt(tree.largest(D)),
    )


# --- copies and dual variables ----------------------------------------------------------------


class Copies(NamedTuple):
    """z_k and u_k, one entry for each term, and whether they are still moving."""

    z: tuple[PyTree, ...]
    u: tuple[PyTree, ...]
    moved: Array


def moreau(f: Any, v: PyTree, step: PyTree) -> tuple[PyTree, PyTree]:
    """`z = prox(v; step)` and `u = (v - z) / step`, which is in the subdifferential of f at z."""
    z = f.prox(v, step)
    steps = tree.broadcast(step, v)
    return z, jax.tree.map(lambda v, z, h: (v - z) / h, v, z, steps)


def first_copies(terms: tuple[Term, ...], x: PyTree, sigmas: tuple[Array, ...]) -> Copies:
    """`z_k = prox(A_k x; 1 / sigma_k)` with its u_k."""
    pairs = [
        moreau(term.penalty, term.map(x), 1 / sigma)
        for term, sigma in zip(terms, sigmas, strict=True)
    ]
    return collect(pairs, None)


def collect(pairs: list[tuple[PyTree, PyTree]], previous: Copies | None) -> Copies:
    """Copies of pairs (z_k, u_k); moved: by more than rounding since the previous ones."""
    z, u = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    if previous is None:
        return Copies(z, u, jnp.asarray(True))
    eps = jnp.finfo(tree.dtype(u)).eps
    moves = [
        tree.largest(tree.subtract(new, old)) > 4 * eps * tree.largest(new)
        for new, old in zip(z + u, previous.z + previous.u, strict=True)
    ]
    return Copies(z, u, jnp.any(jnp.stack(moves)))


# --- the certificate --------------------------------------------------------------------------


@tree.dataclass
class Split:
    """The penalty in a certificate, known through its parts and dual variables.

    u_k is a subgradient of f_k at z_k by construction: `z_k = prox(z_k + step u_k; step)`. Hence x
    is optimal if

        gradient + sum_k A_k' u_k = 0    and    A_k x = z_k,

    and the entries of `kkt_distance` are the larger of `|gradient + sum_k A_k' u_k|` and the number
    `max_k weights_k |A_k x - z_k|`. The weight `lipschitz / |A_k|` turns the error of a copy into
    what repairing it does to the gradient, so both have the units of the gradient, and neither
    jumps where A_k x is next to a kink.
    """

    terms: tuple[Term, ...]
    copies: Copies
    weights: tuple[Array, ...]

    convex: ClassVar[bool] = True
    polar: ClassVar[None] = None
    conjugate: ClassVar[None] = None

    def value(self, x: PyTree) -> Array:
        """`sum_k f_k(A_k x)`, at z_k where that is infinite: x meets a constraint to tol only."""

        def one(term: Term, z: PyTree) -> Array:
            value = term.penalty.value(term.map(x))
            return jnp.where(jnp.isinf(value), term.penalty.value(z), value)

        values = [one(term, z) for term, z in zip(self.terms, self.copies.z, strict=True)]
        return sum(values[1:], values[0])

    def kkt_distance(self, x: PyTree, grad: PyTree) -> PyTree:
        """The residual of the class, like x."""
        apart = [
            weight * tree.largest(tree.subtract(term.map(x), z))
            for term, z, weight in zip(self.terms, self.copies.z, self.weights, strict=True)
        ]
        largest = jnp.max(jnp.stack(apart))
        slope = jax.tree.map(jnp.add, grad, adjoint_sum(self.terms, self.copies.u, x))
        return jax.tree.map(lambda s: jnp.maximum(jnp.abs(s), largest), slope)

    def unpenalized(self, x: PyTree) -> None:
        """None: any entry may take part."""
        del x


def certificate(penalty: Any, copies: Copies, sizes: Scales) -> Any:
    """What stands for the penalty in a certificate: itself if it has a prox, else a `Split`."""
    return penalty if has_prox(penalty) else Split(terms_of(penalty), copies, sizes.weights())
