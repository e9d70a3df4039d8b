"""What is known of a workspace while it is watched."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from live_page import Author

from pipeline.events import Kind
from pipeline.run_view import State
from pipeline.ui.watcher import Watcher
from pipeline.workspace import Workspace


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """What writes the log."""
    return Author(tmp_path)


def _watcher(tmp_path: Path, times: list[float]) -> Watcher:
    return Watcher(Workspace.at(tmp_path), clock=lambda: times[0])


def test_a_look_tells_whether_something_has_changed(author: Author, tmp_path: Path) -> None:
    """New lines have; half of one has changed nothing that is shown, and no line at all nothing."""
    watcher = _watcher(tmp_path, [0.0])
    watcher.look()
    assert watcher.sight().newest == ""
    end = author.begin()
    assert watcher.look()
    assert (watcher.sight().newest, watcher.sight().place.offset) == ("small-12345678", end)
    assert not watcher.look()


def test_the_newest_run_is_read_from_its_start_and_the_list_from_the_begin(tmp_path: Path) -> None:
    """A watcher that comes late knows as much as one that was there all the time."""
    times = [0.0]
    early = _watcher(tmp_path, times)
    for name in ("small-1", "small-2", "small-3"):
        author = Author(tmp_path)
        author.begin(name)
        author.tell(Kind.STAGE_STARTED, "numbers", action="run")
        author.tell(Kind.PROGRESS, "numbers", done=2, total=4, unit="numbers")
        author.tell(Kind.INTERRUPTED, "numbers", signal=2, where="number 2")
        early.look()
    late = _watcher(tmp_path, times)
    late.look()
    assert late.sight().runs.keys() == early.sight().runs.keys()
    assert [run.state for run in late.sight().runs.values()] == ["interrupted"] * 3
    assert late.sight().place == early.sight().place
    for watcher in (early, late):
        sight = watcher.sight()
        assert sight.view.run == "small-3"
        assert sight.view.stages["numbers"].state is State.INTERRUPTED
        assert sight.view.stages["numbers"].done == 2
        assert [logged.event.kind for logged in sight.told] == [
            Kind.RUN_STARTED,
            Kind.STAGE_STARTED,
            Kind.INTERRUPTED,
        ]


def test_a_log_that_was_replaced_is_read_anew_at_the_next_look(author: Author, tmp_path: Path) -> None:
    """To its end: nothing may come after it for a long time."""
    watcher = _watcher(tmp_path, [0.0])
    author.begin("small-1")
    watcher.look()
    author.path.unlink()
    end = Author(tmp_path).begin("small-2")
    assert watcher.look()
    assert [*watcher.sight().runs] == ["small-2"]
    assert (watcher.sight().view.run, watcher.sight().place.offset) == ("small-2", end)


def test_it_is_seen_when_a_process_comes_and_goes(author: Author, tmp_path: Path) -> None:
    """Though the log says nothing of it; asked for every two seconds."""
    times = [0.0]
    watcher = _watcher(tmp_path, times)
    author.begin()
    with Workspace.at(tmp_path).locked():
        watcher.look()
        assert watcher.sight().is_at_work
        assert watcher.sight().runs["small-12345678"].state == "at work"
    assert not watcher.look()
    times[0] = 2.0
    before = watcher.sight().plan_stamp
    assert watcher.look()
    assert watcher.sight().runs["small-12345678"].state == "killed"
    assert watcher.sight().plan_stamp != before


def test_a_report_is_seen_when_it_comes(author: Author, tmp_path: Path) -> None:
    """It is written when the log has had its last line."""
    times = [0.0]
    watcher = _watcher(tmp_path, times)
    author.begin()
    watcher.look()
    (tmp_path / "results" / "small-12345678").mkdir(parents=True)
    (tmp_path / "results" / "small-12345678" / "report.html").write_text("")
    times[0] = 2.0
    assert watcher.look()
    assert watcher.sight().reports == {"small-12345678"}


def test_only_what_may_change_a_decision_asks_for_a_new_plan(author: Author, tmp_path: Path) -> None:
    """Starts and ends, and what there is to go on with, not the progress in between."""
    watcher = _watcher(tmp_path, [0.0])
    author.begin()
    stamps = []
    for kind, data in (
        (Kind.PROGRESS, {"done": 1, "total": 2, "unit": "numbers"}),
        (Kind.STAGE_FINISHED, {"duration_seconds": 1}),
        (Kind.INFO, {"text": "a"}),
        (Kind.CHECKPOINT, {"step": 1, "num_bytes": 1, "seconds": 0.1}),
    ):
        watcher.look()
        stamps.append(watcher.sight().plan_stamp)
        author.tell(kind, "numbers", **data)
    watcher.look()
    stamps.append(watcher.sight().plan_stamp)
    assert [after - before for before, after in pairwise(stamps)] == [0, 1, 0, 1]


def test_what_is_known_at_one_moment_is_of_one_place(author: Author, tmp_path: Path) -> None:
    """Whatever comes later: a page that is made of it neither tells an event twice nor shows another run."""
    watcher = _watcher(tmp_path, [0.0])
    author.begin("small-1")
    author.tell(Kind.WARNING, "numbers", text="first")
    watcher.look()
    sight = watcher.sight()
    author.tell(Kind.WARNING, "numbers", text="second")
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    watcher.look()
    assert [logged.end for logged in sight.told] == [end for end in author.ends if end <= sight.place.offset]
    assert (sight.view.warnings, sight.view.stages["numbers"].state) == (["numbers: first"], State.WAITING)
    author.begin("small-2")
    watcher.look()
    assert sight.view.run == "small-1"
    assert watcher.sight().view.run == "small-2"


@pytest.mark.parametrize("odd", [{"stages": 5}, {"config_hashes": [1]}, {"run": "a\ud800b"}])
def test_a_start_that_is_none_changes_nothing(author: Author, tmp_path: Path, odd: dict[str, Any]) -> None:
    """List and view go on with the run before, and are of the same one."""
    watcher = _watcher(tmp_path, [0.0])
    author.begin("small-1")
    author.tell(Kind.WARNING, "numbers", text="mine")
    author.tell(Kind.RUN_STARTED, **{"run": "odd", "stages": [], **odd})
    author.tell(Kind.WARNING, "numbers", text="odd")
    for late in (watcher, _watcher(tmp_path, [0.0])):
        late.look()
    for each in (watcher, late):
        sight = each.sight()
        assert ([*sight.runs], sight.newest) == (["small-1"], "small-1")
    assert (watcher.sight().view.run, watcher.sight().view.warnings) == ("small-1", ["numbers: mine"])


def test_whoever_waits_is_woken_by_a_change_or_by_the_end(author: Author, tmp_path: Path) -> None:
    """And otherwise when his time is over."""

    async def wait() -> list[bool]:
        watcher = _watcher(tmp_path, [0.0])
        await watcher.catch_up()
        author.begin()
        waiting = asyncio.create_task(watcher.changed(since=watcher.version, timeout=60))
        await asyncio.sleep(0)
        await watcher.catch_up()
        await waiting
        await watcher.changed(since=watcher.version, timeout=0.01)
        waiting = asyncio.create_task(watcher.changed(since=watcher.version, timeout=60))
        await asyncio.sleep(0)
        watcher.end()
        await waiting
        return [watcher.is_over, waiting.done()]

    # In a loop of its own: a browser that runs in this thread holds the one of `asyncio.run`.
    loop = asyncio.SelectorEventLoop()
    try:
        assert loop.run_until_complete(wait()) == [True, True]
    finally:
        loop.close()
