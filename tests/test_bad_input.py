"""Input as people have it: what is wrong is named, what is merely awkward gives the same answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from jax.experimental import sparse as jax_sparse

import jreg
from jreg import tree
from jreg.path.inputs import read_matrix

N, P = 30, 8
LAMS = np.array([0.3, 0.1, 0.03])
L1, SQUARED = jreg.L1(), jreg.Squared()
LOGISTIC = {"penalty": L1, "loss": jreg.Logistic()}
rng = np.random.default_rng(4)
X = rng.normal(size=(N, P)) + 0.5
y = X @ rng.normal(size=P) + rng.normal(size=N)
labels = (y > y.mean()).astype(float)
for _array in (X, y, labels):
    _array.flags.writeable = False  # whoever writes into a caller's data fails here


def fit(X=X, y=y, **options):
    return jreg.path(X, y, **{"lams": LAMS, **options})


def solve(X=X, y=y, penalty=L1, loss=SQUARED, *, solver=None, tol=None, **data):
    problem = jreg.LinearProblem(X, y, loss, **data)
    return jreg.solve(problem, penalty, solver=solver, tol=tol)


def sweep(X=X, y=y, penalty=L1, loss=SQUARED, *, lams=LAMS, **data):
    return jreg.sweep(jreg.LinearProblem(X, y, loss, **data), penalty, lams)


DOORS = pytest.mark.parametrize("door", [fit, solve, sweep])


def put(array, value, *index):
    """A copy with one entry replaced."""
    array = np.array(array)
    array[index] = value
    return array


# numbers that are none


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "input", "where"),
    [
        ("X", lambda v: {"X": put(X, v, 2, 5)}, "row 2, column 5"),
        ("X", lambda v: {"X": frame(put(X, v, 2, 5))}, "row 2, column f"),
        ("y", lambda v: {"y": put(y, v, 7)}, "row 7"),
        ("y", lambda v: {"y": pd.Series(put(y, v, 7))}, "row 7"),
        ("sample_weight", lambda v: {"sample_weight": put(np.ones(N), v, 7)}, "row 7"),
        ("offset", lambda v: {"offset": put(np.ones(N), v, 7)}, "row 7"),
    ],
    ids=["X", "DataFrame", "y", "Series", "sample_weight", "offset"],
)
def test_path_says_where_a_number_is_not_finite(name, input, where, value):
    with pytest.raises(ValueError, match=f"{name} must be finite.*{where}"):
        fit(**input(value))


def test_path_says_where_a_value_is_missing():
    missing = frame(np.round(X)).astype("Int64")
    missing.loc[2, "f"] = pd.NA
    with pytest.raises(ValueError, match=r"X must be finite.*row 2, column f"):
        fit(missing)


def test_numbers_whose_sum_overflows_are_finite():
    large = np.full((2, 2), 1e308)
    np.testing.assert_array_equal(read_matrix(large)[0], large)
    with pytest.raises(ValueError, match="2 of its entries"):
        read_matrix(np.where(np.eye(2) == 1, large, [[np.nan, np.inf], [-np.inf, 1.0]]))


def test_path_counts_them():
    with pytest.raises(ValueError, match="3 of its entries"):
        fit(np.where(np.arange(P) == 1, np.where(np.arange(N) < 3, np.nan, 0)[:, None], X))


def lanes(loss):
    """(name, X, y, weight, offset, lam) that end in NOT_FINITE when nothing can be raised."""
    ones, target = np.ones(N), y if loss == "squared" else labels
    good = {"X": X, "y": target, "weight": ones, "offset": 0 * ones, "lam": 0.1}
    bad = {
        "X nan": {"X": put(X, np.nan, 2, 5)},
        "X inf": {"X": put(X, np.inf, 2, 5)},
        "y nan": {"y": put(target, np.nan, 2)},
        "y inf": {"y": put(target, np.inf, 2)},
        "weight nan": {"weight": put(ones, np.nan, 2)},
        "weight inf": {"weight": put(ones, np.inf, 2)},
        "weight negative": {"weight": put(ones, -1, 2)},
        "weights all 0": {"weight": 0 * ones},
        "offset nan": {"offset": put(ones, np.nan, 2)},
        "offset inf": {"offset": put(ones, np.inf, 2)},
        "lam nan": {"lam": np.nan},
        "lam negative": {"lam": -0.1},
    }
    if loss == "logistic":
        bad |= {"label 2": {"y": put(labels, 2, 2)}, "labels -1, 0, 1": {"y": put(labels, -1, 2)}}
    return good, bad


@functools.cache
def batched(method):
    def one(X, y, weight, offset, lam, loss, solver):
        problem = jreg.LinearProblem(X, y, loss, weight, offset)
        if method == "sweep":
            path = jreg.sweep(problem, jreg.L1(), jnp.stack([lam, lam]), tol=1e-8)
            return path.coef, path.intercept, path.gap, path.status
        found = jreg.solve(problem, jreg.L1(lam), solver=solver, tol=1e-8)
        return *found.params, found.gap, found.status

    return jax.jit(jax.vmap(one, in_axes=(0, 0, 0, 0, 0, None, None)))


def run_lanes(method, rows, loss="squared"):
    """coef, intercept, gap, status of every row in one batch of 16, filled up with the last."""
    rows = rows + rows[-1:] * (16 - len(rows))
    solver = {"fista": jreg.FISTA(), "coordinate_descent": jreg.CoordinateDescent()}.get(method)
    losses = {"squared": jreg.Squared(), "logistic": jreg.Logistic()}
    with jax.enable_x64(True):
        columns = [
            jnp.stack([jnp.asarray(row[name], float) for row in rows])
            for name in ("X", "y", "weight", "offset", "lam")
        ]
        return jax.tree.map(np.asarray, batched(method)(*columns, losses[loss], solver))


BATCHES = [
    ("prox_newton", "squared"),
    ("prox_newton", "logistic"),
    ("fista", "squared"),
    ("coordinate_descent", "squared"),
    ("sweep", "squared"),
]


@functools.cache
def batch_with_bad_lanes(method, loss):
    good, bad = lanes(loss)
    return run_lanes(method, [good, *({**good, **wrong} for wrong in bad.values()), good], loss)


@pytest.mark.parametrize(
    ("method", "loss", "k"),
    [
        pytest.param(method, loss, k, id=f"{method}-{loss}-{name}")
        for method, loss in BATCHES
        for k, name in enumerate(lanes(loss)[1], start=1)
    ],
)
def test_bad_lane_is_flagged(method, loss, k):
    _, _, gap, status = batch_with_bad_lanes(method, loss)
    assert (status[k] == jreg.Status.NOT_FINITE).all()
    assert not (gap[k] <= 1e-8).any()


@pytest.mark.parametrize(("method", "loss"), BATCHES)
def test_bad_lane_leaves_the_others_alone(method, loss):
    good, bad = lanes(loss)
    clean = run_lanes(method, [good], loss)
    found = batch_with_bad_lanes(method, loss)
    assert (clean[-1] == jreg.Status.CONVERGED).all()
    for k in (0, len(bad) + 1):
        for a, b in zip(found, clean, strict=True):
            np.testing.assert_allclose(a[k], b[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(3,), (1024,), (11, 1024), (4, 32, 64)])
def test_no_maximum_loses_a_nan(shape):
    """A plain maximum over several axes does on CPUs, with XLA of JAX 0.10.2."""
    once = np.where(np.arange(shape[-1]) == 1, np.nan, np.ones(shape))
    for row in (np.full(shape, np.nan), once):
        assert np.isnan(tree.largest(jnp.asarray(row)))
        lanes = jax.jit(jax.vmap(tree.largest))(jnp.stack([jnp.asarray(row), jnp.ones(shape)]))
        assert np.isnan(lanes[0])
        assert lanes[1] == 1


def test_nan_in_X_is_a_status_of_pure_functions():
    assert solve(put(X, np.nan, 2, 5)).status == jreg.Status.NOT_FINITE


# shapes


@DOORS
@pytest.mark.parametrize(
    ("input", "message"),
    [
        ({"X": y}, r"X must have shape \(n_samples, n_features\); got \(30,\).*X\[:, None\]"),
        ({"X": X[None]}, r"X must have shape .*got \(1, 30, 8\)"),
        ({"X": np.float64(1)}, r"X must have shape .*got \(\)"),
        ({"X": X[:0]}, r"at least one row and one column; got shape \(0, 8\)"),
        ({"X": X[:, :0]}, r"at least one row and one column; got shape \(30, 0\)"),
        ({"y": y[:, None]}, r"y must have shape .*\(30,\); got \(30, 1\).*y.ravel\(\)"),
        ({"y": y[None]}, r"y must have shape .*\(30,\); got \(1, 30\).*y.ravel\(\)"),
        ({"y": y[:-1]}, r"y must have shape .*\(30,\); got \(29,\)"),
        ({"y": np.array([])}, r"y must have shape .*\(30,\); got \(0,\)"),
        ({"y": np.ones((N, 2, 2))}, r"y must have shape .*\(30,\); got \(30, 2, 2\)"),
        ({"y": 1.0}, r"y must have shape .*\(30,\); got \(\)"),
        ({"sample_weight": np.ones((N, 1))}, r"sample_weight must have .*got \(30, 1\)"),
        ({"sample_weight": 1.0}, r"sample_weight must have .*got \(\)"),
        ({"offset": np.ones(N - 1)}, r"offset must have .*got \(29,\)"),
    ],
)
def test_wrong_shapes(door, input, message):
    with pytest.raises(ValueError, match=message):
        door(**input)


def test_wrong_shape_of_start():
    problem = jreg.LinearProblem(X, y)
    with pytest.raises(ValueError, match=r"coef \(8,\), intercept \(\)\); got shapes \(7,\)"):
        jreg.solve(problem, jreg.L1(), jreg.Linear(np.zeros(7), 0.0))
    with pytest.raises(ValueError, match=r"got shapes \(8,\) and \(1,\)"):
        jreg.solve(problem, jreg.L1(), jreg.Linear(np.zeros(8), np.zeros(1)))
    with pytest.raises(ValueError, match="needs params"):
        jreg.solve(lambda w: w @ w, jreg.L1())
    with pytest.raises(ValueError, match="no arrays"):
        jreg.solve(lambda w: 0.0, jreg.L1(), {})
    with pytest.raises(TypeError, match="args belong to a function"):
        jreg.solve(problem, jreg.L1(), None, 1.0)


# types


def frame(X, **columns):
    return pd.DataFrame(X, columns=list("abcdefgh")).assign(**columns)


@DOORS
@pytest.mark.parametrize(
    ("input", "message"),
    [
        ({"X": np.full((N, P), "a")}, "X must hold"),
        ({"X": X.astype(str)}, "X must hold"),
        ({"X": X + 0j}, "X must hold .*complex128"),
        ({"X": np.full((N, P), object())}, "X must hold"),
        ({"X": X.astype("datetime64[s]")}, "X must hold"),
        ({"y": y.astype(str)}, "y must hold"),
        ({"y": y + 0j}, "y must hold .*complex128"),
        ({"sample_weight": np.full(N, "a")}, "sample_weight must hold"),
        ({"offset": np.full(N, "a")}, "offset must hold"),
        ({"X": sp.csr_matrix(X + 0j)}, r"X must hold .*sparse complex128"),
        ({"X": jax_sparse.BCOO.fromdense(X)}, r"sparse.*todense"),
        ({"y": sp.csr_matrix(y[:, None])}, r"y is a sparse"),
    ],
)
def test_wrong_types(door, input, message):
    with pytest.raises(TypeError, match=message):
        door(**input)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"i": ["a", "b"] * 15}, r"not numbers: i \(.*get_dummies"),
        ({"i": pd.Categorical([1, 2] * 15)}, r"not numbers: i \(category\)"),
        ({"i": pd.Timestamp("2020-01-01")}, r"not numbers: i \(datetime64"),
        ({"i": ["a"] * N, "b": ["b"] * N}, r"not numbers: b .*, i "),
    ],
)
def test_columns_of_a_frame_that_are_not_numbers_are_named(column, message):
    with pytest.raises(TypeError, match=message):
        fit(frame(X, **column))


WHOLE = np.round(4 * X)
SAME = {
    "list": lambda X: X.tolist(),
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X: X[::-1].copy()[::-1],
    "object": lambda X: X.astype(object),
    "int64": lambda X: X.astype(np.int64),
    "int8": lambda X: X.astype(np.int8),
    "big-endian": lambda X: X.astype(">f8"),
    "DataFrame": frame,
    "DataFrame of mixed numbers": lambda X: frame(X, a=X[:, 0].astype(int)).astype({"b": "int8"}),
    "DataFrame with its own index": lambda X: frame(X).set_index(np.arange(N)[::-1]),
    "DataFrame of nullable numbers": lambda X: frame(X).astype({"c": "Int64", "d": "Float64"}),
    "numpy.matrix-like": lambda X: Wrapped(X),
}


class Wrapped:
    """Only `__array__`, as frames and tensors of other libraries have it."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@pytest.mark.parametrize("kind", SAME)
