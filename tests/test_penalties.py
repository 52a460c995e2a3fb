"""Laws of penalties and their proximal operators, each on every row of `cases.PENALTIES`.

The references are the textbook formulas of `cases.Naive` in float64, never jreg's own.
"""

import dataclasses
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from cases import DTYPES, PENALTIES, SIZE, Exempt, exemptions, precision, rows
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jreg

TOL = {"float32": 2e-6, "float64": 4e-15}  # some ulps, relative to the size of the input
SMALL = settings(max_examples=20)

numbers = st.floats(-8, 8, width=32, allow_subnormal=False)
near_kinks = st.sampled_from([0.0, -0.0, 0.75, -0.75, 0.375, 1.5, -1.5, 3.0, -6.0])
vectors = st.lists(numbers | near_kinks, min_size=SIZE, max_size=SIZE).map(np.array)
steps = st.floats(0.03125, 8, width=32)

every_penalty = pytest.mark.parametrize("case", rows(PENALTIES))
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def law(name):
    return pytest.mark.parametrize("case", rows(PENALTIES, name))


# One compiled function a method: hypothesis calls them often.
jit_prox = jax.jit(lambda penalty, v, step: penalty.prox(v, step))
jit_value = jax.jit(lambda penalty, w: penalty.value(w))
jit_conjugate = jax.jit(lambda penalty, u: penalty.conjugate(u))
jit_polar = jax.jit(lambda penalty, u: penalty.polar(u))
jit_gradient = jax.jit(lambda penalty, w: jax.grad(penalty.value)(w))
jit_distance = jax.jit(lambda penalty, w, g: penalty.kkt_distance(w, g))


def array(x, dtype):
    return np.asarray(x, dtype)


def prox(case, v, step, dtype):
    """jreg's prox in `dtype`, as float64 numbers."""
    with precision(dtype):
        z = jit_prox(case.make(), array(v, dtype), array(step, dtype))
        assert z.dtype == dtype
    return np.asarray(z, float)


def scalar(function, case, x, dtype):
    with precision(dtype):
        result = function(case.make(), array(x, dtype))
        assert result.shape == ()
        assert result.dtype == dtype
    return float(result)


def size(*arrays):
    """1 + the largest finite magnitude: the scale of rounding."""
    return 1 + max(float(np.max(np.abs(a), initial=0)) for a in arrays)


# --- the prox ---------------------------------------------------------------------------------


@every_penalty
@every_dtype
@given(v=vectors, step=steps, seed=st.integers(0, 99))
@SMALL
def test_prox_beats_perturbations(case, dtype, v, step, seed):
    def objective(z):
        return step * case.naive.value(z) + 0.5 * np.sum((z - v) ** 2)

    z = prox(case, v, step, dtype)
    best = objective(z)
    rng = np.random.default_rng(seed)
    may_move = np.isfinite(case.naive.strengths)
    for scale in (1e-3, 1e-1, 10.0):
        for _ in range(5):
            other = objective(z + scale * may_move * rng.normal(size=SIZE))
            # second order at the minimiser: the error of z is squared
            assert best <= other + (10 * TOL[dtype] * size(v)) ** 2 + 1e-14 * size(v) ** 2


@every_penalty
@every_dtype
@given(v=vectors, step=steps)
@SMALL
def test_prox_is_the_naive_one(case, dtype, v, step):
    np.testing.assert_allclose(
        prox(case, v, step, dtype), case.naive.prox(v, step), atol=TOL[dtype] * size(v), rtol=0
    )


@every_penalty
@every_dtype
@given(v=vectors, u=vectors, step=steps)
@SMALL
def test_three_point_inequality(case, dtype, v, u, step):
    """Exactly what makes z the prox of a convex function; u is any feasible point."""
    u = np.where(np.isinf(case.naive.strengths), 0, u)
    z = prox(case, v, step, dtype)
    left = 2 * step * (case.naive.value(z) - case.naive.value(u))
    right = np.sum((u - v) ** 2) - np.sum((u - z) ** 2) - np.sum((z - v) ** 2)
    assert left <= right + 20 * TOL[dtype] * size(u, v) ** 2 * (1 + step)


