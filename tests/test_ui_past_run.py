"""Runs that are not the newest, as the log tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_page import Author

from pipeline.events import Kind
from pipeline.ui import past_run
from pipeline.ui.past_run import view_of
from pipeline.ui.watcher import Watcher
from pipeline.workspace import Workspace

_RUN = "small-12345678"


def _written(folder: Path, words: str) -> Path:
    """Write a log of two runs, the first of which has a warning."""
    author = Author(folder)
    author.begin(_RUN)
    author.tell(Kind.WARNING, "numbers", text=words)
    author.begin("small-87654321")
    author.close()
    return author.path


def _warnings(folder: Path) -> list[str]:
    """Return the warnings of the first run, as a page asks for them."""
    watcher = Watcher(Workspace.at(folder))
    watcher.look()
    sight = watcher.sight()
    view, told = view_of(watcher.path, _RUN, log=sight.place.log, end=sight.runs[_RUN].end)
    assert [each.event.kind for each in told] == [Kind.RUN_STARTED, Kind.WARNING]
    return view.warnings


def test_a_log_that_is_replaced_by_one_of_the_same_length_is_read_anew(tmp_path: Path) -> None:
    """The same run, the same offsets: only the first line tells that it is another log."""
    path = _written(tmp_path, "old")
    assert _warnings(tmp_path) == ["numbers: old"]
    size = path.stat().st_size
    path.unlink()
    assert _written(tmp_path, "new").stat().st_size == size
    assert _warnings(tmp_path) == ["numbers: new"]


def test_what_others_tell_is_no_reason_to_read_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page may be open while a newer run works for days."""
    path = _written(tmp_path, "old")
    assert _warnings(tmp_path) == ["numbers: old"]
    monkeypatch.setattr(past_run, "read_events", None)
    author = Author(tmp_path)
    author.begin("small-87654321")
    assert path.stat().st_size == author.ends[-1]
    assert _warnings(tmp_path) == ["numbers: old"]


def test_what_could_not_be_read_once_is_read_the_next_time(tmp_path: Path) -> None:
    """Nothing is kept of a log that could not be read."""
    path = _written(tmp_path, "old")
    hidden = path.rename(path.with_name("hidden"))
    path.mkdir()
    assert view_of(path, _RUN, log="log", end=1)[0].run == ""
    path.rmdir()
    hidden.rename(path)
    assert view_of(path, _RUN, log="log", end=1)[0].run == _RUN
