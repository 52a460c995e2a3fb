"""`sweep` under vmap, over all that may vary: each lane is the fit of scikit-learn or `solve`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import precision
from sklearn import linear_model

import jreg
from jreg import Status

K, N, P = 3, 24, 5  # lanes, rows, columns
LAMS = np.array([0.05, 0.8, 0.2, 0.02, 0.4])  # not a multiple of any block below
FOLDS = (np.arange(N)[None] % K != np.arange(K)[:, None]).astype(float)
TOL = {"float32": 2e-3, "float64": 1e-6}  # of coefficients of size 1
slow = pytest.mark.slow


def data():
    """K of each: X (K, N, P), y (K, N)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(K, N, P)) + rng.normal(size=(K, N, 1)) + 1
    return X, X[0, :, :3] @ [2.0, -1.0, 1.0] + rng.normal(size=(K, N))


def by_scikit_learn(X, y, ratio=1.0):
    """(coef, intercept) for every lambda."""
    fits = [
        linear_model.ElasticNet(alpha=lam, l1_ratio=ratio, tol=1e-13, max_iter=10**5).fit(X, y)
        for lam in LAMS
    ]
    return np.stack([fit.coef_ for fit in fits]), np.array([fit.intercept_ for fit in fits])


# For each axis: what varies, the sweep of one lane, and the reference for lane k.
X, Y = data()
AXES = {
    "responses": (Y, lambda y: (jreg.LinearProblem(X[0], y), jreg.L1()), lambda k: (X[0], Y[k])),
    "folds": (
        FOLDS,
        lambda weight: (jreg.LinearProblem(X[0], Y[0], sample_weight=weight), jreg.L1()),
        lambda k: (X[0][FOLDS[k] > 0], Y[0][FOLDS[k] > 0]),  # weight 0 is an absent row
    ),
    "data sets": (
        (X, Y),
        lambda Xy: (jreg.LinearProblem(*Xy), jreg.L1()),
        lambda k: (X[k], Y[k]),
    ),
    "penalties": (
        np.array([1.0, 0.5, 0.2]),
        lambda ratio: (jreg.LinearProblem(X[0], Y[0]), jreg.ElasticNet(l1_ratio=ratio)),
        lambda k: (X[0], Y[0], [1.0, 0.5, 0.2][k]),
    ),
}
FAST = {("responses", 1, "float32"), ("folds", 2, "float64"), ("penalties", 5, "float64")}
CASES = [
    pytest.param(axis, block, dtype, marks=() if (axis, block, dtype) in FAST else slow)
    for axis in AXES
    for block in (1, 2, 5)
    for dtype in ("float32", "float64")
]


def swept(setup, varied, dtype="float64", **options):
    """The batch of sweeps over what varies, in NumPy."""
    options = {"tol": {"float32": 1e-5, "float64": 1e-12}[dtype], **options}
    with precision(dtype):
        cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)  # noqa: E731
        run = jax.vmap(lambda one: jreg.sweep(*cast(setup(one)), cast(LAMS), **options))
        found = jax.jit(run)(cast(varied))
        assert found.coef.dtype == dtype
        return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize(("axis", "block", "dtype"), CASES)
def test_lanes_are_fits_of_their_own(axis, block, dtype):
    varied, setup, reference = AXES[axis]
    found = swept(setup, varied, dtype, block=block)
    assert np.isin(found.status, [Status.CONVERGED, Status.AT_PRECISION]).all()
    np.testing.assert_array_equal(found.lams, np.tile(LAMS.astype(dtype), (K, 1)))
    for k in range(K):
        coef, intercept = by_scikit_learn(*reference(k))
        np.testing.assert_allclose(found.coef[k], coef, atol=TOL[dtype])
        np.testing.assert_allclose(found.intercept[k], intercept, atol=TOL[dtype])
        np.testing.assert_array_equal(found.n_nonzero[k], np.sum(coef != 0, axis=1))


