"""How a run stood when its log broke off, for one that is not the newest."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.event_reader import LoggedEvent, read_events
from pipeline.events import Kind
from pipeline.run_view import RunView

_TOLD = 60


def view_of(path: Path, run: str) -> tuple[RunView, tuple[LoggedEvent, ...]]:
    """Return the run as the log at `path` tells of its last session, and the newest events of that."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return _view_of(path, run, size)


@lru_cache(maxsize=8)
def _view_of(path: Path, run: str, _size: int) -> tuple[RunView, tuple[LoggedEvent, ...]]:
    view, told = RunView(), deque[LoggedEvent](maxlen=_TOLD)
    with suppress(OSError, IntegrityError):
        for logged in read_events(path, runs=[run]):
            if logged.run != run:
                continue
            view.take(logged.event, at=logged.time)
            if logged.event.kind is not Kind.PROGRESS:
                told.append(logged)
    return view, tuple(told)