def test_same_numbers_in_another_container(kind):
    before = WHOLE.copy()
    path, other = fit(WHOLE), fit(SAME[kind](WHOLE))
    np.testing.assert_allclose(other.coef, path.coef, rtol=1e-9, atol=1e-12)
    assert other.coef.dtype == np.float64
    assert (before == WHOLE).all()


def test_vectors_in_another_container():
    weight, offset = np.arange(1, N + 1), np.arange(N) % 3
    path = fit(y=np.round(y), sample_weight=1.0 * weight, offset=1.0 * offset)
    for kind in (list, pd.Series, lambda v: v.astype(np.int32), lambda v: np.repeat(v, 2)[::2]):
        other = fit(y=kind(np.round(y)), sample_weight=kind(weight), offset=kind(offset))
        np.testing.assert_allclose(other.coef, path.coef, rtol=1e-9, atol=1e-12)


def test_booleans_are_0_and_1():
    path, other = fit(1.0 * (X > 0)), fit(X > 0)
    np.testing.assert_allclose(other.coef, path.coef, rtol=1e-9, atol=1e-12)
    path, other = fit(y=labels, **LOGISTIC), fit(y=labels == 1, **LOGISTIC)
    np.testing.assert_allclose(other.coef, path.coef, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_lower_precision(dtype):
    low = jnp.asarray(X, dtype)
    path = fit(np.asarray(low), np.asarray(y, np.float32))
    assert path.coef.dtype == path.gap.dtype == path.lams.dtype == np.float32
    assert (path.status == jreg.Status.CONVERGED).all()
    exact = fit(np.asarray(low, np.float64), tol=1e-10)
    np.testing.assert_allclose(path.coef, exact.coef, atol=3e-2)
    np.testing.assert_allclose(fit(low).coef, path.coef, atol=1e-6)  # a JAX array
    if dtype != "float32":
        with pytest.raises(TypeError, match=rf"got dtype {dtype}.*astype\('float32'\)"):
            solve(low)


def test_gap_in_float32_is_honest():
    """The distance from the optimum, in float64, of what float32 calls converged."""
    path = fit(X.astype(np.float32), y.astype(np.float32), tol=1e-5, standardize=False)
    exact = fit(tol=1e-12, standardize=False)

    def objective(path):
        eta = np.asarray(path.coef, float) @ X.T + np.asarray(path.intercept, float)[:, None]
        return ((eta - y) ** 2).mean(axis=1) / 2 + LAMS * np.abs(path.coef).sum(axis=1)

    assert (path.gap <= 1e-5).all()
    assert ((objective(path) - objective(exact)) / (y.var() / 2) <= path.gap + 1e-6).all()


# small, constant, repeated


def test_one_row_one_column():
    options = {"fit_intercept": False, "standardize": False, "tol": 1e-12}
    path = fit([[2.0]], [3.0], **options)
    np.testing.assert_allclose(path.coef[:, 0], (2 * 3 - LAMS) / 2**2, rtol=1e-6)
    assert (path.status == jreg.Status.CONVERGED).all()
    for x, y in [(2.0, 0.0), (0.0, 3.0), (0.0, 0.0)]:
        path = fit([[x]], [y], **options)
        assert (path.coef == 0).all()
        assert (path.intercept == 0).all()
        assert (path.status == jreg.Status.CONVERGED).all()


def test_two_rows_one_column():
    path = fit([[1.0], [3.0]], [0.0, 4.0], tol=1e-12)
    np.testing.assert_allclose(path.coef[:, 0], 2 - LAMS, rtol=1e-6)
    np.testing.assert_allclose(path.intercept, 2 - 2 * (2 - LAMS), rtol=1e-6)


def test_one_row_many_columns():
    path = fit(X[:1], y[:1], lams=None, n_lams=3)
    assert (path.coef == 0).all()
    np.testing.assert_allclose(path.intercept, y[0])
    assert (path.status == jreg.Status.CONVERGED).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6, 0.1])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_constant_column_has_coefficient_0(loss, standardize, value):
    options = {"standardize": standardize, "tol": 1e-10} | (LOGISTIC if loss == "logistic" else {})
    target = labels if loss == "logistic" else y
    constant = np.where(np.arange(P) == 3, value, X)
    path = fit(constant, target, **options)
    assert (path.coef[:, 3] == 0).all()
    assert (path.scale[3] == 0) == standardize
    other = fit(np.where(np.arange(P) == 3, 0, X), target, **options)
    np.testing.assert_allclose(path.coef, other.coef, atol=1e-6)
    assert (path.status == jreg.Status.CONVERGED).all()


