"""Laws of every projection: a row of PROJECTIONS adds a member and all its tests."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jreg import projections as P
from jreg.projections.search import halfway

A5 = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
LOW, HIGH = np.array([-1.0, -2, 0, -1, -0.5]), np.array([1.0, 0.5, 2, 1, 0.5])
EQUATIONS = np.array([[1.0, 1, 0, 0, 1], [0, 1, 1, -1, 0]])
GOLDEN = json.loads((Path(__file__).parent / "prox_cases_projections.json").read_text())


@dataclasses.dataclass(frozen=True)
class Row:
    """project(v); gap(z), in NumPy: by how much z is outside; spec: the set for cvxpy."""

    project: Callable[[Any], Any]
    gap: Callable[[np.ndarray], float]
    spec: Callable[[Any, Any], list] | None = None  # (z, cvxpy)
    shape: tuple = (5,)
    single: bool = True  # defined for n = 1

    @property
    def convex(self):
        return self.spec is not None


def over(x):
    return float(np.max(np.maximum(x, 0)))


def symmetric_gap(Z):
    return abs(Z - Z.T).max() + over(-np.linalg.eigvalsh((Z + Z.T) / 2))


norm = np.linalg.norm
PROJECTIONS = {
    "simplex": Row(
        lambda v: P.simplex(v, 1.5),
        lambda z: over(-z) + abs(z.sum() - 1.5),
        lambda z, cp: [z >= 0, cp.sum(z) == 1.5],
    ),
    "capped_simplex": Row(
        lambda v: P.capped_simplex(v, 0.8, 0.9),
        lambda z: over(-z) + over(z - 0.9) + abs(z.sum() - 0.8),
        lambda z, cp: [z >= 0, z <= 0.9, cp.sum(z) == 0.8],
    ),
    "l0_ball": Row(lambda v: P.l0_ball(v, 2), lambda z: max(0, np.sum(z != 0) - 2)),
    "l1_ball": Row(
        lambda v: P.l1_ball(v, 1.2),
        lambda z: over(abs(z).sum() - 1.2),
        lambda z, cp: [cp.norm(z, 1) <= 1.2],
    ),
    "l2_ball": Row(
        lambda v: P.l2_ball(v, 1.2),
        lambda z: over(norm(z) - 1.2),
        lambda z, cp: [cp.norm(z, 2) <= 1.2],
    ),
    "linf_ball": Row(
        lambda v: P.linf_ball(v, 0.7),
        lambda z: over(abs(z) - 0.7),
        lambda z, cp: [cp.abs(z) <= 0.7],
    ),
    "l1_sphere": Row(lambda v: P.l1_sphere(v, 3.0), lambda z: abs(abs(z).sum() - 3)),
    "l2_sphere": Row(lambda v: P.l2_sphere(v, 2.0), lambda z: abs(norm(z) - 2)),
    "linf_sphere": Row(lambda v: P.linf_sphere(v, 1.5), lambda z: abs(abs(z).max() - 1.5)),
    "box": Row(
        lambda v: P.box(v, LOW, HIGH),
        lambda z: over(LOW - z) + over(z - HIGH),
        lambda z, cp: [z >= LOW, z <= HIGH],
        single=False,
    ),
    "nonnegative": Row(P.nonnegative, lambda z: over(-z), lambda z, cp: [z >= 0]),
    "halfspace": Row(
        lambda v: P.halfspace(v, A5, 0.5),
        lambda z: over(A5 @ z - 0.5),
        lambda z, cp: [A5 @ z <= 0.5],
        single=False,
    ),
    "hyperplane": Row(
        lambda v: P.hyperplane(v, A5, 0.5),
        lambda z: abs(A5 @ z - 0.5),
        lambda z, cp: [A5 @ z == 0.5],
        single=False,
    ),
    "hyperslab": Row(
        lambda v: P.hyperslab(v, A5, -0.5, 0.5),
        lambda z: over(abs(A5 @ z) - 0.5),
        lambda z, cp: [cp.abs(A5 @ z) <= 0.5],
        single=False,
    ),
    "box_section": Row(
        lambda v: P.box_section(v, LOW, HIGH, A5, 0.3),
        lambda z: over(LOW - z) + over(z - HIGH) + abs(A5 @ z - 0.3),
        lambda z, cp: [z >= LOW, z <= HIGH, A5 @ z == 0.3],
        single=False,
    ),
    "affine": Row(
        lambda v: P.affine(jnp.asarray(EQUATIONS, v.dtype), jnp.ones(2, v.dtype)).project(v),
        lambda z: abs(EQUATIONS @ z - 1).max(),
        lambda z, cp: [EQUATIONS @ z == 1],
        single=False,
    ),
    "psd": Row(P.psd, symmetric_gap, lambda Z, cp: [Z >> 0], (3, 3), single=False),
    "unit_rows": Row(P.unit_rows, lambda Z: abs(norm(Z, axis=1) - 1).max(), None, (2, 3), False),
    "max_norm": Row(
        lambda V: P.max_norm(V, 0.8),
        lambda Z: over(norm(Z, axis=1) - 0.8),
        lambda Z, cp: [cp.norm(Z, 2, axis=1) <= 0.8],
        (2, 3),
        False,
    ),
}
ROWS = [pytest.param(row, id=name) for name, row in PROJECTIONS.items()]
CONVEX = [pytest.param(row, id=name) for name, row in PROJECTIONS.items() if row.convex]


def points(row, count=24):
    """Random points at three scales, then ties and 0."""
    rng = np.random.default_rng(0)
    scale = np.array([0.1, 1, 5])[np.arange(count) % 3].reshape(-1, *[1] * len(row.shape))
    v = rng.normal(size=(count, *row.shape)) * scale
    return np.concatenate([v, np.ones((1, *row.shape)), np.zeros((1, *row.shape))])


def bank(row, v, dtype):
    """The projection of many points, compiled once."""
    with cases.precision(dtype):
        return np.asarray(jax.jit(jax.vmap(row.project))(jnp.asarray(v, dtype)))


@pytest.mark.parametrize("row", ROWS)
def test_nearest_feasible_point(row):
    v = points(row)
    z = bank(row, v, "float64")
    assert max(row.gap(x) for x in z) < 1e-12
    np.testing.assert_allclose(bank(row, z, "float64"), z, atol=1e-12)
    assert not np.any((z == 0) & np.signbit(z))
    # other points of the set are not nearer: those of all v, and of neighbours of each z
    rng = np.random.default_rng(1)
    others = [z[rng.permutation(len(z))] for _ in range(10)]
    others += [bank(row, z + s * rng.normal(size=z.shape), "float64") for s in (1e-3, 0.1, 1.0)]
    flat = lambda x: x.reshape(len(x), -1)  # noqa: E731
    for other in others:
        assert np.all(norm(flat(z - v), axis=1) <= norm(flat(other - v), axis=1) + 1e-12)
        if row.convex:
            assert np.all(np.sum(flat(v - z) * flat(other - z), axis=1) <= 1e-11)


@pytest.mark.parametrize("row", CONVEX)
def test_nonexpansive(row):
    v = points(row)
    z = bank(row, v, "float64")
    order = np.random.default_rng(2).permutation(len(v))
    dz, dv = (x.reshape(len(x), -1) for x in (z - z[order], v - v[order]))
    assert np.all(np.sum(dz * dz, axis=1) <= np.sum(dz * dv, axis=1) + 1e-11)


@pytest.mark.parametrize("row", ROWS)
def test_float32_is_float64_and_vmap_is_loop(row):
    v = points(row).astype(np.float32)
    single = bank(row, v, "float32")
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, bank(row, v, "float64"), atol=5e-6)
    one = jax.jit(row.project)
    for i in (0, 1, -1):
        np.testing.assert_allclose(one(jnp.asarray(v[i])), single[i], atol=1e-6)


@pytest.mark.parametrize("row", ROWS)
def test_derivatives(row):
    v = points(row, 6)
    h = 1e-6
    with cases.precision("float64"):
        forward, reverse = (
            np.asarray(jax.jit(jax.vmap(jac(row.project)))(jnp.asarray(v)))
            for jac in (jax.jacfwd, jax.jacrev)
        )
    assert np.all(np.isfinite(forward))
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    d = np.random.default_rng(3).normal(size=row.shape)
    for_d = (bank(row, v + h * d, "float64") - bank(row, v - h * d, "float64")) / (2 * h)
    product = np.tensordot(forward, d, axes=len(row.shape))
    np.testing.assert_allclose(product[:6], for_d[:6], atol=2e-7)


@pytest.mark.parametrize("row", ROWS)
def test_nan_stays(row):
    v = np.ones((1, *row.shape))
    v[0, 0] = np.nan
    assert np.isnan(bank(row, v, "float32")).any()


@pytest.mark.parametrize("row", [r for r in ROWS if r.values[0].single])
def test_one_entry(row):
    with cases.precision("float64"):
        for v in (-2.0, 0.0, 0.3, 4.0):
            z = np.asarray(row.project(jnp.array([v])))
            if row.project is not PROJECTIONS["capped_simplex"].project:
                assert row.gap(z) < 1e-12


def solved(case):
    """The result of jreg for a published case."""
    op, params, v = case["op"].removeprefix("proj_"), case["params"], jnp.asarray(case["input"])
    if op == "affine":
        return P.affine(**params).project(v)
    known = {"nonneg": "nonnegative"}
    params = {k: jnp.asarray(x) if isinstance(x, list) else x for k, x in params.items()}
    return getattr(P, known.get(op, op))(v, **params)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=f"{c['op']}{i}") for i, c in enumerate(GOLDEN)]
)
def test_published_case(case):
    with cases.precision("float64"):
        atol = max(1e-12, 10 * case["max_abs_diff"])
        np.testing.assert_allclose(solved(case), np.asarray(case["output"]), atol=atol)


def test_defect_5_interior_points_do_not_move():
    v = jnp.array([0.1, 0.2, -0.3])
    for ball in (P.l1_ball, P.l2_ball, P.linf_ball):
        np.testing.assert_array_equal(ball(v, 1.0), v)
    S = jnp.array([[2.0, 0.3], [0.3, 1.0]])
    np.testing.assert_array_equal(P.psd(S), S)


def test_defect_7_and_17_gradients_at_zero_are_finite():
    zero = jnp.zeros(3)
    np.testing.assert_array_equal(jax.jacrev(P.l2_ball)(zero, 1.0), np.eye(3))
    for f in (P.l1_ball, P.l2_ball, P.linf_ball, P.l2_sphere, P.l1_sphere, P.linf_sphere):
        for radius in (0.0, 1.0):
            for argument in (0, 1):
                assert np.all(np.isfinite(jax.jacrev(f, argument)(zero, radius)))
    assert np.all(np.isfinite(jax.jacrev(P.max_norm)(jnp.zeros((2, 2)), 0.0)))


def test_defect_18_simplex_does_not_drift_in_float32():
    v = 1e4 + np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32)
    z = np.asarray(jax.jit(jax.vmap(P.simplex))(jnp.asarray(v)))
    np.testing.assert_allclose(z.astype(float).sum(1), 1, atol=1e-6)
    capped = np.asarray(jax.jit(jax.vmap(lambda v: P.capped_simplex(v, 3.0)))(jnp.asarray(v)))
    np.testing.assert_allclose(capped.astype(float).sum(1), 3, atol=3e-6)


def test_simplex_of_minus_infinity():
    z, J = P.simplex(jnp.array([-jnp.inf, 1.0, 1.0])), jax.jacrev(P.simplex)
    np.testing.assert_array_equal(z, [0, 0.5, 0.5])
    assert np.all(np.isfinite(J(jnp.array([-jnp.inf, 1.0, 1.0]))))


def test_parameters_may_be_traced_and_batched():
    v, radii = jnp.array([3.0, -2.0, 0.5]), jnp.array([0.0, 1.0, 4.0, 9.0])
    counts = jnp.arange(4)
    for f, xs in (
        (P.simplex, radii), (P.l1_ball, radii), (P.l2_ball, radii), (P.linf_ball, radii),
        (P.l0_ball, counts), (P.l1_sphere, radii), (P.l2_sphere, radii), (P.linf_sphere, radii),
    ):  # fmt: skip
        together = jax.vmap(f, in_axes=(None, 0))(v, xs)
        np.testing.assert_allclose(together, np.stack([f(v, x) for x in xs]), atol=1e-6)
    slopes = jax.vmap(P.halfspace, (None, 0, None))(v, jnp.array([[0.0, 0, 0], [1, 0, 0]]), 1.0)
    np.testing.assert_allclose(slopes, [[3, -2, 0.5], [1, -2, 0.5]], atol=1e-6)


def test_derivatives_in_parameters():
    v = jnp.array([3.0, -2.0, 0.5, 0.1, 1.0])
    with cases.precision("float64"):
        v = jnp.asarray(v, float)
        low, high, a = jnp.asarray(LOW), jnp.asarray(HIGH), jnp.asarray(A5)
        f = jax.jit(lambda t: P.box_section(v, low - t, high + 2 * t, a + t, 0.3 - t))
        h = 1e-6
        expected = (f(h) - f(-h)) / (2 * h)
        np.testing.assert_allclose(jax.jacfwd(f)(0.0), expected, atol=1e-7)
        np.testing.assert_allclose(jax.jacrev(f)(0.0), expected, atol=1e-7)


def test_ties_and_equal_eigenvalues():
    np.testing.assert_array_equal(P.l0_ball(jnp.array([1.0, -1.0, 1.0]), 2), [1, -1, 0])
    for S in (jnp.eye(3), -jnp.eye(3), jnp.zeros((3, 3)), jnp.diag(jnp.array([1.0, 1, -1]))):
        assert np.all(np.isfinite(jax.jacrev(P.psd)(S)))
    A, b = jnp.ones((2, 3)), jnp.ones(2)  # rank 1
    np.testing.assert_allclose(P.affine(A, b).project(jnp.ones(3)), np.full(3, 1 / 3), atol=1e-6)


def sorted_section(v, low, high, a, b):
    """The projection by a sort of all breakpoints and a look at each piece, in NumPy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        breaks = np.concatenate([(v - low) / a, (v - high) / a])
    breaks = np.sort(breaks[np.isfinite(breaks)])
    product = lambda tau: np.sum(a * np.clip(v - tau * a, low, high))  # noqa: E731
    i, j = 0, len(breaks) - 1  # product(breaks[i]) >= b > product(breaks[j])
    while j - i > 1:
        m = (i + j) // 2
        i, j = (m, j) if product(breaks[m]) >= b else (i, m)
    left, right = product(breaks[i]), product(breaks[j])
    tau = breaks[i] + (breaks[j] - breaks[i]) * (left - b) / (left - right)
    return np.clip(v - tau * a, low, high)


