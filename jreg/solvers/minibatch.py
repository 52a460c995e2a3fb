"""Any solver on random rows: a new minibatch for every step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jreg import checks, tree
from jreg.typing import Array, PyTree, Scalar, has

LARGEST_SEED = 2**24 - 1  # seeds travel as floating-point numbers: all of these are different


class State(NamedTuple):
    """What the next step needs."""

    inner: Any  # of the solver
    key: Array


@tree.value_dataclass
class Minibatch:
    """Each step of `solver` sees `batch_size` rows of the data, drawn evenly with replacement.

    The mean loss of such rows is an unbiased estimate of that of all, so this is stochastic
    gradient descent for `Optax(optax.sgd, 0.1)`, and its relatives for other transforms. With a
    constant learning rate it ends in the noise of the gradients, around the optimum. Certificates
    are taken on all rows.

    For solvers that start every step from the gradient at params: `Optax` and its kin. One that
    compares gradients of different steps (`LBFGS`, `BFGS`) compares those of different rows: it can
    be tried here, and fails, which is worth seeing once. Not for those that split a penalty
    (`ADMM`, `PrimalDual`).

    A step costs batch_size / n_samples of the solver's. On a `LinearProblem` of one number per
    sample, dense; or on a `Problem` whose `fun` is the mean over the leading axis of every array in
    `args`. Robbins and Monro (1951); Bottou, Curtis and Nocedal (2018), section 4.

    solver: as above. batch_size: a whole number from 1 on (more than n_samples is no error). seed:
    a whole number from 0 to 2^24 - 1, possibly traced, so that `vmap` runs many. Raises ValueError
    for others, TypeError for another solver and for a problem without rows.

    >>> import jax.numpy as jnp
    >>> import optax
    >>> import jreg
    >>> X = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    >>> problem = jreg.LinearProblem(X, 2 * X[:, 0], fit_intercept=False)
    >>> sgd = Minibatch(jreg.Optax(optax.sgd, 0.05), batch_size=2)
    >>> jreg.solve(problem, None, solver=sgd).params.coef.round(2)
    Array([2.], dtype=float32)
    """

    solver: Any
    batch_size: int = tree.static()
    seed: Scalar = 0

    def __post_init__(self) -> None:
        checks.whole_number("batch_size", self.batch_size, low=1)
        checks.whole_number("seed", self.seed, low=0, high=LARGEST_SEED)
        if isinstance(self.solver, type) or has(self.solver, "certified"):
            raise TypeError(
                "Minibatch needs a solver that steps along gradients, such as Optax(optax.sgd, "
                f"0.1) or FISTA(); got {self.solver!r}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """As the solver."""
        return self.solver.needs

    @property
    def check_every(self) -> int:
        """As the solver."""
        return self.solver.check_every

    @property
    def max_steps(self) -> int:
        """As the solver."""
        return self.solver.max_steps

    def init(self, problem: Any, penalty: Any, params: PyTree) -> State:
        """The state of the solver on first rows."""
        rows, key = self._draw(problem, jax.random.key(jnp.asarray(self.seed, jnp.uint32)))
        return State(self.solver.init(rows, penalty, params), key)

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: State
    ) -> tuple[PyTree, State]:
        """One step of the solver, on rows of its own."""
        rows, key = self._draw(problem, state.key)
        params, inner = self.solver.update(rows, penalty, params, state.inner)
        return params, State(inner, key)

    def evaluations(self, state: State) -> Array:
        """Of the gradient so far, each on batch_size rows."""
        return self.solver.evaluations(state.inner)

    def _draw(self, problem: Any, key: Array) -> tuple[Any, Array]:
        """The problem on random rows, and the next key."""
        key, now = jax.random.split(key)
        index = jax.random.randint(now, (self.batch_size,), 0, problem.n_rows)
        return problem.rows(index), key
