"""Isotonic regression, and the penalties that order or compare entries: SLOPE, Linf, variation.

Each penalty is the support function of a polytope, `value(w) = max <u, w>` over its vertices u.
From the vertices alone, by non-negative least squares and linear programming, follow the prox, the
subdifferential, the conjugate and the dual norm that jreg's formulas are held against.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cases import DTYPES, precision
from scipy.optimize import isotonic_regression, linprog, lsq_linear, nnls
from scipy.stats import norm

import jreg
from jreg.penalties.isotonic import Isotonic
from jreg.penalties.linf import Linf
from jreg.penalties.slope import SLOPE, slope_weights
from jreg.penalties.total_variation import FusedLasso, TotalVariation, fused_gauge
from jreg.projections.order import isotonic
from jreg.prox import ordered
from jreg.typing import Penalty

N = 4
TOL = {"float32": 4e-6, "float64": 2e-14}
WEIGHTS = np.array([2.0, 1.5, 1.0, 0.25])
EDGES = np.array([1.0, 0.0, 2.0])
D = np.diff(np.eye(N), axis=0)


def signs(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def slope_vertices(weights):
    orders = np.array(list(itertools.permutations(weights)))
    return (signs(N)[:, None, :] * orders[None, :, :]).reshape(-1, N)


def variation_vertices(edges):
    return (signs(N - 1) * edges) @ D


def fused_vertices(a, b):
    both = a * signs(N)[:, None, :] + b * variation_vertices(np.ones(N - 1))[None, :, :]
    return both.reshape(-1, N)


@dataclasses.dataclass(frozen=True)
class Case:
    """make() has the strength 0.75; vertices are those of strength 1."""

    make: Callable[[], Any]
    vertices: np.ndarray
    norm: bool = True  # 0 at 0 alone

    def closest(self, vertices, x):
        """The point nearest x in the hull of the vertices, by non-negative least squares.

        Which may stop early where vertices abound, so the answer is checked: no vertex lies
        further towards x.
        """
        for attempt in range(10):
            tried = np.random.default_rng(attempt).permutation(vertices)
            A = np.vstack([(tried - x).T, np.ones(len(tried))])
            share, _ = nnls(A, np.append(np.zeros(N), 1.0), maxiter=10000)
            point = share / share.sum() @ tried
            if np.max((vertices - point) @ (x - point)) <= 1e-13 * (1 + x @ x):
                return point
        raise AssertionError("no nearest point found")

    def value(self, w):
        return 0.75 * np.max(self.vertices @ w)

    def prox(self, v, step):
        return v - self.closest(0.75 * step * self.vertices, v)

    def distance(self, w, g):
        """Of -g from the hull of the vertices at which <u, w> is largest."""
        products = self.vertices @ w
        face = self.vertices[products >= products.max() - 1e-9]
        return np.abs(-g - self.closest(0.75 * face, -g))

    def polar(self, u):
        """min sum(share) with sum(share * vertices) = u: a linear program."""
        found = linprog(np.ones(len(self.vertices)), A_eq=0.75 * self.vertices.T, b_eq=u)
        return found.fun if found.status == 0 else np.inf


CASES = {
    "slope": Case(lambda: SLOPE(0.75, weights=WEIGHTS), slope_vertices(WEIGHTS)),
    "slope_constant": Case(lambda: SLOPE(0.75, weights=np.ones(N)), signs(N)),
    "slope_zeros": Case(
        lambda: SLOPE(0.75, weights=np.array([1.0, 0.5, 0.0, 0.0])),
        slope_vertices([1.0, 0.5, 0.0, 0.0]),
    ),
    "linf": Case(lambda: Linf(0.75), np.vstack([np.eye(N), -np.eye(N)])),
    "tv": Case(
        lambda: TotalVariation(0.75, weights=np.ones(N - 1)),
        variation_vertices(np.ones(N - 1)),
        norm=False,
    ),
    "tv_weighted": Case(
        lambda: TotalVariation(0.75, weights=EDGES), variation_vertices(EDGES), norm=False
    ),
    "fused": Case(lambda: FusedLasso(0.75, l1_ratio=0.25), fused_vertices(0.25, 0.75)),
    "fused_as_l1": Case(lambda: FusedLasso(0.75, l1_ratio=1.0), signs(N)),
    "fused_as_tv": Case(
        lambda: FusedLasso(0.75, l1_ratio=0.0), variation_vertices(np.ones(N - 1)), norm=False
    ),
}
every = pytest.mark.parametrize("case", [pytest.param(c, id=n) for n, c in CASES.items()])
every_norm = pytest.mark.parametrize(
    "case", [pytest.param(c, id=n) for n, c in CASES.items() if c.norm]
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

rng = np.random.default_rng(0)
POINTS = np.vstack(
    [
        np.zeros(N),
        np.ones(N),
        [2.0, 2.0, -2.0, 0.5],
        [1.0, -1.0, 0.0, 0.0],
        [0.0, 0.0, 3.0, 0.0],
        [3.0, 3.0, 1.0, 1.0],
        [-0.75, 0.75, 0.75, -1.5],
        [8.0, -0.125, 0.0, -8.0],
        rng.normal(size=(6, N)).astype("float32"),
        4 * rng.normal(size=(4, N)).astype("float32"),
    ]
)
STEPS = np.array([0.125, 1.0, 4.0])
V, STEP = POINTS[np.repeat(np.arange(len(POINTS)), 3)], np.tile(STEPS, len(POINTS))
LANES = 64
W, G = (POINTS[rng.integers(len(POINTS), size=128)] for _ in range(2))


def batched(method):
    """A method of a penalty, compiled once a class and dtype: on LANES strengths and points."""

    def one(penalty, lam, *x):
        return getattr(dataclasses.replace(penalty, lam=lam), method)(*x)

    compiled = jax.jit(
        lambda penalty, *x: jax.vmap(one, in_axes=(None, *[0] * len(x)))(penalty, *x)
    )

    def run(penalty, *x, dtype="float64", lam=0.75):
        """jreg's answer in `dtype`, as float64 numbers."""
        rows = len(x[0])
        x = [np.asarray(a, dtype) for a in (np.broadcast_to(lam, rows), *x)]
        results = []
        for start in range(0, rows, LANES):
            chosen = np.arange(start, start + LANES) % rows
            with precision(dtype):
                result = compiled(penalty, *(a[chosen] for a in x))
            assert result.dtype in (dtype, bool)
            results.append(np.asarray(result, float))
        return np.concatenate(results)[:rows]

    return run


