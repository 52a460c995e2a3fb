"""The primal-dual method of Condat and Vu, for penalties without a prox of their own."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jreg import tree
from jreg.penalties.parts import Term
from jreg.solvers.forward_backward import cost, forward, norm2
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


class State(NamedTuple):
    """What the next step needs; tuples have one entry for each term."""

    image: PyTree  # of the current point
    maps: tuple[PyTree, ...]  # A_k x
    copies: Copies
    sizes: Scales
    stretch: Array  # |A D^-1/2|^2 of all maps of dual terms, each over its norm
    rho: Array  # sigma_k = rho / norm_k^2
    num_steps: Array
    evaluations: Array  # of the gradient
    anchor: tuple[PyTree, tuple[PyTree, ...]]  # x and u when rho was last set

    @property
    def moved(self) -> Array:
        """Whether copies or dual variables changed in the last step; the parameters may rest."""
        return self.copies.moved


@tree.value_dataclass
class PrimalDual:
    """Minimise f + penalty by the prox of each part of the penalty and gradients of f.

    For `penalty(x) = g(x) + sum_k f_k(A_k x)`, as in `splitting`, one step is

        x+   = prox_g(x - tau D^-1 (grad f(x) + sum_k A_k' u_k), tau D^-1)
        z_k  = prox_{f_k}(A_k (2 x+ - x) + u_k / sigma_k, 1 / sigma_k)
        u_k+ = u_k + sigma_k (A_k (2 x+ - x) - z_k)

    g is the first part without a map, or 0: its kinks and constraints hold exactly. D is the
    metric of `FISTA`. With a Lipschitz constant L and norms |A_k| in that metric,

        sigma_k = rho / |A_k|^2,    1 / tau = 0.55 L + rho |A|^2,

    |A| being the norm of all A_k / |A_k| together. L, |A_k| start from a Rayleigh quotient and
    power iterations; L and |A| grow, and the step is taken again, where it shows them too small.
    rho starts at L and is set anew at steps 16, 32, 64, ...: to the geometric mean of itself and
    of |u - u_0| / |x - x_0|, the lengths travelled since it was last set.

    It ends when the gradient with the dual variables is 0 and z_k = A_k x to tol; see `Split`.

    A step costs two products with X, and one product with A_k and one with its transpose each.
    Memory 6 p + n numbers, and 5 for each row of the A_k. Condat (2013), algorithm 3.1; Vu (2013);
    for rho Applegate et al. (2021), section 3.3.

    >>> import jreg
    >>> jumps = jreg.penalties.of_map(jreg.L1(1.0), jnp.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]))
    >>> fun = lambda w: 0.5 * jnp.sum((w - jnp.array([1.0, 2.0, 9.0])) ** 2)
    >>> jreg.solve(fun, jumps, jnp.zeros(3), solver=PrimalDual()).params.round(2)
    Array([2., 2., 8.], dtype=float32)
    """

    needs: ClassVar[tuple[str, ...]] = ("parts", "convex")
    check_every: ClassVar[int] = 20
    max_steps: ClassVar[int] = 50_000

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """Scales, and the copies and dual variables of the start."""
        terms = terms_of(penalty)
        x = penalised(penalty, params)
        sizes = scales(problem, penalty, terms, params)
        rho = sizes.lipschitz
        copies = first_copies(terms, x, sizes.sigmas(rho))
        return State(
            image=problem.image(params),
            maps=tuple(term.map(x) for term in terms),
            copies=copies,
            sizes=sizes,
            stretch=jnp.ones_like(rho),
            rho=rho,
            num_steps=jnp.zeros((), jnp.int32),
            evaluations=jnp.ones_like(rho),
            anchor=(x, copies.u),
        )

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step."""
        terms = terms_of(penalty)
        dual = _dual(terms)
        step = _primal_step(problem, penalty, params, state)
        new, image, maps, direct, lipschitz, stretch, trials = step
        pairs = list(direct)
        for term, a, b, u, sigma in zip(
            terms[dual],
            maps[dual],
            state.maps[dual],
            state.copies.u[dual],
            state.sizes.sigmas(state.rho)[dual],
            strict=True,
        ):
            ahead = jax.tree.map(lambda a, b, u, s=sigma: 2 * a - b + u / s, a, b, u)
            pairs.append(moreau(term.penalty, ahead, 1 / sigma))
        copies = collect(pairs, state.copies)
        x = penalised(penalty, new)
        num_steps = state.num_steps + 1
        due = (num_steps & (num_steps - 1) == 0) & (num_steps >= 16)
        metric = penalised(penalty, state.sizes.metric)
        return new, State(
            image=image,
            maps=maps,
            copies=copies,
            sizes=state.sizes._replace(lipschitz=lipschitz),
            stretch=stretch,
            rho=jnp.where(due, _balanced(state, dual, x, copies.u, metric), state.rho),
            num_steps=num_steps,
            evaluations=state.evaluations + cost(problem, trials),
            anchor=tree.select(due, (x, copies.u), state.anchor),
        )

    def certified(self, penalty: Any, state: State) -> Any:
        """What stands for the penalty in a certificate."""
        return certificate(penalty, state.copies, state.sizes)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations


