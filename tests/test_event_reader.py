"""The log of events, read back as it was told, and while it grows."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import event_reader
from pipeline.errors import IntegrityError
from pipeline.event_reader import last_start, read_events
from pipeline.events import Event, Kind
from pipeline.reporting import EventLog


def _line(kind: str, *, version: int = 2, run: str = "quick-1", **data: Any) -> bytes:
    own = {"run": run} if version > 1 else {}
    document = {"v": version, "time": "2026-11-21T10:00:00.500+02:00", **own, "kind": kind, "stage": "", "data": data}
    return json.dumps(document).encode() + b"\n"


def _texts(path: Path, *, offset: int = 0) -> list[tuple[str, str]]:
    return [(logged.run, logged.event.data.get("text", "")) for logged in read_events(path, offset=offset)]


def test_what_was_told_is_read_back(tmp_path: Path) -> None:
    """Kind, stage, data and run are those that were told; the time is the time of day."""
    path = tmp_path / "logs" / "events.jsonl"
    events = [
        Event(Kind.RUN_STARTED, "", {"run": "quick-12345678", "stages": ["a"]}),
        Event(Kind.INFO, "a", {"text": "two\nlines ✓"}),
        Event(Kind.METRICS, "a", {"step": 3, "loss": 0.5}),
    ]
    before = datetime.now(UTC).timestamp()
    log = EventLog(path, tell=print)
    for event in events:
        log.emit(event)
    log.close()
    logged = list(read_events(path))
    assert [each.event for each in logged] == events
    assert {each.run for each in logged} == {"quick-12345678"}
    assert all(before - 0.002 <= each.time <= datetime.now(UTC).timestamp() for each in logged)
    assert logged[-1].end == path.stat().st_size


def test_the_time_is_in_seconds_since_1970(tmp_path: Path) -> None:
    """Of whatever zone it was written in."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(_line("info", text="a"))
    assert [each.time for each in read_events(path)] == [datetime(2026, 11, 21, 8, 0, 0, 500_000, UTC).timestamp()]


@pytest.mark.parametrize("block", [1, 50, 1 << 18])
def test_reading_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Each event comes once, however the file grew meanwhile; half a line waits for its other half."""
    monkeypatch.setattr(event_reader, "_BLOCK_BYTES", block)
    path = tmp_path / "events.jsonl"
    whole = b"".join(_line("info", text=str(number)) for number in range(20))
    seen, offset = [], 0
    for size in range(0, len(whole) + 1, 61):
        path.write_bytes(whole[:size])
        for each in read_events(path, offset=offset):
            seen.append(each.event.data["text"])
            offset = each.end
    path.write_bytes(whole)
    seen += [each.event.data["text"] for each in read_events(path, offset=offset)]
    assert seen == [str(number) for number in range(20)]


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    """Half a line of a killed run, another program's line, kinds of a later version, and what only looks like JSON."""
    path = tmp_path / "events.jsonl"
    strange = [
        b'{"v": 2, "ti\n', b"\n", b"[]\n", b"null\n", b'"text"\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n",
        _line("kind_of_tomorrow"), _line("info").replace(b"2026-11-21", b"yesterday"), b'{"kind": "info"}\n',
        _line("info").replace(b'"data": {}', b'"data": 7'), b"1" * 10_000 + b"\n",
    ]  # fmt: skip
    path.write_bytes(_line("info", text="first") + b"".join(strange) + _line("info", text="last"))
    assert _texts(path) == [("quick-1", "first"), ("quick-1", "last")]


def test_lines_of_the_first_version_belong_to_the_last_run_before_them(tmp_path: Path) -> None:
    """Also where reading begins behind the line that names the run."""
    path = tmp_path / "events.jsonl"
    first = _line("run_started", version=1, run="", stages=[]).replace(b'"stages"', b'"run": "old-1", "stages"')
    lines = [_line("info", version=1, text="before"), first, _line("info", version=1, text="a")]
    lines += [_line("run_started", run="new-2", stages=[]), _line("info", run="new-2", text="b")]
    path.write_bytes(b"".join(lines))
    assert _texts(path) == [("", "before"), ("old-1", ""), ("old-1", "a"), ("new-2", ""), ("new-2", "b")]
    behind_first = len(lines[0]) + len(first)
    assert _texts(path, offset=behind_first) == [("old-1", "a"), ("new-2", ""), ("new-2", "b")]


def test_events_of_other_runs_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all runs the starts, of those that are asked for everything; other lines are not even parsed."""
    path = tmp_path / "events.jsonl"
    lines = [
        _line("run_started", version=1, run="old-1"),
        _line("info", version=1, text="of the first version"),
        _line("run_started", run="mine-1"),
        _line("info", run="mine-1", text="mine"),
        _line("run_started", run="other-1"),
        _line("info", run="other-1", text="other"),
        _line("info", run="other-1", text="mine-1"),
    ]
    path.write_bytes(b"".join(lines))
    parsed: list[bytes] = []
    parse = event_reader._parsed

    def noting(line: bytes) -> Any:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(event_reader, "_parsed", noting)
    told = [(each.run, each.event.kind.value) for each in read_events(path, runs={"mine-1"})]
    assert told == [("", "run_started"), ("mine-1", "run_started"), ("mine-1", "info"), ("other-1", "run_started")]
    assert lines[5].rstrip() not in parsed
    assert len(parsed) == 6


def test_a_log_that_is_not_there_has_no_events(tmp_path: Path) -> None:
    """Nor has one that was removed and begun anew, behind its end."""
    path = tmp_path / "events.jsonl"
    assert list(read_events(path)) == []
    assert last_start(path) == 0
    path.write_bytes(_line("info", text="a"))
    assert list(read_events(path, offset=10_000)) == []


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A named pipe in the place of the log would otherwise stop a display for ever."""
    path = tmp_path / "events.jsonl"
    os.mkfifo(path)
    with pytest.raises(IntegrityError):
        list(read_events(path))


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 18])
def test_the_newest_run_is_found_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """A text that quotes such a line is none; blocks may end anywhere."""
    monkeypatch.setattr(event_reader, "_BLOCK_BYTES", block)
    path = tmp_path / "events.jsonl"
    head = [_line("info", text="before"), _line("run_started", stages=[]), _line("info", text="x" * 100)]
    tail = [_line("run_started", stages=[]), _line("info", text='"kind": "run_started"'), b'{"half of a li']
    path.write_bytes(b"".join(head + tail))
    assert last_start(path) == sum(map(len, head))
    path.write_bytes(b"".join(head[:1]))
    assert last_start(path) == 0
    path.write_bytes(head[1])
    assert last_start(path) == 0