prox, value, polar, conjugate, kkt_distance, lam_max, support = map(
    batched, ["prox", "value", "polar", "conjugate", "kkt_distance", "lam_max", "support"]
)


# --- the members against their polytopes ------------------------------------------------------


@every
def test_contract(case):
    penalty = case.make()
    assert isinstance(penalty, Penalty)
    assert penalty.compares
    assert not penalty.separable
    leaves, structure = jax.tree.flatten(penalty)
    assert jax.tree.structure(jax.tree.unflatten(structure, leaves)) == structure
    np.testing.assert_allclose(penalty.at(2.0).at(0.5).value(POINTS[2]), penalty.value(POINTS[2]))
    assert penalty.unpenalized(POINTS[0]) is None


@pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(case, "float64", id=name) for name, case in CASES.items()]
    + [pytest.param(CASES[name], "float32", id=f"{name}_32") for name in ("slope", "linf", "tv")],
)
def test_prox(case, dtype):
    z = prox(case.make(), V, STEP, dtype=dtype)
    expected = np.array([case.prox(*pair) for pair in zip(V, STEP, strict=True)])
    np.testing.assert_allclose(z, expected, atol=40 * TOL[dtype], rtol=0)
    assert not np.signbit(z[z == 0]).any()

    # ties are exact, so the optimality conditions hold on the right faces
    v, step = V.astype(dtype), STEP.astype(dtype)
    residual = (v - z.astype(dtype)) / step[:, None]
    distance = kkt_distance(case.make(), z, -residual, dtype=dtype)
    np.testing.assert_allclose(distance, 0, atol=20 * TOL[dtype] / STEPS.min())


@every
def test_value(case):
    np.testing.assert_allclose(
        value(case.make(), POINTS), [case.value(w) for w in POINTS], rtol=1e-14
    )


@every
def test_kkt_distance_is_the_distance(case):
    expected = np.array([case.distance(*pair) for pair in zip(W, G, strict=True)])
    np.testing.assert_allclose(kkt_distance(case.make(), W, G), expected, atol=1e-12, rtol=0)
    assert (expected.max(1) > 0.1).any()


@every
def test_polar_and_conjugate(case):
    centred = POINTS[::3] - POINTS[::3].mean(1, keepdims=True)
    u = np.vstack([POINTS[::2], centred, case.vertices[:4]])
    expected = np.array([case.polar(x) for x in u])
    clear = np.isfinite(expected) | (np.abs(u.sum(1)) > 1e-6)  # the sum is not 0 to rounding
    found = polar(case.make(), u)
    np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-11)
    assert np.isfinite(expected).sum() > 4

    finite = np.isfinite(expected) & (expected > 0)
    scaled = u[finite] / expected[finite][:, None]
    assert (conjugate(case.make(), scaled * (1 - 1e-9)) == 0).all()
    assert (conjugate(case.make(), scaled * 1.001) == np.inf).all()