@every_penalty
@every_dtype
@given(v=vectors, u=vectors, step=steps)
@SMALL
def test_firmly_nonexpansive(case, dtype, v, u, step):
    moved = prox(case, v, step, dtype) - prox(case, u, step, dtype)
    assert moved @ moved <= moved @ (v - u) + 10 * TOL[dtype] * size(u, v) ** 2


@every_penalty
@every_dtype
@given(v=vectors, step=steps)
@SMALL
def test_moreau_identity(case, dtype, v, step):
    """prox of f at v + the prox of its conjugate, coded independently, make up v."""
    dual = case.naive.conjugate_prox(v / step, 1 / step)
    whole = prox(case, v, step, dtype) + step * dual
    np.testing.assert_allclose(whole, v, atol=TOL[dtype] * size(v), rtol=0)


# --- value, conjugate, polar ------------------------------------------------------------------


@every_penalty
@every_dtype
@given(w=vectors)
@example(w=np.full(SIZE, 1e-30))  # its square is 0 in float32
@SMALL
def test_value_and_conjugate(case, dtype, w):
    near = {"rtol": TOL[dtype], "atol": 1e-30}
    feasible = np.where(np.isinf(case.naive.strengths), 0, w)
    w = w.astype(dtype).astype(float)
    for x in (w, feasible):
        np.testing.assert_allclose(scalar(jit_value, case, x, dtype), case.naive.value(x), **near)
    np.testing.assert_allclose(
        scalar(jit_conjugate, case, w, dtype), case.naive.conjugate(w), **near
    )


@every_penalty
@every_dtype
@given(w=vectors, u=vectors, v=vectors, step=steps)
@SMALL
def test_fenchel_young(case, dtype, w, u, v, step):
    slack = TOL[dtype] * size(u, w) ** 2
    either = scalar(jit_value, case, w, dtype) + scalar(jit_conjugate, case, u, dtype)
    assert either >= u @ w - slack

    # a subgradient u of f at z, from the projection of v / step on the conjugate's domain
    u = array(case.naive.conjugate_prox(v / step, 1 / step), dtype).astype(float)
    z = prox(case, step * u + case.naive.prox(v, step), step, dtype)
    both = scalar(jit_value, case, z, dtype) + scalar(jit_conjugate, case, u, dtype)
    np.testing.assert_allclose(both, u @ z, atol=20 * TOL[dtype] * size(u) * size(z), rtol=0)


@law("dual_norm")
@every_dtype
@given(u=vectors, w=vectors)
@SMALL
def test_dual_norm(case, dtype, u, w):
    """<u, w> <= value(w) polar(u), with equality at some w along an axis."""
    assert case.make().homogeneous
    polar = scalar(jit_polar, case, u, dtype)
    if np.isfinite(polar):
        assert u @ w <= scalar(jit_value, case, w, dtype) * polar * (1 + TOL[dtype]) + TOL[dtype]
    ratios = []
    for j in range(SIZE):
        axis = np.eye(SIZE)[j] * (np.sign(u[j]) or 1)
        value = scalar(jit_value, case, axis, dtype)
        ratios.append(u @ axis / value if value > 0 else np.inf if u @ axis > 0 else 0)
    np.testing.assert_allclose(polar, max(ratios), rtol=TOL[dtype])


@every_penalty
@every_dtype
@given(u=vectors)
@SMALL
def test_polar_is_the_gauge_of_the_conjugate(case, dtype, u):
    """polar(u) is the smallest c with conjugate(u / c) = 0."""
    polar = scalar(jit_polar, case, u, dtype)
    if np.isinf(polar):
        assert case.naive.conjugate(u / 1e6) > 0
    else:
        assert case.naive.conjugate(u / (polar * 1.001 + 1e-30)) == 0
        if polar > 1e-6:
            assert case.naive.conjugate(u / (polar * 0.999)) > 0


