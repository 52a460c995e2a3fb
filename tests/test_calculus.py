"""The calculus of penalties: every rule against brute force, written without jreg."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DTYPES, precision
from scipy.optimize import minimize

import jreg
from jreg.penalties.addable import has_prox
from jreg.penalties.box import Box, NonNegative
from jreg.penalties.calculus import fixed, scaled, tilted, translated
from jreg.penalties.duality import conjugate, envelope
from jreg.penalties.elastic_net import ElasticNet
from jreg.penalties.groups import Groups
from jreg.penalties.isotonic import Isotonic
from jreg.penalties.l1 import L1, AsymmetricL1, NonNegativeL1
from jreg.penalties.linear_map import of_map
from jreg.penalties.nonconvex import L0, MCP
from jreg.penalties.nuclear import Nuclear
from jreg.penalties.radial import GroupLasso
from jreg.penalties.ridge import Huber, Ridge
from jreg.penalties.spectral_lift import spectral
from jreg.penalties.sum import Sum, add
from jreg.penalties.total_variation import FusedLasso, TotalVariation
from jreg.penalties.tree_wise import by_path, kernels_only, masked

ATOL = {"float32": 3e-6, "float64": 1e-14}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
V = np.array([-4.0, -1.25, -0.5, 0.0, 0.25, 0.75, 1.0, 2.5, 6.0])  # exact in float32
STEPS = np.array([0.25, 1.0, 3.0])
RNG = np.random.default_rng(0)


def total(*terms):
    result = terms[0]
    for term in terms[1:]:
        result = add(result, term)
    return result


def l1(w, lam=0.75):
    return lam * np.abs(w)


def mcp(w, lam=0.75, gamma=3.0):
    a = np.abs(w)
    return np.where(a < gamma * lam, lam * a - a * a / (2 * gamma), gamma * lam**2 / 2)


def inside(w, low, high):
    return np.where((w >= low) & (w <= high), 0.0, np.inf)


def huber(w, lam, mu):
    a = np.abs(w)
    return np.where(a <= lam * mu, a * a / (2 * mu), lam * a - lam * lam * mu / 2)


# name: (penalty of single entries, f of one number in NumPy, f* or None)
SCALAR = {
    "scaled": (
        scaled(L1(0.5), 1.5), l1, lambda u: np.where(np.abs(u) <= 0.75, 0, np.inf)
    ),
    "scaled_ridge": (scaled(Ridge(0.5), 4.0), lambda w: w * w, lambda u: u * u / 4),
    "scaled_mcp": (scaled(MCP(0.75, 3.0), 2.0), lambda w: 2 * mcp(w), None),
    "translated": (
        translated(L1(0.75), 0.5),
        lambda w: l1(w - 0.5),
        lambda u: np.where(np.abs(u) <= 0.75, 0.5 * u, np.inf),
    ),
    "translated_mcp": (translated(MCP(0.75, 3.0), -0.5), lambda w: mcp(w + 0.5), None),
    "tilted": (
        tilted(L1(0.75), 0.5),
        lambda w: l1(w) + 0.5 * w,
        lambda u: np.where(np.abs(u - 0.5) <= 0.75, 0, np.inf),
    ),
    "tilted_ridge": (
        tilted(Ridge(2.0), -1.0), lambda w: w * w - w, lambda u: (u + 1) ** 2 / 4
    ),
    "fixed": (fixed(L1(0.75)), l1, lambda u: np.where(np.abs(u) <= 0.75, 0, np.inf)),
    "conjugate_l1": (conjugate(L1(0.75)), lambda u: inside(u, -0.75, 0.75), l1),
    "conjugate_ridge": (conjugate(Ridge(2.0)), lambda u: u * u / 4, lambda w: w * w),
    "conjugate_elastic_net": (
        conjugate(ElasticNet(1.0, 0.5)),
        lambda u: np.maximum(np.abs(u) - 0.5, 0) ** 2,
        lambda w: 0.5 * np.abs(w) + 0.25 * w * w,
    ),
    "envelope_l1": (
        envelope(L1(0.75), 0.5),
        lambda w: huber(w, 0.75, 0.5),
        lambda u: np.where(np.abs(u) <= 0.75, 0.25 * u * u, np.inf),
    ),
    "envelope_box": (
        envelope(Box(-1.0, 0.5), 0.5),
        lambda w: (w - np.clip(w, -1, 0.5)) ** 2,
        lambda u: np.maximum(-u, 0.5 * u) + 0.25 * u * u,
    ),
    "twice": (scaled(translated(L1(0.5), 0.5), 1.5), lambda w: l1(w - 0.5), None),
    "envelope_of_conjugate": (
        envelope(conjugate(L1(0.75)), 1.0),
        lambda w: 0.5 * (w - np.clip(w, -0.75, 0.75)) ** 2,
        lambda u: 0.75 * np.abs(u) + 0.5 * u * u,
    ),
    "box_l1": (total(Box(-1.0, 0.5), L1(0.75)), lambda w: l1(w) + inside(w, -1, 0.5), None),
    "box_off_zero": (total(L1(0.75), Box(0.5, 2.0)), lambda w: l1(w) + inside(w, 0.5, 2), None),
    "box_translated": (
        total(translated(L1(0.75), 0.5), Box(0.25, 2.0)),
        lambda w: l1(w - 0.5) + inside(w, 0.25, 2),
        None,
    ),
    "two_boxes": (total(Box(0.0, 3.0), Box(0.5, 4.0)), lambda w: inside(w, 0.5, 3), None),
    "ridge_l1": (total(Ridge(0.5), L1(0.75)), lambda w: l1(w) + 0.25 * w * w, None),
    "ridge_mcp": (total(MCP(0.75, 3.0), Ridge(0.5)), lambda w: mcp(w) + 0.25 * w * w, None),
    "ridges_box_l1_l1": (
        total(Ridge(0.25), Box(-1.0, 3.0), L1(0.5), fixed(Ridge(0.25)), scaled(L1(0.125), 2.0)),
        lambda w: l1(w) + 0.25 * w * w + inside(w, -1, 3),
        None,
    ),
    "l1_huber": (total(Huber(1.0, 0.5), L1(0.5)), lambda w: huber(w, 0.5, 1) + l1(w, 0.5), None),
    "l1_asymmetric": (
        total(AsymmetricL1(1.0, 1.0, 0.25), L1(0.5)),
        lambda w: l1(w, 0.5) + np.maximum(w, -0.25 * w),
        None,
    ),
    "l1_nonnegative_l1": (
        total(NonNegativeL1(0.25), L1(0.5)), lambda w: l1(w) + inside(w, 0, np.inf), None
    ),
}  # fmt: skip
every_scalar = pytest.mark.parametrize("name", SCALAR)


def grid_minimum(f, v, step, slack=0.0):
    """(minimiser, least value) of step f(z) + (z - v)^2 / 2 on two nested grids."""
    centre, width = 0.0, 12.0
    for _ in range(5):
        z = np.unique(np.concatenate([centre + width * np.linspace(-1, 1, 2401), EXACT]))
        objective = step * f(z) + 0.5 * (z - v) ** 2
        centre, width = z[np.argmin(objective)], width / 100
    return centre, objective.min()


EXACT = np.array([-1.0, -0.75, -0.5, 0.0, 0.25, 0.5, 0.75, 2.0, 3.0])  # kinks and bounds


@jax.jit
def proxes(penalty, v, steps):
    return jax.vmap(lambda h: penalty.prox(v, h))(steps)


@every_scalar
@every_dtype
def test_prox_is_the_minimiser(name, dtype):
    penalty, f, _ = SCALAR[name]
    with precision(dtype):
        found = proxes(penalty, V.astype(dtype), STEPS.astype(dtype))
        metric = penalty.prox(V.astype(dtype), np.resize(STEPS, V.size).astype(dtype))
        assert found.dtype == metric.dtype == dtype
        assert not np.any(np.signbit(found) & (np.asarray(found) == 0))
    for i, step in enumerate(STEPS):
        for j, v in enumerate(V):
            _, best = grid_minimum(f, v, step)
            z = float(found[i, j])
            near = z + np.array([0, -1, 1]) * 4 * ATOL[dtype]  # bounds, to rounding
            assert np.min(step * f(near) + 0.5 * (near - v) ** 2) <= best + 2e-5
    np.testing.assert_allclose(
        metric, np.asarray(found)[np.arange(V.size) % 3, np.arange(V.size)], atol=ATOL[dtype]
    )


@every_scalar
@every_dtype
def test_value(name, dtype):
    penalty, f, _ = SCALAR[name]
    with precision(dtype):
        found = jax.jit(jax.vmap(penalty.value))(V.astype(dtype))
        assert found.dtype == dtype
    np.testing.assert_allclose(found, f(V), rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-7)


@pytest.mark.parametrize("name", [name for name, row in SCALAR.items() if row[2]])
def test_conjugate_and_fenchel_young(name):
    penalty, f, dual = SCALAR[name]
    u = np.array([-2.0, -0.5, 0.0, 0.25, 0.5, 0.625, 2.0])
    with precision("float64"):
        found = jax.vmap(penalty.conjugate)(u)
        np.testing.assert_allclose(found, dual(u), rtol=1e-13, atol=1e-15)
        z = np.asarray(penalty.prox(V, 0.5))
        x = (V - z) / 0.5
        near = x * (1 - 1e-13)  # indicators, to rounding
        with np.errstate(invalid="ignore"):
            either = f(z * (1 - 1e-13)) + np.minimum(dual(x), dual(near))
    np.testing.assert_allclose(either, z * x, atol=1e-11)


@every_scalar
def test_kkt_distance(name):
    """By one-sided slopes of the textbook function (or a lower bound of it), and 0 at the prox."""
    penalty, f, _ = SCALAR[name]
    w, g = np.meshgrid(EXACT, np.array([-2.0, -0.5, 0.0, 0.3, 1.5]))
    w, g, h = w.ravel(), g.ravel(), 1e-7
    with precision("float64"):
        found = np.asarray(penalty.kkt_distance(w, g))
        z = penalty.prox(V, 0.5)
        at_prox = penalty.kkt_distance(z, (np.asarray(z) - V) / 0.5)
    with np.errstate(invalid="ignore"):
        low, high = (f(w) - f(w - h)) / h, (f(w + h) - f(w)) / h
    infeasible = np.isinf(f(w))
    distance = np.maximum(np.maximum(low + g, -g - high), 0)
    if name.startswith("conjugate"):
        ok = ~infeasible
        assert (found[ok] <= distance[ok] + 1e-6).all()
        np.testing.assert_array_equal(found[ok] < 1e-9, distance[ok] < 1e-6)
    else:
        distance[infeasible] = np.inf
        if "envelope" not in name:
            np.testing.assert_allclose(found, distance, atol=1e-6)
    np.testing.assert_allclose(at_prox, 0, atol=1e-12)


CONSISTENT = [
    scaled(L1(0.5), 2.0), tilted(L1(0.5), 0.25), total(L1(0.5), Ridge(1.0)),
    total(L1(0.5), fixed(L1(0.25)), Huber(1.0)), total(Box(-1.0, 1.0), ElasticNet(0.5, 0.5)),
    spectral(L1(0.5)), masked(L1(0.5), True), of_map(L1(0.5), np.eye(4)[::-1], mu=1.0),
    total(GroupLasso(0.5), Ridge(2.0)), scaled(GroupLasso(0.25), 2.0),
]  # fmt: skip


@pytest.mark.parametrize("penalty", CONSISTENT, ids=lambda p: type(p).__name__)
def test_lam_max(penalty):
    """kkt_distance(0, gradient) crosses 0 there."""
    with precision("float64"):
        g = np.random.default_rng(1).normal(size=(4, 4)) * 3
        top = float(penalty.lam_max(g))
        assert 0 < top < np.inf
        gap = [float(jnp.max(penalty.at(c * top).prox(-g, 1.0) != 0)) for c in (0.999, 1.001)]
    assert gap == [1, 0]


def test_lam_max_without_one():
    g = np.array([1.0, -2.0])
    for penalty in (translated(L1(), 1.0), envelope(L1(), 1.0), conjugate(L1()), fixed(L1())):
        assert penalty.lam_max(g) == np.inf
    assert fixed(L1(3.0)).lam_max(g) == 0
    assert translated(L1(), 0.0).lam_max(g) == 2


# --- published cases and known mistakes of other libraries ----------------------------------------

PUBLISHED = {
    case["op"]: case
    for case in json.loads((Path(__file__).parent / "prox_cases_calculus.json").read_text())
}


def test_published():
    case = PUBLISHED["prox_translated_l1"]
    centre = np.broadcast_to(case["params"]["center"], (2, 2))
    found = translated(L1(2.0), centre).prox(np.array(case["input"]), 1.0)
    np.testing.assert_array_equal(found, case["output"])
    case = PUBLISHED["moreau_envelope_l1"]
    with precision("float64"):
        found = envelope(L1(1.0), 0.5).value(np.array(case["input"]))
    np.testing.assert_allclose(found, case["output"], rtol=1e-15)


def test_stacked_identity_is_no_tight_frame():
    """|[I; I] x|_1 at (1, 2, 4): A' A = 2 I does not make A A' a multiple of I."""
    A = np.vstack([np.eye(3), np.eye(3)])
    with pytest.raises(ValueError, match="not 2 times the identity"):
        of_map(L1(1.0), A, mu=2.0)
    penalty = of_map(L1(1.0), A)
    assert not has_prox(penalty)
    with pytest.raises(TypeError, match="splitting solver"):
        penalty.prox(np.ones(3), 1.0)
    np.testing.assert_array_equal(L1(2.0).prox(np.array([1.0, 2.0, 4.0]), 1.0), [0, 0, 2])
    assert penalty.value(np.array([1.0, 2.0, 4.0])) == 14


def test_elastic_net_on_a_dict_under_vmap():
    v = {"a": jnp.array([2.0, -3.0]), "b": jnp.array([1.0])}
    lams = jnp.array([0.5, 1.0])
    found = jax.vmap(lambda lam: scaled(ElasticNet(lam, 0.5), 2.0).prox(v, 0.5))(lams)
    for i, lam in enumerate((0.5, 1.0)):
        for key in v:
            x = np.asarray(v[key])
            naive = np.sign(x) * np.maximum(np.abs(x) - lam / 2, 0) / (1 + lam / 2)
            np.testing.assert_allclose(found[key][i], naive, rtol=1e-6)


# --- derivatives ----------------------------------------------------------------------------------


def test_gradient_of_the_envelope():
    w = np.array([-2.0, -0.3, 0.0, 0.4, 1.7])
    with precision("float64"):
        for f in (L1(0.75), Box(-0.5, 1.0), ElasticNet(1.0, 0.5), GroupLasso(0.5)):
            e = envelope(f, 0.5)
            slope_of = jax.jit(jax.vmap(jax.grad(e.value)))
            value_of = jax.jit(jax.vmap(e.value))
            slope = slope_of(w[None, :])[0]
            np.testing.assert_allclose(slope, (w - f.prox(w, 0.5)) / 0.5, atol=1e-14)
            up, down = w + 1e-6 * np.eye(5), w - 1e-6 * np.eye(5)
            differences = (value_of(up) - value_of(down)) / 2e-6
            np.testing.assert_allclose(slope, differences, atol=1e-8)
            moved = (slope_of(up) - slope_of(down)) / 2e-6
            np.testing.assert_allclose(jax.jit(jax.hessian(e.value))(w), moved, atol=1e-7)
        value = lambda lam, mu: envelope(L1(lam), mu).value(w)  # noqa: E731
        found = jax.grad(value, (0, 1))(0.75, 0.5)
        naive = lambda lam, mu: huber(w, lam, mu).sum()  # noqa: E731
        d = 1e-6
        np.testing.assert_allclose(
            found,
            [(naive(0.75 + d, 0.5) - naive(0.75 - d, 0.5)) / 2e-6,
             (naive(0.75, 0.5 + d) - naive(0.75, 0.5 - d)) / 2e-6],
            atol=1e-8,
        )  # fmt: skip


@every_scalar
def test_derivatives_of_the_prox(name):
    """Forward is reverse, all finite at kinks; finite differences off them."""
    penalty, _, _ = SCALAR[name]
    off = np.array([-3.1, -0.92, 0.13, 0.61, 1.37, 4.2])
    with precision("float64"):
        step = jnp.asarray(0.5)
        g = lambda p, v, s: p.prox(v, s)  # noqa: E731
        forward = jax.jit(jax.jacfwd(g, (0, 1, 2)))
        backward = jax.jit(jax.jacrev(g, (0, 1, 2)))
        floats = jax.tree.map(lambda x: jnp.asarray(x, float), penalty)
        for v in (V[:6], off):
            one, two = forward(floats, v, step), backward(floats, v, step)
            for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
                assert np.isfinite(a).all()
                np.testing.assert_allclose(a, b, atol=1e-13)
        d = 1e-6
        differences = (penalty.prox(off + d, 0.5) - penalty.prox(off - d, 0.5)) / (2 * d)
        np.testing.assert_allclose(np.diag(one[1]), differences, atol=1e-7)


# --- sums -----------------------------------------------------------------------------------------

PAIRS = Groups([0, 0, 1, 1, 2, 2])
HALVES = Groups([0, 0, 0, 0, 1, 1])


def group(w, groups):
    return sum(np.sqrt(np.sum(groups.ids == g)) * np.linalg.norm(w[groups.ids == g])
               for g in range(groups.n_groups))  # fmt: skip


# name: (sum, an objective without constraints for smooth minimisers or None, cvxpy)
COUPLED = {
    "tv_l1": total(L1(0.3), TotalVariation(0.5)),
    "tv_box": total(Box(-0.5, 1.0), TotalVariation(0.5)),
    "tv_elastic_net": total(TotalVariation(0.5), ElasticNet(0.6, 0.5)),
    "tv_l1_nonnegative": total(NonNegative(), TotalVariation(0.5), L1(0.3)),
    "fused_l1": total(L1(0.1), FusedLasso(0.8, 0.25)),
    "isotonic_l1": total(L1(0.3), Isotonic()),
    "group_l1": total(GroupLasso(0.5, groups=PAIRS), L1(0.3)),
    "group_weighted_l1": total(
        L1(0.3, weights=np.array([0.0, 1, 2, 1, 0.5, 1])), GroupLasso(0.5, groups=PAIRS)
    ),
    "group_nonnegative_ridge": total(GroupLasso(0.5, groups=PAIRS), Ridge(0.5), NonNegative()),
    "tree": total(GroupLasso(0.2), GroupLasso(0.3, groups=PAIRS), L1(0.2),
                  GroupLasso(0.25, groups=HALVES)),
}  # fmt: skip


@pytest.mark.parametrize("name", COUPLED)
@every_dtype
def test_prox_of_coupled_sums_cannot_be_improved(name, dtype):
    """The three-point inequality, which holds at the minimiser alone, at many other points."""
    penalty = COUPLED[name]
    rng = np.random.default_rng(2)
    v = rng.normal(size=6) * 2
    with precision(dtype):
        z = np.asarray(jax.jit(lambda p, v: p.prox(v, 0.7))(penalty, v.astype(dtype)), float)
    with precision("float64"):
        value = jax.jit(jax.vmap(lambda w: penalty.value(w)))
        scales = np.repeat([1e-3, 1e-2, 0.1, 1, 10], 400)[:, None]
        others = z + scales * rng.normal(size=(2000, 6))
        others = np.concatenate([others, np.sort(np.abs(others), 1), np.clip(others, 0, 1)])
        others = np.concatenate([others, np.where(rng.random(others.shape) < 0.5, z, others)])
        objective = lambda w: 0.7 * value(w) + 0.5 * np.sum((w - v) ** 2, 1)  # noqa: E731
        best, rest = objective(z[None, :]), objective(others)
        excess = rest - best - 0.5 * np.sum((others - z) ** 2, 1)
        assert np.isfinite(best).all()
        assert np.isfinite(excess).sum() > 50
        assert excess.min() >= -(1e-4 if dtype == "float32" else 1e-11)


def test_no_rule_no_prox():
    penalty = total(L1(1.0), translated(L1(1.0), 1.0))  # |z| + |z - 1|
    assert not has_prox(penalty)
    assert penalty.value(np.array([0.5])) == 1
    with pytest.raises(TypeError, match=r"L1 and Translated.*splitting solver"):
        penalty.prox(np.array([3.0]), 1.0)
    np.testing.assert_allclose(penalty.kkt_distance(np.array([0.0, 1.0]), np.array([1.0, 0])), 0)
    for p in (
        total(Nuclear(1.0), L1(1.0)),
        total(GroupLasso(groups=PAIRS), GroupLasso(groups=Groups([0, 1, 1, 2, 2, 0]))),
        total(TotalVariation(), L1(weights=np.ones(6))),
        total(L0(), L1()),
        total(TotalVariation(), Ridge(weights=np.ones(6))),
        scaled(penalty, 2.0), fixed(penalty), by_path({"": penalty}), envelope(penalty, 1.0),
    ):  # fmt: skip
        assert not has_prox(p)
        with pytest.raises(TypeError, match=r"splitting solver"):
            p.prox(np.ones((6, 6)) if isinstance(p, Sum) and p.terms[0] is Nuclear else np.ones(6),
                   1.0)  # fmt: skip
    with pytest.raises(TypeError, match="expected a penalty"):
        add(L1(), 3.0)


def test_sum_is_flat_and_at_goes_to_each_term():
    penalty = scaled(L1(1.0), 1.0) + (fixed(Ridge(2.0)) + tilted(L1(0.5), 0.0))
    assert [type(f).__name__ for f in penalty.terms] == ["Scaled", "Fixed", "Tilted"]
    assert penalty.at(3.0).value(np.array([1.0])) == 3 + 1 + 1.5
    assert penalty.convex
    assert penalty.separable
    assert not total(L1(), MCP()).convex
    assert total(L1(), TotalVariation()).compares


# --- spectral and linear maps ---------------------------------------------------------------------


@every_dtype
def test_spectral_l1_is_the_nuclear_norm(dtype):
    W = RNG.normal(size=(4, 3))
    with precision(dtype):
        p, W = spectral(L1(0.75)), W.astype(dtype)
        sigma = np.linalg.svd(W.astype(float), compute_uv=False)
        tol = {"rtol": 1e-5 if dtype == "float32" else 1e-13}
        np.testing.assert_allclose(p.value(W), 0.75 * sigma.sum(), **tol)
        np.testing.assert_allclose(p.polar(W), sigma[0] / 0.75, **tol)
        U, s, Wt = np.linalg.svd(W.astype(float), full_matrices=False)
        z = U * np.maximum(s - 0.375, 0)[None, :] @ Wt
        found = jax.jit(lambda p, W: p.prox(W, 0.5))(p, W)
        np.testing.assert_allclose(found, z, atol=5e-6 if dtype == "float32" else 1e-13)
        residual = p.kkt_distance(found, (np.asarray(found) - W) / np.asarray(0.5, dtype))
        np.testing.assert_allclose(residual, 0, atol=2e-5 if dtype == "float32" else 1e-13)
        slope = jax.jacfwd(lambda lam: spectral(L1(lam)).prox(W, 0.5))(0.75)
        assert np.abs(slope).max() > 0.1
    for bad in (AsymmetricL1(1.0, 2.0), Box(-1.0, 0.5), L1(weights=np.ones(3)), GroupLasso()):
        with pytest.raises(ValueError, match="singular values must"):
            spectral(bad)
    with pytest.raises(ValueError, match="matrices"):
        p.value(np.ones(3))


def test_of_map():
    A = 2 * np.linalg.qr(RNG.normal(size=(5, 5)))[0][:3]
    v = RNG.normal(size=5) * 2
    with precision("float64"):
        p = of_map(L1(0.75), A, mu=4.0)
        z = np.asarray(p.prox(v, 0.5))
        best = minimize(
            lambda x: 0.5 * 0.75 * np.abs(A @ x).sum() + 0.5 * np.sum((x - v) ** 2), z,
            method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
        )  # fmt: skip
        objective = 0.5 * float(p.value(z)) + 0.5 * np.sum((z - v) ** 2)
        assert objective <= best.fun + 1e-10
        function = of_map(L1(0.75), lambda w: A @ w, lambda u: A.T @ u, mu=4.0)
        np.testing.assert_allclose(function.prox(v, 0.5), z, atol=1e-14)
        alone = of_map(L1(0.75), lambda w: A @ w)
        np.testing.assert_allclose(alone.adjoint(np.ones(3), v), A.sum(0), atol=1e-14)
        with pytest.raises(TypeError, match="adjoint"):
            alone.adjoint(np.ones(3))


# --- trees ----------------------------------------------------------------------------------------


def network():
    return {
        "Dense_0": {"kernel": jnp.array([[2.0, -3.0]]), "bias": jnp.array([2.0, 1.0])},
        "Dense_1": {"kernel": jnp.array([[4.0], [0.5]]), "bias": jnp.array([-2.0])},
        "none": None,
    }


def test_by_path():
    w = network()
    p = by_path({"Dense_0/kernel": L1(1.0), "kernel$": Ridge(1.0), "_1/bias": None},
                default=L1(0.5))  # fmt: skip
    assert p.value(w) == 5 + (16 + 0.25) / 2 + 1.5
    z = p.prox(w, 1.0)
    np.testing.assert_array_equal(z["Dense_0"]["kernel"], [[1, -2]])
    np.testing.assert_array_equal(z["Dense_0"]["bias"], [1.5, 0.5])
    np.testing.assert_array_equal(z["Dense_1"]["kernel"], [[2], [0.25]])
    np.testing.assert_array_equal(z["Dense_1"]["bias"], [-2])
    assert z["none"] is None
    steps = jax.tree.map(lambda x: jnp.full_like(x, 1.0), w)
    jax.tree.map(np.testing.assert_array_equal, z, p.prox(w, steps))
    free = p.unpenalized(w)
    assert free["Dense_1"]["bias"].all()
    assert not free["Dense_0"]["bias"].any()
    distance = p.kkt_distance(w, jax.tree.map(jnp.zeros_like, w))
    np.testing.assert_array_equal(distance["Dense_1"]["bias"], 0)
    np.testing.assert_array_equal(distance["Dense_1"]["kernel"], [[4], [0.5]])
    assert p.at(2.0).value(w) == 2 * p.value(w)
    with pytest.raises(ValueError, match=r"no parameter matches 'kernal'.*Dense_0/bias"):
        by_path({"kernal": L1()}).value(w)
    assert by_path({"kernel": L1(1.0)}).lam_max(w) == 4
    assert by_path({"kernel": L1(1.0)}).polar(w) == np.inf
    assert by_path({"a": GroupLasso(), "b": MCP()}).conjugate is None
    assert by_path({".*": L1(1.0)}).polar(w) == 4


def test_masks():
    w = network()
    prefix = {"Dense_0": True, "Dense_1": {"kernel": False, "bias": True}, "none": None}
    p = masked(L1(1.0), prefix)
    assert p.value(w) == 5 + 3 + 2
    assert masked(L1(1.0), True).value(w) == 5 + 3 + 4.5 + 2
    assert masked(L1(1.0), False).value(w) == 0
    assert masked(L1(1.0), False).lam_max(w) == 0
    assert kernels_only(L1(1.0)).value(w) == 5 + 4.5
    kernels = kernels_only(Box(-1.0, 1.0)).prox(w, 1.0)
    np.testing.assert_array_equal(kernels["Dense_1"]["kernel"], [[1], [0.5]])
    np.testing.assert_array_equal(kernels["Dense_1"]["bias"], [-2])
    np.testing.assert_array_equal(p.entry(w)["Dense_1"]["kernel"], 0)
    assert p.conjugate(jax.tree.map(jnp.zeros_like, w)) == 0
    assert p.conjugate(w) == np.inf
    with pytest.raises(ValueError, match="prefix"):
        masked(L1(), {"Dense_0": True}).value(w)
    with pytest.raises(TypeError, match="weights"):
        masked(L1(), {"a": np.array([True, False])})
    weights = {"a": jnp.array([1.0, 2.0]), "b": None}
    q = masked(L1(1.0, weights=weights), {"a": True, "b": False})
    assert q.value({"a": jnp.ones(2), "b": jnp.ones(1)}) == 3


def test_optional_pieces_are_passed_on():
    for p in (scaled, translated, tilted):
        assert p(MCP(), 1.0).conjugate is None
        assert p(GroupLasso(), 1.0).restrict is None
        assert not p(MCP(), 1.0).convex
    assert fixed(Ridge()).polar is not None
    assert scaled(L1(), 2.0).homogeneous
    assert not translated(L1(), 2.0).homogeneous
    picked = translated(L1(), jnp.arange(3.0)).restrict(jnp.array([2, 0]))
    np.testing.assert_array_equal(picked.prox(jnp.array([9.0, 9.0]), 1.0), [8, 8])
    np.testing.assert_array_equal(picked.prox(jnp.array([2.0, 0.0]), 1.0), [2, 0])
    with pytest.raises(ValueError, match="not convex"):
        conjugate(MCP())
    with pytest.raises(ValueError, match="c must be"):
        scaled(L1(), -1.0)
    with pytest.raises(ValueError, match="mu must be"):
        envelope(L1(), 0.0)
    assert np.isnan(jax.jit(lambda c: scaled(L1(), c).value(jnp.ones(1)))(-1.0))
    with pytest.raises(TypeError, match="no conjugate"):
        conjugate(total(L1(), Ridge())).value(np.ones(2))


# --- batches and compilation ----------------------------------------------------------------------


def make(x):
    w = {"kernel$": translated(L1(x), x), "bias": scaled(Ridge(x), x)}
    return by_path(w, default=total(fixed(L1(x)), Box(-x, x), Ridge(x)))


def test_batches_and_traces():
    v = {"kernel": jnp.array([2.0, -3.0]), "bias": jnp.array([1.0]), "else": jnp.array([4.0])}
    traces = []

    @jax.jit
    def prox(penalty, v):
        traces.append(1)
        return jax.vmap(lambda p: p.prox(v, 0.5))(penalty)

    xs = jnp.array([0.5, 1.0, 2.0])
    for _ in range(3):
        batch = prox(jax.vmap(make)(xs), v)
    assert len(traces) == 1
    for i, x in enumerate(xs):
        alone = make(x).prox(v, 0.5)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6), batch, alone)

    one = jax.jit(lambda penalty, v: traces.append(1) or penalty.prox(v, 0.5))
    traces.clear()
    for x in (0.5, 1.0):
        for make_one in (
            lambda x: masked(envelope(conjugate(L1(x)), x), {"kernel": True, "bias": False,
                                                             "else": False}),
            lambda x: kernels_only(tilted(L1(x), x)),
        ):  # fmt: skip
            one(make_one(jnp.asarray(x)), v)
    assert len(traces) == 2


# --- a convex solver as the judge -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", COUPLED)
def test_coupled_sums_against_a_convex_solver(name):
    cp = pytest.importorskip("cvxpy")
    norms = lambda z, g: sum(  # noqa: E731
        np.sqrt((g.ids == i).sum()) * cp.norm(z[np.flatnonzero(g.ids == i)])
        for i in range(g.n_groups)
    )
    whole = lambda z: np.sqrt(6) * cp.norm(z)  # noqa: E731
    weights = np.array([0.0, 1, 2, 1, 0.5, 1])
    objective = {
        "tv_l1": lambda z: (0.3 * cp.norm1(z) + 0.5 * cp.tv(z), []),
        "tv_box": lambda z: (0.5 * cp.tv(z), [z >= -0.5, z <= 1]),
        "tv_elastic_net": lambda z: (
            0.5 * cp.tv(z) + 0.3 * cp.norm1(z) + 0.15 * cp.sum_squares(z), []),
        "tv_l1_nonnegative": lambda z: (0.3 * cp.norm1(z) + 0.5 * cp.tv(z), [z >= 0]),
        "fused_l1": lambda z: (0.3 * cp.norm1(z) + 0.6 * cp.tv(z), []),
        "isotonic_l1": lambda z: (0.3 * cp.norm1(z), [cp.diff(z) >= 0]),
        "group_l1": lambda z: (0.3 * cp.norm1(z) + 0.5 * norms(z, PAIRS), []),
        "group_weighted_l1": lambda z: (
            0.3 * cp.sum(cp.multiply(weights, cp.abs(z))) + 0.5 * norms(z, PAIRS), []),
        "group_nonnegative_ridge": lambda z: (
            0.5 * norms(z, PAIRS) + 0.25 * cp.sum_squares(z), [z >= 0]),
        "tree": lambda z: (
            0.2 * whole(z) + 0.3 * norms(z, PAIRS) + 0.2 * cp.norm1(z) + 0.25 * norms(z, HALVES),
            []),
    }[name]  # fmt: skip
    for seed in range(3):
        v, z = np.random.default_rng(seed).normal(size=6) * 2, cp.Variable(6)
        f, constraints = objective(z)
        cp.Problem(cp.Minimize(0.7 * f + 0.5 * cp.sum_squares(z - v)), constraints).solve()
        with precision("float64"):
            found = COUPLED[name].prox(v, 0.7)
        np.testing.assert_allclose(found, z.value, atol=2e-4)


def test_a_tilted_penalty_has_its_slope_at_0():
    """So that methods of gradients leave 0; against the closed form and another solver."""
    tilted = jreg.penalties.tilted(jreg.Ridge(0.1), 3.0)
    w = jnp.array([0.0, 1.0])
    np.testing.assert_allclose(jax.grad(tilted.value)(w), 0.1 * w + 3.0, rtol=1e-6)
    rng = np.random.default_rng(0)
    problem = jreg.LinearProblem(rng.normal(size=(30, 3)), rng.normal(size=30))
    found = [jreg.solve(problem, tilted, solver=s()) for s in (jreg.solvers.LBFGS, jreg.FISTA)]
    assert all(f.status == jreg.Status.CONVERGED for f in found)
    np.testing.assert_allclose(found[0].params.coef, found[1].params.coef, atol=1e-2)
