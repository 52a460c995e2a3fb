"""ADMM, for penalties without a prox of their own: Newton steps by conjugate gradients."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from jreg import tree
from jreg.penalties.parts import adjoint_sum
from jreg.solvers.splitting import (
    Copies,
    Scales,
    certificate,
    collect,
    first_copies,
    moreau,
    penalised,
    plus_adjoint,
    scales,
    terms_of,
    with_penalised,
)
from jreg.typing import Array, PyTree

RELAXATION = 1.6  # Boyd et al. (2011), section 3.4.3


class State(NamedTuple):
    """What the next step needs; tuples have one entry for each term."""

    w: PyTree  # the parameters in f, of which z_k are copies
    image: PyTree
    maps: tuple[PyTree, ...]  # A_k x
    copies: Copies
    sizes: Scales
    rho: Array  # sigma_k = rho / norm_k^2
    num_steps: Array

    @property
    def moved(self) -> Array:
        """Whether copies or dual variables changed in the last step; the parameters may rest."""
        return self.copies.moved


@tree.value_dataclass
class ADMM:
    """Minimise f + penalty by the prox of each part of the penalty and Newton steps on f.

    For `penalty(x) = sum_k f_k(A_k x)`, as in `splitting`, with x the penalised part of w,

        w    = argmin_w f(w) + sum_k sigma_k / 2 |A_k x - z_k + u_k / sigma_k|^2
        a_k  = 1.6 A_k x + (1 - 1.6) z_k
        z_k+ = prox_{f_k}(a_k + u_k / sigma_k, 1 / sigma_k)
        u_k+ = u_k + sigma_k (a_k - z_k+)

    The first line is one Newton step from the last w, by conjugate gradients to a hundredth of the
    slope; halved until the objective falls. sigma_k = rho / |A_k|^2, with norms in the metric of
    `FISTA`. rho starts at the curvature of f and is balanced at steps 4, 8, 16, ...: multiplied by
    the root of |A_k x - z_k| over |sum_k sigma_k A_k' (z_k+ - z_k)|, both counted once in the units
    of the gradient and once relative to the sizes of x and u (geometric mean).

    The solution is the copy of x of the first part without a map, so that its zeros and constraints
    are exact, else w. It ends when the gradient with the dual variables is 0 and z_k = A_k x to
    tol; see `Split`. A `Problem` with its own gradient must let JAX differentiate that.
    sigma_k is one number for all entries: it is slow where columns of X differ in scale by orders
    of magnitude, which `PrimalDual` does not mind under a separable part.

    A step costs up to `cg_steps` products with X, the A_k and the transpose of each. Memory
    10 p + 2 n numbers, and 5 for each row of the A_k. Boyd, Parikh, Chu, Peleato and Eckstein
    (2011), section 3; Wohlberg (2017) for the balance; Eckstein and Yao (2018) for inexact steps.

    cg_steps: limit of conjugate gradient steps.

    >>> import jreg
    >>> jumps = jreg.penalties.of_map(jreg.L1(1.0), jnp.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]))
    >>> fun = lambda w: 0.5 * jnp.sum((w - jnp.array([1.0, 2.0, 9.0])) ** 2)
    >>> jreg.solve(fun, jumps, jnp.zeros(3), solver=ADMM()).params.round(2)
    Array([2., 2., 8.], dtype=float32)
    """

    cg_steps: int = tree.static(default=30)

    needs: ClassVar[tuple[str, ...]] = ("parts", "convex")
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 10_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """Scales, and the copies and dual variables of the start."""
        terms = terms_of(penalty)
        x = penalised(penalty, params)
        sizes = scales(problem, penalty, terms, params)
        rho = sizes.lipschitz
        return State(
            w=params,
            image=problem.image(params),
            maps=tuple(term.map(x) for term in terms),
            copies=first_copies(terms, x, sizes.sigmas(rho)),
            sizes=sizes,
            rho=rho,
            num_steps=jnp.zeros((), jnp.int32),
        )

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step."""
        del params  # a copy of the parameters in the state
        terms, sigmas = terms_of(penalty), state.sizes.sigmas(state.rho)
        w = self._minimise(problem, penalty, state)
        x = penalised(penalty, w)
        maps = tuple(term.map(x) for term in terms)
        pairs = []
        for term, a, z, u, sigma in zip(terms, maps, *state.copies[:2], sigmas, strict=True):
            v = jax.tree.map(
                lambda a, z, u, s=sigma: RELAXATION * a + (1 - RELAXATION) * z + u / s, a, z, u
            )
            pairs.append(moreau(term.penalty, v, 1 / sigma))
        copies = collect(pairs, state.copies)
        num_steps = state.num_steps + 1
        due = (num_steps & (num_steps - 1) == 0) & (num_steps >= 4)
        imbalance = _imbalance(terms, x, maps, copies, state)
        new = State(
            w=w,
            image=problem.image(w),
            maps=maps,
            copies=copies,
            sizes=state.sizes,
            rho=jnp.where(due, jnp.clip(jnp.sqrt(imbalance), 0.1, 10) * state.rho, state.rho),
            num_steps=num_steps,
        )
        return with_penalised(penalty, w, copies.z[0]) if terms[0].of is None else w, new

    def certified(self, penalty: Any, state: State) -> Any:
        """What stands for the penalty in a certificate."""
        return certificate(penalty, state.copies, state.sizes)

    def _minimise(self, problem: Any, penalty: Any, state: State) -> PyTree:
        """A damped Newton step on the augmented Lagrangian in w."""
        terms, sizes = terms_of(penalty), state.sizes
        sigmas, dtype = sizes.sigmas(state.rho), state.rho.dtype
        gradient = problem.gradient(state.image)
        forces = tuple(
            jax.tree.map(lambda a, z, u, s=sigma: u + s * (a - z), a, z, u)
            for a, z, u, sigma in zip(state.maps, *state.copies[:2], sigmas, strict=True)
        )
        slope = plus_adjoint(penalty, terms, gradient, forces)

        def mapped(d: PyTree) -> tuple[PyTree, ...]:
            """`sigma_k A_k d`."""
            dx = penalised(penalty, d)
            return tuple(
                jax.tree.map(lambda a, s=sigma: s * a, term.map(dx))
                for term, sigma in zip(terms, sigmas, strict=True)
            )

        # in the variables D^1/2 w: the units of coefficients and intercept differ
        root = jax.tree.map(jnp.sqrt, sizes.metric)
        damping = jnp.sqrt(jnp.finfo(dtype).eps) * sizes.lipschitz  # where all curvature is 0

        def product(e: PyTree) -> PyTree:
            d = jax.tree.map(jnp.divide, e, root)
            curved = problem.hessian_times(state.image, d)
            curved = plus_adjoint(penalty, terms, curved, mapped(d))
            return jax.tree.map(lambda h, r, e: h / r + damping * e, curved, root, e)

        right = jax.tree.map(lambda s, r: -s / r, slope, root)
        e, _ = cg(product, right, tol=1e-2, maxiter=self.cg_steps)
        d = jax.tree.map(jnp.divide, e, root)
        promised = -tree.total(jnp.multiply, slope, d)
        bend = sum(
            (tree.total(jnp.square, a) / sigma for a, sigma in zip(mapped(d), sigmas, strict=True)),
            jnp.zeros_like(promised),
        )

        def too_far(t: Array) -> Array:
            image = problem.image(tree.add_scaled(state.w, t, d))
            rise = problem.bregman(image, state.image, gradient) + 0.5 * t**2 * bend
            return (rise > 0.9 * t * promised) & (t > 1e-9)

        t = jax.lax.while_loop(too_far, lambda t: t / 2, jnp.ones_like(promised))
        return tree.add_scaled(state.w, t, d)


