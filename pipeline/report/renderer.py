"""Has charts drawn in a process of its own, which may fail without harm: a page does without pictures then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.report.charts import Chart
from pipeline.report.svg import Unsafe, clean

PROGRAM = Path(__file__).with_name("drawing.py")
TIMEOUT_SECONDS = 120  # twenty charts take two seconds; a machine that is fifty times slower is not waited for


def draw(
    charts: Sequence[Chart], *, program: Path = PROGRAM, timeout: float = TIMEOUT_SECONDS
) -> tuple[list[str], str]:
    """Return the pictures of `charts` as elements of a page, and why there are none (empty pictures) if that is so."""
    if not charts:
        return [], ""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, with the interpreter that runs this one
            # -P: the folder of the program, whose files have common names, is no place to import from.
            [sys.executable, "-P", str(program)],
            input=json.dumps([chart.spec for chart in charts], allow_nan=False).encode(),
            capture_output=True,
            timeout=timeout,
            check=True,
        )
        pictures = [
            clean(picture, name=f"chart-{place}", text=f"{chart.title}. {chart.text}")
            for place, (chart, picture) in enumerate(zip(charts, json.loads(done.stdout), strict=True))
        ]
    except subprocess.CalledProcessError as error:
        return [""] * len(charts), _why(error)
    except subprocess.TimeoutExpired:
        return [""] * len(charts), f"drawing them took longer than {timeout:g} seconds"
    except (OSError, Unsafe, ValueError) as error:
        return [""] * len(charts), str(error)
    return pictures, ""


def _why(error: subprocess.CalledProcessError) -> str:
    # What is indented tells where in the program it happened.
    told = [line for line in error.stderr.decode(errors="replace").splitlines() if line.strip() == line != ""]
    return told[-1] if told else f"the program that draws them ended with {error.returncode}"
