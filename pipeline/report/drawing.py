"""Turns Vega-Lite charts into SVG: `python drawing.py` reads a JSON list of charts and writes a line for each picture.

With `--lines` it reads a line for each list, until there is no more, and answers it with a list of pictures in a line.

It is a program of its own, without imports from this package. The renderer brings a JavaScript engine along, which ends
its process when it gets no memory; that must never be the process of a run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def draw(source: TextIO, target: TextIO) -> None:
    """Read a JSON list of charts from `source`, and write each picture to `target` when it is made."""
    for picture in _pictures(json.load(source)):
        target.write(f"{json.dumps(picture)}\n")
        target.flush()


def draw_lines(source: TextIO, target: TextIO) -> None:
    """Answer each line of `source` with a line to `target`; both hold a JSON list."""
    for line in source:
        target.write(f"{json.dumps(list(_pictures(json.loads(line))))}\n")
        target.flush()


def _pictures(charts: list[dict[str, Any]]) -> Iterator[str]:
    import vl_convert

    # No addresses are allowed: all data are in the charts, and nothing is ever fetched.
    for chart in charts:
        yield vl_convert.vegalite_to_svg(chart, vl_version="5.21", allowed_base_urls=[])


if __name__ == "__main__":
    (draw_lines if "--lines" in sys.argv[1:] else draw)(sys.stdin, sys.stdout)
