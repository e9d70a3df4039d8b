"""The list of runs, folded from made-up logs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from event_logs import RUN, MadeUpLog, killed_and_stopped

from pipeline.events import Kind
from pipeline.ui.run_list import ListedRun, RunList


def _runs(log: MadeUpLog, *, is_at_work: bool = False) -> list[ListedRun]:
    listed = RunList()
    for logged in log.events:
        listed.take(logged)
    return list(listed.runs(is_at_work=is_at_work).values())


def _started(log: MadeUpLog, run: str, **data: Any) -> None:
    log.tell(Kind.RUN_STARTED, run=run, **data)
    log.events[-1].event.data["run"] = run


def test_a_run_that_was_killed_and_stopped_counts_both_and_no_pause() -> None:
    """Three sessions: the first broke off, the second was interrupted, the third is done."""
    log = killed_and_stopped()
    for logged in log.events:
        if logged.event.kind is Kind.RUN_STARTED:
            logged.event.data["run"] = RUN
    log.tell(Kind.RUN_FINISHED, targets=[{"data_set": "d", "metric": "ap", "minimum": 0.5, "value": 0.6}])
    (run,) = _runs(log)
    assert (run.state, run.num_cuts) == ("done", 2)
    assert run.targets[0].is_met
    span = log.events[-1].time - log.events[0].time
    pauses = 3600 + 60  # before the second and the third start
    assert run.work_seconds == pytest.approx(span - pauses)
    assert run.started == log.events[0].time


@pytest.mark.parametrize(
    ("last", "is_at_work", "state", "num_cuts"),
    [
        (None, True, "at work", 0),
        (None, False, "killed", 1),
        (Kind.INTERRUPTED, True, "interrupted", 1),
        (Kind.STAGE_FAILED, False, "failed", 1),
        (Kind.RUN_FINISHED, False, "done", 0),
    ],
)
def test_how_a_run_stands(last: Kind | None, is_at_work: bool, state: str, num_cuts: int) -> None:
    """By its last words, and where it has none, by whether a process is there."""
    log = MadeUpLog()
    _started(log, RUN, profile="test", stages=["a"])
    log.tell(Kind.STAGE_STARTED, "a", action="run")
    if last:
        log.tell(last, "a")
    (run,) = _runs(log, is_at_work=is_at_work)
    assert (run.state, run.num_cuts) == (state, num_cuts)
    assert (run.profile, run.stages) == ("test", ("a",))


def test_two_stages_that_are_stopped_together_are_one_interruption() -> None:
    """And where one has failed, the run failed, whatever the other says."""
    log = MadeUpLog()
    _started(log, RUN)
    log.tell(Kind.STAGE_FAILED, "a", error="oops")
    log.tell(Kind.INTERRUPTED, "b", signal=15)
    (run,) = _runs(log)
    assert (run.state, run.num_cuts) == ("failed", 1)


def test_the_run_that_was_started_last_comes_first_and_only_it_can_be_at_work() -> None:
    """Also where an older one is started again."""
    log = MadeUpLog()
    for name in ("a-1", "b-2", "a-1"):
        _started(log, name)
    assert [(run.name, run.state, run.num_cuts) for run in _runs(log, is_at_work=True)] == [
        ("a-1", "at work", 1),
        ("b-2", "killed", 1),
    ]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"run": "x", "stages": 5},
        {"run": "x", "config_hashes": []},
        {"run": "x", "targets": [{"minimum": "?"}]},
        {"run": RUN, "stages": 5},
        {"run": "a\ud800b"},
    ],
)
def test_a_log_may_say_anything(data: dict[str, object]) -> None:
    """What is no start of a run is none; those that are there stay."""
    log = MadeUpLog()
    _started(log, RUN)
    log.tell(Kind.RUN_STARTED)
    log.events[-1].event.data.update(data)
    log.tell(Kind.RUN_FINISHED, run="never started")
    assert [run.name for run in _runs(log)] == [RUN]
    listed = RunList()
    for logged in log.events:
        listed.take(logged)
    assert listed.newest == RUN


@pytest.mark.parametrize("name", ["..", ".", "", "a\nb", "a b", "a/b", "a/report", "a?b", "a#b", "ü", "~1", ".a"])
def test_every_run_has_an_address_that_browsers_leave_as_it_is(name: str) -> None:
    """The names that we make are their own addresses; of all others it is a digest."""
    assert ListedRun(name="small-1234abcd").address == "small-1234abcd"
    assert re.fullmatch("~[0-9a-f]{16}", ListedRun(name=name).address)
