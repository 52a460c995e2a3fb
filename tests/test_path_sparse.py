"""Sparse designs: products and paths against the same data made dense, and bad input."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from cases import DTYPES, precision
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import ElasticNet, enet_path

import jreg
from jreg import design, linalg, penalties
from jreg.path import blocks, glms, sparse_newton, squares
from jreg.path.drive import checked
from jreg.path.inputs import on_device, read_problem
from jreg.path.setup import setup as describe
from jreg.path.units import units_of
from jreg.sparse import CHUNK, compressed, from_compressed
from jreg.status import Status

N, P = 70, 40


def matrix(n=N, p=P, density=0.15, seed=0):
    """Most entries 0; an empty row, an empty column, a full one and a constant one."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, p)) < density, rng.normal(size=(n, p)) + 0.5, 0)
    X[:, 5], X[:, 7], X[3], X[:, 9] = 0, rng.normal(size=n) + 2, 0, 3
    return X


def response(X, kind="squared"):
    rng = np.random.default_rng(1)
    eta = X[:, :9] @ rng.normal(size=X[:, :9].shape[1]) + 0.3 * rng.normal(size=len(X))
    if kind == "logistic":
        return (eta > np.median(eta)) * 1.0
    return rng.poisson(np.exp(0.3 * eta)) * 1.0 if kind == "poisson" else eta


def ours(X, dtype="float64"):
    """A `Sparse` of a dense X."""
    return jax.device_put(from_compressed(compressed("X", sp.csr_array(X.astype(dtype)))))


# --- the matrix -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 1), "float64"), ((1, 30), "float64"), ((5, 99), "float32"), ((N, P), "float64")],
)
def test_products(shape, dtype):
    rng = np.random.default_rng(0)
    X = np.where(rng.random(shape) < 0.3, rng.normal(size=shape), 0)
    w, r = rng.normal(size=(shape[1], 3)), rng.normal(size=(shape[0], 3))
    tol = 1e-5 if dtype == "float32" else 1e-13
    with precision(dtype):
        S, w_, r_ = ours(X, dtype), jnp.asarray(w, dtype), jnp.asarray(r, dtype)
        assert (S.shape, S.dtype) == (shape, dtype)
        for found, wanted in [
            (S.times(w_), X @ w),
            (S.times(w_[:, 0]), X @ w[:, 0]),
            (jax.vmap(S.times, 1, 1)(w_), X @ w),
            (S.transposed_times(r_), X.T @ r),
            (S.transposed_times(r_[:, 0]), X.T @ r[:, 0]),
            (jax.jit(jax.vmap(S.transposed_times))(r_.T), (X.T @ r).T),
            (jax.vmap(jax.vmap(S.transposed_times))(r_.T[None]), (X.T @ r).T[None]),
        ]:
            assert found.dtype == dtype
            np.testing.assert_allclose(found, wanted, rtol=tol, atol=tol)


entries = arrays.arrays(
    np.float64,
    (12, 11),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5, 1e-3]) | st.floats(-1e3, 1e3),
)
product = jax.jit(lambda S, w: S.times(w))
back = jax.jit(lambda S, r: S.transposed_times(r))


@given(entries, st.integers(0, 1000))
def test_products_are_adjoint(X, seed):
    """<X w, r> = <w, X' r>, and both are those of the dense matrix."""
    rng = np.random.default_rng(seed)
    w, r = rng.normal(size=11), rng.normal(size=12)
    with precision("float64"):
        S = ours(X)
        image, correlation = np.asarray(product(S, w)), np.asarray(back(S, r))
    size = 1e-14 * max(np.abs(X).max(), 1)
    np.testing.assert_allclose(image, X @ w, rtol=1e-12, atol=100 * size)
    np.testing.assert_allclose(correlation, X.T @ r, rtol=1e-12, atol=100 * size)
    np.testing.assert_allclose(image @ r, w @ correlation, rtol=1e-10, atol=1e4 * size)


def test_lanes_are_one_product():
    """Eleven residuals read the entries of X once, not eleven times."""
    with precision("float64"):
        S, r = ours(matrix()), jnp.zeros((11, N))
        program = str(jax.make_jaxpr(jax.vmap(S.transposed_times))(r))
    gathers = [line for line in program.splitlines() if "= gather[" in line and ",11]" in line]
    assert len(gathers) == S.columns.value.shape[1]
    assert all(f"f64[{S.columns.owner.size},11]" in line for line in gathers)
    assert "11,92" not in program


