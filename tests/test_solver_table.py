"""Every solver on every problem that it takes: the same certified optimum; else, why not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision

import jreg
from jreg import penalties, projections
from jreg.problem import OnCoef
from jreg.solvers.choice import SOLVERS, provided
from jreg.status import Status

N, P = 40, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P)) + 0.3 * RNG.normal(size=(N, 1))
ETA = X[:, :3] @ [1.5, -1.0, 0.5]
Y = ETA + 0.5 * RNG.normal(size=N)
LABELS = (ETA + RNG.logistic(size=N) > 0).astype(float)
COUNTS = RNG.poisson(np.exp(0.5 * ETA)).astype(float)
RESPONSES = ETA[:, None] * [1.0, -0.5] + 0.5 * RNG.normal(size=(N, 2))
CLASSES = np.argmax(np.c_[RESPONSES, 0 * Y], axis=1).astype(float)
PAIRS = jreg.Groups.of_sizes([2] * (P // 2))
MATRIX = RNG.normal(size=(6, 1)) @ RNG.normal(size=(1, 5))
SEEN = (RNG.random((6, 5)) < 0.8).astype(float)


@jreg.tree.dataclass
class OnSimplex(penalties.NonNegative):
    """The indicator of `{w >= 0, sum w = 1}`, by its projection alone."""

    separable = False
    compares = True
    conjugate = polar = entry = restrict = None

    def value(self, w):
        off = jnp.max(jnp.abs(w - projections.simplex(w)))
        return jnp.where(off <= 1e-5, 0.0, jnp.inf).astype(w.dtype)

    def prox(self, v, step):
        return projections.simplex(v)

    def kkt_distance(self, w, grad):
        return jnp.abs(w - projections.simplex(w - grad))

    def unpenalized(self, w):
        return None


def completion(W):
    return 0.5 * jnp.sum(SEEN * (W - MATRIX) ** 2)


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


def network(w):
    hidden = jnp.tanh(X @ w["in"] + w["bias"][None])
    return jnp.mean((hidden @ w["out"] - Y) ** 2)


def start_of_network():
    rng = np.random.default_rng(1)
    return {"in": rng.normal(size=(P, 3)), "bias": np.zeros(3), "out": rng.normal(size=3)}


@dataclasses.dataclass(frozen=True)
class Case:
    """local: several minima, so that solvers may end in different ones."""

    problem: Any
    penalty: Any
    start: Any = None
    local: bool = False


linear = lambda y, loss: jreg.LinearProblem(X, y, loss)  # noqa: E731
CASES = {
    "lasso": Case(linear(Y, jreg.Squared()), jreg.L1(0.1)),
    "elastic_net": Case(linear(Y, jreg.Squared()), jreg.ElasticNet(0.1, 0.5)),
    "ridge": Case(linear(Y, jreg.Squared()), jreg.Ridge(0.1)),
    "logistic": Case(linear(LABELS, jreg.Logistic()), jreg.L1(0.03)),
    "logistic_ridge": Case(linear(LABELS, jreg.Logistic()), jreg.Ridge(0.03)),
    "poisson": Case(linear(COUNTS, jreg.Poisson()), jreg.L1(0.05)),
    "huber": Case(linear(Y, jreg.losses.Huber(1.0)), jreg.L1(0.05)),
    "group": Case(linear(Y, jreg.Squared()), jreg.GroupLasso(0.1, groups=PAIRS)),
    "logistic_group": Case(linear(LABELS, jreg.Logistic()), jreg.GroupLasso(0.03, groups=PAIRS)),
    "sparse_group": Case(linear(Y, jreg.Squared()), jreg.SparseGroupLasso(0.1, groups=PAIRS)),
    "responses": Case(linear(RESPONSES, jreg.Squared()), jreg.GroupLasso(0.1, axis=0)),
    "multinomial": Case(linear(CLASSES, jreg.Multinomial(3)), jreg.L1(0.02)),
    "multinomial_ridge": Case(linear(CLASSES, jreg.Multinomial(3)), jreg.Ridge(0.03)),
    "fused": Case(linear(Y, jreg.Squared()), jreg.FusedLasso(0.05, 0.05)),
    "differences": Case(
        linear(Y, jreg.Squared()), penalties.of_map(jreg.L1(0.05), np.diff(np.eye(P), axis=0))
    ),
    "completion": Case(jreg.Problem(completion), jreg.Nuclear(0.3), np.zeros((6, 5))),
    "simplex": Case(linear(Y, jreg.Squared()), OnSimplex()),
    "rosenbrock": Case(jreg.Problem(rosenbrock), None, np.array([-1.2, 1.0])),
    "network": Case(jreg.Problem(network), jreg.Ridge(0.01), start_of_network(), local=True),
}


def make(solver):
    if solver in (jreg.Optax, jreg.OptaxProximal):
        return solver(optax.adam(0.02))
    if solver is jreg.OptaxSubgradient:
        return solver(optax.adam(jreg.transforms.inverse_sqrt_schedule(0.1)))
    return solver()


# for a nonconvex f these promise nothing, and do not converge
UNPROVED = {("network", "ADMM")}


def pairs(takes):
    """The pairs whose solver takes, or does not take, the problem; most of them slow."""
    quick = {
        ("lasso", "FISTA"),
        ("logistic_group", "CoordinateDescent"),
        ("differences", "ADMM"),
        ("rosenbrock", "LBFGS"),
    }
    for name, case in CASES.items():
        penalty = jreg.Ridge(0.0) if case.penalty is None else case.penalty
        for solver in SOLVERS:
            if (name, solver.__name__) in UNPROVED:
                continue
            if (set(solver.needs) <= provided(case.problem, penalty)) == takes:
                marks = () if not takes or (name, solver.__name__) in quick else pytest.mark.slow
                yield pytest.param(name, solver, id=f"{name}-{solver.__name__}", marks=marks)


def run(name, solver, **options):
    case = CASES[name]
    start = jax.tree.map(jnp.asarray, case.start)
    return jreg.solve(case.problem, case.penalty, start, solver=solver, **options)


@pytest.mark.parametrize(("name", "solver"), list(pairs(takes=True)))
def test_same_certified_optimum(name, solver):
    with precision("float64"):
        if solver in (jreg.Subgradient, jreg.OptaxSubgradient):
            found = run(name, make(solver), max_steps=5000)
            assert found.status in (Status.MAX_STEPS, Status.NO_DESCENT, Status.CONVERGED)
            tolerance = 0.02
        else:
            found = run(name, make(solver))
            assert found.status == Status.CONVERGED
            tolerance = 1e-5
        if not CASES[name].local:
            best = run(name, None, tol=1e-9)
            assert best.status in (Status.CONVERGED, Status.AT_PRECISION)
            size = max(1.0, abs(float(best.value)))
            np.testing.assert_allclose(found.value, best.value, atol=tolerance * size)


@pytest.mark.parametrize(("name", "solver"), list(pairs(takes=False)))
def test_wrong_pairs_are_refused(name, solver):
    with precision("float64"), pytest.raises(TypeError, match=f"{solver.__name__} needs .* use "):
        run(name, make(solver))


def test_the_table_is_complete():
    """Every public solver is in it, and takes some problem."""
    public = {getattr(jreg.solvers, name) for name in jreg.solvers.__all__}
    classes = {c for c in public if isinstance(c, type) and hasattr(c, "needs")}
    classes.remove(jreg.Minibatch)  # of another solver
    assert classes == set(SOLVERS)
    taken = {parameter.values[1] for parameter in pairs(takes=True)}
    assert taken == classes


# what the docstrings say of the memory, and the same in numbers: n samples, p features, r rows of a
# linear map; the options are those by default
MEMORY = {
    "ProxNewton": ("(p k)^2 + n p", lambda n, p, r: p * p + n * p),
    "FISTA": ("3 p + 3 n", lambda n, p, r: 3 * p + 3 * n),
    "CoordinateDescent": ("n + 2 p", lambda n, p, r: n + 2 * p),
    "ProxLBFGS": ("2 memory_size p + 3 p + n", lambda n, p, r: 23 * p + n),
    "Anderson": ("3 memory_size p + 4 p + n", lambda n, p, r: 19 * p + n),
    "OWLQN": ("(2 memory_size + 9) p + 3 n", lambda n, p, r: 29 * p + 3 * n),
    "ISTA": ("n + p", lambda n, p, r: n + p),
    "LBFGS": ("(2 memory_size + 9) p + 3 n", lambda n, p, r: 29 * p + 3 * n),
    "NewtonCG": ("12 p + 4 n", lambda n, p, r: 12 * p + 4 * n),
    "Newton": ("4 p^2 + n p", lambda n, p, r: 4 * p * p + n * p),
    "BFGS": ("p^2 + 9 p + 3 n", lambda n, p, r: p * p + 9 * p + 3 * n),
    "LowRankNewton": ("3 rank p + rank n", lambda n, p, r: 30 * p + 10 * n),
    "GradientDescent": ("8 p + 3 n", lambda n, p, r: 8 * p + 3 * n),
    "ADMM": ("10 p + 2 n numbers, and 5", lambda n, p, r: 10 * p + 2 * n + 5 * r),
    "PrimalDual": ("6 p + n numbers, and 5", lambda n, p, r: 6 * p + n + 5 * r),
    "Subgradient": ("2 n + 2 p", lambda n, p, r: 2 * n + 2 * p),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_memory_is_what_the_docstring_says(solver):
    """The state of a solver has no more numbers than it says, and p^2 only where it says so."""
    words = " ".join(solver.__doc__.split())
    assert "memory" in words.lower() or "numbers" in words
    if solver.__name__ not in MEMORY:
        return
    said, numbers = MEMORY[solver.__name__]
    assert said in words
    n, p = 7, 100
    rng = np.random.default_rng(0)
    problem = jreg.LinearProblem(rng.normal(size=(n, p)), rng.normal(size=n)).checked().centred()
    penalty = penalties.of_map(jreg.L1(0.1), np.eye(p)[:5]) if "parts" in solver.needs else None
    penalty = jreg.Ridge(0.1) if penalty is None else penalty
    init = lambda problem: make(solver).init(problem, OnCoef(penalty), problem.zero())  # noqa: E731
    state = jax.eval_shape(init, problem)
    size = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert size <= numbers(n, p, 5) + 100  # numbers for each intercept, and lone ones
    assert size < 50 * p or "^2" in said
