"""Who may import whom: the layers of jreg, read from its source.

An import points down to a lower level or sideways to the same level of the same package, and takes
public names only. Optional packages are imported where they are used, never with jreg.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import jreg

ROOT = Path(jreg.__file__).parent

LEVELS = {
    0: ("typing", "checks", "tree", "status"),
    0.5: ("linalg", "sparse", "design"),
    1: (
        "losses",
        "projections",
        "norms",
        "conventions",
        "plots",
        "stopping",
        "stochastic",
        "gradients",
    ),
    1.5: ("prox",),
    2: ("penalties",),
    3: ("problem", "certificates", "implicit"),
    3.5: ("transforms",),
    4: ("solvers",),
    5: ("path",),
    5.3: ("selection",),
    5.5: ("tuning", "compare"),
    6: ("__init__", "__main__", "commands", "datasets", "sklearn"),
}
LEVEL = {name: level for level, names in LEVELS.items() for name in names}

# Imported inside the function that needs them, because not every user has or needs them.
LAZY = {"matplotlib", "sklearn", "pandas", "tqdm", "scipy"}

# Front ends of a package, imported by those alone who have it: its classes are their bases.
FRONT_ENDS = {"sklearn": {"sklearn"}}

DOCUMENTED = {"os._exit"}  # public in spite of its name

FILES = sorted(ROOT.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


def module_of(path):
    """('path', 'sweep') for jreg/path/sweep.py; ('solvers', '__init__') for its __init__."""
    return path.relative_to(ROOT).with_suffix("").parts


def source_of(parts):
    """The file of a module given by its parts below jreg, or None."""
    for candidate in (
        ROOT.joinpath(*parts).with_suffix(".py"),
        ROOT.joinpath(*parts, "__init__.py"),
    ):
        if candidate.exists():
            return candidate
    return None


def imports(path, tree=None):
    """(target module as dotted name, imported name or None, line) of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text()) if tree is None else tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)


def targets(path):
    """The jreg modules that a file imports, as parts below jreg, with the line."""
    for module, name, line in imports(path):
        root, *parts = module.split(".")
        if root != "jreg":
            continue
        if name is not None and source_of([*parts, name]):  # `from jreg import prox`
            parts.append(name)
        yield tuple(parts) or ("__init__",), line


def test_every_module_has_a_level():
    top = {module_of(path)[0] for path in FILES}
    assert top - set(LEVEL) == set(), "add the module to its level in this file"


@every_file
def test_imports_point_down(path):
    here = module_of(path)
    for there, line in targets(path):
        where = f"{path.name}:{line}: {'.'.join(here)} imports {'.'.join(there)}"
        assert source_of(there), f"{where}, which does not exist"
        assert there[0] in LEVEL, where
        if there[0] == here[0] and len(here) > 1:
            continue  # sideways inside a package
        lower = LEVEL[there[0]] < LEVEL[here[0]]
        sideways = LEVEL[there[0]] == LEVEL[here[0]] and len(there) == len(here) == 1
        assert lower or sideways, where


def test_no_cycles():
    """Sideways imports form no circle, not even inside functions."""
    graph = {}
    for path in FILES:
        here = module_of(path)
        here = here[:-1] if here[-1] == "__init__" and len(here) > 1 else here
        graph.setdefault(here, set()).update(there for there, _ in targets(path))

    def visit(node, trail):
        assert node not in trail, " -> ".join(".".join(n) for n in [*trail, node])
        for other in graph.get(node, ()):
            # a package's __init__ gathers its own modules
            if other[: len(node)] != node and node[: len(other)] != other:
                visit(other, [*trail, node])

    for node in graph:
        visit(node, [])


def private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


@every_file
def test_public_names_only(path):
    """No private module or name of another module, no experimental part of JAX."""
    tree, aliases = ast.parse(path.read_text()), set()
    for module, name, line in imports(path, tree):
        parts = [*module.split("."), *([name] if name else [])]
        where = f"{path.name}:{line}: {'.'.join(parts)}"
        assert not any(map(private, parts)), where
        assert parts[:2] != ["jax", "experimental"], where
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            aliases |= {a.asname or a.name.split(".")[0] for a in node.names}
    for node in ast.walk(tree):  # jax._src.x, tree._LEAF
        names, root = [], node
        while isinstance(root, ast.Attribute):
            names.append(root.attr)
            root = root.value
        if names and isinstance(root, ast.Name) and root.id in aliases:
            dotted = ".".join([root.id, *reversed(names)])
            where = f"{path.name}:{node.lineno}: {dotted}"
            assert dotted in DOCUMENTED or not any(map(private, names)), where
            assert [root.id, names[-1]] != ["jax", "experimental"], where


def at_import(tree):
    """The statements that run when the module is imported: not those of functions, nor those for
    type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from at_import(node)


@every_file
def test_optional_packages_are_imported_lazily(path):
    lazy = LAZY - FRONT_ENDS.get(module_of(path)[0], set())
    for node in at_import(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for module, _, line in imports(path, ast.Module([node], [])):
                assert module.split(".")[0] not in lazy, f"{path.name}:{line}: {module}"


def test_plots_know_no_jreg_type():
    assert {there[0] for there, _ in targets(ROOT / "plots.py")} <= set(LEVELS[0])


# --- a fresh process --------------------------------------------------------------------------

FRESH = """
import json, sys
import jax, jax.numpy, jax.scipy.linalg, jax.scipy.special
before, settings = set(sys.modules), dict(jax.config.values)
import jreg
print(json.dumps({
    "new": sorted(set(sys.modules) - before),
    "changed": [k for k, v in jax.config.values.items() if settings.get(k) != v],
    "missing": [name for name in jreg.__all__ if not hasattr(jreg, name)],
}))
"""


@pytest.fixture(scope="module")
def fresh():
    """What a first `import jreg` does, in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", FRESH]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout)


def test_import_loads_nothing_optional(fresh):
    loaded = {name.split(".")[0] for name in fresh["new"]}
    assert "jreg" in loaded
    assert loaded & LAZY == set()


def test_import_changes_no_setting(fresh):
    assert fresh["changed"] == []


def test_public_names_exist(fresh):
    assert fresh["missing"] == []
    assert len(set(jreg.__all__)) == len(jreg.__all__)