def test_sum_of_equal_columns_is_unique():
    double = np.column_stack([X[:, :-1], X[:, 0]])
    alone = np.column_stack([X[:, :-1], 0 * X[:, 0]])
    path, single = fit(double, tol=1e-10), fit(alone, tol=1e-10)
    assert (path.status == jreg.Status.CONVERGED).all()
    np.testing.assert_allclose(path.coef[:, 0] + path.coef[:, -1], single.coef[:, 0], atol=1e-6)
    np.testing.assert_allclose(path.coef[:, 1:-1], single.coef[:, 1:-1], atol=1e-6)


def test_all_columns_equal():
    path = fit(np.repeat(X[:, :1], P, axis=1), tol=1e-10)
    assert (path.status == jreg.Status.CONVERGED).all()
    single = fit(X[:, :1] * (np.arange(P) == 0), tol=1e-10)
    np.testing.assert_allclose(path.coef.sum(axis=1), single.coef[:, 0], atol=1e-6)


def test_all_columns_0():
    path = fit(0 * X, lams=[0.1, 0.0])
    assert (path.coef == 0).all()
    np.testing.assert_allclose(path.intercept, y.mean())
    assert (path.status == jreg.Status.CONVERGED).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5, 1e12, 0.1])
@pytest.mark.parametrize("standardize", [True, False])
def test_constant_response(value, standardize):
    for lams in (LAMS, None, 0.0):
        path = fit(y=np.full(N, value), lams=lams, n_lams=4, standardize=standardize)
        assert (path.coef == 0).all()
        np.testing.assert_allclose(path.intercept, value, rtol=1e-12)
        assert (path.status == jreg.Status.CONVERGED).all()
        assert (path.deviance_ratio == 0).all()  # there is nothing to explain