@pytest.mark.parametrize("kind", ["normal", "ties", "many magnitudes", "ascending"])
def test_long_vectors(kind):
    """Long enough for a sample and for blocks; n is a multiple of neither."""
    n = 20_011
    rng = np.random.default_rng(0)
    v = {
        "normal": lambda: rng.normal(size=n),
        "ties": lambda: np.round(rng.normal(size=n)),
        "many magnitudes": lambda: rng.normal(size=n) * 10 ** rng.uniform(-12, 3, n),
        "ascending": lambda: np.linspace(-3, 3, n) ** 3,
    }[kind]()
    a, high = rng.normal(size=n), rng.exponential(size=n)
    a[::7], high[::5] = 0, np.inf
    infinite, one, zero = np.full(n, np.inf), np.ones(n), np.zeros(n)
    with cases.precision("float64"):
        for z, expected in (
            (P.simplex(v, 10.0), sorted_section(v, zero, infinite, one, 10.0)),
            (P.capped_simplex(v, n / 3), sorted_section(v, zero, one, one, n / 3)),
            (P.box_section(v, -1.0, high, a, 5.0), sorted_section(v, -one, high, a, 5.0)),
        ):
            np.testing.assert_allclose(z, expected, atol=1e-11)
    single = v.astype(np.float32)
    total = np.asarray(P.capped_simplex(single, n / 3)).astype(float).sum()
    np.testing.assert_allclose(total, n / 3, rtol=3e-7)
    k = n // 4
    kept = np.argsort(-np.abs(single), kind="stable")[:k]  # of equal ones those first
    expected = np.zeros_like(single)
    expected[kept] = single[kept]
    np.testing.assert_array_equal(P.l0_ball(single, k), expected)


