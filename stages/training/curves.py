"""Curves for TensorBoard, where the package is installed."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.reporting import AppendedFile


class Curves:
    """Writes an event file into `folder`; points from `first_step` on that an earlier process wrote are hidden.

    TensorBoard calls that purging: a resumed run's steps continue those that it kept, and none is shown twice. Its
    records are written here and not by its own writer, whose thread would end with a traceback on a full disk, and
    the run with it. Each point is there at once; when the file cannot be written, `tell` is told once.
    """

    def __init__(self, folder: Path, *, first_step: int, tell: Callable[[str], None]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._new_event = Event
        # TensorBoard reads the files of a folder in the order of their names, two of the same second and process too.
        own = f"{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns():020}"
        name = f"events.out.tfevents.{int(time.time()):010}.{own}"
        self._file = AppendedFile(folder / name, tell=tell)
        self._records = RecordWriter(self._file)
        self._write(step=first_step, file_version="brain.Event:2")
        self._write(step=first_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of the named curves."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=points))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._records.write(self._new_event(wall_time=time.time(), **fields).SerializeToString())


def is_installed() -> bool:
    """Return whether TensorBoard's package is there."""
    return importlib.util.find_spec("tensorboard") is not None