def test_saturated_fit_is_certified():
    """More columns than rows, down to where all rows are explained."""
    wide = np.random.default_rng(5).normal(size=(20, 300))
    path = fit(wide, y[:20], lams=None, n_lams=20, lam_min_ratio=1e-4)
    assert np.isin(path.status, [jreg.Status.CONVERGED, jreg.Status.AT_PRECISION]).all()
    assert (path.gap[path.status == jreg.Status.CONVERGED] <= 1e-6).all()
    assert path.deviance_ratio[-1] > 0.999
    assert (path.n_nonzero <= 20).all()


def test_separable_classes():
    separable = X[:, 0] > np.median(X[:, 0])
    path = fit(y=separable, lams=[1e-2, 1e-5, 0.0], **LOGISTIC)
    assert (path.status[:2] == jreg.Status.CONVERGED).all()
    assert np.isfinite(path.coef).all()
    assert np.isfinite(path.deviance_ratio).all()
    assert path.deviance_ratio[1] > 0.99


def test_rare_class():
    path = fit(y=np.arange(N) == 3, lams=None, n_lams=5, tol=1e-10, **LOGISTIC)
    assert (path.status == jreg.Status.CONVERGED).all()
    np.testing.assert_allclose(path.intercept[0], np.log(1 / (N - 1)), rtol=1e-6)
    np.testing.assert_allclose(path.predict(X).mean(axis=1), 1 / N, atol=1e-5)


