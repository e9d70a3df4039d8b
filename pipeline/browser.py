"""Showing a file to a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.asking import tell

# Shows a file to the user, in a browser.
Show = Callable[[Path], None]


def show_file(path: Path) -> None:
    """Open `path` in the browser; where there is none, say where the file is."""
    import webbrowser

    if not webbrowser.open(path.as_uri()):
        tell(f"there is no browser here; open {path} in one")
