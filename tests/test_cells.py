"""Errors from the moments of cells of rows: against the rows themselves, or left to these."""

import numpy as np
import pytest

import jreg
from jreg.path import cells as module
from jreg.path import threads
from jreg.path.cells import Cells, squared_errors
from jreg.path.inputs import precision
from jreg.path.reading import read_data

N, P = 120, 6


@pytest.fixture
def rng():
    return np.random.default_rng(3)  # the same for each test, in whatever order they run


def problem_of(rng, outputs=(), dtype=np.float64, noise=1.0, centre=0.0):
    X = (rng.normal(size=(N, P)) + centre).astype(dtype)
    coef = rng.normal(size=(P, *outputs))
    y = (X @ coef + noise * rng.normal(size=(N, *outputs))).astype(dtype)
    weight = rng.integers(0, 3, N).astype(dtype)
    offset = rng.normal(size=(N, *outputs)).astype(dtype)
    penalty = jreg.L1() if outputs == () else jreg.GroupLasso(axis=0)
    return read_data(
        X, y, penalty, jreg.Squared(), sample_weight=weight, offset=offset, keep_absent=True
    )[0]


def by_rows(problem, rows, coef, intercept):
    """In float64."""
    X, y, offset, weight = (
        np.asarray(a, float) for a in (problem.X, problem.y, problem.offset, problem.sample_weight)
    )
    eta = np.moveaxis(np.tensordot(X, coef.astype(float), ([1], [1])), 0, 1)
    error = (y - offset - eta - intercept.astype(float)[:, None]) ** 2
    error = error.reshape(*error.shape[:2], -1).sum(axis=2)
    return np.average(error[:, rows], axis=1, weights=weight[rows])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("outputs", [(), (2,)])
@pytest.mark.parametrize("centre", [0.0, 100.0])
def test_errors_from_moments(rng, outputs, dtype, centre):
    with precision(dtype):
        problem = problem_of(rng, outputs, dtype, centre=centre)
        kind = np.arange(N) % 5
        cells = Cells.of(problem, kind)
        coef = rng.normal(size=(7, P, *outputs)).astype(dtype)
        intercept = rng.normal(size=(7, *outputs)).astype(dtype)
        for rows in (kind == 2, kind != 2, (kind == 0) | (kind == 4)):
            found = squared_errors(cells, rows, coef, intercept)
            wanted = by_rows(problem, rows, coef, intercept)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, wanted, rtol=1e-11 if dtype == np.float64 else 1e-4)


def test_rows_that_are_no_union_of_cells(rng):
    with precision(np.float64):
        cells = Cells.of(problem_of(rng), np.arange(N) % 5)
        assert squared_errors(cells, np.arange(N) < 10, np.ones((2, P)), np.zeros(2)) is None


def test_errors_that_rounding_would_spoil_are_left_to_the_rows(rng):
    with precision(np.float64):
        for noise, known in ((1e-1, True), (1e-6, False)):
            X = rng.normal(size=(N, P))
            y = X.sum(axis=1) + noise * rng.normal(size=N)
            problem = read_data(X, y, jreg.L1(), jreg.Squared())[0]
            cells, rows = Cells.of(problem, np.arange(N) % 5), np.arange(N) % 5 == 1
            found = squared_errors(cells, rows, np.ones((1, P)), np.zeros(1))
            assert (found is not None) is known


@pytest.mark.parametrize("noise", [1.0, 1e-7])
def test_scores_of_nearly_perfect_fits(rng, noise):
    """The mean squared error of a fold keeps its digits, whichever way it is computed."""
    X = rng.normal(size=(N, P))
    y = X.sum(axis=1) + noise * rng.normal(size=N)
    options = {"lams": [1e-1, 1e-5, 1e-9], "tol": 1e-13}
    found = jreg.cross_validate(X, y, folds=np.arange(N) % 4, **options)
    for k in range(4):
        test = np.arange(N) % 4 == k
        fold = jreg.path(X[~test], y[~test], **options)
        wanted = ((fold.predict(X[test]) - y[test][None]) ** 2).mean(axis=1)
        np.testing.assert_allclose(found.fold_scores[k], wanted, rtol=1e-5)


def test_the_same_moments_without_threadpoolctl(rng, monkeypatch):
    with precision(np.float64):
        problem, kind = problem_of(rng), np.arange(N) % 3
        there = Cells.of(problem, kind)
        monkeypatch.setattr(threads, "_control", lambda: None)
        with threads.one_core_each() as count:
            assert count == 1
        absent = Cells.of(problem, kind)
        np.testing.assert_allclose(absent.parts, there.parts, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(absent.origin, there.origin)


def test_blas_gets_its_cores_back():
    known = threads._control().select(user_api="blas").lib_controllers
    before, within = [library.num_threads for library in known], []

    def fail():
        with threads.one_core_each():
            within.extend(library.num_threads for library in known)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert set(within) == {1}
    assert [library.num_threads for library in known] == before


def test_few_cells_suffice_for_folds():
    ids = np.arange(N) % 4
    folds = np.concatenate([np.ones((1, N), bool), ids[None] != np.arange(4)[:, None]])
    [(members, kind)] = module.with_few_cells(folds)
    assert members.shape == (5, N)
    assert kind.max() == 3