@every
def test_fenchel_young(case):
    """value(w) + conjugate(u) >= <u, w>, with equality for the residual of the prox."""
    penalty = case.make()
    z = prox(penalty, POINTS, np.ones(len(POINTS)))
    u = POINTS - z
    np.testing.assert_array_equal(conjugate(penalty, u), 0)
    np.testing.assert_allclose(value(penalty, z), np.sum(u * z, 1), atol=1e-13)
    assert (value(penalty, POINTS)[:, None] >= POINTS @ u.T - 1e-13).all()


@every_norm
def test_lam_max(case):
    """The prox of step 1 is 0 from there on; the KKT distance crosses 0 there."""
    g = POINTS[1:]
    limit = lam_max(case.make(), g, lam=1.0)
    if case.make().at(0).value(POINTS[0]) == 0:
        np.testing.assert_allclose(lam_max(case.make(), g), limit / 0.75)
    for factor, is_zero in ((1 + 1e-9, True), (0.999, False)):
        z = prox(case.make(), -g, np.ones(len(g)), lam=factor * limit)
        distance = kkt_distance(case.make(), 0 * g, g, lam=factor * limit)
        assert ((np.abs(z).max(1) == 0) == is_zero).all()
        assert ((distance.max(1) == 0) == is_zero).all()


@pytest.mark.parametrize("name", ["tv", "tv_weighted", "fused_as_tv"])
def test_lam_max_makes_it_constant(name):
    """... on each stretch between edges of weight 0."""
    g = POINTS[2:]
    penalty = CASES[name].make()
    limit = lam_max(penalty, g, lam=1.0)
    edges = np.flatnonzero(EDGES) if name == "tv_weighted" else np.arange(N - 1)
    for factor, constant in ((1 + 1e-9, True), (0.999, False)):
        z = prox(penalty, -g, np.ones(len(g)), lam=factor * limit)
        jump = np.diff(z, axis=1)[:, edges].any(1)
        assert (jump != constant)[limit > 0].all()


@every
def test_support_is_where_the_value_is_smooth(case):
    smooth = support(case.make(), POINTS)
    for w, row in zip(POINTS, smooth, strict=True):
        for j in np.flatnonzero(row):
            e = 1e-3 * np.eye(N)[j]
            assert case.value(w + e) + case.value(w - e) - 2 * case.value(w) < 1e-6
    assert support(case.make(), np.array([[5.0, -1.0, 3.0, 8.0]])).all()
    assert support(case.make(), POINTS, lam=0.0).all()


@every
def test_gradient_of_the_value_is_a_subgradient(case):
    with precision("float64"):
        gradient = np.asarray(jax.jit(jax.vmap(jax.grad(case.make().value)))(POINTS))
    np.testing.assert_allclose(kkt_distance(case.make(), POINTS, -gradient), 0, atol=1e-13)
    np.testing.assert_array_equal(gradient[0], 0)


@every
def test_limits(case):
    """Strength 0 and step 0 change nothing; infinite strength ties all there is to tie."""
    penalty, one = case.make(), np.ones(len(POINTS))
    np.testing.assert_array_equal(prox(penalty, POINTS, one, lam=0.0), POINTS)
    np.testing.assert_array_equal(prox(penalty, POINTS, 0 * one), POINTS)
    for lam in (1e20, np.inf):
        z = prox(penalty, POINTS, one, lam=lam)
        assert np.isfinite(z).all()
        if case.norm:
            np.testing.assert_array_equal(z, 0)
        else:
            spread = np.ptp(z, axis=1) if penalty.value(np.eye(N)[0]) else np.diff(z)[:, 0]
            assert (spread == 0).all() or np.count_nonzero(EDGES) < N - 1
            np.testing.assert_allclose(z.sum(1), POINTS.sum(1), atol=1e-13)
        np.testing.assert_array_equal(value(penalty, 0 * POINTS, lam=lam), 0)


@every
def test_nan_is_not_hidden(case):
    v = np.array([[1.0, np.nan, 2.0, 3.0]])
    assert np.isnan(prox(case.make(), v, np.ones(1))[0, 1])
    assert np.isnan(value(case.make(), v)).all()
    assert not np.isfinite(lam_max(case.make(), v)).any()
    assert np.isnan(prox(case.make(), POINTS, np.ones(len(POINTS)), lam=-1.0)).any(1).all()