def _dual(terms: tuple[Term, ...]) -> slice:
    """The terms that have dual variables of their own: all but g."""
    return slice(1 if terms[0].of is None else 0, None)


def _primal_step(problem: Any, penalty: Any, params: PyTree, state: State) -> tuple:
    """x+ with its image and maps, (x+, subgradient of g) if there is g, the L and |A|^2 under which
    the step is safe, and how many steps were tried."""
    terms, sizes = terms_of(penalty), state.sizes
    dual = _dual(terms)
    gradient = problem.gradient(state.image)
    slope = plus_adjoint(penalty, terms[dual], gradient, state.copies.u[dual])
    eps = jnp.finfo(state.rho.dtype).eps

    def attempt(trial: tuple) -> tuple:
        *_, lipschitz, stretch, trials, _ = trial
        tau = 1 / (0.55 * lipschitz + state.rho * stretch)
        new = forward(params, slope, sizes.metric, tau)
        direct = []
        for g in terms[: dual.start]:
            step = _steps(g, tau, penalised(penalty, sizes.metric))
            direct = [moreau(g.penalty, penalised(penalty, new), step)]
            new = with_penalised(penalty, new, direct[0][0])
        image = problem.image(new)
        maps = tuple(term.map(penalised(penalty, new)) for term in terms)

        moved = norm2(tree.subtract(new, params), sizes.metric)
        testable = moved > (16 * eps) ** 2 * norm2(new, sizes.metric)  # else within rounding
        bend = 2 * problem.bregman(image, state.image, gradient)
        pull = _length2(tree.subtract(maps[dual], state.maps[dual]), sizes.norms[dual], -1, moved)
        bent = testable & (bend > (1 + 8 * eps) * lipschitz * moved)
        pulled = testable & (pull > (1 + 8 * eps) * stretch * moved)
        over = jnp.where(moved > 0, moved, 1)
        lipschitz = jnp.where(bent, jnp.clip(1.2 * bend / over, 0, 4 * lipschitz), lipschitz)
        stretch = jnp.where(pulled, 1.05 * pull / over, stretch)
        again = (bent | pulled) & (lipschitz < 1e25 * sizes.lipschitz)
        return new, image, maps, direct, lipschitz, stretch, trials + 1, again

    zero = jnp.zeros((), jnp.int32)
    start = (sizes.lipschitz, state.stretch, zero, jnp.asarray(True))
    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(attempt, start)[:4])
    return jax.lax.while_loop(lambda trial: trial[-1], attempt, (*nothing, *start))[:-1]


def _steps(term: Term, tau: Array, metric: PyTree) -> PyTree:
    """`tau / D`, one number unless the penalty is separable."""
    if term.penalty.separable:
        return jax.tree.map(lambda d: tau / d, metric)
    return tau / tree.largest(metric)


def _balanced(state: State, dual: slice, x: PyTree, u: tuple[PyTree, ...], metric: PyTree) -> Array:
    """The geometric mean of rho and |u - u_0| / |x - x_0|; rho if one of them rests."""
    x_0, u_0 = state.anchor
    x_length = jnp.sqrt(norm2(tree.subtract(x, x_0), metric))
    moves = tree.subtract(u[dual], u_0[dual])
    u_length = jnp.sqrt(_length2(moves, state.sizes.norms[dual], 1, x_length))
    usable = (x_length > 0) & (u_length > 0)
    ratio = u_length / jnp.where(usable, x_length, 1)
    return jnp.where(usable, jnp.sqrt(ratio * state.rho), state.rho)


def _length2(trees: tuple[PyTree, ...], norms: tuple[Array, ...], power: int, like: Array) -> Array:
    """`sum_k |trees_k|^2 norms_k^(2 power)`, of the dtype of `like`."""
    total = jnp.zeros_like(like)
    for one, norm in zip(trees, norms, strict=True):
        total += norm ** (2 * power) * tree.total(jnp.square, one)
    return total
