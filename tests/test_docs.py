"""The pages of docs/: their code and migration tables run, and the API has every public name."""

import re
import sys
from pathlib import Path

import matplotlib
import pytest

import jreg

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))
matplotlib.use("Agg")

import api  # noqa: E402

PAGES = ["choose", "conventions", "precision", "troubleshooting", "coming_from"]


def run_blocks(text, scope):
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs", "exec"), scope)


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs(page):
    text = (DOCS / f"{page}.md").read_text()
    assert "```python" in text
    run_blocks(text, {})


def rows():
    """(what it is called there, the code here) of every migration table."""
    for line in (DOCS / "coming_from.md").read_text().splitlines():
        found = re.fullmatch(r"\| (.*) \| `(.*)` \|", line)
        if found:
            yield pytest.param(*found.groups(), id=found[1].strip("`"))


@pytest.fixture(scope="module")
def scope():
    text = (DOCS / "coming_from.md").read_text()
    first = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    found = {}
    exec(compile(first, "docs", "exec"), found)
    return found


@pytest.mark.parametrize(("there", "here"), list(rows()))
def test_migration(there, here, scope):
    assert eval(compile(here, there, "eval"), dict(scope)) is not None


def test_every_public_name_has_its_place(tmp_path):
    api.write(tmp_path)
    text = "\n".join(page.read_text() for page in tmp_path.glob("*.md"))
    told = {name.rsplit(".", 1)[-1] for name in re.findall(r"\{py:\w+\} ([\w.]+)\(", text)}
    modules = {"linalg", "losses", "norms", "penalties", "plots", "projections", "prox", "solvers"}
    modules |= {"stochastic", "transforms", "landscapes"}
    assert set(jreg.__all__) - told - modules == set()
    for name in ("jreg.path", "jreg.sweep", "jreg.compare", "jreg.landscapes.saddle"):
        assert f"{{py:function}} {name}(" in text
    for name in modules - {"linalg", "norms", "plots", "landscapes"}:
        assert set(getattr(jreg, name).__all__) - told == set(), name


def test_docstrings_become_markdown():
    shown = api.markdown("A sum.\n\nArgs:\n  x: any\n    number.\n\n>>> 1 + 1\n2\n\nThe end.")
    assert "* `x`: any\n  number." in shown
    assert "```python\n>>> 1 + 1\n2\n```" in shown
    assert shown.endswith("The end.")
