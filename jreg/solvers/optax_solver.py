"""Any optimiser of optax as a solver: on a smooth objective, by subgradients, or with a prox."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jreg import checks, tree
from jreg.solvers.smooth import evaluate
from jreg.transforms import add_penalty_gradient, proximal
from jreg.typing import Array, PyTree, Scalar


class State(NamedTuple):
    """What the next step needs."""

    inner: PyTree  # of the transform
    evaluations: Array  # of the gradient


@tree.value_dataclass
class Optax:
    """Minimise a smooth objective by an optax gradient transformation.

        updates, state = transform.update(grad F(w), state, w, value=F(w), grad=grad F(w),
                                          value_fn=F)
        w <- w + updates

    so that line searches and Polyak steps work as well (`optax.lbfgs()`, `optax.polyak_sgd()`).
    F includes the penalty; a transform that decays weights itself adds to it, and its fixed point
    is then not certified. A linear model is seen in its centred variables, columns in their own
    units. The learning rate is the caller's, and a bad one ends in MAX_STEPS or NOT_FINITE.

    Two products with X a step, more where the transform searches; memory is that of the transform.

    transform: an `optax.GradientTransformation`, any optimiser or chain; or, with a learning_rate,
    a function of it that returns one, such as `optax.adam`. It is part of the structure and
    compared by identity: build it once, outside of loops, or each new one compiles anew.
    learning_rate: a number, possibly traced: `vmap` tries many, and none compiles anew. Raises
    TypeError for anything else.

    >>> import jreg
    >>> fun = lambda w: jnp.sum((w - 2.0) ** 2)
    >>> adam = Optax(optax.adam, learning_rate=0.1)
    >>> jreg.solve(fun, jreg.Ridge(2.0), jnp.zeros(2), solver=adam).params.round(2)
    Array([1., 1.], dtype=float32)
    """

    transform: Any = tree.static()
    learning_rate: Scalar | None = None

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 50_000

    def __post_init__(self) -> None:
        _check(self)

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """The state of the transform."""
        del problem, penalty
        return _start(_made(self), params)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step of the transform."""

        def objective(w: PyTree) -> Array:
            return problem.value(problem.image(w)) + penalty.value(w)

        _, value, gradient = evaluate(problem, penalty, params)
        extra = {"value": value, "grad": gradient, "value_fn": objective}
        return _step(_made(self), gradient, params, state, **extra)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far; each trial of a line search counts 1, of a backtracking one,
        which asks for the value alone, 1/2."""
        return state.evaluations


@tree.value_dataclass
class OptaxSubgradient:
    """The same with the subgradient of a penalty that has kinks: `jreg.add_penalty_gradient`.

        w <- w + transform.update(shortest element of grad f(w) + d penalty(w))

    Weights jump over kinks, so **none that moves is ever exactly 0**, and with a constant learning
    rate it ends near the optimum, not in it. For teaching, and for comparison.

    Two products with X a step; memory is that of the transform. transform and learning_rate: as in
    `Optax`; penalty: of single entries or of groups, finite everywhere.

    >>> import jreg
    >>> fun = lambda w: 0.5 * jnp.sum((w - jnp.array([2.0, 0.3])) ** 2)
    >>> sgd, start = OptaxSubgradient(optax.sgd, learning_rate=0.3), jnp.ones(2)
    >>> found = jreg.solve(fun, jreg.L1(0.5), start, solver=sgd, max_steps=50)
    >>> bool((found.params == 0).any())
    False
    """

    transform: Any = tree.static()
    learning_rate: Scalar | None = None

    needs: ClassVar[tuple[str, ...]] = ("prox", "subgradient", "finite")
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 50_000

    def __post_init__(self) -> None:
        _check(self)

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """The state of the transform."""
        del problem
        return _start(self._chain(penalty), params)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step of the transform."""
        image = problem.image(params)
        value = problem.value(image) + penalty.value(params)
        gradient = problem.gradient(image)
        return _step(self._chain(penalty), gradient, params, state, value=value)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations

    def _chain(self, penalty: Any) -> optax.GradientTransformation:
        return optax.chain(add_penalty_gradient(penalty), _made(self))


