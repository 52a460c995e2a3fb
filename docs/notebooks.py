"""Executes the notebooks and looks at their figures.

python docs/notebooks.py              all of them; writes notebooks/*.ipynb with their outputs
python docs/notebooks.py quickstart   some of them

A notebook fails if a cell raises (the last one asserts its claims), or if a figure that it shows
has an axis without a label, a line without a finite point, or several labels and no legend.
"""

import sys
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat

HERE = Path(__file__).parent.parent / "notebooks"

LOOK = """
import matplotlib.pyplot as plt
import numpy as np

def look(figure):
    for ax in filter(lambda ax: ax.axison, figure.axes):
        assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title(), "an axis without a label"
        for line in ax.get_lines():
            y = np.asarray(line.get_ydata(orig=False), float)
            assert not y.size or np.isfinite(y).any(), f"nothing finite in {line.get_label()!r}"
        told = figure.legends or any(ax.get_legend() for ax in figure.axes)
        names = set(ax.get_legend_handles_labels()[1]) - {text.get_text() for text in ax.texts}
        assert told or len(names) < 2, f"no legend for {names}"

def looked_at(show=plt.show):
    for number in plt.get_fignums():
        look(plt.figure(number))
    show()

plt.show = looked_at
"""


def execute(source: Path) -> float:
    """Runs one notebook from its text, and writes it with its outputs; returns the seconds."""
    start = time.perf_counter()
    notebook = jupytext.read(source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(LOOK))
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=HERE)
    del notebook.cells[0]
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    return time.perf_counter() - start


def main() -> None:
    for source in sorted(HERE.glob("*.md")):
        if len(sys.argv) < 2 or source.stem in sys.argv[1:]:
            print(f"{source.stem:40} {execute(source):6.1f} s", flush=True)


if __name__ == "__main__":
    main()