def test_infeasible_total_that_is_traced():
    """The end of the box nearest to the total, however far that is."""
    capped = jax.jit(lambda v, total: P.capped_simplex(v, total))
    for v in (jnp.arange(5.0), 1e4 + jnp.arange(5.0), jnp.zeros(5)):
        np.testing.assert_array_equal(capped(v, -1.0), np.zeros(5))
        np.testing.assert_array_equal(capped(v, 6.0), np.ones(5))
        np.testing.assert_array_equal(capped(v, 1e30), np.ones(5))


def test_search_ends_for_any_magnitudes():
    """Halving by the order of floats: 65 steps from one end of the line to the other."""
    for dtype, bits in (("float32", 32), ("float64", 64)):
        with cases.precision(dtype):
            low, high = jnp.asarray(-jnp.inf, dtype), jnp.asarray(jnp.inf, dtype)
            target = np.asarray(-3e-30, dtype)
            steps = 0
            while (middle := halfway(low, high)) > low:
                assert middle < high
                low, high = (middle, high) if middle <= target else (low, middle)
                steps += 1
            assert low == target
            assert steps <= bits + 1


def test_l0_ball_of_odd_values():
    v = jnp.array([0.0, 2.0, jnp.inf, -2.0, 2.0, -jnp.inf])
    np.testing.assert_array_equal(P.l0_ball(v, 4), [0, 2, jnp.inf, -2, 0, -jnp.inf])
    np.testing.assert_array_equal(P.l0_ball(v, 99), v)
    np.testing.assert_array_equal(P.l0_ball(v, 0), np.zeros(6))
    assert P.l0_ball(jnp.zeros((0,)), 1).shape == (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda v: P.simplex(v, -1.0),
        lambda v: P.capped_simplex(v, 4.0),
        lambda v: P.box_section(v, 0.0, 1.0, jnp.ones(3), 9.0),
        lambda v: P.box_section(v, 1.0, 0.0, jnp.ones(3), 0.0),
        lambda v: P.l2_ball(v, -1.0),
        lambda v: P.l0_ball(v, -1),
        lambda v: P.box(v, 1.0, 0.0),
        lambda v: P.halfspace(v, jnp.zeros(3), -1.0),
        lambda v: P.hyperplane(v, jnp.zeros(3), 1.0),
        lambda v: P.hyperslab(v, jnp.ones(3), 1.0, 0.0),
        lambda v: P.affine(jnp.ones((2, 3)), jnp.array([1.0, 2.0])),
        lambda v: P.affine(jnp.ones((2, 3)), jnp.ones(3)),
        lambda v: P.psd(v),
        lambda v: P.max_norm(v[None], -1.0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"must|empty|a is 0"):
        call(jnp.ones(3))


@pytest.mark.slow
@pytest.mark.parametrize("row", CONVEX)
def test_against_a_convex_solver(row):
    import cvxpy as cp

    v = points(row, 9)
    z = bank(row, v, "float64")
    for x, ours in zip(v, z, strict=True):
        variable = cp.Variable(row.shape, symmetric=row.project is P.psd)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(variable - x)), row.spec(variable, cp))
        problem.solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(ours, variable.value, atol=2e-4)
