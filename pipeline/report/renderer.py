"""Has charts drawn in a process of its own, which may fail without harm: a page does without pictures then."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.report.charts import Chart
from pipeline.report.svg import Unsafe, clean

PROGRAM = Path(__file__).with_name("drawing.py")
TIMEOUT_SECONDS = 120  # twenty charts take two seconds; a machine that is fifty times slower is not waited for
_MAX_STARTS = 4  # of the drawing program: where every chart ends it, as for want of memory, the rest is not tried


def draw(
    charts: Sequence[Chart], *, program: Path = PROGRAM, timeout: float = TIMEOUT_SECONDS
) -> tuple[list[str], str]:
    """Return the pictures of `charts` as elements of a page, and why some are missing (empty) if that is so.

    A chart at which the drawing program ends costs itself: the program is started again behind it, a few times.
    """
    end, pictures, trouble = time.monotonic() + timeout, list[str](), ""
    for _ in range(_MAX_STARTS):
        rest = charts[len(pictures) :]
        if not rest or time.monotonic() >= end:
            break
        drawn, why = _drawn(rest, program=program, end=end, timeout=timeout)
        for chart, picture in zip(rest, drawn, strict=False):
            cleaned, told = _cleaned(picture, chart, place=len(pictures))
            pictures.append(cleaned)
            trouble = trouble or told
        if len(drawn) < len(rest):
            pictures.append("")
            trouble = trouble or why
    return [*pictures, *[""] * (len(charts) - len(pictures))], trouble


def _drawn(charts: Sequence[Chart], *, program: Path, end: float, timeout: float) -> tuple[list[str], str]:
    """Return the pictures of the first of `charts`, as many as were made, and why the others are missing."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, with the interpreter that runs this one
            # -P: the folder of the program, whose files have common names, is no place to import from.
            [sys.executable, "-P", str(program)],
            input=json.dumps([chart.spec for chart in charts], allow_nan=False).encode(),
            capture_output=True,
            timeout=end - time.monotonic(),
            check=False,
        )
        told, why = done.stdout, _why(done)
    except subprocess.TimeoutExpired as error:
        told, why = error.stdout or b"", f"drawing them took longer than {timeout:g} seconds"
    except (OSError, ValueError) as error:
        return [], str(error)
    try:
        return [str(json.loads(line)) for line in told.split(b"\n")[:-1]], why
    except ValueError as error:
        return [], str(error)


def _cleaned(picture: str, chart: Chart, *, place: int) -> tuple[str, str]:
    try:
        return clean(picture, name=f"chart-{place}", text=f"{chart.title}. {chart.text}"), ""
    except Unsafe as error:
        return "", str(error)


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    # What is indented tells where in the program it happened.
    told = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip() == line != ""]
    return told[-1] if told else f"the program that draws them ended with {done.returncode}"