@tree.value_dataclass
class OptaxProximal:
    """The same with the prox of the penalty: `jreg.proximal(transform, penalty, step)`.

    Exact zeros, and at rest the certified optimum, whatever momentum or scaling the transform has.

    Two products with X a step; memory is that of the transform and one number for each parameter.
    transform and learning_rate: as in `Optax`, without a line search. step: of the prox, see
    `jreg.proximal`; None has it estimated. ValueError for a concrete one that is not above 0, or
    too large for a nonconvex penalty.

    >>> import jreg
    >>> fun = lambda w: 0.5 * jnp.sum((w - jnp.array([2.0, 0.3])) ** 2)
    >>> solver = OptaxProximal(optax.adam, learning_rate=0.1)
    >>> jreg.solve(fun, jreg.L1(0.5), jnp.ones(2), solver=solver).params.round(2)
    Array([1.5, 0. ], dtype=float32)
    """

    transform: Any = tree.static()
    learning_rate: Scalar | None = None
    step: Scalar | None = None

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 50_000

    def __post_init__(self) -> None:
        _check(self)
        checks.concrete_number("step", self.step, low=1e-30)

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """The state of the transform."""
        del problem
        return _start(self._proximal(penalty), params)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step of the transform."""
        image = problem.image(params)
        value, gradient = problem.value(image), problem.gradient(image)
        return _step(self._proximal(penalty), gradient, params, state, value=value)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far."""
        return state.evaluations

    def _proximal(self, penalty: Any) -> optax.GradientTransformation:
        return proximal(_made(self), penalty, self.step)


def _check(solver: Any) -> None:
    """TypeError unless the transform is one, or with a learning rate a function."""
    given, rate = solver.transform, solver.learning_rate
    if rate is None and not isinstance(given, optax.GradientTransformation):
        hint = ", or give a learning_rate" if callable(given) else ""
        raise TypeError(
            "transform must be an optax gradient transformation, such as optax.adam(1e-3)"
            f"{hint}; got {given!r}"
        )
    if rate is not None and not callable(given):
        raise TypeError(
            "with a learning_rate, transform is a function of it, such as optax.adam or "
            f"lambda rate: optax.sgd(rate, 0.9); got {type(given).__name__}"
        )


def _made(solver: Any) -> optax.GradientTransformation:
    """The transform, of the learning rate if there is one."""
    if solver.learning_rate is None:
        return solver.transform
    return solver.transform(solver.learning_rate)


def _start(transform: optax.GradientTransformation, params: PyTree) -> State:
    """Arrays with dtypes of their own, as a loop needs."""
    inner = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), transform.init(params)
    )
    return State(inner, jnp.zeros((), tree.dtype(params)))


def _step(
    transform: optax.GradientTransformation,
    gradient: PyTree,
    params: PyTree,
    state: State,
    **extra: Any,
) -> tuple[PyTree, State]:
    update: Callable = optax.with_extra_args_support(transform).update
    updates, inner = update(gradient, state.inner, params, **extra)
    # some transforms return another dtype than they started with
    inner = tree.cast_like(inner, state.inner)
    made = 1 + sum(cost * s.info.num_linesearch_steps for s, cost in _searches(inner))
    return optax.apply_updates(params, updates), State(inner, state.evaluations + made)


def _searches(inner: PyTree) -> list[tuple[Any, float]]:
    """The states of line searches, each with what one of its trials counts."""
    costs = {optax.ScaleByBacktrackingLinesearchState: 0.5, optax.ScaleByZoomLinesearchState: 1.0}
    states = jax.tree.leaves(inner, is_leaf=lambda s: type(s) in costs)
    return [(s, costs[type(s)]) for s in states if type(s) in costs]
