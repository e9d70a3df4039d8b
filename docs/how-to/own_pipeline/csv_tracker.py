"""A tracker of one's own: all curves of a run in one CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from pipeline.trackers.tracker import TrackedRun


class CsvTracker:
    """Appends a row for each value: step, name, value."""

    rewrites = False

    def start(self, run: TrackedRun) -> None:
        """Open the file of this run, the same after an interruption."""
        run.logs.mkdir(parents=True, exist_ok=True)
        self._file = (run.logs / f"{run.id}.csv").open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Write the values; those without a step are figures of the run as a whole."""
        self._rows.writerows([step, name, value] for name, value in values.items())

    def artifact(self, path: Path) -> None:
        """Leave files where they are."""

    def finish(self, status: str) -> None:
        """Close the file."""
        self._rows.writerow([None, "status", status])
        self._file.close()