# --- optimality -------------------------------------------------------------------------------


@every_penalty
@every_dtype
@given(v=vectors, step=steps)
@SMALL
def test_kkt_distance_is_zero_at_the_prox(case, dtype, v, step):
    with precision(dtype):
        z = jit_prox(case.make(), array(v, dtype), array(step, dtype))
        gradient = -(array(v, dtype) - np.asarray(z)) / array(step, dtype)
        distance = jit_distance(case.make(), z, gradient)
    np.testing.assert_allclose(distance, 0, atol=5 * TOL[dtype] * size(v) / min(step, 1))


@every_penalty
@every_dtype
@given(w=vectors, g=vectors, sparse=st.booleans())
@SMALL
def test_kkt_distance_is_the_distance(case, dtype, w, g, sparse):
    """... to the subdifferential, found by differences of the naive value; so it is positive
    where the point is not optimal."""
    w = np.where((np.abs(w) < 1e-3) | (sparse & (np.arange(SIZE) % 2 == 0)), 0, w)
    with precision(dtype):
        distance = jit_distance(case.make(), array(w, dtype), array(g, dtype))
    np.testing.assert_allclose(distance, case.naive.distance(w, g), atol=1e-5)


@law("lam_max")
@given(g=vectors)
@SMALL
def test_lam_max(case, g):
    """At lam_max all counted entries may be 0, just below it one may not."""
    with precision("float64"):
        penalty, counted = case.make(), case.counted
        lam_max = float(penalty.lam_max(g))
        zero = np.zeros(SIZE)
        if lam_max == 0:
            np.testing.assert_array_equal(g[counted], 0)
            return
        size = np.abs(g).max()
        at = np.asarray(jit_distance(penalty.at(lam_max), zero, g))[counted]
        assert at.max() <= 1e-9 * size
        below = np.asarray(jit_distance(penalty.at(0.999 * lam_max), zero, g))[counted]
        np.testing.assert_allclose(below.max(), 1e-3 * np.abs(g[counted][below.argmax()]))


@law("lam_max")
@given(g=vectors)
@SMALL
def test_entry(case, g):
    """Each entry's own strength: its KKT distance crosses 0 there; 0 for those not counted."""
    with precision("float64"):
        penalty = case.make()
        entry = np.asarray(penalty.entry(g))
        assert entry.shape == (SIZE,)
        np.testing.assert_array_equal(entry[~case.counted], 0)
        np.testing.assert_allclose(penalty.lam_max(g), entry.max())
        for j in np.flatnonzero(case.counted & (np.abs(g) > 1e-6)):
            at, below = (
                jit_distance(penalty.at(c), np.zeros(SIZE), g)[j]
                for c in (entry[j] * (1 + 1e-12), entry[j] * 0.999)
            )
            assert at <= 1e-9
            assert below > 0


@pytest.mark.parametrize(("case", "name", "reason"), exemptions(PENALTIES))
def test_exemptions_are_true(case, name, reason):
    penalty, ones = case.make(), np.ones(SIZE, "float32")
    if reason is Exempt.NOT_HOMOGENEOUS:
        assert name == "dual_norm"
        assert not penalty.homogeneous
    elif reason is Exempt.NO_ZEROS:
        assert name == "lam_max"
        entry = np.asarray(penalty.entry(ones))
        np.testing.assert_array_equal(np.isinf(entry), case.counted)
        assert penalty.lam_max(ones) == np.inf
        assert penalty.lam_max(0 * ones) == 0
        assert (jit_distance(penalty.at(1e6), 0 * ones, ones)[case.counted] == 1).all()
    else:
        pytest.fail(f"no test of {reason}")