# units


@pytest.mark.parametrize("method", ["prox_newton", "fista", "coordinate_descent", "sweep"])
def test_units_do_not_change_the_verdict(method):
    good, _ = lanes("squared")
    columns = 10.0 ** np.linspace(-6, 6, P)
    sizes = [(1, 1), (1, 1e8), (1, 1e-8), (1e6, 1), (1e-6, 1), (1e6, 1e8), (1e-6, 1e-8)]
    rows = [{**good, "X": a * X, "y": b * y, "lam": a * b * 0.1} for a, b in sizes]
    coef, _, gap, status = run_lanes(method, [*rows, {**good, "X": X * columns}])
    assert (status == jreg.Status.CONVERGED).all()
    assert (gap <= 1e-8).all()
    for k, (a, b) in enumerate(sizes):
        np.testing.assert_allclose(coef[k] * a / b, coef[0], atol=1e-4)


@pytest.mark.parametrize("size", [1e-8, 1e8])
@pytest.mark.parametrize("columns", [1.0, 1e-6, 1e6])
def test_units_of_a_path(size, columns):
    path, scaled = fit(lams=None, n_lams=8), fit(columns * X, size * y, lams=None, n_lams=8)
    assert (scaled.status == jreg.Status.CONVERGED).all()
    np.testing.assert_allclose(scaled.lams / size, path.lams, rtol=1e-9)
    np.testing.assert_allclose(scaled.coef / size * columns, path.coef, atol=1e-4)
    np.testing.assert_allclose(scaled.deviance_ratio, path.deviance_ratio, atol=1e-6)
    same = fit(columns * X, size * y, lams=None, n_lams=8, standardize=False)
    assert (same.status == jreg.Status.CONVERGED).all()


