"""Any optimiser of optax as a solver."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from jreg import tree
from jreg.solvers.smooth import evaluate
from jreg.typing import Array, PyTree


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

    transform: an `optax.GradientTransformation`, any optimiser or chain. It is part of the
    structure and compared by identity: build it once, outside of loops, or each new one compiles
    anew. Raises TypeError for anything else.

    >>> import jreg
    >>> adam = optax.adam(0.1)
    >>> fun = lambda w: jnp.sum((w - 2.0) ** 2)
    >>> jreg.solve(fun, jreg.Ridge(2.0), jnp.zeros(2), solver=Optax(adam)).params.round(2)
    Array([1., 1.], dtype=float32)
    """

    transform: Any = tree.static()

    needs: ClassVar[tuple[str, ...]] = ("smooth penalty",)
    check_every: ClassVar[int] = 10
    max_steps: ClassVar[int] = 50_000

    def __post_init__(self) -> None:
        if not isinstance(self.transform, optax.GradientTransformation):
            raise TypeError(
                "transform must be an optax gradient transformation, such as optax.adam(1e-3); "
                f"got {self.transform!r}"
            )

    def init(self, problem: Any, penalty: Any, params: PyTree) -> PyTree:
        """The state of the transform."""
        del problem, penalty
        return _strong(self.transform.init(params))

    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: PyTree
    ) -> tuple[PyTree, PyTree]:
        """One step of the transform."""

        def objective(w: PyTree) -> Array:
            return problem.value(problem.image(w)) + penalty.value(w)

        _, value, gradient = evaluate(problem, penalty, params)
        transform = optax.with_extra_args_support(self.transform)
        updates, new = transform.update(
            gradient, state, params, value=value, grad=gradient, value_fn=objective
        )
        # some transforms return another dtype than they started with
        return optax.apply_updates(params, updates), tree.cast_like(new, state)


def _strong(state: PyTree) -> PyTree:
    """Arrays with dtypes of their own, as a loop needs."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)
