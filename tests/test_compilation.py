"""What compiles, and how often; and that every product is computed at full precision."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SOLVERS, rows
from loss_cases import LOSSES
from penalty_cases import PENALTIES

import jreg
from jreg.path import compiled

N, P = 12, 4

every_solver = pytest.mark.parametrize("case", rows(SOLVERS))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class CountingLoss(jreg.Squared):
    """The squared loss, which notes each time that it is traced."""

    name: str = ""

    def pointwise(self, eta, y):
        TRACED.append(self.name)
        return super().pointwise(eta, y)


TRACED: list[str] = []


@pytest.fixture
def loss(request):
    """A new kind of loss, so that nothing is compiled yet; equal each time it is made."""
    return lambda: CountingLoss(request.node.name)


class Traces:
    """Counts what happens inside a `with` block."""

    def __enter__(self):
        self.before = len(TRACED)
        return self

    def __exit__(self, *_):
        self.count = len(TRACED) - self.before


def data(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)).astype("float32")
    return X, X[:, 0] + rng.normal(size=N).astype("float32")


def problem(seed, loss, **options):
    return jreg.LinearProblem(*data(seed), loss(), **options)


# --- how often --------------------------------------------------------------------------------


@every_solver
def test_solve_compiles_once(case, loss):
    """New solver, penalty, data, strength, tol and limit each call: one trace."""
    with Traces() as first:
        jreg.solve(problem(0, loss), jreg.L1(0.1), solver=case.make())
    assert first.count > 0
    with Traces() as more:
        jreg.solve(problem(1, loss), jreg.L1(0.2), solver=case.make())
        for lam in (1, 1.0, np.float64(1), np.float32(1), np.array(1), jnp.array(1.0)):
            jreg.solve(problem(1, loss), jreg.L1(lam), solver=case.make())
        for tol in (1e-3, np.float64(1e-3), jnp.array(1e-3)):
            jreg.solve(problem(2, loss), jreg.L1(0.1), solver=case.make(), tol=tol)
        for limit in (3, np.int64(5), jnp.array(2)):
            jreg.solve(problem(3, loss), jreg.L1(0.1), solver=case.make(), max_steps=limit)
    assert more.count == 0


def descend(problem, penalty):
    """`solve` by the method that compiles fastest."""
    return jreg.solve(problem, penalty, solver=jreg.CoordinateDescent())


def test_input_types_share_a_trace(loss):
    """Lists, float64 NumPy and integers are float32 data here, as arrays of JAX are."""
    X, y = data(0)
    with Traces() as first:
        descend(jreg.LinearProblem(X, y, loss()), jreg.L1(0.1))
    with Traces() as more:
        descend(jreg.LinearProblem(jnp.asarray(X), y.tolist(), loss()), jreg.L1(0.1))
        descend(jreg.LinearProblem(X.astype(float), y, loss()), jreg.L1(0.1))
        descend(jreg.LinearProblem(X, y.astype(int), loss()), jreg.L1(0.1))
        descend(jreg.LinearProblem(X.tolist(), jnp.asarray(y), loss()), jreg.L1(0.1))
    assert first.count > 0
    assert more.count == 0


def test_hyper_parameters_are_not_structure(loss):
    with Traces() as first:
        penalty = jreg.ElasticNet(0.1, l1_ratio=0.5, weights=np.ones(P))
        descend(problem(0, loss, sample_weight=np.ones(N)), penalty)
    with Traces() as more:
        for w in (np.array([0, 1, np.inf, 2.0]), np.arange(P), jnp.arange(P)):
            for ratio in (0, 1.0, np.float64(0.2), jnp.array(0.3)):
                penalty = jreg.ElasticNet(0.3, l1_ratio=ratio, weights=w)
                descend(problem(1, loss, sample_weight=np.arange(N)), penalty)
    assert first.count > 0
    assert more.count == 0


def test_sweep_compiles_once(loss):
    lams = np.array([0.5, 0.2, 0.1, 0.05])

    def sweep(seed, penalty, lams, **options):
        solver = jreg.CoordinateDescent()
        return jreg.sweep(problem(seed, loss), penalty, lams, solver=solver, block=2, **options)

    with Traces() as first:
        sweep(0, jreg.L1(), lams)
    with Traces() as more:
        sweep(1, jreg.L1(2), 2 * lams[::-1])
        sweep(1, jreg.L1(np.float64(1)), list(lams))
        sweep(2, jreg.L1(1.0), jnp.asarray(lams), tol=1e-3, max_steps=7)
    assert first.count > 0
    assert more.count == 0


def test_options_that_XLA_does_not_know_are_dropped(monkeypatch):
    monkeypatch.setattr(compiled, "OPTIONS", {"xla_of_another_day": True})
    double = compiled.compiled(lambda x: 2 * x)
    assert double(jnp.float32(3)) == 6
    assert double(jnp.ones(2)).sum() == 4
    assert compiled.OPTIONS == {}


def test_functions_compile_once_each():
    """`fun` is structure, its args are data: a new function is a new trace, new args are not."""
    traced = []

    def fun(w, a):
        traced.append(0)
        return jnp.sum((w - a) ** 2)

    jreg.solve(fun, jreg.L1(0.1), np.zeros(2), 1.0)
    first = len(traced)
    assert first > 0
    jreg.solve(fun, jreg.L1(0.3), np.ones(2), 2.0)
    jreg.solve(jreg.Problem(fun, (3.0,)), jreg.L1(1), np.zeros(2), tol=1e-3)
    assert len(traced) == first


def test_structure_is_noticed(loss):
    """The counter works: another shape or another penalty is traced again."""
    X, y = data(0)
    narrow = jreg.LinearProblem(X[:, :2], y, loss())
    for new in (
        lambda: descend(problem(0, loss), jreg.L1(0.1)),
        lambda: descend(narrow, jreg.L1(0.1)),
        lambda: descend(narrow, jreg.ElasticNet(0.1)),
        lambda: jreg.solve(narrow, jreg.ElasticNet(0.1), solver=jreg.FISTA()),
    ):
        with Traces() as first:
            jax.eval_shape(new)
        with Traces() as again:
            jax.eval_shape(new)
        assert first.count > 0
        assert again.count == 0


# --- what is told apart -----------------------------------------------------------------------

MEMBERS = {
    (table, type(case.make())): case.make()
    for table, cases in enumerate((PENALTIES, LOSSES, SOLVERS))
    for case in cases.values()
}


def bare(member):
    """Without its optional arrays, so that only its type can tell it from another."""
    return dataclasses.replace(member, weights=None) if hasattr(member, "weights") else member


def test_members_have_different_structures():
    """Compiled functions are cached by structure: equal ones may be taken for each other, and
    then the solution is that of another penalty, loss or method."""
    for a, b in itertools.combinations(map(bare, MEMBERS.values()), 2):
        assert jax.tree.structure(a) != jax.tree.structure(b), (a, b)


# --- precision --------------------------------------------------------------------------------


def equations(jaxpr):
    """All equations of a jaxpr and of those inside it (jit, scan, while, cond, custom rules)."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def assert_full_precision(function, *arguments):
    found = [
        equation
        for equation in equations(jax.make_jaxpr(function)(*arguments))
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    assert found
    highest = jax.lax.Precision.HIGHEST
    for equation in found:
        assert equation.params["precision"] == (highest, highest), equation


WEIGHTS = np.array([0, 1, np.inf, 2], "float32")


ONE_OF_EACH = {
    name: case for name, case in LOSSES.items() if not name.endswith(("_signs", "_small", "_wide"))
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss_case", rows(ONE_OF_EACH))
@every_solver
def test_products_of_solve(case, loss_case, weights):
    X, _ = data(0)
    y = loss_case.responses(np.random.default_rng(0), N).astype("float32")
    solver, loss = case.make(), loss_case.make()
    if weights is not None and loss_case.outputs:
        weights = np.repeat(weights[:, None], loss_case.outputs, 1)

    def run(X, y, lam):
        penalty = jreg.L1(lam, weights=weights)
        return jreg.solve(jreg.LinearProblem(X, y, loss), penalty, solver=solver)

    problem = jreg.LinearProblem(X, y, loss)
    try:
        jreg.solvers.choice.check_needs(solver, problem, jreg.L1())
    except TypeError:
        pytest.skip("this solver is not for this loss, and says so")
    assert_full_precision(run, X, y, 0.1)


@every_solver
def test_products_of_sweep(case):
    def run(X, y, lams):
        return jreg.sweep(jreg.LinearProblem(X, y), jreg.L1(), lams, solver=case.make())

    assert_full_precision(run, *data(0), jnp.array([0.2, 0.1]))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("standardize", [False, True])
def test_products_of_the_certificate(weights, standardize):
    def run(X, y, coef):
        problem = jreg.LinearProblem(X, y, standardize=standardize).checked().centred()
        penalty = jreg.L1(0.1, weights=weights)
        null = jreg.certificates.null_model(problem, penalty)
        return jreg.certificates.certify(problem, penalty, jreg.Linear(coef, jnp.zeros(())), null)

    assert_full_precision(run, *data(0), jnp.ones(P))


def test_precision_is_noticed():
    """The walk sees into loops, branches and vmap."""

    def hidden(a):
        body = jax.jit(lambda _, x: jax.lax.cond(x[0] > 0, lambda x: a @ x, lambda x: x, x))
        return jax.vmap(lambda x: jax.lax.fori_loop(0, 3, body, x))(a)

    with pytest.raises(AssertionError):
        assert_full_precision(hidden, jnp.ones((2, 2)))
    with pytest.raises(AssertionError):
        assert_full_precision(jnp.sin, 1.0)