# weights and labels


@DOORS
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (put(np.ones(N), -1.0, 4), "sample_weight must be at least 0; got values from -1"),
        (np.zeros(N), "sample_weight must have a positive entry"),
    ],
)
def test_wrong_weights(door, weight, message):
    with pytest.raises(ValueError, match=message):
        door(sample_weight=weight)


@DOORS
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (y, "labels 0 and 1, or -1 and 1, for Logistic; got"),
        (labels + 1, r"got 1.0, 2.0"),
        (put(labels, -1, 0), r"got -1.0, 0.0, 1.0"),
        (np.zeros(N), "a single class .0."),
        (np.ones(N), "a single class .1."),
        (-np.ones(N), "a single class .-1."),
    ],
)
def test_wrong_labels(door, y, message):
    with pytest.raises(ValueError, match=message):
        door(y=y, **LOGISTIC)


@DOORS
def test_single_class_among_the_rows_that_count(door):
    with pytest.raises(ValueError, match="a single class"):
        door(y=labels, sample_weight=labels, **LOGISTIC)


def test_single_class_without_intercept_is_a_problem_like_any_other():
    jreg.LinearProblem(X, np.ones(N), jreg.Logistic(), fit_intercept=False).checked()


# lambdas, penalties, tolerances, solvers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lams": -0.1}, r"lams must be finite and at least 0; got \[-0.1\]"),
        ({"lams": [0.1, np.nan]}, r"lams must be finite .*got \[nan\]"),
        ({"lams": [np.inf]}, r"lams must be finite .*got \[inf\]"),
        ({"lams": []}, r"non-empty 1-D array; got shape \(0,\)"),
        ({"lams": [[0.1]]}, r"1-D array; got shape \(1, 1\)"),
        ({"lams": None, "n_lams": 0}, "n_lams must be a positive whole number; got 0"),
        ({"lams": None, "n_lams": 2.5}, "n_lams must be a positive whole number; got 2.5"),
        ({"lams": None, "lam_min_ratio": 0}, r"lam_min_ratio must be within \(0, 1\]; got 0"),
        ({"lams": None, "lam_min_ratio": 2}, r"lam_min_ratio must be within \(0, 1\]; got 2"),
        ({"lams": None, "lam_min_ratio": np.nan}, r"lam_min_ratio must be .*got nan"),
        ({"tol": 0.0}, "tol must be at least 2.2e-15 in float64; got 0"),
        ({"tol": -1.0}, "tol must be at least"),
        ({"tol": np.nan}, "tol must be at least"),
        ({"tol": 1e-16}, "tol must be at least 2.2e-15 in float64; got 1e-16"),
        ({"X": X.astype("f4"), "tol": 1e-7}, r"1.2e-06 in float32; got 1e-07; use float64 data"),
        ({"penalty": jreg.L1(weights=np.ones(3))}, r"weights .*\(8,\); got \(3,\)"),
        ({"feature_names": ["a"]}, "feature_names must have 8 entries.*got 1"),
    ],
)
def test_wrong_options_of_path(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


@pytest.mark.parametrize(
    ("lams", "message"),
    [
        ([0.1, -0.1], "lams must be at least 0"),
        ([0.1, np.nan], "lams must be at least 0"),
        ([], r"n_lams >= 1; got \(0,\)"),
        (0.1, r"n_lams >= 1; got \(\)"),
        ([[0.1]], r"n_lams >= 1; got \(1, 1\)"),
    ],
)
def test_wrong_lams_of_sweep(lams, message):
    with pytest.raises(ValueError, match=message):
        sweep(lams=np.array(lams))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jreg.L1(-1.0), "lam must be at least 0; got -1"),
        (lambda: jreg.L1(np.nan), "lam must be at least 0; got nan"),
        (lambda: solve(penalty=jreg.L1(jnp.array(-1.0))), "lam must be at least 0; got -1"),
        (
            lambda: solve(penalty=jreg.L1(jnp.array(-1.0)) + jreg.Ridge(1.0)),
            "lam must be at least 0; got -1",
        ),
        (lambda: jreg.Ridge(weights=-np.ones(P)), "weights must be at least 0"),
        (lambda: jreg.ElasticNet(l1_ratio=1.5), "l1_ratio must be between 0 and 1; got 1.5"),
        (lambda: jreg.ElasticNet(l1_ratio=-0.5), "l1_ratio must be between 0 and 1; got -0.5"),
        (lambda: solve(penalty=jreg.ElasticNet(l1_ratio=jnp.array(1.5))), "l1_ratio must be"),
        (lambda: solve(tol=1e-9), "1.2e-06 in float32; got 1e-09; use float64 data"),
        (lambda: jreg.sweep(jreg.LinearProblem(X, y), jreg.L1(), LAMS, tol=0), "tol must be"),
        (lambda: jreg.sweep(jreg.LinearProblem(X, y), jreg.L1(), LAMS, block=0), "block must be"),
    ],
)
def test_wrong_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@DOORS
@pytest.mark.parametrize("penalty", ["l1", jreg.L1, 0.1, None])
def test_penalty_of_another_kind(door, penalty):
    if penalty is None and door is solve:  # there it means no penalty
        assert door(penalty=None).status == jreg.Status.CONVERGED
        return
    with pytest.raises(TypeError, match=r"penalty must be a member of jreg\.penalties; got"):
        door(penalty=penalty)


