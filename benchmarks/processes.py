"""Whole processes and what they cost: wall time from start to end, and the greatest memory of any of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PASS = (sys.executable, "-c", "pass")
PIPELINE = (str(Path(sys.executable).with_name("pipeline")),)


class Cost(NamedTuple):
    """What a process took: seconds, and the most memory that it or a process it waited for had, in MiB."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, where it runs, and what its environment has besides ours."""

    words: Sequence[str]
    folder: Path = ROOT
    environment: Mapping[str, str] | None = None

    def run(self, *, output: Path | None = None) -> Cost:
        """Run it; `output` gets what it prints. Raises CalledProcessError when it fails.

        No reading of memory is below that of this process, which it has until its program is loaded.
        """
        environment = {**os.environ, **(self.environment or {})}
        # Where byte code may not be kept every start compiles the sources anew, which no user's machine does.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with (output or Path(os.devnull)).open("wb") as stream:
            started = time.perf_counter()
            process = subprocess.Popen(
                self.words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(self.words))
        return Cost(seconds, usage.ru_maxrss / 1024)
