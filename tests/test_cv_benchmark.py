"""The race of `benchmarks/cross_validation.py`: the rows that are fitted, what their fits say."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from cv_race import contenders, report, studies  # noqa: E402
from cv_race.adapters import jreg_cv, loops, scikit_learn  # noqa: E402
from cv_race.evaluator import SetsEvaluator  # noqa: E402
from cv_race.studies import Study, curve, in_folds, in_halves, rows_of, score  # noqa: E402
from path_race.contenders import Contender, Worker  # noqa: E402
from path_race.problems import Problem, simulated  # noqa: E402

from jreg.selection import stability_selection  # noqa: E402


def two_folds():
    """Each row is a problem of its own: mean loss (w - y)^2 / 2, y = 1 and 3."""
    problem = Problem("", np.ones((2, 1), order="F"), np.array([1.0, 3.0]), np.array([1.0, 0.5]))
    return Study(problem, np.array([[True, False], [False, True]]), np.array([1, 0]))


def test_gaps_of_folds_by_hand():
    # the solutions soft(y, lam): of the first row 0 and 0.5, of the second 2 and 2.5
    exact = np.array([[[0.0], [0.5]], [[2.0], [2.5]]])
    found = SetsEvaluator(two_folds())(exact)
    # P / P(0): 1/2 and 0.125 + 0.25 over 0.5; 0.5 + 2 and 0.125 + 1.25 over 4.5
    np.testing.assert_allclose(found.objective, [[1, 0.75], [2.5 / 4.5, 1.375 / 4.5]])
    assert found.certificate() == pytest.approx(0)
    # the second row at 0: s = 1/3 is the best, D = 4.5 (1 - (2/3)^2)
    wrong = exact.copy()
    wrong[1, 0] = 0
    assert SetsEvaluator(two_folds())(wrong).certificate() == pytest.approx(4 / 9)
    wrong[0, 1] = np.nan
    assert SetsEvaluator(two_folds())(wrong).certificate() == np.inf


def test_coefficients_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"coefs must have shape \(2, 2, 1\); got \(2, 1, 1\)"):
        SetsEvaluator(two_folds())(np.zeros((2, 1, 1)))


def test_scores_and_curves_by_hand():
    study = two_folds()
    coefs = np.array([[0.0], [0.5]])
    scores = [score(study, k, coefs) for k in range(2)]
    np.testing.assert_allclose(scores, [[9, 6.25], [1, 0.25]])
    np.testing.assert_allclose(curve(scores), [5, 3.25])
    problem = dataclasses.replace(study.problem, y=np.array([1.0, 0.0]), loss="logistic")
    logistic = dataclasses.replace(study, problem=problem)
    expected = 2 * np.log([2, 1 + np.exp(0.5)])  # of y = 0
    np.testing.assert_allclose(score(logistic, 0, coefs), expected)


def test_features_count_as_selected_from_the_lambda_at_which_they_enter():
    study = Study(two_folds().problem, two_folds().train, None)
    first = score(study, 0, np.array([[1.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_array_equal(first, [[True, False], [True, True]])
    np.testing.assert_allclose(curve([first, np.zeros((2, 2), bool)]), [0.5, 1.0])


def test_folds_are_of_equal_size_and_leave_every_row_out_once():
    study = in_folds(simulated("", 40, 6, n_lams=3))
    assert study.train.shape == (10, 40)
    np.testing.assert_array_equal(study.train.sum(axis=1), 36)
    np.testing.assert_array_equal((~study.train).sum(axis=0), 1)
    held = np.argmin(study.train, axis=0)
    np.testing.assert_array_equal(held, study.folds)
    some = rows_of(study.problem, study.train[3])
    assert some.X.flags.f_contiguous
    np.testing.assert_array_equal(some.X, study.problem.X[study.folds != 3])
    with pytest.raises(ValueError, match="41 rows do not make 10 folds"):
        in_folds(simulated("", 41, 6, n_lams=3))


def test_jreg_fits_the_same_halves_as_its_peers():
    study = in_halves(simulated("", 20, 6, n_lams=4, ratio=0.1), pairs=2)
    np.testing.assert_array_equal(study.train[0], ~study.train[1])
    problem, noted = study.problem, []
    options = {"lams": problem.lams, "fit_intercept": False, "standardize": False}
    with jreg_cv.noting(noted, study):
        found = stability_selection(problem.X, problem.y, n_pairs=2, key=studies.KEY, **options)
    coefs = np.stack(noted[1:])
    assert SetsEvaluator(study)(coefs).certificate() <= 1e-6
    selected = curve([score(study, k, coef) for k, coef in enumerate(coefs)])
    np.testing.assert_allclose(found.n_selected, selected)
    with (
        jreg_cv.noting(noted, study),
        pytest.raises(RuntimeError, match="other rows are fitted than the peers fit"),
    ):
        stability_selection(problem.X, problem.y, n_pairs=2, key=studies.KEY + 1, **options)


@pytest.mark.parametrize("name", ["lasso 40 x 60", "stability selection 40 x 60"])
def test_studies_are_saved_whole(name, tmp_path):
    study = studies.smoke()[name](name)
    studies.save(study, tmp_path)
    loaded = studies.load(tmp_path)
    assert loaded.problem.name == name
    np.testing.assert_array_equal(loaded.problem.X, study.problem.X)
    np.testing.assert_array_equal(loaded.train, study.train)
    assert (loaded.folds is None) == (study.folds is None)
    assert study.folds is None or np.array_equal(loaded.folds, study.folds)


def test_every_raced_problem_has_a_goal():
    assert list(studies.race()) == list(studies.GOALS)


def solved(solver):
    """The fits and the mean curve at a tight tolerance."""
    with warnings.catch_warnings(action="ignore"):  # as in the worker
        return solver.fits(1e-9), solver.whole(1e-9)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("lasso 40 x 60", "1 job"),
        ("lasso 80 x 20", "1 job"),
        ("logistic 60 x 40", "liblinear, 1 job"),
    ],
)
def test_the_fits_of_a_solver_are_those_it_scores(name, variant):
    pytest.importorskip("sklearn")
    study = studies.smoke()[name](name)
    assert variant in scikit_learn.variants(study)
    coefs, found = solved(scikit_learn.prepare(study, variant))
    assert SetsEvaluator(study)(coefs).certificate() < 1e-6
    expected = curve([score(study, k, coef) for k, coef in enumerate(coefs)])
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_a_loop_in_a_process_of_its_own_with_two_more(tmp_path):
    pytest.importorskip("sklearn")
    study = studies.smoke()["stability selection 40 x 60"]("")
    studies.save(study, tmp_path)
    command = [sys.executable, "-m", "cv_race.worker", "scikit_learn", "whole"]
    with Worker(Contender(scikit_learn, "2 processes", command), tmp_path) as worker:
        assert worker.ready.get("ready"), worker.ready
        reply = worker.run(1e-9, 60)
    coefs, found = solved(scikit_learn.prepare(study, "in turn"))
    assert SetsEvaluator(study)(coefs).certificate() < 1e-6
    np.testing.assert_allclose(reply["says"]["curve"], found)


@pytest.mark.slow
def test_passes_of_tall_folds_are_counted(tmp_path):
    """In a process of its own, as counting stays on: one for the folds, one for their path."""
    studies.save(in_folds(simulated("", 80, 5, n_lams=4)), tmp_path)
    command = [sys.executable, "-m", "cv_race.worker", "jreg_cv", "fits"]
    with Worker(Contender(jreg_cv, "", command), tmp_path) as worker:
        assert worker.ready.get("ready"), worker.ready
        reply = worker.run(1e-6, 60, save=tmp_path / "coefs.npy")
    assert reply["says"]["passes"] == reply["says"]["passes_of_path"] == 1


def test_a_loop_fits_every_set():
    study = two_folds()
    solver = loops.in_turn(study, lambda k, tol: np.full((2, 1), k + tol))
    np.testing.assert_allclose(solver.fits(0.5)[:, 0, 0], [0.5, 1.5])
    np.testing.assert_allclose(solver.whole(0.5), np.full(2, (2.5**2 + 0.5**2) / 2))


def test_a_solver_that_is_not_installed(tmp_path):
    absent = {}
    study = studies.smoke()["lasso 80 x 20"]("")
    there = contenders.enter(study, ["celer", "adelie"], tmp_path, absent)
    assert [contender.name for contender in there] == ["jreg"]
    assert set(absent) == {"celer", "adelie"}
    assert "install_peers.sh" in absent["celer"]
    with pytest.raises(SystemExit, match="unknown peers: nobody"):
        contenders.adapters(["nobody"])


def result(jreg=0.1, reached=1e-7):
    def clock(name, seconds, curve):
        return {
            "name": name, "tol": 1e-6, "reached": reached, "rounds": [seconds] * 3, "cold": 1.0,
            "memory": 12.0, "memory_warm": 3.0, "says": {"curve": curve}, "says_warm": {},
        }  # fmt: skip

    clocks = [clock("peer, 2 jobs", 0.4, [1.0, 2.5]), clock("slow peer", 9.0, [])]
    clocks += [clock("jreg", jreg, [1.0, 2.0])] if jreg else []
    said = {"passes": 30.0, "passes_of_path": 12.0}
    run = {"tol": 1e-6, "seconds": 0.1, "certificate": 1e-7, "says": said, "stopped": ""}
    late = {"name": "late", "reached": 1e-3, "tol": 1e-9, "seconds": 5.0, "why": "over 300 s"}
    return {
        "problem": "lasso 200 x 5000", "kind": ["squared", "l1"], "shape": [200, 5000],
        "absent": {"other": "not installed"},
        "levels": {"gap": {"clocks": clocks, "not_reached": [late]}},
        "searches": [{"name": "jreg", "versions": "jreg 1", "threads": "", "reason": "",
                      "runs": [run]}],
    }  # fmt: skip


def test_the_report():
    [level] = report.levels([result()])
    assert level.ratio() == pytest.approx(4)
    assert level.largest_difference() == pytest.approx(0.5)
    text = report.markdown([json.loads(json.dumps(result()))], "A machine.", 3)
    assert (
        "| lasso 200 x 5000 | gap 1e-06 | 100 ms | peer, 2 jobs (tol 1e-06) | 400 ms | 4.00 |"
        in text
    )
    assert "| >= 2 | 1 s | 30.0 | 12.0 | 2.5 | 5.0e-01 |" in text
    assert "not reached | over 300 s" in text
    assert "* other: not installed (lasso 200 x 5000)" in text
    assert report.failures([result()]) == []


def test_a_level_that_jreg_misses_is_no_win():
    [missed] = report.levels([result(jreg=None)])
    assert missed.ratio() == 0
    assert missed.largest_difference() is None
    assert report.failures([result(jreg=None)]) == [
        "lasso 200 x 5000, gap 1e-06: jreg does not reach it"
    ]
    [line] = report.failures([result(reached=2e-6)])
    assert "gaps up to 2e-06" in line
