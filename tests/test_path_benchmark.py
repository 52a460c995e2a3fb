"""The race of `benchmarks/path.py`: its evaluator against hand computations, its bookkeeping."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from path_race import contenders, problems, report, runner  # noqa: E402
from path_race.adapters import scikit_learn  # noqa: E402
from path_race.contenders import Contender, Stopped, Worker  # noqa: E402
from path_race.evaluator import Evaluator  # noqa: E402
from path_race.problems import Problem  # noqa: E402
from path_race.tolerances import Reference, Run, Searched, Trial, loosest, search  # noqa: E402


def evaluate(X, y, lam, coef, **kind):
    """The figures of one lambda, as floats."""
    problem = Problem("by hand", np.array(X, float), np.array(y, float), np.array([lam]), **kind)
    evaluator = Evaluator(problem)
    found = evaluator(np.array(coef, float)[None])
    parts = [float(getattr(found, name)[0]) for name in ("objective", "dual", "gap", "kkt")]
    return (*parts, evaluator.null)


def test_lasso_by_hand():
    # z(0) = 2, w = soft(2, 1) = 1; at the optimum r = (0, 2) is feasible as it is
    X, y = [[1.0], [1.0]], [1.0, 3.0]
    assert evaluate(X, y, 1.0, [1.0]) == pytest.approx((2.0, 2.0, 0.0, 0.0, 2.5))
    # at 0 the residual (1, 3) has to be halved: D = 2.5 - 0.625
    assert evaluate(X, y, 1.0, [0.0]) == pytest.approx((2.5, 1.875, 0.25, 0.5, 2.5))
    # at 1.5, r = (-0.5, 1.5), z = 0.5: s may be 2, the best is r'y / r'r = 1.6
    assert evaluate(X, y, 1.0, [1.5]) == pytest.approx((2.125, 1.6, 0.21, 0.25, 2.5))


def test_logistic_by_hand():
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    kind = {"loss": "logistic"}
    at_optimum = evaluate([[1.0]], [1.0], 0.25, [np.log(3)], **kind)
    assert at_optimum == pytest.approx((entropy, entropy, 0, 0, np.log(2)))
    gap = 1 - entropy / np.log(2)
    at_zero = evaluate([[1.0]], [1.0], 0.25, [0.0], **kind)
    assert at_zero == pytest.approx((np.log(2), entropy, gap, 0.5, np.log(2)))


def test_multinomial_of_two_classes_is_logistic():
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    half = np.log(3) / 2
    # two samples, one of each class, with opposite x
    X, y, coef = [[1.0], [-1.0]], [0.0, 1.0], [[half, -half]]
    found = evaluate(X, y, 0.25, coef, loss="multinomial")
    assert found == pytest.approx((entropy, entropy, 0, 0, np.log(2)))
    found = evaluate(X, y, 0.25, [[0.0, 0.0]], loss="multinomial")
    assert found == pytest.approx((np.log(2), entropy, 1 - entropy / np.log(2), 0.5, np.log(2)))


def test_poisson_by_hand():
    # mean 1.5 leaves the residual 0.5 = lam; the loss is 0 where the mean is y = 2
    w = np.log(1.5)
    value = 1.5 - 2 * w + 2 * np.log(2) - 2 + 0.5 * w
    found = evaluate([[1.0]], [2.0], 0.5, [w], loss="poisson")
    assert found == pytest.approx((value, value, 0, 0, 2 * np.log(2) - 1))
    # from 0 the residual 1 is halved: q = 1.5 again, the same dual point
    found = evaluate([[1.0]], [2.0], 0.5, [0.0], loss="poisson")
    assert found[:2] == pytest.approx((2 * np.log(2) - 1, value))


def test_elastic_net_by_hand():
    # w = soft(2, 0.5) / (1 + 0.5) = 1
    X, y, kind = [[1.0], [1.0]], [1.0, 3.0], {"penalty": "elastic net", "l1_ratio": 0.5}
    assert evaluate(X, y, 1.0, [1.0], **kind) == pytest.approx((1.75, 1.75, 0, 0, 2.5))
    # at 0, s = 7/13 maximises D(s)
    dual = 5 * (7 / 13) - 2.5 * (7 / 13) ** 2 - (14 / 13 - 0.5) ** 2
    found = evaluate(X, y, 1.0, [0.0], **kind)
    assert found == pytest.approx((2.5, dual, 1 - dual / 2.5, 0.75, 2.5))


def test_group_lasso_by_hand():
    # X'X / n = I and z(0) = (3, 4): w = (1 - lam sqrt(2) / 5) z(0)
    X, y = np.sqrt(2) * np.eye(2), np.sqrt(2) * np.array([3.0, 4.0])
    kind = {"penalty": "group lasso", "group_size": 2}
    lam = 2.5 / np.sqrt(2)
    # P = 2.5^2 / 2 + 2.5 * 2.5
    assert evaluate(X, y, lam, [1.5, 2.0], **kind) == pytest.approx((9.375, 9.375, 0, 0, 12.5))
    found = evaluate(X, y, lam, [0.0, 0.0], **kind)
    # s = 1/2: D = 12.5 - 12.5 / 4; the KKT distance 5 - 2.5 over the largest entry 4
    assert found == pytest.approx((12.5, 9.375, 0.25, 0.625, 12.5))


def test_mcp_by_hand():
    # firm threshold: w = (2 - 1) / (1 - 1/3) = 1.5; penalty lam (w - w^2 / 6)
    X, y, kind = [[1.0], [1.0]], [1.0, 3.0], {"penalty": "mcp", "gamma": 3.0}
    objective, dual, gap, kkt, _ = evaluate(X, y, 1.0, [1.5], **kind)
    assert objective == pytest.approx(0.5 * (0.25 + 2.25) / 2 + 1.5 - 0.375)
    assert kkt == pytest.approx(0)
    assert np.isnan([dual, gap]).all()
    # beyond gamma lam the penalty is flat
    assert evaluate(X, y, 0.5, [2.0], **kind)[3] == pytest.approx(0)
    assert evaluate(X, y, 0.5, [2.5], **kind)[3] == pytest.approx(0.25)
    found = Evaluator(Problem("", np.ones((2, 1)), np.array(y), np.ones(1), **kind))(
        np.array([[1.2]])
    )
    assert found.certificate() == found.kkt[0] > 0


@pytest.mark.parametrize("name", list(problems.smoke()))
def test_every_dual_value_is_below_every_objective(name):
    problem = problems.smoke()[name](name)
    if problem.penalty == "mcp":
        return
    evaluator = Evaluator(problem)
    rng = np.random.default_rng(3)
    shape = (problem.lams.size, problem.X.shape[1])
    shape = (*shape, problem.n_outputs) if problem.loss == "multinomial" else shape
    sizes = (0.0, 1e-3, 1e-2, 0.1)
    found = [evaluator(size * rng.standard_normal(shape)) for size in sizes]
    best = np.min([figures.objective for figures in found], axis=0)
    bound = np.max([figures.dual for figures in found], axis=0)
    assert (bound <= best + 1e-12 * evaluator.null).all()
    # at the first lam zero is the solution, at the second it is not
    assert found[0].gap[0] == pytest.approx(0, abs=1e-12)
    assert found[0].kkt[0] == pytest.approx(0, abs=1e-12)
    assert found[0].kkt[1] > 1e-3
    assert found[0].gap[1] > 1e-4


def test_coefficients_of_a_wrong_shape_or_not_finite():
    problem = problems.smoke()["lasso 80 x 20"]("")
    evaluator = Evaluator(problem)
    with pytest.raises(ValueError, match=r"coefs must have shape \(8, 20\)"):
        evaluator(np.zeros((7, 20)))
    coefs = np.zeros((8, 20))
    coefs[3] = np.nan
    assert evaluator(coefs).certificate() == np.inf


@pytest.mark.parametrize("name", ["lasso sparse 200 x 300", "group lasso 40 x 60"])
def test_problems_are_seeded_and_saved_whole(name, tmp_path):
    problem, again = (problems.smoke()[name](name) for _ in range(2))
    problems.save(again, tmp_path)
    loaded = problems.load(tmp_path)
    dense = [p.X.toarray() if p.sparse else p.X for p in (problem, loaded)]
    np.testing.assert_array_equal(*dense)
    np.testing.assert_array_equal(problem.y, loaded.y)
    np.testing.assert_array_equal(problem.lams, loaded.lams)
    words = [f.name for f in dataclasses.fields(Problem) if f.name not in ("X", "y", "lams")]
    assert [getattr(problem, w) for w in words] == [getattr(loaded, w) for w in words]
    sizes = (dense[0] ** 2).mean(axis=0)
    np.testing.assert_allclose(sizes[sizes > 0], 1)
    assert (sizes > 0).mean() > 0.9


def test_a_solver_in_its_own_process(tmp_path):
    pytest.importorskip("sklearn")
    problem = problems.smoke()["lasso 30 x 60"]("")
    problems.save(problem, tmp_path)
    python = [sys.executable, "-m", "path_race.worker", "scikit_learn"]
    with Worker(Contender(scikit_learn, "", python), tmp_path) as worker:
        assert worker.ready["ready"]
        gaps = []
        for tol in (1e-2, 1e-10):
            reply = worker.run(tol, 60, tmp_path / "coefs.npy")
            assert reply["seconds"] > 0
            assert reply["memory"] >= 0
            gaps.append(Evaluator(problem)(np.load(tmp_path / "coefs.npy")).certificate())
        assert gaps[0] > 1e-5
        assert gaps[1] < 1e-8
        os.kill(worker.process.pid, signal.SIGSTOP)  # it cannot answer
        with pytest.raises(Stopped, match="over 0 s"):
            worker.run(1e-10, 0)
        assert worker.process.poll() is not None


def test_a_solver_that_is_not_installed(tmp_path):
    absent = {}
    problem = problems.smoke()["MCP 80 x 20"]("")
    names = [c.name for c in contenders.enter(problem, ["skglm", "celer"], tmp_path, absent)]
    assert names == ["jreg", "floor, NumPy", "floor, XLA"]
    assert absent["celer"] == "has no such path"
    assert "install_peers.sh" in absent["skglm"]
    with pytest.raises(SystemExit, match="unknown peers: nobody"):
        contenders.adapters(["nobody"])


class Pretended(Trial):
    """A solver whose gap is its tolerance times ten; `tried` says what was run."""

    def __init__(self, stops_below=0.0):
        adapter = SimpleNamespace(NAME="peer", TOLERANCES=[10.0**-k for k in range(2, 13)])
        self.searched = Searched(Contender(adapter, "", []))
        self.tried, self.stops_below = [], stops_below

    def _run(self, tol):
        self.tried.append(tol)
        if tol < self.stops_below:
            return Run(tol, stopped="over 120 s")
        objective = np.array([1 + tol])
        return Run(tol, 1.0, 10 * tol, objective, np.array([1 - 9 * tol]))


def test_the_loosest_tolerance_that_reaches_the_level_counts():
    trial = Pretended()
    search(trial, 1.001e-6)
    assert loosest(trial, lambda run: run.certificate <= 1.001e-6).tol == 1e-7
    assert min(trial.tried) == 1e-8  # two decades at a time, then one back
    reference = Reference(1.0, 1)
    for run in trial.searched.runs.values():
        reference.add(run)
    found = loosest(trial, lambda run: reference.suboptimality(run) <= 1e-4)
    assert found.tol == 1e-4
    assert reference.uncertainty() == pytest.approx(1e-8 + 9e-8)


def test_a_solver_that_is_stopped_does_not_reach():
    trial = Pretended(stops_below=3e-6)
    search(trial, 1e-6)
    assert loosest(trial, lambda run: run.certificate <= 1e-6) is None
    best = runner.best_of(trial.searched, lambda run: run.certificate)
    assert best["tol"] == 1e-5
    assert best["why"] == "over 120 s"
    assert min(trial.tried) == 1e-6  # nothing tighter is tried after that


def result(jreg=0.1, peer=0.4, claimed=1e-6, suboptimality=1e-7):
    def clock(name, seconds):
        return {
            "name": name, "tol": 1e-6, "reached": 1e-7, "rounds": [seconds] * 3, "cold": 1.0,
            "memory": 12.0, "memory_warm": 3.0, "says": {"programs": 3, "passes": None},
            "says_warm": {},
        }  # fmt: skip

    clocks = [clock("peer", peer), clock("slow peer", 9.0), clock("floor, NumPy", 0.02)]
    clocks += [clock("jreg", jreg)] if jreg else []
    run = {"tol": 1e-6, "seconds": 0.1, "certificate": 1e-7, "suboptimality": suboptimality,
           "says": {"largest_gap": claimed}, "stopped": ""}  # fmt: skip
    missed = {"name": "late", "reached": 1e-3, "tol": 1e-9, "seconds": 5.0, "why": "over 120 s"}
    return {
        "problem": "lasso 200 x 5000", "kind": ["squared", "l1"], "shape": [200, 5000],
        "size_of_X_mb": 8.0, "reference_within": 1e-9, "absent": {"other": "not installed"},
        "levels": {"gap": {"bound": 1e-6, "clocks": clocks, "not_reached": [missed]}},
        "searches": [{"name": "jreg", "versions": "jreg 1", "threads": "", "reason": "",
                      "runs": [run]}],
    }  # fmt: skip


def test_ratios_and_goals():
    [level] = report.levels([result()])
    assert level.ratio() == pytest.approx(4)
    assert level.over_floor() == pytest.approx(5)
    text = report.markdown([json.loads(json.dumps(result()))], "A machine.", 3)
    assert "| lasso 200 x 5000 | gap 1e-06 | 100 ms | peer (tol 1e-06) | 400 ms | 4.00 |" in text
    assert "not reached | over 120 s" in text
    assert "* other: not installed (lasso 200 x 5000)" in text
    # a level that jreg misses is neither left out nor a win
    [missed] = report.levels([result(jreg=None)])
    assert missed.ratio() == 0
    row = report.goal("", "", [("a", 4.0), ("b", 1.0), ("c", 0.0), ("d", None)])
    assert row[2:] == (3, "2.00 and 1 where jreg does not reach the level", "0.00 (c)")


def test_a_refuted_certificate_is_told():
    assert report.doubts([result()]) == []
    [line] = report.doubts([result(claimed=1e-9)])
    assert "gap 1.0e-09 claimed, suboptimality 1.0e-07" in line


@pytest.mark.slow
def test_the_stages_of_a_path_make_up_its_time():
    command = [sys.executable, BENCHMARKS / "stages.py", "--smoke"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    warm, first = [line for line in said.splitlines() if line.startswith("| lasso 30 x 60")]
    assert 95 <= sum(map(int, re.findall(r"(\d+) %", warm))) <= 105  # of rounded shares
    assert re.search(r"reading\.read_data \d+ % \(1\)", warm)
    assert re.search(r"squares\._prepare \d+ % \(1\)", warm)
    programs = int(first.split("|")[3])
    assert 5 <= programs <= 30
    assert "follow" in first
