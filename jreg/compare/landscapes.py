"""Small smooth functions on which optimisers differ, each a `Problem` with a start.

All are in float32 or float64, as JAX is set. Minima have value 0 unless it says otherwise.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jreg.linalg import dot
from jreg.problem import Problem
from jreg.typing import Array


class Landscape(NamedTuple):
    """A function, and where races on it begin."""

    problem: Problem
    start: Array


def quadratic(condition: float, n_params: int = 100, seed: int = 0) -> Landscape:
    """`1/2 sum_j h_j (Q'w - 1)_j^2`, h from 1/condition to 1, evenly in their logarithms.

    Q is a random rotation, so that scaling coordinates cures nothing. Gradient descent needs about
    condition * log(1/gap) steps, momentum their root. The start is 0.

    >>> problem, start = quadratic(100.0, 5)
    >>> bool(problem.value(start) > 0), start.shape
    (True, (5,))
    """
    if not condition >= 1 or n_params < 1:
        raise ValueError(f"condition >= 1 and n_params >= 1; got {condition} and {n_params}")
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n_params, n_params)))[0]
    h = np.geomspace(1 / condition, 1, n_params) if n_params > 1 else np.ones(1)
    return Landscape(Problem(_quadratic, (jnp.asarray(Q), jnp.asarray(h))), jnp.zeros(n_params))


def rosenbrock(n_params: int = 2) -> Landscape:
    """`sum_j 100 (w_{j+1} - w_j^2)^2 + (1 - w_j)^2`: a bent valley, its minimum at w = 1.

    The start is (-1.2, 1, -1.2, 1, ...). Rosenbrock (1960).

    >>> float(rosenbrock().problem.value(jnp.ones(2)))
    0.0
    """
    if n_params < 2:
        raise ValueError(f"n_params must be at least 2; got {n_params}")
    return Landscape(Problem(_rosenbrock), jnp.resize(jnp.array([-1.2, 1.0]), (n_params,)))


def saddle() -> Landscape:
    """`x^2/2 + y^4/4 - y^2/2 + 1/4`: a saddle at 0 between two minima at y = 1 and y = -1.

    The start is (1, 1e-3), nearly on the ridge: the way to the saddle is short, and the way off it
    takes some log(1/|y|) / rate steps of plain descent. Pure Newton steps end in the saddle.

    >>> problem, start = saddle()
    >>> problem.gradient(jnp.zeros(2))
    Array([0., 0.], dtype=float32)
    """
    return Landscape(Problem(_saddle), jnp.array([1.0, 1e-3]))


def dimpled_bowl(depth: float = 0.3, width: float = 0.12) -> Landscape:
    """A bowl `(x^2 + y^2)/2` with a dimple of that depth and width at (1, 0), on the way of a start
    at (2, 0.3) to the minimum near 0.

    Plain descent and RMSProp of a short memory, whose steps know no direction but the gradient's,
    stay in the dimple at small rates; momentum and Adam may roll through it. It has a local minimum
    for depth > 1.7 width, about.

    >>> problem, start = dimpled_bowl()
    >>> bool(problem.value(jnp.array([1.0, 0.0])) < problem.value(jnp.array([0.8, 0.0])))
    True
    """
    if not (depth >= 0 and width > 0):
        raise ValueError(f"depth >= 0 and width > 0; got {depth} and {width}")
    fun = partial(_dimpled_bowl, depth=depth, width=width)
    return Landscape(Problem(fun), jnp.array([2.0, 0.3]))


def random_field(n_params: int, n_waves: int = 200, seed: int = 0) -> Landscape:
    """`sqrt(2/m) sum_k cos(f_k'w + c_k)`, m waves with normal frequencies f and even phases c: near
    a Gaussian random field with the covariance exp(-|w - v|^2 / 2), value 0 on average.

    Its critical points have been studied: Bray and Dean (2007), Dauphin et al. (2014). In high
    dimension nearly all of them are saddles, and the lower, the fewer directions lead down. The
    start is random, normal.

    >>> random_field(3).start.shape
    (3,)
    """
    if n_params < 1 or n_waves < 1:
        raise ValueError(f"n_params and n_waves must be at least 1; got {n_params}, {n_waves}")
    rng = np.random.default_rng(seed)
    frequencies = jnp.asarray(rng.normal(size=(n_waves, n_params)))
    phases = jnp.asarray(rng.uniform(0, 2 * np.pi, n_waves))
    fun = Problem(_random_field, (frequencies, phases))
    return Landscape(fun, jnp.asarray(rng.normal(size=n_params)))


def negative_share(problem: Problem, w: Array) -> Array:
    """The share of negative eigenvalues of the Hessian at w (p,): 0 at a minimum, 1 at a maximum.

    >>> negative_share(saddle().problem, jnp.zeros(2))
    Array(0.5, dtype=float32)
    """
    H = jax.hessian(problem.value)(w)
    return jnp.mean(jnp.linalg.eigvalsh(H) < 0)


def _quadratic(w: Array, Q: Array, h: Array) -> Array:
    return 0.5 * jnp.sum(h * (dot(Q.T, w) - 1) ** 2)


def _rosenbrock(w: Array) -> Array:
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def _saddle(w: Array) -> Array:
    x, y = w
    return x**2 / 2 + y**4 / 4 - y**2 / 2 + 0.25


def _dimpled_bowl(w: Array, depth: float, width: float) -> Array:
    x, y = w
    return (x**2 + y**2) / 2 - depth * jnp.exp(-((x - 1) ** 2 + y**2) / (2 * width**2))


def _random_field(w: Array, frequencies: Array, phases: Array) -> Array:
    waves = jnp.cos(dot(frequencies, w) + phases)
    return jnp.sqrt(2 / phases.size) * jnp.sum(waves)
