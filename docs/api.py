"""Writes docs/api/*.md: every public name with its signature and its docstring, as it stands.

Docstrings are Markdown: formulas are indented, examples start with >>>.
"""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import jreg

# page, title, and the modules whose public names it has
PAGES = {
    "paths": ("Paths and sweeps", ["jreg.path"]),
    "selection": ("Choosing lambda", ["jreg.selection", "jreg.stopping"]),
    "solvers": ("Problems and solvers", ["jreg.problem", "jreg.solvers", "jreg.status"]),
    "compare": ("The race", ["jreg.compare", "jreg.compare.landscapes"]),
    "penalties": ("Penalties", ["jreg.penalties"]),
    "losses": ("Losses", ["jreg.losses"]),
    "prox": ("Proximal operators", ["jreg.prox"]),
    "projections": ("Projections and norms", ["jreg.projections", "jreg.norms"]),
    "transforms": ("optax transforms", ["jreg.transforms"]),
    "stochastic": ("Stochastic regularisers", ["jreg.stochastic"]),
    "tuning": ("Derivatives and tuning", ["jreg.tuning", "jreg.implicit", "jreg.gradients"]),
    "sklearn": ("Estimators of scikit-learn", ["jreg.sklearn"]),
    "contracts": ("Contracts: a penalty, a loss, a solver of your own", ["jreg.typing"]),
    "tools": (
        "Conventions, data, plots, linear algebra",
        ["jreg.conventions", "jreg.datasets", "jreg.plots", "jreg.linalg"],
    ),
}


def public(module):
    """The public names of a module: `__all__`, or what it defines itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    return [
        name
        for name in names
        if (inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value))
    ]


def signature(member):
    """Names and defaults, without types."""
    try:
        parameters = inspect.signature(member).parameters.values()
    except (TypeError, ValueError):
        return ""
    shown, seen_star = [], False
    for p in parameters:
        if p.name in ("self", "cls"):
            continue
        if p.kind is p.KEYWORD_ONLY and not seen_star:
            shown.append("*")
        seen_star |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f"={simple(p.default)}"
        shown.append(stars + p.name + default)
    return ", ".join(shown)


def simple(default):
    text = repr(default)
    return text if re.fullmatch(r"[-\w.'\"()=, ]{1,40}", text) else "..."


def markdown(doc):
    """A docstring with its examples in fences and its arguments as a list."""
    lines, inside, arguments = [], False, False
    for line in (doc or "").splitlines():
        example = line.startswith(">>>") or (inside and line.strip() != "")
        if example and not inside:
            lines.append("```python")
        if inside and not example:
            lines.append("```")
        inside = example
        if line in ("Args:", "Attributes:"):
            arguments = True
            lines += [f"**{line[:-1]}**", ""]
            continue
        if arguments and not inside:
            if line and not line.startswith(" "):
                arguments = False
                lines.append("")
            elif re.match(r"  \S", line):
                line = "* " + re.sub(r"^  ([\w, *]+):", r"`\1`:", line)
            elif line:
                line = "  " + line.strip()
        lines.append(line)
    return "\n".join([*lines, *(["```"] if inside else [])])


def directive(kind, name, arguments, doc, depth):
    fence = "`" * (3 + depth)
    return f"{fence}{{py:{kind}}} {name}({arguments})\n\n{doc}\n{fence}\n"


def member(name, value):
    """One class with its methods, or one function."""
    doc = markdown(inspect.getdoc(value))
    if inspect.isfunction(value):
        return directive("function", name, signature(value), doc, 2)
    for method, function in vars(value).items():
        given = inspect.isfunction(function) and inspect.getdoc(function)
        if not method.startswith("_") and given and method not in contract(value):
            body = markdown(inspect.getdoc(function))
            doc += "\n\n" + directive("method", method, signature(function), body, 1)
    return directive("class", name, signature(value), doc, 2)


def contract(cls):
    """Methods that every penalty, loss or solver has: told once, in `jreg.typing`."""
    if not dataclasses.is_dataclass(cls):
        return set()
    own = set(dir(importlib.import_module("jreg.typing").Penalty))
    own |= set(dir(importlib.import_module("jreg.typing").Loss)) | {"init", "update", "evaluations"}
    extra = {"conjugate", "polar", "entry", "restrict", "bregman", "outputs", "prepare", "shift"}
    return own | extra if hasattr(cls, "needs") or hasattr(cls, "ranges") else set()


def address(path, name, value):
    """Where `import jreg` finds it: `jreg.path` is a function and no module any more."""
    if getattr(jreg, name, None) is value:
        return f"jreg.{name}"
    tail = path.rsplit(".", 1)[-1]
    short = inspect.ismodule(getattr(jreg, tail, None))  # as `jreg.landscapes`
    return f"jreg.{tail}.{name}" if short else f"{path}.{name}"


def write(folder: Path) -> None:
    """All pages, each name once: where it is first met."""
    folder.mkdir(exist_ok=True)
    seen = set()
    for page, (title, modules) in PAGES.items():
        text = [f"# {title}\n"]
        for path in modules:
            module = importlib.import_module(path)
            text.append(f"## {path}\n\n{markdown(inspect.getdoc(module))}\n")
            for name in sorted(public(module), key=str.lower):
                value = getattr(module, name)
                if value not in seen:
                    seen.add(value)
                    text.append(member(address(path, name, value), value))
        content = "\n".join(text)
        target = folder / f"{page}.md"
        if not target.exists() or target.read_text() != content:
            target.write_text(content)


if __name__ == "__main__":
    write(Path(__file__).parent / "api")
