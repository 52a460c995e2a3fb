"""Minibatches, the adapters of optax, and the count of gradient evaluations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import precision

import jreg
from jreg.problem import OnCoef
from jreg.solvers.choice import SOLVERS
from jreg.sparse import Sparse
from jreg.status import Status

N, P = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
Y = X @ np.array([1.5, -1.0, 0.5, 0.0, 0.0]) + 0.3 * RNG.normal(size=N)
WEIGHT = RNG.uniform(0.5, 2.0, N)


def squares(w, X, y):
    return 0.5 * jnp.mean((X @ w - y) ** 2)


# --- minibatches ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic(), jreg.Multinomial(3)])
def test_rows_are_unbiased(loss):
    """The mean over single rows is the mean loss, its gradient too, weights and offset included."""
    with precision("float64"):
        y = {"Squared": Y, "Logistic": Y > 0}.get(type(loss).__name__, np.digitize(Y, [-1, 1]))
        offset = np.linspace(-1, 1, N)
        offset = np.stack([offset] * 3, axis=1) if isinstance(loss, jreg.Multinomial) else offset
        problem = jreg.LinearProblem(X, 1.0 * y, loss, WEIGHT, offset).checked().centred()
        zero = problem.zero()
        w = jax.tree.map(lambda a: a + 0.1 * jnp.arange(a.size).reshape(a.shape), zero)

        def of(rows):
            return rows.value(rows.image(w)), rows.gradient(rows.image(w))

        each = jax.vmap(lambda i: of(problem.rows(i[None])))(jnp.arange(N))
        mean = jax.tree.map(lambda a: a.mean(axis=0), each)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), mean, of(problem)
        )


def test_a_batch_of_all_rows_is_the_whole():
    with precision("float64"):
        problem = jreg.Problem(squares, (X, Y))
        again = problem.rows(jnp.arange(N))
        w = jnp.linspace(0, 1, P)
        assert float(again.value(w)) == float(problem.value(w))


@pytest.mark.parametrize("kind", ["linear", "function"])
def test_it_converges_as_the_rate_falls(kind):
    with precision("float64"):
        args = (jnp.asarray(X), jnp.asarray(Y))
        linear = jreg.LinearProblem(*args, fit_intercept=False)
        problem = linear if kind == "linear" else jreg.Problem(squares, args)
        start = None if kind == "linear" else jnp.zeros(P)
        sgd = jreg.Optax(optax.sgd(jreg.transforms.inverse_sqrt_schedule(0.3, 20)))
        found = jreg.solve(
            problem, jreg.Ridge(0.1), start, solver=jreg.Minibatch(sgd, 8), max_steps=4000
        )
        best = jreg.solve(linear, jreg.Ridge(0.1), tol=1e-10)
        assert found.status == Status.MAX_STEPS
        assert best.value < found.value < best.value * 1.01


def test_seeds_run_side_by_side():
    solver = jreg.Minibatch(jreg.Optax(optax.sgd, 0.1), 4)
    problem = jreg.LinearProblem(X, Y)

    def ends(seed):
        chosen = jreg.Minibatch(solver.solver, 4, seed)
        return jreg.solve(problem, None, solver=chosen, max_steps=30).params.coef

    lanes = jax.vmap(ends)(jnp.arange(3))
    np.testing.assert_allclose(lanes[2], ends(2), rtol=1e-5)
    assert not np.allclose(lanes[0], lanes[1])


def test_what_has_no_rows_is_refused():
    sgd = jreg.Minibatch(jreg.Optax(optax.sgd, 0.1), 4)
    with pytest.raises(TypeError, match="minibatches need a Problem"):
        jreg.solve(lambda w: jnp.sum(w**2), None, jnp.ones(2), solver=sgd)
    scaled = jreg.Problem(lambda w, X, y, c: c * squares(w, X, y), (X, Y, 2.0))
    with pytest.raises(TypeError, match="whose arrays in args have rows"):
        jreg.solve(scaled, None, jnp.ones(P), solver=sgd)
    times = np.stack([np.arange(1.0, N + 1), np.ones(N)], axis=1)
    cox = jreg.LinearProblem(X, times, jreg.Cox(), fit_intercept=False)
    with pytest.raises(TypeError, match="Cox is a loss of all rows together"):
        jreg.solve(cox, None, solver=sgd)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: jreg.Minibatch(jreg.FISTA(), 0), ValueError, "batch_size"),
        (lambda: jreg.Minibatch(jreg.FISTA(), 2.5), ValueError, "whole number"),
        (lambda: jreg.Minibatch(jreg.FISTA(), np.inf), ValueError, "whole number"),
        (lambda: jreg.Minibatch(jreg.FISTA(), 2, 2**24), ValueError, "seed"),
        (lambda: jreg.Minibatch(jreg.FISTA(), 2, -1), ValueError, "seed"),
        (lambda: jreg.Minibatch(jreg.FISTA, 2), TypeError, "steps along gradients"),
        (lambda: jreg.Minibatch(jreg.ADMM(), 2), TypeError, "steps along gradients"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_large_seeds_differ():
    def end(seed):
        sgd = jreg.Minibatch(jreg.Optax(optax.sgd, 0.1), 4, seed)
        return jreg.solve(jreg.LinearProblem(X, Y), None, solver=sgd, max_steps=5).params.coef

    assert not np.array_equal(end(2**24 - 2), end(2**24 - 1))


def test_captured_tracers_are_no_rows():
    """Under vmap a captured array becomes an argument, which is no data."""
    problem = (jnp.asarray(X), jnp.asarray(Y))

    def ends(shift):
        fun = lambda w, X, y: squares(w - shift, X, y)  # noqa: E731
        sgd = jreg.Minibatch(jreg.Optax(optax.sgd, 0.1), 8)
        return jreg.solve(
            jreg.Problem(fun, problem), None, jnp.zeros(P), solver=sgd, max_steps=50
        ).params

    lanes = jax.vmap(ends)(jnp.stack([jnp.zeros(P), jnp.ones(P)]))
    assert np.all(np.isfinite(lanes))
    assert not np.allclose(lanes[0], lanes[1])


# --- optax under a penalty --------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [jreg.L1(0.2), jreg.MCP(0.2, 3.0)], ids=["l1", "mcp"])
def test_proximal_adapter_ends_at_the_optimum(penalty):
    with precision("float64"):
        problem = jreg.LinearProblem(X, Y)
        solver = jreg.OptaxProximal(optax.adam(optax.exponential_decay(0.1, 400, 0.3)))
        found = jreg.solve(problem, penalty, solver=solver, tol=1e-6, max_steps=20_000)
        best = jreg.solve(problem, penalty, tol=1e-9)
        assert found.status == Status.CONVERGED
        np.testing.assert_allclose(found.params.coef, best.params.coef, atol=1e-4)
        assert ((found.params.coef == 0) == (best.params.coef == 0)).all()


def test_subgradient_adapter_makes_no_zeros():
    with precision("float64"):
        problem = jreg.LinearProblem(X, Y)
        schedule = jreg.transforms.inverse_sqrt_schedule
        solver = jreg.OptaxSubgradient(lambda rate: optax.sgd(schedule(rate)), 0.3)
        start = jreg.Linear(jnp.ones(P), jnp.zeros(()))
        found = jreg.solve(problem, jreg.L1(0.2), start, solver=solver, max_steps=3000)
        best = jreg.solve(problem, jreg.L1(0.2), tol=1e-9)
        assert not (found.params.coef == 0).any()
        np.testing.assert_allclose(found.value, best.value, rtol=2e-3)


@pytest.mark.parametrize("adapter", [jreg.Optax, jreg.OptaxProximal, jreg.OptaxSubgradient])
def test_learning_rates_are_lanes(adapter):
    penalty = jreg.Ridge(0.1)
    problem = jreg.LinearProblem(X, Y)

    def ends(rate):
        solver = adapter(optax.adam, rate)
        return jreg.solve(problem, penalty, solver=solver, max_steps=20).params.coef

    lanes = jax.vmap(ends)(jnp.array([0.01, 0.1]))
    np.testing.assert_allclose(lanes[1], ends(0.1), rtol=1e-4)
    assert not np.allclose(lanes[0], lanes[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jreg.Optax(optax.adam), "or give a learning_rate"),
        (lambda: jreg.OptaxProximal(0.1), "must be an optax gradient transformation"),
        (lambda: jreg.OptaxSubgradient(optax.adam(0.1), 0.1), "is a function of it"),
    ],
)
def test_adapters_say_what_is_missing(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_steps_of_the_proximal_adapter_are_checked():
    """Also inside `Minibatch`; the limit is that of the penalty at any strength."""
    with pytest.raises(ValueError, match="step must be at least"):
        jreg.OptaxProximal(optax.sgd(0.1), step=0.0)
    solver = jreg.OptaxProximal(optax.sgd(0.1), step=30.0)
    problem = jreg.LinearProblem(X, Y)
    for each in (solver, jreg.Minibatch(solver, 4)):
        with pytest.raises(ValueError, match=r"step must be below gamma = 3\.0 for MCP; got 30"):
            jreg.solve(problem, jreg.MCP(1.0, 3.0), solver=each)
    jreg.solve(problem, jreg.L1(0.1), solver=solver, max_steps=1)
    low = jreg.penalties.LogSum(1.0, 1.0)  # the strength is that of lams
    jreg.sweep(problem, low, [0.01], solver=solver, max_steps=1)


@pytest.mark.parametrize(
    "penalty",
    [
        jreg.penalties.Box(-2.0, 2.0),
        jreg.L1(0.1) + jreg.penalties.NonNegative(),
        jreg.penalties.NonNegativeL1(0.1),
        jreg.penalties.NonNegativeGroupLasso(0.1),
    ],
    ids=lambda f: type(f).__name__,
)
def test_the_subgradient_adapter_refuses_bounds(penalty):
    """Its steps leave them."""
    with pytest.raises(TypeError, match="needs a penalty that is finite everywhere"):
        jreg.solve(jreg.LinearProblem(X, Y), penalty, solver=jreg.OptaxSubgradient(optax.sgd(0.1)))


# --- the count of evaluations -----------------------------------------------------------------


class Counter:
    """Calls of a function that says so from inside compiled code."""

    def __init__(self):
        self.values = self.gradients = 0

    def tap(self):
        """The identity; counts values, and gradients where it is differentiated."""

        @jax.custom_jvp
        def identity(x):
            jax.debug.callback(lambda: setattr(self, "values", self.values + 1))
            return x

        @identity.defjvp
        def _(primals, tangents):
            jax.debug.callback(lambda: setattr(self, "gradients", self.gradients + 1))
            return primals[0], tangents[0]

        return identity


def counted_run(solver, problem, penalty, params, steps):
    """Evaluations that the solver tells of `steps` steps, without the loop's certificates."""
    state = jax.jit(solver.init)(problem, penalty, params)
    start = float(solver.evaluations(state))
    jax.effects_barrier()
    yield None
    update = jax.jit(solver.update)
    for _ in range(steps):
        params, state = update(problem, penalty, params, state)
    jax.effects_barrier()
    yield float(solver.evaluations(state)) - start


