"""The README's code runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_block_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    assert "100 converged" in capsys.readouterr().out


def test_commands_are_marked_for_continuous_integration():
    text = README.read_text()
    for marker in ("demo-command", "test-command"):
        assert re.search(rf"<!-- {marker} -->\n```sh\n[^\n]+\n```", text)