def _imbalance(
    terms: tuple, x: PyTree, maps: tuple[PyTree, ...], copies: Copies, state: State
) -> Array:
    """How much further the copies are from A_k x than the dual variables from rest; 1 at rest."""
    sizes, sigmas = state.sizes, state.sizes.sigmas(state.rho)

    def largest(trees: tuple[PyTree, ...]) -> Array:
        """In the units of the gradient."""
        return jnp.max(
            jnp.stack([w * tree.largest(a) for w, a in zip(sizes.weights(), trees, strict=True)])
        )

    apart = largest(tree.subtract(maps, copies.z))
    moved = tuple(
        jax.tree.map(lambda a, b, s=sigma: s * (a - b), a, b)
        for a, b, sigma in zip(copies.z, state.copies.z, sigmas, strict=True)
    )
    drift = tree.largest(adjoint_sum(terms, moved, x))
    size = jnp.maximum(largest(maps), largest(copies.z))
    pull = tree.largest(adjoint_sum(terms, copies.u, x))
    # sqrt of (apart / drift) * (apart / size) / (drift / pull)
    relative = jnp.sqrt(pull / jnp.where(size > 0, size, 1))
    balance = apart / jnp.where(drift > 0, drift, 1) * jnp.where(size > 0, relative, 1)
    return jnp.where(drift > 0, balance, jnp.where(apart > 0, jnp.inf, 1))
