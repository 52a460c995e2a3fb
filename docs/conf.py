"""The documentation: pages of docs/, executed notebooks, benchmarks, and an API from docstrings.

    python docs/notebooks.py
    sphinx-build -W --keep-going -c docs . build/docs

The source directory is that of the project, so that links between its files are links of the site.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api  # noqa: E402

import jreg  # noqa: E402

project, author, copyright = "jreg", "The jreg authors", "The jreg authors"
version = release = jreg.__version__
root_doc = "docs/index"
extensions = ["myst_nb"]
include_patterns = [
    "docs/**.md",
    "notebooks/*.ipynb",
    "benchmarks/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/_*"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # they come executed
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
html_theme = "furo"
html_title = f"jreg {version}"
html_show_sphinx = False


def setup(app):
    """Writes the API pages before anything is read."""
    app.connect("config-inited", lambda app, config: api.write(HERE / "api"))
