"""Names for the roles that arrays and trees play, and the protocols that members follow.

The protocols are the contracts of the library in code: a penalty, a loss or a solver is any object
with these methods. Nothing inherits from them.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax

Array = jax.Array
Scalar = Any  # a Python or NumPy number, or an array of rank 0 (traced or not)
ArrayLike = Any  # whatever `jnp.asarray` accepts; arrays of host code, which are NumPy's
PyTree = Any


@runtime_checkable
class Penalty(Protocol):
    """A function of the parameters with a proximal operator.

    Optional pieces, None where a member has none (test with `has`): `conjugate(u)`; `polar(u)`, the
    smallest c with `conjugate(u / c) = 0`; `entry(grad)`, for each entry the multiple of the
    strength at which it may leave 0; `restrict(index)`, the penalty on some entries of one array;
    `kink(w)`, the ends of the subdifferential at 0, and `slope(w)`, the derivative elsewhere;
    for sums over groups of rows `blocks(shape)`, the rows of each group of parameters of that shape
    (None if there are none), and `block(g)`, the penalty of one group.
    """

    convex: ClassVar[bool]
    separable: ClassVar[bool]  # acts on every entry alone, so `step` may be an array
    homogeneous: ClassVar[bool]  # value(c w) = c value(w) for c >= 0
    compares: ClassVar[bool]  # entries with one another, so that rescaling columns has no meaning
    ranges: ClassVar[dict[str, tuple[float, float]]]  # of the hyper-parameters

    def value(self, w: PyTree) -> Array: ...
    def prox(self, v: PyTree, step: PyTree) -> PyTree: ...
    def at(self, c: Scalar) -> "Penalty": ...

    # |-grad - projection of -grad on the subdifferential at w|, entry by entry
    def kkt_distance(self, w: PyTree, grad: PyTree) -> PyTree: ...
    def lam_max(self, grad_at_zero: PyTree) -> Array: ...
    def unpenalized(self, w: PyTree) -> PyTree | None: ...
    def support(self, w: PyTree) -> PyTree: ...


class _AnyLoss(Protocol):
    """What every loss of the linear predictor `eta` and the response `y` has.

    Optional pieces, None where a member has none (test with `has`): `outputs(row)`, the shape of
    one row of eta for rows of y of shape `row`, None or an error if such y have no meaning
    (without it eta and y are (n_samples,));
    `classify(eta)`; `prox(v, y, t)`; `shift(eta, y, weight)`, the constant that is best added to
    eta; `bregman(new, old, y)`; `check_intercept(y)`, which raises where the best intercept is
    infinite or means nothing.
    """

    @property
    def smoothness(self) -> Any: ...  # Lipschitz constant of the gradient; None: unbounded

    smooth: ClassVar[bool]  # the gradient is continuous
    strictly_convex: ClassVar[bool]  # the curvature is positive everywhere
    quadratic: ClassVar[bool]  # the curvature does not depend on eta
    translates: ClassVar[bool]  # a function of eta - y: both may be shifted

    def inverse_link(self, eta: Array) -> Array: ...
    def in_domain(self, y: Array) -> Array: ...
    def check(self, y: ArrayLike) -> None: ...


@runtime_checkable
class Loss(_AnyLoss, Protocol):
    """A loss that is one number per sample; problems take the weighted mean.

    `gradient` and `curvature` (the diagonal, for several outputs) have the shape of eta.
    """

    def pointwise(self, eta: Array, y: Array) -> Array: ...
    def gradient(self, eta: Array, y: Array) -> Array: ...
    def curvature(self, eta: Array, y: Array) -> Array: ...
    def conjugate(self, u: Array, y: Array) -> Array: ...
    def fenchel_young(self, eta: Array, y: Array, u: Array) -> Array: ...
    def deviance(self, eta: Array, y: Array) -> Array: ...


@runtime_checkable
class MeanLoss(_AnyLoss, Protocol):
    """A loss of all samples at once, such as a partial likelihood; `weight` sums to 1.

    `mean_gradient` is the derivative of `mean` in eta, `mean_curvature` a diagonal matrix above
    its second derivative. `prepare(y)` computes ahead what depends on y alone.
    """

    def prepare(self, y: Array) -> Any: ...
    def mean(self, eta: Array, y: Any, weight: Array) -> Array: ...
    def mean_gradient(self, eta: Array, y: Any, weight: Array) -> Array: ...
    def mean_curvature(self, eta: Array, y: Any, weight: Array) -> Array: ...
    def mean_deviance(self, eta: Array, y: Any, weight: Array) -> Array: ...


@runtime_checkable
class Solver(Protocol):
    """An iterative method: `init` makes its state, `update` takes one step.

    Optional pieces: `prepare(problem)`, the problem with what depends on its data alone computed
    ahead; `certified(penalty, state)`, what stands for a penalty without a prox in certificates;
    `evaluations(state)`, gradient evaluations so far: 1 for a gradient with its value, 2 for a
    Hessian times a vector, 1/2 for a value alone or one product with X.
    """

    needs: ClassVar[tuple[str, ...]]  # what problem and penalty must provide
    check_every: ClassVar[int]  # steps between two certificates
    max_steps: ClassVar[int]  # default limit

    def init(self, problem: Any, penalty: Any, params: PyTree) -> Any: ...
    def update(
        self, problem: Any, penalty: Any, params: PyTree, state: Any
    ) -> tuple[PyTree, Any]: ...


Progress = Callable[[int, int], None] | bool | None


def has(member: Any, piece: str) -> bool:
    """Whether a member has an optional piece of its contract."""
    return getattr(member, piece, None) is not None