@every_penalty
def test_support_and_unpenalized(case):
    """The support is where the value is smooth: its one-sided slopes agree."""
    penalty, w = case.make(), np.array([0.0, 1.0, 0.0, 0.0, 0.0], "float32")
    low, high = case.naive.subdifferential(w)
    np.testing.assert_array_equal(penalty.support(w), high - low < 1e-3)
    free = penalty.unpenalized(w)
    expected = np.array(case.naive.strengths) == 0
    if free is None:
        assert not expected.any()
    else:
        np.testing.assert_array_equal(free, expected)
        np.testing.assert_array_equal(penalty.at(0.0).unpenalized(w), expected)


# --- strength ---------------------------------------------------------------------------------


def assert_same(a, b):
    """Equal penalties: the same structure and leaves."""
    chex.assert_trees_all_close(a, b, rtol=1e-6)
    chex.assert_trees_all_equal_structs(a, b)


@every_penalty
@given(a=st.floats(0.125, 8, width=32), b=st.floats(0.125, 8, width=32))
@SMALL
def test_at(case, a, b):
    penalty = case.make()
    assert_same(penalty.at(a).at(b), penalty.at(a * b))
    assert_same(penalty.at(1), penalty)
    assert penalty.at(a).lam == a * penalty.lam


@every_penalty
def test_at_multiplies_the_value(case):
    w = np.array([1.0, -2.0, 0.5, 3.0, 0.0], "float32")
    np.testing.assert_allclose(
        jit_value(case.make().at(3.0), w), 3 * case.naive.value(w), rtol=1e-6
    )


@every_penalty
def test_strength_zero(case):
    """At lam = 0 only the excluded entries remain: prox is the identity, the gradient must be 0."""
    penalty, excluded = case.make().at(0.0), np.isinf(case.naive.strengths)
    v = np.array([1.0, -2.0, 0.5, 3.0, -1.0], "float32")
    kept = np.where(excluded, 0, v)
    np.testing.assert_array_equal(jit_prox(penalty, v, 2.0), kept)
    assert jit_value(penalty, kept) == 0
    np.testing.assert_allclose(
        jit_distance(penalty, kept, v), np.where(excluded, 0, np.abs(v)), rtol=1e-6
    )


def test_batch_of_penalties():
    lams = jnp.array([0.0, 0.5, 2.0])
    penalties = jax.vmap(jreg.L1)(lams)
    v = jnp.array([1.0, -3.0])
    batch = jax.vmap(lambda penalty: penalty.prox(v, 1.0))(penalties)
    for lam, z in zip(lams, batch, strict=True):
        np.testing.assert_array_equal(z, jreg.L1(lam).prox(v, 1.0))


@every_penalty
def test_batch_over_lam(case):
    lams = np.array([0.0, 0.5, 2.0], "float32")
    v = np.array([1.0, -3.0, 0.2, 1.0, 5.0], "float32")
    batch = jax.vmap(lambda c: case.make().at(c).prox(v, 0.5))(lams)
    for c, z in zip(lams, batch, strict=True):
        np.testing.assert_allclose(z, case.make().at(c).prox(v, 0.5), rtol=1e-6)


@every_penalty
def test_negative_strength(case):
    """A concrete one raises; a traced one gives NaN."""
    penalty = case.make()
    with pytest.raises(ValueError, match=r"lam must be at least 0; got -1"):
        dataclasses.replace(penalty, lam=-1.0)
    with pytest.raises(ValueError, match=r"lam must be at least 0; got -1"):
        dataclasses.replace(penalty, lam=np.float32(-1))
    with pytest.raises(ValueError, match=r"lam must be at least 0; got nan"):
        dataclasses.replace(penalty, lam=np.nan)
    w = np.array([1.0, -3.0, 0.2, 1.0, 0.0], "float32")
    for bad in (-1.0, np.nan):
        traced = jax.jit(lambda lam: dataclasses.replace(penalty, lam=lam).value(w))(bad)
        assert np.isnan(traced)
        z = jax.jit(lambda lam: dataclasses.replace(penalty, lam=lam).prox(w, 1.0))(bad)
        assert np.isnan(z[case.counted]).all()