@pytest.mark.parametrize("name", ["slope", "tv_weighted"])
def test_trees_and_single_vectors(name):
    """A penalty applies to every leaf, with a step for each; a batch is a loop over vectors."""
    penalty = CASES[name].make()
    params = {"a": POINTS[2].astype("float32"), "b": POINTS[8].astype("float32")}
    z = jax.jit(penalty.prox)(params, {"a": 1.0, "b": 2.0})
    batch = prox(penalty, POINTS[[2, 8]], np.array([1.0, 2.0]), dtype="float32")
    np.testing.assert_allclose([z["a"], z["b"]], batch, atol=1e-6)
    np.testing.assert_allclose(
        penalty.value(params), value(penalty, POINTS[[2, 8]]).sum(), rtol=1e-6
    )
    with pytest.raises(TypeError, match="one step for all entries"):
        penalty.prox(POINTS[2], np.ones(N))


# --- derivatives ------------------------------------------------------------------------------


def jacobians(f, x, h=1e-6):
    """(forward, reverse, central differences) of a batch, by one compiled function."""
    with precision("float64"):
        both = jax.jit(jax.vmap(lambda x: (f(x), jax.jacfwd(f)(x), jax.jacrev(f)(x))))
        _, forward, reverse = both(x)
        columns = [
            (both(x + e)[0] - both(x - e)[0]) / (2 * h) for e in h * np.eye(x.shape[1])[:, None, :]
        ]
    return np.asarray(forward), np.asarray(reverse), np.stack(columns, -1)


