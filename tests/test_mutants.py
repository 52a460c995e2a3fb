"""The laws are put to the test: proxes made wrong on purpose must break at least one of them.

Mutants of the source of every function of `jreg.prox` that a member reaches: a threshold scaled by
1.01, a comparison turned round, a root dropped; and of the member's own prox.
"""

import ast
import copy
import inspect
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import LAWS, Probe
from penalty_cases import PENALTIES

from jreg import prox

THRESHOLDS = {
    "t",
    "t1",
    "t2",
    "step",
    "lam",
    "below",
    "above",
    "delta",
    "gamma",
    "epsilon",
    "theta",
}
TURNED = {ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt}
QUICK = (
    "kkt_at_the_prox",
    "beats_perturbations",
    "no_better_on_a_ray",
    "three_point",
    "moreau",
    "zero_is_fixed",
    "metric",
    "lam_max",
    "strength_limits",
    "nan_is_not_hidden",
    "large_numbers",
)
HELPERS = {"keep_where", "plus_zero", "norm_l2", "radial_ratio"}  # no proximal operators
FUNCTIONS = {name: getattr(prox, name) for name in prox.__all__ if name not in HELPERS}


def patched(monkeypatch, old, new):
    """Put `new` wherever a module of jreg holds `old`."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "jreg":
            for attribute, value in list(vars(module).items()):
                if value is old:
                    monkeypatch.setattr(module, attribute, new)


def reached(penalty, v, monkeypatch):
    """Names of the functions of `jreg.prox` that this member's prox calls."""
    found = set()
    with monkeypatch.context() as patch:
        for name, function in FUNCTIONS.items():

            def recorded(*args, name=name, function=function, **kwargs):
                found.add(name)
                return function(*args, **kwargs)

            patched(patch, function, recorded)
        penalty.prox(v, 0.5)
        if penalty.separable:
            penalty.prox(v, np.full_like(v, 0.5))
    return sorted(found)


class Mutate(ast.NodeTransformer):
    """Change the k-th place that can be changed."""

    def __init__(self, k):
        self.k, self.count, self.what = k, -1, None

    def here(self, what):
        self.count += 1
        if self.count == self.k:
            self.what = what
        return self.count == self.k

    def visit_Compare(self, node):
        self.generic_visit(node)
        shapes = ast.unparse(node.left) in ("n", "v.size", "V.ndim")  # not numbers
        if not shapes and type(node.ops[0]) in TURNED and self.here(f"turned: {ast.unparse(node)}"):
            node.ops[0] = TURNED[type(node.ops[0])]()
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        root = ast.unparse(node.func) in ("jnp.sqrt", "jnp.cbrt")
        return node.args[0] if root and self.here(f"dropped: {ast.unparse(node)}") else node


def mutants(function):
    """(what was changed, changed function) for each place of the source, and each threshold."""
    function = inspect.unwrap(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list = []
    names = [a.arg for a in tree.body[0].args.args]

    def built(changed, what):
        scope = dict(vars(sys.modules[function.__module__]))
        exec(compile(ast.fix_missing_locations(changed), "<mutant>", "exec"), scope)
        return f"{function.__name__}: {what}", scope[function.__name__]

    for name in THRESHOLDS & set(names[1:]):
        changed = copy.deepcopy(tree)
        line = ast.parse(f"{name} = 1.01 * jnp.asarray({name})").body
        changed.body[0].body = line + changed.body[0].body
        yield built(changed, f"{name} scaled by 1.01")
    k = 0
    while True:
        mutate = Mutate(k)
        changed = mutate.visit(copy.deepcopy(tree))
        if mutate.what is None:
            return
        yield built(changed, mutate.what)
        k += 1


def own_mutants():
    """Wrong proxes of any member."""
    yield "step scaled by 1.01", lambda p, v, step: p.prox(v, 1.01 * step)
    yield "negative side turned", lambda p, v, step: jnp.where(v < 0, -1, 1) * p.prox(v, step)
    yield "step squared", lambda p, v, step: p.prox(v, step**2)


def caught(name, function, dtype="float64"):
    """The first law that a wrong prox breaks, or None."""
    # a new function object a mutant, so that no compiled program of another is taken for it
    compiled = jax.jit(jax.vmap(lambda p, v, step: function(p, v, step), (None, 0, 0)))
    probe = Probe(name, dtype, compiled)
    for law in QUICK:
        if law not in PENALTIES[name].exempt:
            try:
                LAWS[law](probe)
            except Exception:  # a prox that raises is caught too
                return law
    return None


NAMES = [name for name in PENALTIES if not name.endswith("_weighted") and "_as_" not in name]


def members_prox(penalty, v, step):
    return penalty.prox(v, step)


def test_the_right_prox_is_not_caught():
    assert caught("mcp", members_prox) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_mutant_is_caught(name, monkeypatch):
    case = PENALTIES[name]
    survivors, total = [], 0
    constraint = not hasattr(case.make(), "lam")
    for what, function in own_mutants():
        if constraint and "step" in what:
            continue  # its prox does not depend on the step
        total += 1
        if caught(name, function) is None:
            survivors.append(what)
    v = np.resize(np.array([1.0, -3.0, 0.2, 1.0, 5.0], "float32"), case.shape)
    for function in reached(case.make(), v, monkeypatch):
        for what, mutant in mutants(FUNCTIONS[function]):
            total += 1
            with monkeypatch.context() as patch:
                patched(patch, FUNCTIONS[function], mutant)
                if caught(name, members_prox) is None:
                    survivors.append(what)
    print(f"{name}: {total} mutants")
    assert not survivors, f"{len(survivors)} of {total} mutants live"