GRADIENTS_ALONE = [jreg.GradientDescent(), jreg.BFGS(), jreg.LBFGS(), jreg.Optax(optax.adam(0.1))]
WITH_VALUES = [jreg.ISTA(), jreg.FISTA()]


@pytest.mark.parametrize("solver", GRADIENTS_ALONE + WITH_VALUES, ids=lambda s: type(s).__name__)
def test_evaluations_of_a_function(solver):
    counter = Counter()
    tap = counter.tap()
    problem = jreg.Problem(lambda w: tap(jnp.sum(jnp.cosh(w - 1) + 0.1 * w**4)))
    run = counted_run(solver, problem, jreg.Ridge(0.1), jnp.linspace(0, 2, 4), 12)
    next(run)
    counter.values = counter.gradients = 0
    told = next(run)
    # values come in pairs, one of which is that of a gradient already counted
    assert told == counter.gradients + counter.values / 4
    assert (counter.values > 0) == (solver in WITH_VALUES)
    assert told >= 12


def test_evaluations_of_a_line_search():
    """A value alone counts 1/2: trials of backtracking; those of a zoom are gradients."""
    counter = Counter()
    tap = counter.tap()
    problem = jreg.Problem(lambda w: tap(jnp.sum(jnp.cosh(w - 1) + 0.1 * w**4)))
    told = []
    for search in (
        optax.scale_by_backtracking_linesearch(15),
        optax.scale_by_zoom_linesearch(15),
    ):
        solver = jreg.Optax(optax.chain(optax.sgd(8.0), search))
        run = counted_run(solver, problem, jreg.Ridge(0.1), jnp.linspace(0, 2, 4), 5)
        next(run)
        counter.values = counter.gradients = 0
        told.append((next(run), counter.gradients, counter.values))
    (back, gradients, values), (zoom, *others) = told
    assert (gradients, values > 5) == (5, True)
    assert back == gradients + values / 2
    assert zoom == sum(others)


