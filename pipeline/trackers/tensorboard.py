"""Curves for TensorBoard: an event file in `logs/tensorboard/<run>/` for each part of a run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.reporting import AppendedFile
from pipeline.trackers.tracker import TrackedRun


class TensorBoardTracker:
    """Writes TensorBoard's records itself: its own writer has a thread that dies on a full disk.

    What an earlier part of the run wrote from the first step on is hidden, which TensorBoard calls purging.
    """

    rewrites = True

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._events, self._summaries, self._new_writer = event_pb2, summary_pb2, RecordWriter
        self._file: AppendedFile | None = None
        self._records: Any = None
        self._step = -1

    def start(self, run: TrackedRun) -> None:
        """Remember where; a file begins with the first value, whose step it names."""
        self._folder = run.logs / "tensorboard" / run.name

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Add a point to each curve; a figure of the whole run stands at its last step."""
        if self._records is None or (step is not None and not 0 <= self._step <= step):
            self._open(first_step=step)
        self._step = self._step if step is None else step
        points = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=max(0, self._step), summary=self._summaries.Summary(value=points))

    def artifact(self, path: Path) -> None:
        """Leave it: TensorBoard keeps no files."""

    def finish(self, _status: str) -> None:
        """Close the file, of which nothing is held back."""
        if self._file is not None:
            self._file.close()

    def _open(self, *, first_step: int | None) -> None:
        if self._file is not None:
            self._file.close()
        # TensorBoard reads the files of a folder in the order of their names, two of the same second and process too.
        own = f"{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns():020}"
        name = f"events.out.tfevents.{int(time.time()):010}.{own}"
        self._file = AppendedFile(self._folder / name, tell=_give_up)
        self._records = self._new_writer(self._file)
        self._write(step=first_step or 0, file_version="brain.Event:2")
        if first_step is not None:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(step=first_step, session_log=start)

    def _write(self, **fields: Any) -> None:
        self._records.write(self._events.Event(wall_time=time.time(), **fields).SerializeToString())


def _give_up(text: str) -> None:
    raise OSError(text.removesuffix("; the run goes on without it"))