@every_penalty
def test_negative_weights(case):
    bad = np.array([1.0, -0.5, 1.0, 1.0, 1.0], "float32")
    with pytest.raises(ValueError, match=r"weights must be at least 0; got values from -0.5"):
        dataclasses.replace(case.make(), weights=bad)
    w = np.ones(SIZE, "float32")
    z = jax.jit(lambda v: dataclasses.replace(case.make(), weights=v).prox(w, 1.0))(bad)
    np.testing.assert_array_equal(np.isnan(z), bad < 0)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_l1_ratio_range(ratio):
    with pytest.raises(ValueError, match=r"l1_ratio must be between 0 and 1; got"):
        jreg.ElasticNet(l1_ratio=ratio)
    value = jax.jit(lambda r: jreg.ElasticNet(l1_ratio=r).value(jnp.ones(2)))(ratio)
    assert np.isnan(value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(SIZE + 1), r"weights must have the shape of the coefficients, \(5,\); got \(6,\)"),
        (np.ones((SIZE, 1)), r"weights must have the shape of the coefficients"),
        ([1.0] * SIZE, r"Use an array, not a list"),
    ],
)
@every_penalty
def test_weights_of_the_wrong_shape(case, weights, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(case.make(), weights=weights).prox(np.ones(SIZE), 1.0)


# --- shapes and transformations ---------------------------------------------------------------

MEMBERS = [(name, case) for name, case in PENALTIES.items()]
V = np.array([[1.0, -3.0, 0.2, 1.0, 5.0], [-1.0, 0.5, 0.0, -2.0, 1.0]], "float32")
STEPS = np.array([0.5, 1.0, 0.25, 4.0, 2.0], "float32")


class VariantsTest(chex.TestCase):
    """The same numbers with and without jit, on the host's device or a given one."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    @parameterized.named_parameters(*MEMBERS)
    def test_prox(self, case):
        prox = self.variant(lambda penalty, v, step: penalty.prox(v, step))
        for v in V:
            np.testing.assert_allclose(
                prox(case.make(), v, STEPS), case.naive.prox(v, STEPS), atol=1e-6
            )

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(*MEMBERS)
    def test_vmap_is_a_loop(self, case):
        prox = self.variant(jax.vmap(lambda v: case.make().prox(v, STEPS)))
        distance = self.variant(jax.vmap(lambda v: case.make().kkt_distance(v, -v)))
        for function, one in [
            (prox, lambda v: case.make().prox(v, STEPS)),
            (distance, lambda v: case.make().kkt_distance(v, -v)),
        ]:
            np.testing.assert_allclose(function(V), np.stack([one(v) for v in V]), atol=1e-6)


@every_penalty
def test_array_of_steps_is_a_loop(case):
    """Separable: every entry has its own step (a diagonal metric)."""
    penalty = case.make()
    assert penalty.separable
    z = penalty.prox(V[0], STEPS)
    for j, step in enumerate(STEPS):
        np.testing.assert_allclose(z[j], penalty.prox(V[0], step)[j], rtol=1e-6)


@every_penalty
def test_restrict(case):
    penalty, index = case.make(), jnp.array([3, 0])
    whole = penalty.prox(V[0], 0.5)
    np.testing.assert_array_equal(penalty.restrict(index).prox(V[0][index], 0.5), whole[index])
    one = jax.jit(lambda j: penalty.restrict(j).prox(jnp.asarray(V[0])[j], 0.5))
    for j in range(SIZE):
        np.testing.assert_allclose(one(j), whole[j], rtol=1e-6)


def as_tree(x):
    """A vector as a dictionary of arrays of different rank."""
    return {"bias": x[4], "dense": {"a": x[:2], "b": x[2:4].reshape(1, 2)}}


@every_penalty
def test_trees(case):
    """A penalty of a tree is that of all its entries."""
    flat = case.make()
    penalty = flat
    if flat.weights is not None:
        penalty = dataclasses.replace(flat, weights=as_tree(flat.weights))
    v, g = V[0], V[1]
    near = {"rtol": 1e-6}
    for step in (0.5, STEPS):
        step_tree = step if np.ndim(step) == 0 else as_tree(step)
        z = flat.prox(v, step)
        chex.assert_trees_all_close(penalty.prox(as_tree(v), step_tree), as_tree(z), **near)
    w = as_tree(z)
    np.testing.assert_allclose(penalty.value(w), flat.value(z), rtol=1e-6)
    np.testing.assert_allclose(penalty.conjugate(as_tree(g)), flat.conjugate(g), rtol=1e-6)
    np.testing.assert_allclose(penalty.polar(as_tree(g)), flat.polar(g), rtol=1e-6)
    np.testing.assert_allclose(penalty.lam_max(as_tree(g)), flat.lam_max(g), rtol=1e-6)
    for name in ("kkt_distance", "entry", "support", "unpenalized"):
        arguments = (z, g) if name == "kkt_distance" else (g,) if name == "entry" else (z,)
        expected = getattr(flat, name)(*arguments)
        found = getattr(penalty, name)(*map(as_tree, arguments))
        if expected is None:
            assert found is None
        else:
            chex.assert_trees_all_close(found, as_tree(expected), **near)


@every_penalty
def test_one_entry_and_none(case):
    penalty = dataclasses.replace(case.make(), weights=None)
    v = V[0][:1]
    np.testing.assert_array_equal(penalty.prox(v, 0.5), penalty.prox(V[0], 0.5)[:1])
    assert penalty.prox(v[0], 0.5).shape == ()
    none = jnp.zeros(0)
    assert penalty.prox(none, 0.5).shape == (0,)
    assert penalty.value(none) == 0
    assert penalty.lam_max(none) == 0
    assert penalty.polar(none) == 0


@every_penalty
def test_numpy_input(case):
    """float64 arrays of NumPy while JAX is in float32: no warning, like any JAX function."""
    v, penalty = V[0].astype(float), case.make()
    np.testing.assert_allclose(penalty.prox(v, 0.5), penalty.prox(V[0], 0.5), rtol=1e-6)
    np.testing.assert_allclose(penalty.value(v), penalty.value(V[0]), rtol=1e-6)
    assert penalty.kkt_distance(v, v).dtype == "float32"
    np.testing.assert_allclose(penalty.lam_max(v), penalty.lam_max(V[0]), rtol=1e-6)


@every_penalty
def test_integers(case):
    """Computed as floats or refused, but the strength is never truncated to an integer."""
    w = np.array([3, -1, 2, 1, 0])
    for function in (lambda w: case.make().prox(w, 1), lambda w: case.make().value(w)):
        expected = function(w.astype("float32"))
        try:
            found = function(jnp.asarray(w))
        except TypeError:
            continue
        np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- edges of the numbers ---------------------------------------------------------------------


@every_penalty
@every_dtype
@pytest.mark.parametrize("step", [0.0, 1.0, 1e30])
def test_never_minus_zero(case, dtype, step):
    """-0.0 would print as -0. and give 1/x = -inf."""
    tiny = np.finfo(dtype).tiny
    for v in ([-0.0] * SIZE, [0.0] * SIZE, [-tiny] * SIZE, [-1.0] * SIZE, [-0.375] * SIZE):
        z = prox(case, v, step, dtype)
        negative_zero = (z == 0) & np.signbit(z)
        assert not negative_zero.any(), f"prox({v[0]}, {step}) = {z}"


@every_penalty
@every_dtype
def test_step_zero_is_the_identity(case, dtype):
    """... on the feasible set."""
    kept = np.where(np.isinf(case.naive.strengths), 0, V[0])
    np.testing.assert_array_equal(prox(case, V[0], 0.0, dtype), kept)


@every_penalty
@every_dtype
@pytest.mark.parametrize("sign", [-1, 1])
def test_infinite_input(case, dtype, sign):
    """Infinity stays infinite under finite strength; an excluded entry never becomes so."""
    z = prox(case, np.full(SIZE, sign * np.inf), 1.0, dtype)
    excluded = np.isinf(case.naive.strengths)
    np.testing.assert_array_equal(z[~excluded], sign * np.inf)
    assert not np.isinf(z[excluded]).any()


@every_penalty
def test_nan_is_not_hidden(case):
    v = np.full(SIZE, np.nan, "float32")
    assert np.isnan(case.make().prox(v, 1.0)[~np.isinf(case.naive.strengths)]).all()
    assert np.isnan(case.make().value(v))
    assert not np.isfinite(case.make().lam_max(v))


@every_penalty
@every_dtype
def test_extreme_weights(case, dtype):
    """Weight 0 is free whatever lam and step; weight inf is 0 whatever lam and step."""
    strengths = np.array(case.naive.strengths)
    for step in (0.0, 1e-20, 1.0, 1e20):
        for c in (0.0, 1.0, 1e10):
            with precision(dtype):
                z = jit_prox(case.make().at(c), array(V[0], dtype), array(step, dtype))
            assert np.isfinite(z).all()
            np.testing.assert_array_equal(z[strengths == np.inf], 0)
            np.testing.assert_array_equal(z[strengths == 0], V[0][strengths == 0])
    infeasible = np.where(strengths == np.inf, 1.0, 0.0)
    if infeasible.any():
        assert scalar(jit_value, case, infeasible, dtype) == np.inf
        assert scalar(jit_conjugate, case, 1e6 * infeasible, dtype) == 0
        assert scalar(jit_polar, case, 1e6 * infeasible, dtype) == 0


# --- derivatives ------------------------------------------------------------------------------


def central(f, x, h=1e-6):
    """Jacobian of f by central differences, one entry of x at a time."""
    moves = h * jnp.eye(x.size).reshape(x.size, *x.shape)
    columns = jax.vmap(lambda e: (f(x + e) - f(x - e)) / (2 * h))(moves)
    return jnp.moveaxis(columns, 0, -1).reshape(SIZE, *x.shape)


def arguments_of_prox(penalty, v, step):
    """(value, function) by name: the prox as a function of each of its continuous arguments."""
    found = {
        "v": (v, lambda x: penalty.prox(x, step)),
        "step": (step, lambda x: penalty.prox(v, x)),
    }
    for name in ("lam", "l1_ratio", "weights"):
        if getattr(penalty, name, None) is not None:
            found[name] = (
                jnp.asarray(getattr(penalty, name), float),
                lambda x, name=name: dataclasses.replace(penalty, **{name: x}).prox(v, step),
            )
    return found


@every_penalty
def test_derivatives_off_the_kinks(case):
    """Forward, reverse and finite differences agree, in every argument."""
    penalty = case.make()
    if penalty.weights is not None:  # differences need finite weights on both sides
        penalty = dataclasses.replace(penalty, weights=np.array([1.0, 0.5, 2.0, 0.25, 3.0]))
    if hasattr(penalty, "l1_ratio"):
        penalty = dataclasses.replace(penalty, l1_ratio=np.clip(penalty.l1_ratio, 0.1, 0.9))
    v, step = np.array([2.0, -3.0, 0.01, 1.0, 4.0]), np.array(0.5)  # one entry is thresholded

    def jacobians(v, step):
        return {
            name: (jax.jacfwd(f)(x), jax.jacrev(f)(x), central(f, x))
            for name, (x, f) in arguments_of_prox(penalty, v, step).items()
        }

    with precision("float64"):
        found = jax.jit(jacobians)(v, step)
    for name, (forward, backward, differences) in found.items():
        assert np.abs(forward).max() > 0, name
        np.testing.assert_allclose(forward, backward, atol=1e-13, err_msg=name)
        np.testing.assert_allclose(forward, differences, atol=1e-8, err_msg=name)


@every_penalty
def test_derivatives_are_finite_everywhere(case):
    """... at zeros and kinks, for weights 0 and inf, strength 0 and step 0."""
    kinks = np.where(np.isinf(case.naive.strengths), 1, 0.5 * np.array(case.naive.strengths))
    points = np.stack([np.zeros(SIZE), kinks, -kinks, 0.25 * kinks, np.ones(SIZE)])
    strengths, steps = np.meshgrid([0.0, 1.0], [0.0, 0.5])

    def jacobians(v, strength, step):
        functions = arguments_of_prox(case.make().at(strength), v, step)
        return {name: (jax.jacfwd(f)(x), jax.jacrev(f)(x)) for name, (x, f) in functions.items()}

    with precision("float64"):
        over_points = jax.vmap(jacobians, in_axes=(0, None, None))
        found = jax.jit(jax.vmap(over_points, in_axes=(None, 0, 0)))(
            points, strengths.ravel(), steps.ravel()
        )
    for name, pair in found.items():
        for mode, jacobian in zip(("forward", "reverse"), pair, strict=True):
            assert np.isfinite(jacobian).all(), f"{mode} in {name}"


@every_penalty
@given(w=vectors)
@SMALL
def test_gradient_of_the_value_is_a_subgradient(case, w):
    """... at 0 too, where differentiating |w| would give 1."""
    with precision("float64"):
        w = np.where(np.isinf(case.naive.strengths), 0, w)
        gradient = jit_gradient(case.make(), w)
        np.testing.assert_array_equal(np.asarray(gradient)[w == 0], 0)
        np.testing.assert_allclose(jit_distance(case.make(), w, -gradient), 0, atol=1e-13)


# --- published cases --------------------------------------------------------------------------

CASES = json.loads((Path(__file__).parent / "prox_cases.json").read_text())


def published(op):
    (found,) = [case for case in CASES if case["op"] == op]
    return found["params"], np.array(found["input"]), np.array(found["output"])


def test_published_weighted_l1():
    params, v, z = published("prox_l1")
    with precision("float64"):
        found = jreg.L1(weights=np.array(params["lam"])).prox(v.astype(float), params["step"])
    np.testing.assert_allclose(found, z, rtol=1e-15)


def test_published_translated_l1():
    """|w - c| by a change of variables."""
    params, v, z = published("prox_translated_l1")
    c = np.array(params["center"])[None, :]
    with precision("float64"):
        found = c + jreg.L1(params["lam"]).prox(v - c, params["step"])
    np.testing.assert_allclose(found, z, rtol=1e-15)


def test_published_diagonal_metric():
    params, v, z = published("prox_l1_diag_metric")
    with precision("float64"):
        found = jreg.L1(params["lam"]).prox(v, 1 / np.array(params["metric"]))
    np.testing.assert_allclose(found, z, rtol=1e-15)


def test_published_ridge():
    """|x|^2 + rho/2 |x - v|^2 has step 1/rho and, without the 1/2, lam 2."""
    params, v, z = published("prox_sum_squares")
    with precision("float64"):
        found = jreg.Ridge(2.0).prox(v.astype(float), 1 / params["rho"])
    np.testing.assert_allclose(found, z, rtol=1e-15)


def test_published_moreau_envelope():
    params, x, envelope = published("moreau_envelope_l1")
    penalty, step = jreg.L1(params["lam"]), params["step"]
    with precision("float64"):
        z = penalty.prox(x, step)
        found = penalty.value(z) + np.sum((z - x) ** 2) / (2 * step)
    np.testing.assert_allclose(found, envelope, rtol=1e-14)
