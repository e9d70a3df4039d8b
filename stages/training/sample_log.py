"""The sample log: which samples each optimizer step took, a JSON line for each step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


class SampleLog:
    """Appends to `logs/samples.jsonl`.

    A step that was lost with a killed process is taken again and logged again: of several lines for one run and step
    the last one counts, and the lines that count hold each sample of an epoch exactly once.
    """

    def __init__(self, path: Path, *, run: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._file = path.open("a", buffering=1)  # by line: a kill loses no step that a checkpoint has

    def write(self, *, epoch: int, global_step: int, sample_ids: Sequence[int]) -> None:
        """Log one step."""
        line = {"run": self._run, "epoch": epoch, "global_step": global_step, "sample_ids": list(sample_ids)}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
