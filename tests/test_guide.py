"""docs/add_a_penalty.md is followed to the letter: its class and its row pass every law."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import penalty_cases
import pytest
from laws import LAWS, Probe

import jreg
from jreg.typing import Penalty

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "add_a_penalty.md").read_text()
CLASS, ROW = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def rows():
    scope = {"__name__": "guide"}
    exec(CLASS, scope)
    scope |= {
        name: getattr(penalty_cases, name) for name in ("both", "entries", "LAM", "NOT_A_NORM")
    }
    exec(ROW, scope)
    penalty_cases.PENALTIES.update(scope["ROW"])
    yield scope["ROW"]
    for name in scope["ROW"]:
        del penalty_cases.PENALTIES[name]


@pytest.mark.parametrize("law", LAWS)
def test_the_laws(rows, law):
    for name, case in rows.items():
        if law not in case.exempt:
            LAWS[law](Probe(name, "float64"))


def test_it_is_a_penalty_like_any_other(rows):
    penalty = rows["berhu"].make()
    assert isinstance(penalty, Penalty)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = X @ np.array([3.0, -2.0, 0.0, 0.0, 0.0, 0.0]) + rng.normal(size=40)
    with jax.enable_x64(True):
        problem = jreg.LinearProblem(X, y)
        found = jreg.solve(problem, penalty.at(0.5))
        assert found.status == jreg.Status.CONVERGED
        assert found.gap <= 1e-6
        lanes = jax.vmap(lambda c: jreg.solve(problem, penalty.at(c)).params.coef)(
            jnp.array([0.1, 0.5])
        )
        np.testing.assert_allclose(lanes[1], found.params.coef, atol=1e-3)


def test_the_page_of_members_is_up_to_date():
    command = [sys.executable, str(ROOT / "docs" / "members.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