@DOORS
@pytest.mark.parametrize("loss", ["squared", jreg.Squared, None])
def test_loss_of_another_kind(door, loss):
    with pytest.raises(TypeError, match=r"loss must be a member of jreg\.losses; got"):
        door(loss=loss)


@pytest.mark.parametrize("solver", ["fista", jreg.FISTA, 1])
def test_solver_of_another_kind(solver):
    with pytest.raises(TypeError, match=r"solver must be a member of jreg\.solvers, such as FISTA"):
        solve(solver=solver)


@pytest.mark.parametrize("solver", [jreg.CoordinateDescent(), jreg.ProxNewton()])
def test_solver_that_does_not_fit_names_one_that_does(solver):
    message = f"{type(solver).__name__} needs a LinearProblem.*use FISTA"
    with pytest.raises(TypeError, match=message):
        jreg.solve(lambda w: w @ w, jreg.L1(), np.ones(2), solver=solver)


def test_problem_of_another_kind():
    with pytest.raises(TypeError, match="function of the parameters; got ndarray"):
        jreg.solve(X, jreg.L1())
    with pytest.raises(TypeError, match="sweep needs a LinearProblem; got Problem"):
        jreg.sweep(jreg.Problem(lambda w: w @ w), jreg.L1(), LAMS)


@pytest.mark.parametrize(
    "traced",
    [
        lambda c: fit(c * X.copy()),
        lambda c: fit(y=c * y.copy()),
        lambda c: fit(sample_weight=c * jnp.ones(N)),
        lambda c: fit(offset=c * jnp.ones(N)),
        lambda c: fit(lams=c * jnp.asarray(LAMS)),
        lambda c: fit(penalty=jreg.L1(c)),
        lambda c: fit(penalty=jreg.L1(weights=c * jnp.ones(P))),
    ],
    ids=["X", "y", "sample_weight", "offset", "lams", "lam", "weights"],
)
def test_path_of_a_tracer_points_to_sweep(traced):
    for transform in (jax.jit, jax.vmap, jax.grad):
        argument = np.ones(2) if transform is jax.vmap else 1.0
        with pytest.raises(TypeError, match=r"[Uu]se jreg\.sweep"):
            transform(lambda c: traced(c).coef.sum())(argument)


def test_path_after_an_error_inside_jit():
    """JAX 0.10.2 then takes this very array for float32, also where x64 is on."""
    own = X.copy()
    with pytest.raises(TypeError, match=r"[Uu]se jreg\.sweep"):
        jax.jit(lambda c: fit(c * own).coef)(1.0)
    assert (fit(own).coef == fit().coef).all()
