"""Reading logs/events.jsonl back, also while a run appends to it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.events import Event, Kind
from pipeline.reading import open_regular

_BLOCK_BYTES = 1 << 18
# A quote inside a text of JSON stands behind a backslash: this can only be the kind of an event.
_START = b'"kind": "run_started"'
_SECOND_VERSION = b'{"v": 2,'


@dataclass(frozen=True)
class LoggedEvent:
    """An event as the log has it.

    Attributes:
        time: when it was written, in seconds since 1970; clocks may be set, so never for order.
        run: the run that it is of, `<profile>-<hash8>`.
        end: the offset behind its line, in bytes: reading goes on from there.
    """

    time: float
    run: str
    event: Event
    end: int


def read_events(
    path: Path, *, offset: int = 0, runs: Collection[str] = (), without: Collection[Kind] = ()
) -> Iterator[LoggedEvent]:
    """Yield the events of a log from `offset` on, which is 0 or the `end` of an event.

    A last line that is not whole yet is left for the next call, lines that are no events are passed over, and a log
    that is not there, or ends before `offset`, has none. With `runs` the events of other runs are passed over but for
    their starts, without being parsed as far as their lines name their run: a log has all runs of a workspace. Events
    of the kinds `without` are passed over in the same way: nine of ten lines tell of progress.

    Raises:
        OSError, IntegrityError: it cannot be read, or is no regular file.
    """
    run = None if offset else ""
    names = [json.dumps(run).encode() for run in runs]
    left_out = [f'"kind": "{kind}"'.encode() for kind in without]
    for line, end in _lines(path, offset):
        if any(kind in line for kind in left_out):
            continue
        if (
            names
            and line.startswith(_SECOND_VERSION)
            and _START not in line
            and not any(name in line for name in names)
        ):
            continue
        parsed = _parsed(line)
        if parsed is None:
            continue
        version, time, own_run, event = parsed
        if version > 1:
            run = own_run
        elif event.kind is Kind.RUN_STARTED:
            run = str(event.data.get("run", ""))
        elif run is None:
            run = _run_before(path, offset)
        if not names or run in runs or event.kind is Kind.RUN_STARTED:
            yield LoggedEvent(time, run, event, end)


class FollowedLog:
    """The events of the newest run in a log, and then all that are appended to it; a log begun anew is read anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = last_start(path)

    def new_events(self) -> Iterator[LoggedEvent]:
        """Yield what has come since the last call; raises as `read_events` does."""
        if self._path.exists() and self._path.stat().st_size < self._offset:
            self._offset = 0
        for logged in read_events(self._path, offset=self._offset):
            self._offset = logged.end
            yield logged


def last_start(path: Path) -> int:
    """Return the offset of the line with which the newest run in a log begins; 0 where there is none.

    The log is read from its end, so that it may be long; raises as `read_events` does.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return 0
    with file:
        end = file.seek(0, 2)
        tail = b""
        while end:
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            block = file.read(end - start) + tail
            # The first line of a block may have begun before it, so it is left to the block before.
            first = block.find(b"\n") + 1 if start else 0
            if first or not start:
                found = block.rfind(_START, first)
                if found >= 0:
                    return start + block.rfind(b"\n", 0, found) + 1
                tail, end = block[:first], start
            else:
                tail, end = block, start
    return 0


def _lines(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    """Yield each whole line from `offset` on, and the offset behind it."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        rest = b""
        while block := file.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                yield line, offset


def _parsed(line: bytes) -> tuple[int, float, str, Event] | None:
    """Return version, time, run and event of a line; None for one that is no event of a known kind."""
    try:
        document: dict[str, Any] = json.loads(line)
        event = Event(Kind(document["kind"]), str(document["stage"]), dict(document["data"]))
        time = datetime.fromisoformat(document["time"]).timestamp()
        return int(document["v"]), time, str(document.get("run", "")), event
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _run_before(path: Path, offset: int) -> str:
    """Return the run of the last start before `offset`."""
    run = ""
    for line, end in _lines(path, 0):
        if end > offset:
            break
        if _START in line and (parsed := _parsed(line)) is not None:
            run = str(parsed[3].data.get("run", ""))
    return run
