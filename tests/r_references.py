"""Numbers of R packages that tests compare with, stored so that tests run without R."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


def store(file: Path, script: str, prepare: Callable[[Path], None]) -> None:
    """Run an R script, which is told a folder that `prepare` has filled, and write to `file` what
    it has left there in out.txt: lines of a name, a key and numbers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        (folder / "run.R").write_text(script)
        subprocess.run(["Rscript", folder / "run.R", folder], check=True)
        found: dict[str, dict[str, list[float]]] = {}
        for line in (folder / "out.txt").read_text().splitlines():
            name, key, *numbers = line.split()
            found.setdefault(name, {})[key] = [float(number) for number in numbers]
    rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n")