ARGUMENTS = {  # those besides v and step, off the boundary of what is allowed
    "slope": {"lam": 0.75, "weights": WEIGHTS},
    "linf": {"lam": 0.75},
    "tv_weighted": {"lam": 0.75, "weights": np.array([1.0, 0.3, 2.0])},
    "fused": {"lam": 0.75, "l1_ratio": 0.25},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_derivatives(name):
    """In all arguments at once: forward and reverse agree and are finite, and off the kinks they
    are the differences."""
    smooth = np.array([[2.0, 1.9, -3.0, 0.01], [1.0, 4.0, 3.9, -0.5], [3.0, 2.5, 2.6, -3.5]])
    penalty = CASES[name].make()
    more = ARGUMENTS[name]

    def of_all(x):
        v, step, place, changed = x[:N], x[N], N + 1, {}
        for key, number in more.items():
            size = np.size(number)
            changed[key] = x[place : place + size].reshape(np.shape(number))
            place += size
        return dataclasses.replace(penalty, **changed).prox(v, step)

    rest = np.concatenate([np.ravel(number) for number in more.values()])
    steps = np.concatenate([np.full(len(smooth), 0.4), *([s] * len(POINTS) for s in (0, 0.4, 4))])
    v = np.vstack([smooth, POINTS, POINTS, POINTS])
    x = np.hstack([v, steps[:, None], np.tile(rest, (len(v), 1))])
    forward, reverse, differences = jacobians(of_all, x)
    assert np.isfinite(forward).all()
    np.testing.assert_allclose(forward, reverse, atol=1e-13)
    np.testing.assert_allclose(forward[:3], differences[:3], atol=2e-8)
    assert (np.abs(forward[:3]).max((0, 1)) > 0).all()


def test_derivatives_of_isotonic_regression():
    rng = np.random.default_rng(2)
    x = np.hstack([rng.normal(size=(6, 6)), rng.uniform(0.5, 2, size=(6, 6))])
    x[-1, :6] = 0
    forward, reverse, differences = jacobians(lambda x: isotonic(x[:6], x[6:]), x)
    np.testing.assert_allclose(forward, reverse, atol=1e-14)
    np.testing.assert_allclose(forward[:-1], differences[:-1], atol=1e-8)
    assert np.isfinite(forward).all()
    assert (np.abs(forward).max((0, 1)) > 0).all()


# --- isotonic regression ----------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_isotonic_regression(dtype, increasing, n):
    rng = np.random.default_rng(n)
    v = np.vstack([rng.normal(size=(6, n)), np.round(2 * rng.normal(size=(4, n)))]).astype(dtype)
    weights = rng.uniform(0.1, 4, size=v.shape).astype(dtype)
    with precision(dtype):
        z = jax.jit(jax.vmap(lambda v, w: isotonic(v, w, increasing)))(v, weights)
        plain = jax.jit(jax.vmap(lambda v: isotonic(v, increasing=increasing)))(v)
    assert z.dtype == dtype
    for found, w in ((z, weights), (plain, np.ones_like(v))):
        expected = [
            isotonic_regression(a, weights=b, increasing=increasing).x
            for a, b in zip(v.astype(float), w.astype(float), strict=True)
        ]
        np.testing.assert_allclose(found, expected, atol=TOL[dtype] / 4)
        rises = np.diff(found, axis=1) * (1 if increasing else -1)
        assert (rises >= 0).all()
        assert ((rises == 0) == (np.abs(np.diff(expected, axis=1)) < TOL[dtype] / 4)).all()


def test_isotonic_regression_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(5)
    v, weights = rng.normal(size=40), rng.uniform(0.1, 4, size=40)
    expected = sklearn.isotonic_regression(v, sample_weight=weights)
    with precision("float64"):
        np.testing.assert_allclose(isotonic(v, weights), expected, atol=1e-14)


def test_isotonic_regression_keeps_the_digits_of_small_differences():
    """A common offset of 1e4 in float32 costs its own rounding and no more."""
    v = np.random.default_rng(6).normal(size=500).astype("float32") + np.float32(1e4)
    expected = isotonic_regression(v.astype(float)).x
    assert np.abs(np.asarray(isotonic(v), float) - expected).max() <= 2 * np.spacing(
        np.float32(1e4)
    )


def test_isotonic_regression_within_runs():
    v = np.array([3.0, 1.0, 2.0, 0.0, 5.0, 4.0], "float32")
    z = isotonic(v, runs=np.array([0, 0, 1, 1, 1, 2]))
    np.testing.assert_allclose(z, [2, 2, 1, 1, 5, 4])


def test_defect_19_isotonic_regression_runs_on_the_device():
    """jaxopt calls back into host code, one vector at a time under vmap."""
    text = str(jax.make_jaxpr(jax.vmap(isotonic))(np.zeros((3, 5), "float32")))
    assert "callback" not in text
    V = np.random.default_rng(0).normal(size=(8, 30)).astype("float32")
    np.testing.assert_allclose(
        jax.vmap(isotonic)(V), np.stack([isotonic(v) for v in V]), rtol=1e-6, atol=1e-6
    )


def test_isotonic_penalty():
    penalty = Isotonic()
    assert isinstance(penalty, Penalty)
    with precision("float64"):
        z = np.asarray(jax.jit(jax.vmap(lambda v: penalty.prox(v, 1.0)))(POINTS))
        value, distance, conjugate = jax.jit(
            jax.vmap(
                lambda v, z: (
                    penalty.value(z),
                    penalty.kkt_distance(z, z - v),
                    penalty.conjugate(v - z),
                )
            )
        )(POINTS, z)
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_allclose(distance, 0, atol=1e-14)
        np.testing.assert_array_equal(conjugate, 0)
        np.testing.assert_allclose(np.sum((POINTS - z) * z, 1), 0, atol=1e-13)
        assert penalty.value(np.array([1.0, 0.5])) == np.inf
        assert penalty.value({"a": np.ones(2), "b": np.array([1.0, 0.0])}) == np.inf
        assert (penalty.kkt_distance(np.array([1.0, 0.5]), np.zeros(2)) == np.inf).all()
        assert penalty.conjugate(np.array([-1.0, 1.0])) == np.inf
        assert penalty.conjugate(np.array([1.0, 0.0])) == np.inf
        assert penalty.at(3.0) is penalty
        # from 0 the increasing directions lower the loss, or not
        assert penalty.lam_max(np.array([1.0, -1.0])) == np.inf
        assert penalty.lam_max(np.array([-1.0, 1.0])) == 0


def test_isotonic_kkt_distance_is_the_distance():
    """The normal cone at w is generated by e_i - e_{i+1} for neighbours that are equal."""
    w = np.array([[0.0, 0, 0, 0], [1, 1, 2, 2], [0, 1, 1, 1], [0, 1, 2, 3]])
    for increasing, sign in ((True, 1), (False, -1)):
        over_w = jax.vmap(Isotonic(increasing=increasing).kkt_distance, in_axes=(0, None))
        with precision("float64"):
            found = jax.jit(jax.vmap(over_w, in_axes=(None, 0)))(sign * w, POINTS)
        for g, distances in zip(POINTS, np.asarray(found), strict=True):
            for row, distance in zip(w, distances, strict=True):
                rays = -sign * D[np.diff(row) == 0].T
                nearest = rays @ nnls(rays, -g)[0] if rays.size else 0 * g
                np.testing.assert_allclose(distance, np.abs(-g - nearest), atol=1e-12)


# --- SLOPE ------------------------------------------------------------------------------------


def test_defect_23_slope_pairs_large_with_large():
    """modopt pairs ascending sizes with descending weights."""
    w = np.array([0.0, -3.0, 1.0, 2.0], "float32")
    np.testing.assert_allclose(SLOPE(1.0, weights=WEIGHTS).value(w), 2 * 3 + 1.5 * 2 + 1 * 1)


@every_dtype
def test_slope_at_length(dtype):
    """Against SciPy's isotonic regression of the sorted sizes; clusters are exactly equal."""
    rng = np.random.default_rng(3)
    v = (2 * rng.normal(size=(8, 80))).astype(dtype)
    t = np.sort(rng.uniform(0, 1, 80))[::-1].astype(dtype)
    with precision(dtype):
        z = np.asarray(jax.jit(jax.vmap(ordered.sorted_l1, in_axes=(0, None)))(v, t))
    for found, x in zip(z, v.astype(float), strict=True):
        order = np.argsort(-np.abs(x))
        shrunk = isotonic_regression(np.abs(x)[order] - t, increasing=False).x
        expected = np.zeros(80)
        expected[order] = np.maximum(shrunk, 0)
        np.testing.assert_allclose(found, np.sign(x) * expected, atol=TOL[dtype])
        assert len(np.unique(np.abs(found))) == len(np.unique(np.round(expected, 9)))


def test_slope_moves_with_permutations_and_signs():
    rng = np.random.default_rng(4)
    v, t = rng.normal(size=20).astype("float32"), np.linspace(1, 0, 20).astype("float32")
    order, sign = rng.permutation(20), np.sign(rng.normal(size=20)).astype("float32")
    prox = jax.jit(ordered.sorted_l1)
    np.testing.assert_array_equal(prox(sign * v[order], t), sign * prox(v, t)[order])


def test_slope_of_a_matrix_and_default_weights():
    w = POINTS[8:11].astype("float32")
    z, flat = jax.jit(lambda w: (SLOPE(0.1).prox(w, 1.0), SLOPE(0.1).prox(w.ravel(), 1.0)))(w)
    np.testing.assert_array_equal(z.ravel(), flat)
    assert np.count_nonzero(z)
    with precision("float64"):
        np.testing.assert_allclose(
            slope_weights(5, 0.3), norm.ppf(1 - np.arange(1, 6) * 0.3 / 10), rtol=1e-12
        )


@pytest.mark.parametrize("n", [1, 2])
def test_short_vectors(n):
    v = np.array([2.0, -1.0], "float32")[:n]
    members = TotalVariation(), FusedLasso(), SLOPE(weights=np.ones(n)), Isotonic()

    def everything(v):
        proxes = ordered.sorted_l1(v, 1.0), ordered.total_variation(v, 0.5), ordered.linf(v, 0.5)
        limits = members[0].lam_max(v), members[1].lam_max(v)
        return proxes, limits, [member.kkt_distance(v, v) for member in members[:3]]

    proxes, limits, distances = jax.jit(everything)(v)
    expected = [[1], [2], [1.5]] if n == 1 else [[1, 0], [1.5, -0.5], [1.5, -1]]
    for z, answer in zip(proxes, expected, strict=True):
        np.testing.assert_allclose(z, answer)
    np.testing.assert_allclose(limits, [0, 4] if n == 1 else [1.5, 2])
    for distance in distances:
        assert np.isfinite(distance).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SLOPE(-1.0), "lam must be at least 0"),
        (lambda: SLOPE(1.0, weights=np.array([1.0, -1.0])), "weights must be"),
        (lambda: SLOPE(1.0, weights=np.array([1.0, 2.0])).value(np.ones(2)), "non-increasing"),
        (lambda: SLOPE(1.0, weights=np.ones(3)).value(np.ones(2)), "each of the 2 entries"),
        (lambda: ordered.sorted_l1(np.ones(3), np.arange(3.0)), "non-increasing"),
        (lambda: TotalVariation(1.0, weights=np.ones(2)).value(np.ones(2)), "1 edges"),
        (lambda: FusedLasso(1.0, l1_ratio=2.0), "l1_ratio must be between 0 and 1"),
        (lambda: Linf(-1.0), "lam must be at least 0"),
        (lambda: isotonic(np.ones((2, 2))), "must be a vector"),
        (lambda: isotonic(np.ones(2), np.array([1.0, 0.0])), "weights must be"),
        (lambda: ordered.total_variation(np.ones(3), np.ones(3)), "a scalar or have shape"),
        (lambda: ordered.total_variation(np.ones((2, 2)), 1.0), "must be a vector"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- total variation --------------------------------------------------------------------------


def variation_by_its_dual(v, t):
    """Bounded least squares over one number per edge."""
    differences = np.diff(np.eye(v.size), axis=0)
    t = np.broadcast_to(t, v.size - 1)
    dual = lsq_linear(differences.T, v, (-t - 1e-300, t + 1e-300), method="bvls", tol=1e-15)
    return v - differences.T @ dual.x


@every_dtype
@pytest.mark.parametrize("n", [2, 3, 30])
def test_total_variation_against_its_dual(dtype, n):
    rng = np.random.default_rng(n)
    v = np.vstack([rng.normal(size=(6, n)), np.round(rng.normal(size=(3, n)))]).astype(dtype)
    variation = jax.jit(jax.vmap(ordered.total_variation, (0, None)))
    with precision(dtype):
        for size in (0.02, 0.3, 2.0, 1e3):
            t = (size * rng.uniform(size=n - 1)).astype(dtype)
            z = np.asarray(variation(v, t))
            expected = [variation_by_its_dual(a, t.astype(float)) for a in v.astype(float)]
            np.testing.assert_allclose(z, expected, atol=5 * TOL[dtype])
            ties = np.abs(np.diff(expected, axis=1)) < 5 * TOL[dtype]
            np.testing.assert_array_equal((np.diff(z, axis=1) == 0), ties)


def test_total_variation_at_length():
    """1000 noisy steps in float32 satisfy the optimality conditions: the dual is in its tube."""
    rng = np.random.default_rng(0)
    v = (np.repeat(rng.normal(size=10), 100) + 0.3 * rng.normal(size=1000)).astype("float32")
    z = np.asarray(ordered.total_variation(v, 1.0), float)
    dual, jump = np.cumsum(v - z)[:-1], np.sign(np.diff(z))
    assert np.abs(dual).max() <= 1 + 1e-4
    np.testing.assert_allclose(dual[jump != 0], -jump[jump != 0], atol=1e-4)
    assert 10 <= np.count_nonzero(jump) <= 100


def test_total_variation_limits():
    v = np.random.default_rng(1).normal(size=50).astype("float32")
    with precision("float64"):
        wide = v.astype(float)
        np.testing.assert_array_equal(ordered.total_variation(wide, 0.0), wide)
        for t in (1e30, np.inf):
            z = np.asarray(ordered.total_variation(wide, t))
            assert np.ptp(z) == 0
            np.testing.assert_allclose(z, wide.mean(), atol=1e-15)
        np.testing.assert_array_equal(
            ordered.total_variation(wide, 0.3), ordered.total_variation(wide, np.full(49, 0.3))
        )
        np.testing.assert_allclose(
            ordered.total_variation(wide + 1e6, 0.3), 1e6 + ordered.total_variation(wide, 0.3)
        )
        ends = ordered.total_variation(wide, np.where(np.arange(49) == 7, np.inf, 0.0))
        assert ends[7] == ends[8]
        np.testing.assert_array_equal(np.delete(ends, [7, 8]), np.delete(wide, [7, 8]))


def test_columns_are_taken_apart():
    w = POINTS[6:].astype("float32")  # (12, 4)
    penalty = TotalVariation(0.5)
    z, distance, total, one = jax.jit(
        lambda w: (
            penalty.prox(w, 1.0),
            penalty.kkt_distance(w, 0 * w),
            penalty.value(w),
            jax.vmap(lambda c: penalty.prox(c, 1.0), 1, 1)(w),
        )
    )(w)
    np.testing.assert_array_equal(z, one)
    assert distance.shape == w.shape
    np.testing.assert_allclose(total, 0.5 * np.abs(np.diff(w, axis=0)).sum(), rtol=1e-6)
    np.testing.assert_allclose(
        Isotonic().prox(w, 1.0)[:, 1], isotonic_regression(w[:, 1].astype(float)).x, atol=1e-6
    )


def test_gauge_of_the_fused_lasso_at_length():
    """Newton's method over pairs against all pairs; its derivative is finite."""
    rng = np.random.default_rng(8)
    n = 40
    u = rng.normal(size=(10, n)).cumsum(1)
    gauge = jax.jit(jax.vmap(fused_gauge, in_axes=(0, None, None)))
    with precision("float64"):
        for a, b in ((0.3, 0.7), (1.0, 0.0), (1e-3, 1.0)):
            found = gauge(u, a, b)
            S = np.hstack([np.zeros((10, 1)), u.cumsum(1)])
            i, j = np.triu_indices(n + 1, 1)
            inner = ((np.arange(n + 1) > 0) & (np.arange(n + 1) < n)).astype(float)
            length = a * (j - i) + b * (inner[i] + inner[j])
            np.testing.assert_allclose(
                found, (np.abs(S[:, j] - S[:, i]) / length[None, :]).max(1), rtol=1e-12
            )
        assert np.isfinite(jax.grad(fused_gauge)(u[0], 0.3, 0.7)).all()
        assert fused_gauge(np.zeros(3), 0.3, 0.7) == 0


# --- the maximum norm -------------------------------------------------------------------------


@every_dtype
def test_linf_is_the_rest_of_the_l1_ball(dtype):
    """v minus the projection on the L1 ball, found by bisection."""
    v = (3 * np.random.default_rng(1).normal(size=(6, 50))).astype(dtype)
    t = np.asarray(5.0, dtype)
    with precision(dtype):
        z = np.asarray(jax.jit(jax.vmap(ordered.linf, in_axes=(0, None)))(v, t), float)
    for found, x in zip(z, np.abs(v.astype(float)), strict=True):
        low, high = 0.0, x.max()
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(x - middle, 0).sum() > t else (low, middle)
        np.testing.assert_allclose(np.abs(found), np.minimum(x, low), atol=TOL[dtype])
        assert np.count_nonzero(np.abs(found) == np.abs(found).max()) == np.sum(x >= low)
    with precision(dtype):
        np.testing.assert_array_equal(ordered.linf(v[0], np.abs(v[0]).sum() + 1), 0)
        np.testing.assert_array_equal(ordered.linf(v[0], 0.0), v[0])


# --- published cases and other people's solvers -----------------------------------------------

PUBLISHED = json.loads((Path(__file__).parent / "prox_cases_ordered.json").read_text())


@pytest.mark.parametrize(
    "op", ["prox_sorted_l1", "prox_linf_norm", "prox_tv1d"], ids=lambda op: op[5:]
)
def test_published(op):
    cases = [case for case in PUBLISHED if case["op"] == op]
    assert cases
    for case in cases:
        params = case["params"]
        with precision("float64"):
            v, lam = np.array(case["input"]), np.array(params["lam"])
            penalty = {
                "prox_sorted_l1": lambda lam=lam: SLOPE(1.0, weights=lam),
                "prox_linf_norm": lambda lam=lam: Linf(lam),
                "prox_tv1d": lambda lam=lam: TotalVariation(lam),
            }[op]()
            np.testing.assert_allclose(penalty.prox(v, params["step"]), case["output"], atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slope", "linf", "tv", "fused", "isotonic"])
def test_prox_against_a_convex_solver(name):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(9)
    n = 15
    weights = np.linspace(2, 0.1, n)
    differences = np.diff(np.eye(n), axis=0)
    drops = weights - np.append(weights[1:], 0)
    value = {
        "slope": lambda z: sum(drops[k] * cp.sum_largest(cp.abs(z), k + 1) for k in range(n)),
        "linf": cp.norm_inf,
        "tv": lambda z: cp.norm1(differences @ z),
        "fused": lambda z: 0.3 * cp.norm1(z) + 0.7 * cp.norm1(differences @ z),
        "isotonic": lambda z: 0,
    }[name]
    penalty = {
        "slope": SLOPE(1.0, weights=weights),
        "linf": Linf(1.0),
        "tv": TotalVariation(1.0),
        "fused": FusedLasso(1.0, l1_ratio=0.3),
        "isotonic": Isotonic(),
    }[name]
    for step in (0.2, 1.5):
        v = rng.normal(size=n)
        z = cp.Variable(n)
        within = [cp.diff(z) >= 0] if name == "isotonic" else []
        objective = step * value(z) + cp.sum_squares(z - v) / 2
        cp.Problem(cp.Minimize(objective), within).solve(
            solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
        )
        with precision("float64"):
            np.testing.assert_allclose(penalty.prox(v, step), z.value, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slope", "linf", "tv", "fused"])
def test_solve_finds_a_point_of_the_right_ties(name):
    """A solver that takes a prox takes these: its solution passes the polytope's KKT test."""
    rng = np.random.default_rng(7)
    case = CASES[name]
    X, y = rng.normal(size=(30, N)), rng.normal(size=30)
    with precision("float64"):
        problem = jreg.LinearProblem(X, y, jreg.Squared(), fit_intercept=False)
        penalty = case.make().at(0.2)
        solution = jreg.solve(problem, penalty, tol=1e-10, solver=jreg.FISTA())
        w = np.asarray(solution.params.coef)
    gradient = X.T @ (X @ w - y) / 30
    np.testing.assert_allclose(0.2 * case.distance(w, gradient / 0.2), 0, atol=1e-6)