@slow
@pytest.mark.parametrize("block", [1, 2])
def test_nonconvex_penalties(block):
    """MCP at several gamma, from which `solve` started at the same points does not move."""
    gammas = np.array([3.0, 8.0, 100.0])
    problem = jreg.LinearProblem(X[0], Y[0])
    found = swept(lambda gamma: (problem, jreg.MCP(gamma=gamma)), gammas, tol=1e-9, block=block)
    assert (found.status == Status.CONVERGED).all()
    with precision("float64"):
        for k, gamma in enumerate(gammas):
            for lam, coef, intercept in zip(LAMS, found.coef[k], found.intercept[k], strict=True):
                again = jreg.solve(problem, jreg.MCP(lam, gamma), jreg.Linear(coef, intercept))
                assert again.num_steps == 0
    nearly_lasso, _ = by_scikit_learn(X[0], Y[0])
    assert (
        np.abs(found.coef[2] - nearly_lasso).max()
        < 0.1
        < np.abs(found.coef[0] - nearly_lasso).max()
    )


def test_lanes_that_are_done_wait():
    """In one block from one start: each lambda takes the steps that it takes alone, no more."""
    problem = jreg.LinearProblem(X[0], Y[0])
    options = {"solver": jreg.FISTA(), "tol": 1e-10}
    with precision("float64"):
        block = jreg.sweep(problem, jreg.L1(), LAMS, block=LAMS.size, **options)
        alone = [jreg.solve(problem, jreg.L1(lam), **options) for lam in LAMS]
    assert len(set(np.asarray(block.num_steps))) > 1
    np.testing.assert_array_equal(block.num_steps, [one.num_steps for one in alone])
    np.testing.assert_allclose(block.coef, [one.params.coef for one in alone], atol=1e-12)


def test_a_bad_data_set_leaves_the_others_untouched():
    """Numbers that are not finite in one lane: to the last bit the same in the others."""
    spoiled = X.copy()
    spoiled[1, 3, 2] = np.nan
    _, setup, _ = AXES["data sets"]
    options = {"solver": jreg.CoordinateDescent(), "block": 2}
    with precision("float64"):
        run = jax.jit(jax.vmap(lambda Xy: jreg.sweep(*setup(Xy), LAMS, **options)))
        good, found = (run((jnp.asarray(X), jnp.asarray(Y))) for X in (X, spoiled))
    assert (np.asarray(found.status[1]) == Status.NOT_FINITE).all()
    for a, b in zip(*map(jax.tree.leaves, (good, found)), strict=True):
        np.testing.assert_array_equal(a[::2], b[::2])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Counting(jreg.Squared):
    """The squared loss, which notes each time that it is traced."""

    def pointwise(self, eta, y):
        TRACES.append(0)
        return super().pointwise(eta, y)


TRACES: list[int] = []


def test_one_program_for_all_values():
    """New data, weights, penalties and lambdas, whatever their type, in a batch: one trace."""

    def sweep(seed, ratio, weights, lams):
        rng = np.random.default_rng(seed)

        def one(y, weight, ratio):
            problem = jreg.LinearProblem(X[0], y, Counting(), weight)
            penalty = jreg.ElasticNet(l1_ratio=ratio, weights=weights)
            return jreg.sweep(problem, penalty, lams, block=2, solver=jreg.CoordinateDescent())

        batch = rng.normal(size=(K, N)), rng.uniform(size=(K, N)), ratio * jnp.ones(K)
        return jax.vmap(one)(*batch)

    first = sweep(0, 0.5, np.ones(P), LAMS)
    traced = len(TRACES)
    again = sweep(1, 0.9, np.array([0, np.inf, 1, 2, 3]), list(2 * LAMS[::-1]))
    assert traced > 0
    assert len(TRACES) == traced
    assert (np.asarray(again.status) == Status.CONVERGED).all()
    assert np.abs(again.coef[:, :, 0]).min() > 0  # weight 0: free
    assert np.abs(again.coef[:, :, 1]).max() == 0  # weight inf: excluded
    assert first.coef.shape == again.coef.shape == (K, LAMS.size, P)