def test_evaluations_of_products_with_a_hessian():
    """Each is worth two gradients, and runs the function once."""
    calls = []
    count = lambda: calls.append(1)  # noqa: E731

    def fun(w):
        jax.debug.callback(count)
        return jnp.sum(jnp.cosh(w - 1)) + 0.1 * jnp.sum(w) ** 4

    run = counted_run(jreg.NewtonCG(), jreg.Problem(fun), jreg.Ridge(0.1), jnp.linspace(0, 2, 4), 4)
    next(run)
    calls.clear()
    told = next(run)
    assert len(calls) < told < 2 * len(calls)
    newton = counted_run(jreg.Newton(), jreg.Problem(fun), jreg.Ridge(0.1), jnp.ones(4) * 2, 1)
    next(newton)
    assert next(newton) == 2 * 4 + 1  # four products, one trial


COUNT = {"products": 0}


@jreg.tree.dataclass
class Counted(Sparse):
    """A sparse matrix whose products are counted."""

    def times(self, w):
        jax.debug.callback(lambda: COUNT.update(products=COUNT["products"] + 1))
        return super().times(w)

    def transposed_times(self, r):
        jax.debug.callback(lambda: COUNT.update(products=COUNT["products"] + 1))
        return super().transposed_times(r)


@pytest.mark.parametrize(
    "solver",
    [
        jreg.ISTA(),
        jreg.FISTA(),
        jreg.ProxLBFGS(),
        jreg.Anderson(),
        jreg.Subgradient(),
        jreg.LBFGS(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_evaluations_of_a_linear_model(solver):
    """Two products with X are one evaluation."""
    from scipy.sparse import csr_matrix

    plain = jreg.LinearProblem(csr_matrix(X * (abs(X) > 0.5)), Y, jreg.Logistic())
    plain = jreg.LinearProblem(plain.X, 1.0 * (Y > 0), jreg.Logistic()).checked()
    X_counted = Counted(**{f: getattr(plain.X, f) for f in plain.X.__dataclass_fields__})
    problem = jreg.LinearProblem(X_counted, plain.y, jreg.Logistic()).checked().centred()
    penalty = OnCoef(jreg.Ridge(0.05) if isinstance(solver, jreg.LBFGS) else jreg.L1(0.05))
    start = problem.zero()._replace(coef=jnp.linspace(-1, 1, P))
    run = counted_run(solver, problem, penalty, start, 8)
    next(run)
    COUNT["products"] = 0
    told = next(run)
    assert told == COUNT["products"] / 2


def test_every_solver_counts_or_says_nothing():
    for solver in SOLVERS:
        assert hasattr(solver, "evaluations") == (solver is not jreg.ADMM)


def test_history_of_evaluations_and_parameters():
    with precision("float64"):
        problem = jreg.LinearProblem(X, Y, standardize=True)
        found = jreg.solve(problem, jreg.L1(0.1), solver=jreg.FISTA(), history="params")
        k = int(found.num_steps)
        cost = np.asarray(found.history.evaluations)
        assert np.all(np.diff(cost[: k + 1]) >= 1)
        assert np.all(np.isnan(cost[k + 1 :]))
        np.testing.assert_array_equal(found.history.params.coef[k], found.params.coef)
        assert np.isnan(found.history.params.coef[k + 1]).all()
        early = jreg.solve(problem, jreg.L1(0.1), solver=jreg.FISTA(), history=True, max_steps=3)
        assert early.history.params is None
    with pytest.raises(ValueError, match="history must be"):
        jreg.solve(problem, jreg.L1(0.1), history="all")
