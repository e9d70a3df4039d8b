"""The log of events as something to be taken up again at an offset: whether it still is that log, and what follows."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.event_reader import LoggedEvent, read_events
from pipeline.fingerprint import digest_bytes
from pipeline.reading import open_regular

_HEAD_BYTES = 4096  # of the first line, which tells when and by which process it was written


class LogChanged(Exception):
    """The log is another one than it was, or ends before the place that was asked for."""


@dataclass(frozen=True)
class Place:
    """A place between two lines of a log.

    Attributes:
        log: which log that is; empty where that is not known, as of one that has no line yet.
        offset: in bytes; 0 is its begin.
    """

    log: str = ""
    offset: int = 0


@dataclass(frozen=True)
class Batch:
    """Some events, and the place behind them; with `is_last` there were no more yet."""

    events: tuple[LoggedEvent, ...]
    place: Place
    is_last: bool


def identify(path: Path) -> str:
    """Return what tells the log at `path` from every other one; empty where it has no whole line yet.

    Raises:
        OSError, IntegrityError: it cannot be read, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return ""
    line, end, _ = head.partition(b"\n")
    return digest_bytes(line)[:16] if end or len(head) == _HEAD_BYTES else ""


def events_after(path: Path, place: Place, *, limit: int, runs: Collection[str] = ()) -> Batch:
    """Return up to `limit` events behind `place`; a last line that is not whole yet is left for the next time.

    `runs` as for `read_events`.

    Raises:
        LogChanged: the log was begun anew, cut short or replaced, or `place` is in the middle of a line.
        OSError, IntegrityError: it cannot be read, or is no regular file.
    """
    _require(path, place)
    events = tuple(islice(read_events(path, offset=place.offset, runs=runs), limit))
    # Once more: what was read in between is of this log if it was the same before and after.
    log = _require(path, place)
    return Batch(events, Place(log, events[-1].end if events else place.offset), is_last=len(events) < limit)


def _require(path: Path, place: Place) -> str:
    """Return which log lies at `path`; raises LogChanged where `place` is not one of its places."""
    log = identify(path)
    if place.log and log != place.log:
        raise LogChanged
    if place.offset == 0:
        return log
    try:
        with open_regular(path) as file:
            is_place = os.pread(file.fileno(), 1, place.offset - 1) == b"\n"
    except FileNotFoundError:
        is_place = False
    except (OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        is_place = False
    if not is_place:
        raise LogChanged
    return log