def test_batches_of_matrices():
    X = np.stack([matrix(), 2 * matrix()])
    with precision("float64"):
        r = jnp.asarray(response(X[0]))
        several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(ours, X))
        found = jax.vmap(lambda S: S.transposed_times(r))(several)
        np.testing.assert_allclose(found, X.transpose(0, 2, 1) @ r, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_and_their_products(dtype):
    """An index beyond the last column is a column of zeros; a column may come twice."""
    X, index = matrix(), np.array([7, 0, 5, 39, 7, P, P + 1])
    wanted = np.pad(X, ((0, 0), (0, 2)))[:, index]
    V = np.random.default_rng(2).normal(size=(N, 3))
    tol = 1e-5 if dtype == "float32" else 1e-12
    with precision(dtype):
        S = ours(X, dtype)
        np.testing.assert_allclose(design.columns(S, jnp.asarray(index)), wanted, rtol=tol)
        found = jax.jit(S.columns.chosen_times)(index, jnp.asarray(V, dtype))
        np.testing.assert_allclose(found, wanted.T @ V, rtol=tol, atol=10 * tol)


def test_many_chosen_columns():
    """More pieces than are read together."""
    X = np.random.default_rng(0).normal(size=(200, 100))
    with precision("float64"):
        S, index = ours(X), np.arange(100)[::-1].copy()
        assert S.columns.first[-1] > CHUNK
        np.testing.assert_array_equal(design.columns(S, index), X[:, index])
        found = S.columns.chosen_times(index, jnp.asarray(X[:, :2]))
        np.testing.assert_allclose(found, X[:, index].T @ X[:, :2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments(weighted):
    """As those of the dense matrix; rows of weight 0 may hold anything."""
    X = matrix()
    weight = np.random.default_rng(3).integers(0, 3, N) * 1.0 if weighted else np.ones(N)
    weight /= weight.sum()
    with precision("float64"):
        S, D, w = ours(X), jnp.asarray(X), jnp.asarray(weight)
        mean = design.column_mean(S, w)
        np.testing.assert_allclose(mean, weight @ X, rtol=1e-12)
        scale = design.column_scale(S, w, mean)
        np.testing.assert_allclose(scale, linalg.column_scale(D, w, mean), rtol=1e-10)
        assert scale[5] == 0
        for f in ("column_sum", "gram"):
            found, wanted = (getattr(design, f)(Z, w, mean + 0.1) for Z in (S, D))
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
        largest = design.column_moments(S, w, mean)[1]
        np.testing.assert_array_equal(largest, np.abs(X[weight > 0]).max(axis=0))


@pytest.mark.parametrize("constant", [1.0, 0.1, -1e8])
def test_constant_columns_have_scale_zero(constant):
    """Full ones, and those that differ in rows of weight 0 only."""
    X = np.full((50, 3), constant)
    X[0, 1], X[0, 2] = 0, 7
    weight = np.random.default_rng(0).random(50)
    weight[0] = 0
    weight /= weight.sum()
    with precision("float64"):
        S, w = ours(X), jnp.asarray(weight)
        assert (design.column_scale(S, w, design.column_mean(S, w)) == 0).all()


# --- paths ------------------------------------------------------------------------------------

slow = pytest.mark.slow  # compiles some twenty programs, and has a quicker sibling
WIDE = (40, 90)
LOSSES = {"squared": jreg.Squared(), "logistic": jreg.Logistic(), "poisson": jreg.Poisson()}
SMALL = {"n_lams": 12, "lam_min_ratio": 0.05}


def same(X, y, tol=1e-8, make=sp.csr_array, gap=None, **options):
    """The path of the sparse data, once it is that of the dense data."""
    options["tol"] = gap
    found, wanted = jreg.path(make(X), y, **options), jreg.path(X, y, **options)
    np.testing.assert_allclose(found.lams, wanted.lams, rtol=1e-12)
    np.testing.assert_array_equal(found.status, wanted.status)
    size = np.abs(wanted.coef).max(initial=1)
    np.testing.assert_allclose(found.coef, wanted.coef, atol=tol * size)
    np.testing.assert_allclose(found.intercept, wanted.intercept, atol=tol * size)
    np.testing.assert_allclose(found.scale, wanted.scale, rtol=1e-10)
    np.testing.assert_allclose(found.deviance_ratio, wanted.deviance_ratio, atol=tol)
    assert (found.coef[:, X.any(axis=0) == 0] == 0).all()
    assert (found.status == Status.CONVERGED).all()
    return found


@pytest.mark.parametrize(
    ("shape", "fit_intercept", "standardize"),
    [
        (WIDE, True, True),
        ((N, P), True, True),
        pytest.param(WIDE, False, True, marks=slow),
        pytest.param(WIDE, True, False, marks=slow),
        pytest.param(WIDE, False, False, marks=slow),
        pytest.param((N, P), False, True, marks=slow),
        pytest.param((N, P), True, False, marks=slow),
        pytest.param((N, P), False, False, marks=slow),
    ],
)
def test_least_squares(shape, fit_intercept, standardize):
    """Tall data by the Gram matrix, wide ones by candidates."""
    X = matrix(*shape)
    same(X, response(X), fit_intercept=fit_intercept, standardize=standardize)


@pytest.mark.parametrize("loss", ["logistic", pytest.param("poisson", marks=slow)])
@pytest.mark.parametrize("fit_intercept", [True, pytest.param(False, marks=slow)])
def test_generalised_models(loss, fit_intercept):
    X = matrix(*WIDE)
    y = response(X, loss)
    same(X, y, loss=LOSSES[loss], fit_intercept=fit_intercept, tol=1e-7, **SMALL)


@pytest.mark.parametrize(
    "penalty",
    [
        pytest.param(jreg.ElasticNet(l1_ratio=0.5), marks=slow),
        jreg.MCP(gamma=4.0),
        pytest.param(jreg.Ridge(), marks=slow),
        pytest.param(jreg.L1(weights=np.where(np.arange(90) < 2, 0.0, 1.0)), marks=slow),
    ],
    ids=["elastic net", "MCP", "ridge", "free features"],
)
def test_penalties(penalty):
    X = matrix(*WIDE)
    same(X, response(X), penalty=penalty, tol=1e-7, **SMALL)


@pytest.mark.parametrize("loss", ["squared", pytest.param("poisson", marks=slow)])
def test_weights_and_offset(loss):
    """Rows of weight 0 are absent."""
    X, rng = matrix(*WIDE), np.random.default_rng(5)
    y, offset = response(X, loss), 0.2 * rng.normal(size=40)
    weight = rng.integers(0, 3, 40) * 1.0
    same(X, y, loss=LOSSES[loss], sample_weight=weight, offset=offset, tol=1e-7, **SMALL)


@pytest.mark.parametrize("l1_ratio", [1.0, pytest.param(0.5, marks=slow)])
def test_scikit_learn_agrees(l1_ratio):
    """Its `alpha` is lam; it centres sparse columns lazily as well."""
    X = matrix(*WIDE)
    y, S = response(X), sp.csc_matrix(X)
    penalty = jreg.ElasticNet(l1_ratio=l1_ratio)
    path = jreg.path(S, y, penalty, standardize=False, fit_intercept=False, tol=1e-9, **SMALL)
    options = {"l1_ratio": l1_ratio, "tol": 1e-10, "max_iter": 100_000}
    _, coefs, _ = enet_path(S, y, alphas=path.lams, **options)
    np.testing.assert_allclose(path.coef, coefs.T, atol=1e-4)
    path = jreg.path(S, y, penalty, standardize=False, tol=1e-9, **SMALL)
    one = ElasticNet(alpha=path.lams[6], **options).fit(S, y)
    np.testing.assert_allclose(path.coef[6], one.coef_, atol=1e-4)
    np.testing.assert_allclose(path.intercept[6], one.intercept_, atol=1e-4)


@slow
def test_float32():
    X = matrix(*WIDE)
    path = jreg.path(sp.csr_array(X.astype("float32")), response(X).astype("float32"), **SMALL)
    assert path.coef.dtype == np.float32
    assert (path.status == Status.CONVERGED).all()
    wanted = jreg.path(X, response(X), lams=path.lams)
    np.testing.assert_allclose(path.coef, wanted.coef, atol=0.01)


@pytest.mark.parametrize("kind", ["squares", pytest.param("logistic", marks=slow)])
def test_passes_over_X(monkeypatch, kind):
    """A hundred lambdas in at most 25 products of X with the residuals of a block."""
    X = matrix(60, 301)
    where, name = (squares, "certify_columns") if kind == "squares" else (glms, "certify_rows")
    calls = []
    original = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *a: calls.append(1) or original(*a))
    loss = LOSSES["squared" if kind == "squares" else "logistic"]
    y = response(X, "squared" if kind == "squares" else "logistic")
    path = jreg.path(sp.csr_array(X), y, loss=loss, lam_min_ratio=0.05)
    assert (path.status == Status.CONVERGED).all()
    assert 3 <= len(calls) <= 25


def test_data_of_the_same_size_compile_nothing():
    """Patterns and values differ; the number of entries hardly does."""
    names = []

    def listen(name, *_, **__):
        names.append(name)

    def compilations():
        return sum(name.endswith("backend_compile_duration") for name in names)

    X = matrix(55, 302)
    jax.monitoring.register_event_duration_secs_listener(listen)
    jreg.path(sp.csr_array(X), response(X), **SMALL)
    first = compilations()
    assert 0 < first <= 30
    other = np.roll(X, 3, axis=1)
    other[np.nonzero(other)[0][:2], np.nonzero(other)[1][:2]] = 0
    jreg.path(sp.csr_array(other), response(X), **SMALL)
    assert compilations() == first


# --- large ones, by products with columns of the support ---------------------------------------


@pytest.fixture
def as_if_large(monkeypatch):
    """Every wide sparse path goes the way of large ones; counts its products with the whole X."""
    calls, original = [], sparse_newton.certify_fits
    monkeypatch.setattr(sparse_newton, "LARGE", 0)
    monkeypatch.setattr(sparse_newton, "certify_fits", lambda *a: calls.append(1) or original(*a))
    return calls


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("squared", {}),
        ("logistic", {}),
        pytest.param("poisson", {}, marks=slow),
        pytest.param("squared", {"fit_intercept": False, "standardize": False}, marks=slow),
        pytest.param("logistic", {"fit_intercept": False}, marks=slow),
        ("squared", {"penalty": jreg.ElasticNet(l1_ratio=0.5), "standardize": False}),
        pytest.param("logistic", {"penalty": jreg.ElasticNet(l1_ratio=0.5)}, marks=slow),
        pytest.param("squared", {"penalty": penalties.NonNegativeL1()}, marks=slow),
        pytest.param(
            "squared", {"penalty": penalties.AsymmetricL1(above=1.0, below=2.0)}, marks=slow
        ),
        ("squared", {"penalty": jreg.L1(weights=np.minimum(np.arange(90) // 2, 1.0))}),
    ],
    ids=str,
)
def test_large_ones(as_if_large, loss, options):
    """The same solutions, in few products with the whole of X."""
    X = matrix(*WIDE)
    found = same(X, response(X, loss), loss=LOSSES[loss], **options, tol=1e-5, **SMALL, gap=1e-11)
    assert found.gap.max() <= 1e-11
    assert 1 <= len(as_if_large) <= 8


def test_large_ones_weighted(as_if_large):
    X, rng = matrix(*WIDE), np.random.default_rng(5)
    y, offset, weight = response(X), 0.2 * rng.normal(size=40), rng.integers(0, 3, 40) * 1.0
    same(X, y, sample_weight=weight, offset=offset, tol=1e-5, **SMALL, gap=1e-11)
    assert as_if_large


@pytest.mark.parametrize("loss", ["squared", pytest.param("logistic", marks=slow)])
def test_large_ones_with_equal_columns(as_if_large, loss):
    """A support without an inverse, opposite columns, and more features than the rows can tell."""
    X = matrix(30, 60)
    X[:, 20:30], X[:, 30:35] = X[:, 10:20], -X[:, 10:15]
    y = response(X, loss)
    path = jreg.path(sp.csr_array(X), y, loss=LOSSES[loss], n_lams=30, lam_min_ratio=1e-3)
    wanted = jreg.path(X, y, loss=LOSSES[loss], lams=path.lams)
    assert as_if_large
    assert (path.status == Status.CONVERGED).all()
    assert path.gap.max() <= 1e-6
    np.testing.assert_allclose(path.deviance_ratio, wanted.deviance_ratio, atol=1e-5)


def test_large_ones_that_another_way_serves(as_if_large):
    """Penalties beyond kinks and a ridge; tall data with a Gram matrix."""
    X = matrix(*WIDE)
    same(X, response(X), penalty=jreg.MCP(gamma=4.0), tol=1e-7, **SMALL)
    same(matrix(), response(matrix()), n_lams=4)
    assert not as_if_large


def test_a_large_one_in_any_order_down_to_zero(as_if_large):
    """lam = 0 last, lambdas twice, and an early end."""
    X = matrix(40, 30)[:, :30]
    X, y = np.hstack([X, X[:, :15] ** 2]), response(X)
    path = jreg.path(sp.csr_array(X), y, lams=[0.01, 0.5, 0.1, 0.1, 1e-3], tol=1e-9)
    wanted = jreg.path(X, y, lams=path.lams, tol=1e-9)
    assert as_if_large
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-5)
    path = jreg.path(sp.csr_array(X), y, max_deviance_ratio=0.5)
    assert path.status[0] == Status.CONVERGED
    assert path.status[-1] == Status.NOT_RUN


def test_a_large_one_interrupted(as_if_large):
    """What is done before Ctrl-C stays."""
    X = matrix(*WIDE)

    def stop(done, total):
        if done > 5:
            raise KeyboardInterrupt

    path = jreg.path(sp.csr_array(X), response(X), n_lams=40, progress=stop)
    assert path.status[0] == Status.CONVERGED
    assert path.status[-1] == Status.NOT_RUN
    assert len(as_if_large) < 3


@slow
def test_large_ones_in_float32(as_if_large):
    X = matrix(*WIDE)
    path = jreg.path(sp.csr_array(X.astype("float32")), response(X).astype("float32"), **SMALL)
    assert as_if_large
    assert path.coef.dtype == np.float32
    assert (path.status == Status.CONVERGED).all()
    wanted = jreg.path(X, response(X), lams=path.lams)
    np.testing.assert_allclose(path.deviance_ratio, wanted.deviance_ratio, atol=1e-3)


# --- what comes in ----------------------------------------------------------------------------


def with_duplicates(X):
    """Every entry in two parts, in falling order, and stored zeros between them."""
    rows, columns = np.nonzero(X)
    value = X[rows, columns]
    order = np.random.default_rng(0).permutation(3 * value.size)
    parts = [0.25 * value, 0.75 * value, 0 * value]
    triple = [np.concatenate(3 * [rows])[order], np.concatenate(3 * [columns])[order]]
    return sp.coo_matrix((np.concatenate(parts)[order], triple), shape=X.shape)


def with_long_indices(X):
    csr = sp.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def unsorted(X):
    csc = sp.csc_array(X)
    for j in range(X.shape[1]):
        part = slice(csc.indptr[j], csc.indptr[j + 1])
        csc.indices[part], csc.data[part] = csc.indices[part][::-1], csc.data[part][::-1]
    csc.has_sorted_indices = False
    return csc


def with_zeros(X):
    csr = sp.csr_matrix(np.where(X == 0, 1.5, X))
    csr.data[csr.data == 1.5] = 0
    return csr


SAME = {
    "csr_matrix": sp.csr_matrix,
    "csc_matrix": sp.csc_matrix,
    "coo_matrix": sp.coo_matrix,
    "csc_array": sp.csc_array,
    "coo_array": sp.coo_array,
    "lil_matrix": sp.lil_matrix,
    "bsr_array": sp.bsr_array,
    "duplicates": with_duplicates,
    "unsorted": unsorted,
    "stored zeros": with_zeros,
    "int64 indices": with_long_indices,
}


@pytest.mark.parametrize("kind", SAME)
def test_same_numbers_in_another_format(kind):
    X = matrix(*WIDE)
    given = SAME[kind](X)
    before = given.copy()
    csr = compressed("X", given)
    assert (csr.dtype, csr.nnz, csr.has_sorted_indices) == (np.float64, np.count_nonzero(X), True)
    np.testing.assert_allclose(csr.toarray(), X, rtol=1e-15)
    path, wanted = (jreg.path(Z, response(X), n_lams=4) for Z in (given, sp.csr_array(X)))
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-9)
    np.testing.assert_array_equal(given.toarray(), before.toarray())
    assert given.nnz == before.nnz


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool"])
def test_whole_numbers(dtype):
    X, y = (matrix(*WIDE) != 0).astype(dtype), response(matrix(*WIDE))
    path = jreg.path(sp.csr_array(X), y, n_lams=4)
    wanted = jreg.path(X.astype(float), y, n_lams=4)
    assert path.coef.dtype == np.float64
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-9)


def test_all_zero():
    path = jreg.path(sp.csr_array(WIDE), np.arange(40.0), n_lams=3)
    assert (path.coef == 0).all()
    assert (path.status == Status.CONVERGED).all()
    np.testing.assert_allclose(path.intercept, 19.5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_matter(factor):
    X = matrix(*WIDE)
    path = jreg.path(sp.csr_array(factor * X), factor * response(X), **SMALL)
    wanted = jreg.path(sp.csr_array(X), response(X), **SMALL)
    np.testing.assert_array_equal(path.status, wanted.status)
    np.testing.assert_allclose(path.coef, wanted.coef, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_entries_that_are_not_finite_are_named(value):
    X = matrix()
    X[11, 7] = X[12, 2] = value
    with pytest.raises(ValueError, match=r"2 of its entries .* row 11, column 7"):
        jreg.path(sp.csc_array(X), np.zeros(N))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (sp.csr_array(matrix() + 0j), TypeError, "X must hold real numbers; got a sparse complex"),
        (sp.coo_array(np.ones(4)), ValueError, r"X must have shape \(n_samples, n_features\)"),
        (sp.csr_array((N, 0)), ValueError, "at least one row and one column"),
        (sp.csr_array((N - 1, P)), ValueError, "y must have"),
    ],
)
def test_bad_designs(X, error, message):
    with pytest.raises(error, match=message):
        jreg.path(X, np.zeros(N))


def test_names_and_predictions():
    X = matrix(*WIDE)
    names = [f"f{j}" for j in range(90)]
    path = jreg.path(sp.csr_array(X), response(X), n_lams=5, feature_names=names)
    assert path.names() == tuple(names)
    offset = np.arange(6.0)
    for kind in ("response", "link"):
        np.testing.assert_allclose(
            path.predict(sp.csc_matrix(X[:6]), kind, offset), path.predict(X[:6], kind, offset)
        )
    with pytest.raises(ValueError, match="feature_names must have 90 entries"):
        jreg.path(sp.csr_array(X), response(X), feature_names=names[1:])


# --- other doors ------------------------------------------------------------------------------


def problems(X, y, loss="squared", **options):
    """The same problem with sparse and with dense data."""
    dense = jreg.LinearProblem(X, y, LOSSES[loss], **options)
    return dataclasses.replace(dense, X=sp.csr_array(X)), dense


@pytest.mark.parametrize(
    ("solver", "loss"),
    [
        (jreg.FISTA, "squared"),
        (jreg.ProxNewton, "logistic"),
        pytest.param(jreg.FISTA, "logistic", marks=slow),
        pytest.param(jreg.ProxNewton, "squared", marks=slow),
        pytest.param(jreg.ProxLBFGS, "logistic", marks=slow),
    ],
)
def test_solvers_that_need_products_alone(solver, loss):
    X = matrix(40, 20)
    with precision("float64"):
        found, wanted = (
            jreg.solve(p, jreg.L1(0.02), solver=solver(), tol=1e-10)
            for p in problems(X, response(X, loss), loss, standardize=True)
        )
        assert found.status == Status.CONVERGED
        np.testing.assert_allclose(found.params.coef, wanted.params.coef, atol=1e-6)
        np.testing.assert_allclose(found.params.intercept, wanted.params.intercept, atol=1e-6)


@pytest.mark.parametrize("standardize", [False, pytest.param(True, marks=slow)])
def test_derivatives_of_a_solution(standardize):
    """Those of the dense data, forward and reverse, in lanes, in a strength and the response."""
    X = matrix(40, 12)
    with precision("float64"):

        def of(problem):
            def total(lam, y):
                one = dataclasses.replace(problem, y=y)
                coef = jreg.solve(one, jreg.L1(lam), solver=jreg.FISTA(), tol=1e-11).params.coef
                return coef @ jnp.arange(12.0)

            both = jax.jit(jax.vmap(jax.grad(total, (0, 1)), (0, None)))
            y, lams = jnp.asarray(response(X)), jnp.array([0.05, 0.1])
            return both(lams, y), jax.jvp(total, (0.1, y), (1.0, y))[1]

        found, wanted = map(of, problems(X, response(X), standardize=standardize))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
            assert np.any(a != 0)


def test_derivatives_of_a_product():
    """In the entries as in the other factor."""
    X = matrix(20, 12)
    with precision("float64"):
        S, r = ours(X), jnp.asarray(X[:, 7])

        def size(c, r, X):
            scaled = jax.tree.map(lambda a: c * a if a.dtype == r.dtype else a, X)
            return jnp.sum(design.transposed_times(scaled, r) ** 2)

        found, wanted = (jax.grad(size, (0, 1))(1.5, r, A) for A in (S, jnp.asarray(X)))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@slow
def test_sweep():
    X = matrix(*WIDE)
    with precision("float64"):
        found, wanted = (
            jreg.sweep(p, jreg.L1(), [0.1, 0.05], block=2, solver=jreg.FISTA(), tol=1e-10)
            for p in problems(X, response(X))
        )
        np.testing.assert_allclose(found.coef, wanted.coef, atol=1e-6)
        np.testing.assert_array_equal(found.status, Status.CONVERGED)


def test_solvers_that_read_columns_say_so():
    X = matrix(40, 20)
    sparse, _ = problems(X, response(X))
    with pytest.raises(TypeError, match=r"X is sparse, .* use FISTA\(\)"):
        jreg.solve(sparse, jreg.L1(0.1), solver=jreg.CoordinateDescent())


def test_sensitivity_says_that_it_needs_dense_data():
    X = matrix(*WIDE)
    path = jreg.path(sp.csr_array(X), response(X), n_lams=3)
    with pytest.raises(TypeError, match="X is a sparse csr_array"):
        jreg.path_sensitivity(path, sp.csr_array(X), response(X))


# --- memory -----------------------------------------------------------------------------------

LARGE = """
import resource
import numpy as np, scipy.sparse as sp
import jreg

n, p = 20000, 50000
rng = np.random.default_rng(0)
at = rng.integers(0, n, 20 * p), rng.integers(0, p, 20 * p)
X = sp.coo_array((rng.normal(size=20 * p), at), shape=(n, p)).tocsc()
w = np.zeros(p)
w[rng.choice(p, 100, replace=False)] = 3 * rng.normal(size=100)
y = X @ w + 0.1 * rng.normal(size=n)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = jreg.path(X, y, n_lams=10, lam_min_ratio=0.4)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert (path.status == jreg.Status.CONVERGED).all(), path
assert path.gap.max() <= 1e-6
assert path.n_nonzero[-1] >= 10
print((after - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in kilobytes")
def test_memory_of_a_large_design():
    """A dense copy would have 8 GB; what a path needs is far below."""
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 1000


def test_the_plain_way_takes_several_outputs():
    """Where a block of lambdas finds no way, one is solved alone, on all columns if need be."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 12)) * (rng.uniform(size=(60, 12)) < 0.4)
    y = np.argmax(X[:, :3] + 0.5 * rng.normal(size=(60, 3)), axis=1).astype(float)
    lams, loss = np.array([0.05, 0.02]), jreg.Multinomial(3)
    problem, _ = read_problem(sp.csr_array(X), y, loss, None, None, None, True, True)
    with precision("float64"):
        problem, penalty = checked(problem, jreg.L1())
        data = describe(dataclasses.replace(problem, X=on_device(problem.X)), penalty)
        start, units = blocks.first_point(data), units_of(penalty, 12, (3,))
        block = blocks.solve_block(data, penalty, units, lams, start, 1e-6)
    assert (block.status == Status.CONVERGED).all()
    wanted = jreg.path(X, y, loss=loss, lams=lams, tol=1e-8)
    scaled = wanted.coef * wanted.scale[None, :, None]
    np.testing.assert_allclose(block.params.coef, scaled, atol=2e-3)
