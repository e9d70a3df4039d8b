"""How a run stood when its log broke off, for one that is not the newest."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.event_reader import LoggedEvent, read_events
from pipeline.events import Kind
from pipeline.run_view import RunView

_TOLD = 60

Seen = tuple[RunView, tuple[LoggedEvent, ...]]


def view_of(path: Path, run: str, *, log: str, end: int) -> Seen:
    """Return the run as the log at `path` tells of its last session, and the newest events of that.

    `log` is which log that is, and `end` the offset behind the newest line of the run: as long as they are the same,
    nothing is read again, however much is told of other runs.
    """
    try:
        return _view_of(path, run, log, end)
    except (OSError, IntegrityError):
        return RunView(), ()


@lru_cache(maxsize=16)
def _view_of(path: Path, run: str, _log: str, _end: int) -> Seen:
    view, told = RunView(), deque[LoggedEvent](maxlen=_TOLD)
    for logged in read_events(path, runs=[run]):
        if logged.run != run:
            continue
        view.take(logged.event, at=logged.time)
        if logged.event.kind is not Kind.PROGRESS:
            told.append(logged)
    return view, tuple(told)
