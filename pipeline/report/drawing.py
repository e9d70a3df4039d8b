"""Turns Vega-Lite charts into SVG: `python drawing.py` reads a JSON list of charts and writes a JSON list of pictures.

It is a program of its own, without imports from this package. The renderer brings a JavaScript engine along, which ends
its process when it gets no memory; that must never be the process of a run.
"""

from __future__ import annotations

import json
import sys
from typing import TextIO


def draw(source: TextIO, target: TextIO) -> None:
    """Read charts from `source` and write their pictures to `target`, both as a JSON list."""
    import vl_convert

    charts = json.load(source)
    # No addresses are allowed: all data are in the charts, and nothing is ever fetched.
    pictures = [vl_convert.vegalite_to_svg(chart, vl_version="5.21", allowed_base_urls=[]) for chart in charts]
    json.dump(pictures, target)


if __name__ == "__main__":
    draw(sys.stdin, sys.stdout)
