"""Inner optimisers, penalties and a small regression with a certified solution, for transforms."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jreg
from jreg.penalties import Linf, conjugate

N, P, K = 60, 30, 4  # samples, features, outputs of the matrix problem
STEPS = 20_000


@functools.cache
def data():
    """(X, y, Y): equicorrelated columns, 6 of 30 coefficients not 0; Y of rank 2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P)) * 0.8 + 0.6 * rng.normal(size=(N, 1))
    coef = np.where(np.arange(P) < 6, 2.0 * rng.normal(size=P), 0)
    y = X @ coef + rng.normal(size=N)
    W = rng.normal(size=(8, 2)) @ rng.normal(size=(2, K))
    Y = X[:, :8] @ W + rng.normal(size=(N, K))
    return X, y, Y


def smoothness():
    X = data()[0]
    return float(np.linalg.eigvalsh(X.T @ X / N)[-1])


L = smoothness()
LAM = float(0.1 * np.abs(data()[0].T @ data()[1]).max() / N)


def loss(w, X=None, y=None):
    """Mean squared error over 2; of the matrix problem for a matrix w."""
    full, vector, matrix = data()
    X = full[:, : w.shape[0]] if X is None else X
    y = (vector if w.ndim == 1 else matrix) if y is None else y
    return 0.5 * jnp.sum((jnp.asarray(X, w.dtype) @ w - jnp.asarray(y, w.dtype)) ** 2) / X.shape[0]


@dataclasses.dataclass(frozen=True)
class Inner:
    """make(): the transform; within: distance from the truth after STEPS full-batch steps."""

    make: Callable[[], Any]
    within: float = 1e-6
    matrix_only: bool = False


def decayed(rate):
    """The learning rate falls by 1e-5 over the run."""
    return optax.exponential_decay(rate, STEPS, 1e-5)


def cosine(rate):
    return optax.cosine_decay_schedule(rate, STEPS)


INNERS = {
    "sgd": Inner(lambda: optax.sgd(1 / L)),
    "heavy_ball": Inner(lambda: optax.sgd(1 / L, momentum=0.9)),
    "nesterov": Inner(lambda: optax.sgd(0.5 / L, momentum=0.9, nesterov=True)),
    "ema": Inner(lambda: optax.chain(optax.ema(0.9, debias=False), optax.scale(-1 / L))),
    "clip_sgd": Inner(lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1 / L))),
    "adagrad": Inner(lambda: optax.adagrad(0.3)),
    "rmsprop": Inner(lambda: optax.rmsprop(decayed(0.02))),
    "adam": Inner(lambda: optax.adam(decayed(0.02))),
    "amsgrad": Inner(lambda: optax.amsgrad(0.02)),
    "yogi": Inner(lambda: optax.yogi(0.02)),
    "lion": Inner(lambda: optax.lion(decayed(0.02)), 1e-4),
    "clip_adam_cosine": Inner(
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(cosine(0.02)))
    ),
    "adabelief": Inner(lambda: optax.adabelief(decayed(0.02))),
    "radam": Inner(lambda: optax.radam(decayed(0.02))),
    "adafactor": Inner(lambda: optax.adafactor(decayed(0.02), multiply_by_parameter_scale=False)),
    "lamb": Inner(lambda: optax.lamb(decayed(0.02)), 1e-5),
    "sign": Inner(lambda: optax.sign_sgd(decayed(0.02)), 1e-4),
    "rprop": Inner(lambda: optax.rprop(0.01), 1e-4),
    "muon": Inner(lambda: optax.contrib.muon(decayed(0.02)), 1e-4, matrix_only=True),
}


@dataclasses.dataclass(frozen=True)
class PenaltyCase:
    """make(): the penalty; shape: of the parameters; sparse: whether its zeros are compared."""

    make: Callable[[], Any]
    shape: tuple[int, ...] = (P,)
    sparse: bool = True
    steps: tuple[float, ...] = (1 / L, 10 / L, 1.0)


GROUPS = jreg.Groups(np.repeat(np.arange(10), 3))
PENALTIES = {
    "l1": PenaltyCase(lambda: jreg.L1(LAM)),
    "elastic_net": PenaltyCase(lambda: jreg.ElasticNet(LAM, 0.5)),
    "group": PenaltyCase(lambda: jreg.GroupLasso(LAM, groups=GROUPS)),
    "mcp": PenaltyCase(lambda: jreg.MCP(LAM, gamma=1000.0)),  # so flat that the minimum is unique
    "l1_ball": PenaltyCase(lambda: conjugate(Linf(4.0)), sparse=False),  # v - prox rounds zeros
    "nuclear": PenaltyCase(lambda: jreg.Nuclear(0.4), (8, K), sparse=False),
    "rows": PenaltyCase(lambda: jreg.GroupLasso(1.0, axis=0), (8, K)),
}


@functools.cache
def truth(name):
    """The certified minimiser of loss + penalty, in float64."""
    case = PENALTIES[name]
    return minimiser(case.make(), case.shape)


def minimiser(penalty, shape=(P,), fun=loss):
    tol = 1e-13 if penalty.convex else 1e-10
    with jax.enable_x64(True):
        found = jreg.solve(
            fun, penalty, jnp.zeros(shape), solver=jreg.FISTA(), tol=tol, max_steps=200_000
        )
        assert found.status == 0, found.residual
        return np.asarray(found.params)


def run(tx, w, steps=STEPS, gradient=None, **extra):
    """(params, state) after full-batch steps, in one compiled loop."""
    gradient = jax.grad(loss) if gradient is None else gradient

    def body(carry, k):
        w, state = carry
        given = {name: f(w) for name, f in extra.items()}
        updates, state = tx.update(gradient(w), state, w, **given)
        return (optax.apply_updates(w, updates), state), None

    (w, state), _ = jax.lax.scan(body, (w, tx.init(w)), jnp.arange(steps))
    return w, state


def compiled_run(tx, w, steps=STEPS, **options):
    return jax.jit(lambda w: run(tx, w, steps, **options))(w)


def distance(w, true):
    return float(np.abs(np.asarray(w, float) - true).max())


def same_zeros(w, true):
    return bool(((np.asarray(w, float) == 0) == (true == 0)).all())


def prox_last(inner, penalty, step):
    """The trap: a prox behind the optimiser."""

    def init(params):
        return inner.init(params)

    def update(grads, state, params=None):
        u, state = inner.update(grads, state, params)
        target = penalty.prox(optax.apply_updates(params, u), step)
        return jax.tree.map(jnp.subtract, target, params), state

    return optax.GradientTransformation(init, update)
