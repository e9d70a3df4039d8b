"""Draws the live tree of a run as a picture: what its log of events shows after a part of the run, at 80 columns.

    python benchmarks/terminal_picture.py WORKSPACE/logs/events.jsonl 0.6 docs/images/terminal.png

The newest run in the log is taken. Needs Chromium, which makes a PNG of the SVG that Rich draws.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from pipeline.event_reader import last_start, read_events
from pipeline.picture import picture
from pipeline.run_view import RunView

_COLUMNS = 80
_SCALE = 2  # for screens with fine pixels


def drawn(log: Path, *, share: float) -> str:
    """Return the tree as SVG, as it was when `share` of the run was over."""
    events = list(read_events(log, offset=last_start(log)))
    began, ended = events[0].time, events[-1].time
    at, view = began + share * (ended - began), RunView()
    for logged in events:
        if logged.time <= at:
            view.take(logged.event, at=logged.time)
    console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, highlight=False)
    for line in picture(view, at=at, width=_COLUMNS - 1):
        console.print(Text.assemble(*line.spans))
    svg = console.export_svg(title="pipeline run", theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # Rich's fonts are loaded from elsewhere


def main(log: Path, share: float, target: Path) -> None:
    """Write the picture to `target`."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("chromium is not there; Debian's package is called chromium")
    svg = drawn(log, share=share)
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found
    width, height = (round(float(size)) for size in found.groups())
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f"<body style='margin:0'>{svg}</body>")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--force-device-scale-factor={_SCALE}"]
        options += [f"--window-size={width},{height}", f"--screenshot={target.resolve()}", page.as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
