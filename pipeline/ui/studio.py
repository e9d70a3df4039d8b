"""Draws charts for a page that changes: in one process that stays, and each chart only when its data have changed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.fingerprint import digest_json
from pipeline.report.charts import Chart
from pipeline.report.renderer import PROGRAM
from pipeline.report.svg import Unsafe, clean

_TIMEOUT_SECONDS = 60.0
_IDLE_SECONDS = 60.0  # the drawing process holds 150 MB; nobody has looked for so long
_MAX_KEPT = 128  # pictures: those of a few runs
_BLOCK_BYTES = 1 << 18
_MAX_TROUBLES = 3  # then the rest is not tried: it is not the charts, as for want of memory


class Studio:
    """Turns charts into pictures; not for several threads at a time.

    Attributes:
        num_started: how often the process was started, which takes as long as twenty pictures.

    Args:
        clock: gives seconds that go on whatever is done to the time of day.
    """

    def __init__(
        self,
        *,
        program: Path = PROGRAM,
        timeout: float = _TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._program = program
        self._timeout = timeout
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._used_at = 0.0
        self._pictures: OrderedDict[str, str] = OrderedDict()
        self.num_started = 0

    def draw(self, charts: Sequence[Chart]) -> tuple[list[str], str]:
        """Return the pictures of `charts` as elements of a page, and why some are missing (empty) if that is so."""
        keys = [digest_json({"spec": chart.spec, "title": chart.title, "text": chart.text})[:12] for chart in charts]
        missing = {key: chart for key, chart in zip(keys, charts, strict=True) if key not in self._pictures}
        trouble = self._draw_missing(missing) if missing else ""
        pictures = []
        for key in keys:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            pictures.append(self._pictures.get(key, ""))
        while len(self._pictures) > _MAX_KEPT:
            self._pictures.popitem(last=False)
        return pictures, trouble

    def rest(self) -> None:
        """End the drawing process if it has had nothing to do for a while."""
        if self._process is not None and self._clock() - self._used_at > _IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """End the drawing process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _draw_missing(self, missing: dict[str, Chart]) -> str:
        """Draw each for itself, so that one that cannot be drawn costs only itself; return why the first one is not."""
        troubles: list[str] = []
        for key, chart in missing.items():
            try:
                for picture in self._answer([chart.spec]):
                    self._pictures[key] = clean(picture, name=f"chart-{key}", text=f"{chart.title}. {chart.text}")
            except (OSError, Unsafe, ValueError, TimeoutError) as error:
                self.close()
                troubles.append(str(error))
                if len(troubles) == _MAX_TROUBLES:
                    break
        self._used_at = self._clock()
        return troubles[0] if troubles else ""

    def _answer(self, specs: Sequence[object]) -> list[str]:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(specs, allow_nan=False).encode() + b"\n")
        process.stdin.flush()
        answer: list[str] = json.loads(self._line(process))
        if len(answer) != len(specs):
            raise ValueError(f"the program that draws them has drawn {len(answer)} of {len(specs)}")
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            # -P: the folder of the program, whose files have common names, is no place to import from.
            command = [sys.executable, "-P", str(self._program), "--lines"]
            self.num_started += 1
            self._process = subprocess.Popen(  # noqa: S603 - our own program, with the interpreter that runs this one
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        end, found = time.monotonic() + self._timeout, bytearray()
        while not found.endswith(b"\n"):
            if not select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"drawing them took longer than {self._timeout:g} seconds")
            block = os.read(process.stdout.fileno(), _BLOCK_BYTES)
            if not block:
                raise ValueError(f"the program that draws them ended with {process.wait()}")
            found += block
        return bytes(found)
