"""Every inner optimiser x penalty x step: `proximal` ends at the certified solution of `solve`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision
from transform_cases import (
    INNERS,
    LAM,
    PENALTIES,
    STEPS,
    L,
    P,
    compiled_run,
    distance,
    prox_last,
    run,
    same_zeros,
    truth,
)

import jreg
from jreg.transforms import proximal


def check(inner, penalty, steps):
    """Automatic and given steps (as one vmapped run) end at the solution, with its zeros."""
    row, case, true = INNERS[inner], PENALTIES[penalty], truth(penalty)
    with precision("float64"):
        start = jnp.zeros(case.shape)

        def ends(step):
            return run(proximal(row.make(), case.make(), step), start)[0]

        found = [jax.jit(lambda: ends(None))()]
        if steps:
            found += list(jax.jit(jax.vmap(ends))(jnp.asarray(steps)))
        for w, step in zip(found, (None, *steps), strict=True):
            assert distance(w, true) < row.within, step
            if case.sparse:
                assert same_zeros(w, true), step
        return found


@pytest.mark.parametrize(
    ("inner", "penalty"),
    [
        ("heavy_ball", "l1"),
        ("clip_adam_cosine", "group"),
        ("adam", "nuclear"),
    ],
)
def test_fixed_point_is_the_solution(inner, penalty):
    check(inner, penalty, PENALTIES[penalty].steps)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("inner", INNERS)
def test_fixed_point_is_the_solution_everywhere(inner, penalty):
    if INNERS[inner].matrix_only and len(PENALTIES[penalty].shape) < 2:
        pytest.skip("orthogonalises matrices")
    check(inner, penalty, PENALTIES[penalty].steps)


NAIVE = {
    "heavy_ball": 1 / L,
    "nesterov": 0.5 / L,
    "clip_sgd": 1 / L,
    "adagrad": 0.3,
    "rmsprop": 0.02,
    "adam": 0.02,
    "lion": 0.02,
    "clip_adam_cosine": 0.02,
}
QUICK = ("heavy_ball", "clip_sgd", "adam")


@pytest.mark.parametrize(
    "inner",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAIVE],
)
def test_prox_last_is_wrong(inner):
    """The threshold is the learning rate, as the textbook has it for SGD: another fixed point."""
    with precision("float64"):
        tx = prox_last(INNERS[inner].make(), jreg.L1(LAM), NAIVE[inner])
        w, _ = compiled_run(tx, jnp.zeros(P))
    assert distance(w, truth("l1")) > 0.1


def test_prox_last_is_right_for_plain_sgd():
    with precision("float64"):
        tx = prox_last(optax.sgd(1 / L), jreg.L1(LAM), 1 / L)
        w, _ = compiled_run(tx, jnp.zeros(P))
    assert distance(w, truth("l1")) < 1e-8


@pytest.mark.parametrize("where", ["before", "after"])
def test_transforms_outside_are_wrong(where):
    """Clipping before, weight decay behind: both belong inside."""
    tx = proximal(optax.adam(optax.exponential_decay(0.02, STEPS, 1e-5)), jreg.L1(LAM))
    chain = {
        "before": optax.chain(optax.clip_by_global_norm(1.0), tx),
        "after": optax.chain(tx, optax.add_decayed_weights(-1e-3)),
    }[where]
    with precision("float64"):
        w, _ = compiled_run(chain, jnp.zeros(P))
    assert distance(w, truth("l1")) > 1e-2


@pytest.mark.parametrize(
    ("inner", "dtype"),
    [
        ("sgd", "float32"),
        ("adam", "bfloat16"),
        pytest.param("adam", "float32", marks=pytest.mark.slow),
        pytest.param("sgd", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_low_precision(inner, dtype):
    """The error is that of rounding solution and gradient, and the zeros are its zeros."""
    true = truth("l1")
    start = jnp.zeros(P, dtype)
    w, _ = compiled_run(proximal(INNERS[inner].make(), jreg.L1(LAM)), start, gradient=wide_gradient)
    rounding = distance(jnp.asarray(true, dtype), true)
    assert w.dtype == start.dtype
    assert distance(w, true) < (6 * rounding if dtype == "bfloat16" else 2e-5)
    assert same_zeros(w, true)


def wide_gradient(w):
    from transform_cases import loss

    return jax.grad(loss)(w.astype(jnp.float32)).astype(w.dtype)


def test_l1_has_many_zeros():
    """The table compares something: most coefficients are 0, not all."""
    assert 15 < (truth("l1") == 0).sum() < P
    assert (truth("group") == 0).sum() >= 9
    assert (truth("rows") == 0).any()
    assert np.linalg.matrix_rank(truth("nuclear"), tol=1e-9) < 4
