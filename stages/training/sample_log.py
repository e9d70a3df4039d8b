"""The sample log: which samples each optimizer step took, a JSON line for each step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.reporting import AppendedFile


class SampleLog:
    """Appends to `logs/samples.jsonl`; each line is there at once: a kill loses no step that a checkpoint has.

    A step that was lost with a killed process is taken again and logged again: of several lines for one run and step
    the last one counts, and the lines that count hold each sample of an epoch exactly once. When the file cannot be
    written, `tell` is told once, and training goes on.
    """

    def __init__(self, path: Path, *, run: str, tell: Callable[[str], None]) -> None:
        self._run = run
        self._file = AppendedFile(path, tell=tell)

    def write(self, *, epoch: int, global_step: int, sample_ids: Sequence[int]) -> None:
        """Log one step."""
        line = {"run": self._run, "epoch": epoch, "global_step": global_step, "sample_ids": list(sample_ids)}
        self._file.append(json.dumps(line))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
