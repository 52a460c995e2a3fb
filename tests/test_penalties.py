"""Penalties beyond the laws: messages, shapes, batches, published numbers, and the table itself.

The laws themselves are in tests/laws.py, run by tests/test_laws_float32.py and _float64.py.
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
from cases import precision
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, jit_prox
from penalty_cases import PENALTIES, SIZE, Exempt

import jreg
from jreg import penalties
from jreg.typing import Penalty, has

every_penalty = pytest.mark.parametrize(
    "case", [pytest.param(c, id=n) for n, c in PENALTIES.items()]
)
WITH_LAM = [pytest.param(c, id=n) for n, c in PENALTIES.items() if "lam" in c.make().ranges]
WITH_WEIGHTS = [pytest.param(c, id=n) for n, c in PENALTIES.items() if n.endswith("_weighted")]
V = np.array([[1.0, -3.0, 0.2, 1.0, 5.0], [-1.0, 0.5, 0.0, -2.0, 1.0]], "float32")

numbers = st.floats(-8, 8, width=32, allow_subnormal=False)


def as_shape(case, v):
    return np.resize(v, case.shape)


# --- the table --------------------------------------------------------------------------------


def test_every_member_has_a_row():
    """... whose name is that of the class, perhaps with a suffix."""
    classes = {getattr(penalties, name) for name in penalties.__all__}
    members = {c for c in classes if dataclasses.is_dataclass(c)}
    assert members <= {type(case.make()) for case in PENALTIES.values()}


@every_penalty
def test_contract(case):
    penalty = case.make()
    assert isinstance(penalty, Penalty)
    assert set(case.exempt) <= set(LAWS)
    assert all(isinstance(reason, Exempt) for reason in case.exempt.values())
    assert has(penalty, "conjugate") == (case.conjugate is not None)
    names = {f.name for f in dataclasses.fields(penalty) if not f.metadata.get("static")}
    assert set(penalty.ranges) == names


@every_penalty
def test_exemptions_are_true(case):
    """Each reason is a fact about the member that is tested, never an excuse."""
    penalty = case.make()
    v = as_shape(case, V[0])
    for law, reason in case.exempt.items():
        if reason is Exempt.NONCONVEX:
            assert not penalty.convex
            assert not has(penalty, "conjugate")
        elif reason is Exempt.NOT_A_NORM:
            w = np.where(np.reshape(case.excluded, case.shape), 0, as_shape(case, np.abs(V[0])))
            assert not penalty.homogeneous or case.value(w) != case.value(-w)
        elif reason is Exempt.NO_ZEROS:
            assert penalty.lam_max(v) == np.inf
            assert penalty.lam_max(0 * v) == 0
        elif reason is Exempt.CONSTRAINT:
            assert penalty.at(3.0) is penalty
            np.testing.assert_array_equal(penalty.prox(v, 0.1), penalty.prox(v, 10.0))
        elif reason is Exempt.ZERO_ALWAYS_STATIONARY:
            assert penalty.lam_max(v) == 0
            distance = penalty.at(1e-6).kkt_distance(0 * v, v)
            np.testing.assert_array_equal(
                np.asarray(distance)[np.reshape(case.counted, v.shape)], 0
            )
        elif reason is Exempt.NEEDS_ONE_STEP:
            assert not penalty.separable
            with pytest.raises(TypeError, match="one step"):
                penalty.prox(v, np.ones_like(v))
        elif reason is Exempt.COUPLED:
            assert not penalty.separable
            assert not has(penalty, "restrict")
        elif reason is Exempt.NOT_ZERO_BUT_CONSTANT:
            z = penalty.at(1e6).prox(v, 1.0)
            np.testing.assert_allclose(z, np.full_like(z, np.mean(z)), atol=1e-5)
        else:
            pytest.fail(f"no test of {reason} for {law}")


# --- laws over drawn numbers ------------------------------------------------------------------


@every_penalty
@given(
    v=st.lists(numbers, min_size=SIZE, max_size=SIZE).map(np.array),
    step=st.floats(0.03125, 8, width=32),
)
@settings(max_examples=15)
def test_prox_beats_zero_and_the_point_itself(case, v, step):
    v = as_shape(case, v)
    with precision("float64"):
        z = np.asarray(jit_prox(case.make(), v[None], np.array([step]))[0])
    best = step * case.value(z) + 0.5 * np.sum((z - v) ** 2)
    assert np.isfinite(best)
    for other in (v, 0 * v, 0.5 * v, np.where(z == 0, 0, v), 0.999 * z, 1.001 * z):
        objective = step * case.value(other) + 0.5 * np.sum((other - v) ** 2)
        assert best <= objective + 1e-12 * (1 + np.abs(v).max()) ** 2


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", WITH_LAM)
def test_negative_strength(case):
    """A concrete one raises."""
    for bad, shown in ((-1.0, "-1"), (np.float32(-1), "-1"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=rf"lam must be at least 0; got {shown}"):
            dataclasses.replace(case.make(), lam=bad)


@pytest.mark.parametrize("case", WITH_WEIGHTS)
def test_negative_weights(case):
    good = np.asarray(case.make().weights)
    bad = np.where(np.arange(good.size) == 1, -0.5, 1.0).astype("float32")
    with pytest.raises(ValueError, match=r"weights must be at least 0; got values from -0.5"):
        dataclasses.replace(case.make(), weights=bad)
    w = np.ones(case.shape, "float32")
    z = jax.jit(lambda v: dataclasses.replace(case.make(), weights=v).prox(w, 1.0))(bad)
    assert np.isnan(z).any()
    assert not np.isnan(z).all()


@pytest.mark.parametrize("case", [c for c in WITH_WEIGHTS if c.values[0].make().separable])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(SIZE + 1), r"weights must have the shape of the coefficients, \(5,\); got \(6,\)"),
        (np.ones((SIZE, 1)), r"weights must have the shape of the coefficients"),
        ([1.0] * SIZE, r"Use an array, not a list"),
    ],
)
def test_weights_of_the_wrong_shape(case, weights, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(case.make(), weights=weights).prox(np.ones(SIZE), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jreg.ElasticNet(l1_ratio=-0.1), r"l1_ratio must be between 0 and 1; got -0.1"),
        (lambda: jreg.ElasticNet(l1_ratio=1.1), r"l1_ratio must be between 0 and 1; got 1.1"),
        (lambda: penalties.SCAD(gamma=1.5), r"gamma must be between 2 and 1e\+30; got 1.5"),
        (lambda: penalties.MCP(gamma=-1.0), r"gamma must be at least 0; got -1.0"),
        (lambda: penalties.Box(1.0, -1.0), r"lower must be at most upper; got 1.0 and -1.0"),
        (lambda: jreg.GroupLasso(groups=jreg.Groups([0]), axis=0), r"not both"),
        (lambda: jreg.GroupLasso(groups=[0, 1]), r"groups must be a jreg.Groups; got list"),
        (lambda: jreg.Groups([0.5, 1]), r"ids must be a vector of integers"),
        (lambda: jreg.Groups([-1, 0]), r"ids must be at least 0; got -1"),
        (lambda: jreg.Groups([0, 3], 2), r"n_groups must be at least 4; got 2"),
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_groups_of_another_size():
    penalty = jreg.GroupLasso(groups=jreg.Groups([0, 0, 1]))
    with pytest.raises(ValueError, match=r"groups are of 3 entries; got an array of \(5,\)"):
        penalty.prox(np.ones(5), 1.0)
    with pytest.raises(ValueError, match=r"axis 1 does not exist in parameters of shape \(5,\)"):
        jreg.GroupLasso(axis=1).prox(np.ones(5), 1.0)


def test_groups_are_values():
    assert jreg.Groups([0, 1, 1]) == jreg.Groups(np.array([0, 1, 1]))
    assert hash(jreg.Groups([0, 1, 1])) == hash(jreg.Groups.of_sizes([1, 2]))
    assert jreg.Groups([0, 1, 1]) != jreg.Groups([0, 1, 1], 3)
    assert jreg.Groups([0, 1, 1]) != jreg.Groups([0, 0, 1])
    traces = []

    @jax.jit
    def prox(penalty, v):
        traces.append(1)
        return penalty.prox(v, 1.0)

    for _ in range(2):
        prox(jreg.GroupLasso(groups=jreg.Groups([0, 1, 1])), jnp.ones(3))
    assert len(traces) == 1


def test_group_layouts_agree():
    """Equal, unequal, shuffled and empty groups; groups of a vector and slices of an array."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=12).astype("float32")
    ids = np.repeat(np.arange(4), 3)
    plain = jreg.GroupLasso(groups=jreg.Groups(ids)).prox(x, 0.5)
    shuffle = rng.permutation(12)
    shuffled = jreg.GroupLasso(groups=jreg.Groups(ids[shuffle])).prox(x[shuffle], 0.5)
    np.testing.assert_allclose(shuffled, plain[shuffle], rtol=1e-6)
    rows = jreg.GroupLasso(axis=0).prox(x.reshape(4, 3), 0.5)
    np.testing.assert_allclose(rows.ravel(), plain, rtol=1e-6)
    columns = jreg.GroupLasso(axis=-1).prox(x.reshape(4, 3).T, 0.5)
    np.testing.assert_allclose(columns.T.ravel(), plain, rtol=1e-6)
    gaps = jreg.GroupLasso(groups=jreg.Groups(2 * ids, 9)).prox(x, 0.5)
    np.testing.assert_allclose(gaps, plain, rtol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_groups_of_any_size_have_norms_side_by_side(order):
    """Each group is measured in its own unit: a large one does not make a small one 0."""
    sizes = np.array([3e-30, 1.0, 2e30, 0.0], "float32")[list(order)]
    x = np.outer(sizes, np.array([3.0, 0.0, -4.0], "float32"))
    ids = np.repeat(np.arange(4), 3)
    mixed = np.argsort(np.tile(np.arange(3), 4), kind="stable")
    rows, columns = penalties.groups.Slices(x.shape, 0), penalties.groups.Slices(x.T.shape, -1)
    for found in (
        jreg.prox.norm_l2(x.ravel(), jreg.Groups(ids)),
        jreg.prox.norm_l2(x.ravel()[mixed], jreg.Groups(ids[mixed], 5))[:4],
        jreg.prox.norm_l2(x, rows),
        jreg.prox.norm_l2(x.T, columns),
    ):
        np.testing.assert_allclose(found, 5 * sizes, rtol=1e-6)
    penalty = jreg.GroupLasso(0.5, weights=np.ones(4, "float32"), groups=jreg.Groups(ids))
    shrunk = penalty.prox(x.ravel(), 6e-30).reshape(4, 3)  # 3e-30 off each norm
    factor = [1 - 3e-30 / (5 * size) if size else 0 for size in sizes.astype(float)]
    np.testing.assert_allclose(shrunk, np.array(factor)[:, None] * x, rtol=1e-5)


# --- shapes, batches, dtypes ------------------------------------------------------------------

SEPARABLE = [(n, c) for n, c in PENALTIES.items() if c.make().separable]


class VariantsTest(chex.TestCase):
    """The same numbers with and without jit, on the host's device or a given one."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    @parameterized.named_parameters(("l1", jreg.L1()), ("mcp", penalties.MCP()))
    def test_prox(self, penalty):
        prox = self.variant(lambda penalty, v, step: penalty.prox(v, step))
        expected = penalty.prox(V[0], 0.5)
        np.testing.assert_allclose(prox(penalty, V[0], np.float32(0.5)), expected, rtol=1e-6)


def test_batch_of_penalties():
    lams = jnp.array([0.0, 0.5, 2.0])
    v = jnp.array([1.0, -3.0])
    for member in (jreg.L1, jreg.Ridge, penalties.MCP, jreg.GroupLasso):
        batch = jax.vmap(lambda penalty: penalty.prox(v, 1.0))(jax.vmap(member)(lams))
        for lam, z in zip(lams, batch, strict=True):
            np.testing.assert_allclose(z, member(lam).prox(v, 1.0), rtol=1e-6)


def test_batch_over_gamma():
    gammas = jnp.array([1.5, 3.0, 10.0])
    batch = jax.vmap(lambda gamma: penalties.MCP(0.5, gamma).prox(V[0], 2.0))(gammas)
    for gamma, z in zip(gammas, batch, strict=True):
        np.testing.assert_allclose(z, penalties.MCP(0.5, gamma).prox(V[0], 2.0), rtol=1e-6)


@pytest.mark.parametrize("case", [pytest.param(c, id=n) for n, c in SEPARABLE])
def test_one_entry_and_none(case):
    if any(np.ndim(x) for x in jax.tree.leaves(case.make())):
        return
    penalty, v = case.make(), V[0][:1]
    np.testing.assert_allclose(penalty.prox(v, 0.5), penalty.prox(V[0], 0.5)[:1], rtol=1e-6)
    assert penalty.prox(v[0], 0.5).shape == ()
    none = jnp.zeros(0)
    assert penalty.prox(none, 0.5).shape == (0,)
    assert penalty.value(none) == 0
    assert penalty.lam_max(none) == 0


@every_penalty
def test_numpy_and_integers(case):
    """float64 arrays of NumPy while JAX is in float32: no warning, like any JAX function; integers
    are computed as floats."""
    v, penalty = as_shape(case, V[0]).astype(float), case.make()
    expected = penalty.prox(v.astype("float32"), 0.5)
    np.testing.assert_allclose(penalty.prox(v, 0.5), expected, rtol=1e-6)
    assert penalty.kkt_distance(v, v).dtype == "float32"
    w = as_shape(case, np.array([3, -1, 2, 1, 0]))
    np.testing.assert_allclose(penalty.prox(w, 1), penalty.prox(w.astype("float32"), 1), rtol=1e-6)


@pytest.mark.parametrize("case", WITH_WEIGHTS)
def test_extreme_weights(case):
    """Weight 0 is free whatever lam and step; weight inf is 0 whatever lam and step."""
    penalty, v = case.make(), as_shape(case, np.abs(V[0]))
    free, excluded = np.asarray(penalty.unpenalized(v)), np.array(case.excluded)
    for step in (0.0, 1e-20, 1.0, 1e20):
        for c in (0.0, 1.0, 1e10):
            z = penalty.at(c).prox(v, step)
            assert np.isfinite(z).all()
            np.testing.assert_array_equal(z[excluded], 0)
            np.testing.assert_array_equal(z[free], v[free])
    assert penalty.value(np.where(excluded, 1.0, 0.0)) == np.inf


# --- exact ties and the mistakes of other libraries ---------------------------------------------


@pytest.mark.parametrize(
    ("penalty", "step", "tie"),
    [
        (penalties.L0(0.5), 1.0, 1.0),
        (penalties.LHalf(1.0), 1.0, 1.5),
        (penalties.MCP(1.0, 1.5), 1.5, 1.5),
        (penalties.MCP(1.0, 0.5), 2.0, 1.0),
        (penalties.CappedL1(1.0, 0.5), 4.0, 2.0),
    ],
)
def test_ties_go_to_zero(penalty, step, tie):
    """At the jump 0 and the other minimum are equally good."""
    z = penalty.prox(np.array([tie, -tie, tie * 1.001, 0.999 * tie], "float32"), step)
    np.testing.assert_array_equal(np.asarray(z) == 0, [True, True, False, True])


def test_huber_between_its_pieces():
    """Not 0 between alpha and alpha + step, as when the branch is on |v| <= alpha."""
    np.testing.assert_allclose(penalties.Huber(1.0, 1.0).prox(np.array([2.0]), 2.0), 2 / 3)


def test_l0_threshold_is_a_root():
    """sqrt(2 step lam), not step lam."""
    np.testing.assert_array_equal(penalties.L0(1.0).prox(np.array([0.3]), 0.1), 0)


def test_scad_for_long_steps():
    """step >= gamma - 1, where the stationary point is not the minimiser or does not exist."""
    np.testing.assert_array_equal(penalties.SCAD(1.0, 2.1).prox(np.array([3.0]), 2.0), 3.0)
    z = penalties.SCAD(1.0, 3.0).prox(np.array([0.5, 2.0, 3.5, 9.0]), 2.0)  # step = gamma - 1
    assert np.isfinite(z).all()


def test_mcp_for_long_steps():
    z = penalties.MCP(1.0, 1.5).prox(np.array([2.5, 2.0]), 3.0)
    np.testing.assert_array_equal(z, [2.5, 0.0])


def test_log_sum_is_the_minimiser():
    """... not the stationary point 1.709; and arrays are welcome."""
    np.testing.assert_array_equal(penalties.LogSum(1.0, 0.01).prox(np.array([2.0, 1.0]), 1.0), 0)


def test_elastic_net_lam_max_divides_by_the_ratio():
    np.testing.assert_allclose(jreg.ElasticNet(1.0, 0.5).lam_max(np.array([3.0, -1.0])), 6.0)


def test_l_half_at_zero():
    z = penalties.LHalf(1.0).prox(np.zeros(3), 1.0)
    np.testing.assert_array_equal(z, 0)


def test_group_derivative_at_zero():
    for penalty in (jreg.GroupLasso(1.0), penalties.GroupMCP(1.0), jreg.GroupLasso(0.0)):
        jacobian = jax.jacrev(lambda v, p=penalty: p.prox(v, 1.0))(jnp.zeros(3))
        assert np.isfinite(jacobian).all()
    gradient = jax.grad(jreg.GroupLasso(1.0).value)(jnp.zeros(3))
    np.testing.assert_array_equal(gradient, 0)


def test_elastic_net_of_a_dict_under_vmap():
    params = {"a": jnp.ones(2), "b": jnp.ones((2, 2))}
    batch = jax.vmap(lambda lam: jreg.ElasticNet(lam, 0.5).prox(params, 1.0))(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(batch["b"][0], 0.75 / 1.25)
    np.testing.assert_allclose(batch["a"][1], 0.5 / 1.5)


# --- published cases --------------------------------------------------------------------------

CASES = json.loads((Path(__file__).parent / "prox_cases.json").read_text())


def step_of(params):
    return params.get("step", 1.0)


PUBLISHED = {
    "prox_l1": lambda p: jreg.L1(weights=np.array(p["lam"])),
    "prox_sum_squares": lambda p: jreg.Ridge(2.0),
    "prox_asymmetric_abs": lambda p: penalties.AsymmetricL1(1.0, p["right"], -p["left"]),
    "prox_huber_separable": lambda p: penalties.Huber(1.0, p["delta"]),
    "prox_l0": lambda p: penalties.L0(p["lam"]),
    "prox_l_half": lambda p: penalties.LHalf(p["lam"]),
    "prox_mcp": lambda p: penalties.MCP(p["lam"], p["gamma"]),
    "prox_scad": lambda p: penalties.SCAD(p["lam"], p["a"]),
    "prox_log_sum": lambda p: penalties.LogSum(p["lam"], p["eps"]),
    "prox_l2_norm": lambda p: jreg.GroupLasso(p["lam"], np.ones(1)),
    "prox_l1_diag_metric": lambda p: jreg.L1(p["lam"]),
    "prox_sparse_group_lasso": lambda p: penalties.SparseGroupLasso(
        p["lam1"] + p["lam2"],
        p["lam1"] / (p["lam1"] + p["lam2"]),
        groups=jreg.Groups.of_sizes([len(g) for g in p["groups"]]),
    ),
}


@pytest.mark.parametrize(
    "published", [c for c in CASES if c["op"] in PUBLISHED], ids=lambda c: c["op"]
)
def test_published(published):
    """Outputs from other libraries' tests and papers, each recomputed by a second method."""
    params = published["params"]
    step = 1 / params["rho"] if "rho" in params else step_of(params)
    step = 1 / np.array(params["metric"]) if "metric" in params else step
    with precision("float64"):
        v = np.array(published["input"], float)
        found = PUBLISHED[published["op"]](params).prox(v, step)
    tol = max(2 * published.get("max_abs_diff", 0), 1e-12)
    np.testing.assert_allclose(found, published["output"], rtol=0, atol=tol)


def test_published_translated_l1():
    """|w - c| by a change of variables."""
    (found,) = [c for c in CASES if c["op"] == "prox_translated_l1"]
    c, v = np.array(found["params"]["center"])[None, :], np.array(found["input"])
    with precision("float64"):
        z = c + jreg.L1(found["params"]["lam"]).prox(v - c, found["params"]["step"])
    np.testing.assert_allclose(z, found["output"], rtol=1e-15)


def test_published_moreau_envelope():
    (found,) = [c for c in CASES if c["op"] == "moreau_envelope_l1"]
    penalty, step = jreg.L1(found["params"]["lam"]), found["params"]["step"]
    x = np.array(found["input"])
    with precision("float64"):
        z = penalty.prox(x, step)
        value = penalty.value(z) + np.sum((z - x) ** 2) / (2 * step)
    np.testing.assert_allclose(value, found["output"], rtol=1e-14)
