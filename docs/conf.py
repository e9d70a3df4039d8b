"""How Sphinx builds this documentation: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from generators.pages import complete

from pipeline import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "stage-pipeline"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["how-to/own_pipeline"]  # an example to run, of which pages show parts
html_title = f"{project} {release}"
html_copy_source = False
nitpicky = True
smartquotes = False  # it would make one long dash of the two that begin an option
myst_heading_anchors = 3


def setup(app: Sphinx) -> None:
    """Let every page be completed by what is drawn from the program."""
    app.connect("source-read", _complete)


def _complete(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = complete(source[0])
