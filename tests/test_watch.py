"""`pipeline status --watch`: a run in another process, seen from here."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy_command_line
from terminal import FakeTerminal
from toy_command_line import Call, states

from pipeline import lock
from pipeline.answer import Answer
from pipeline.commands.watch import watch
from pipeline.event_reader import FollowedLog
from pipeline.events import Event, Kind
from pipeline.holder import Holder
from pipeline.options import SettingsOptions
from pipeline.reporting import EventLog
from pipeline.ui.overview import Planner
from pipeline.workspace import Workspace

call = toy_command_line.call

_START = {"run": "default-12345678", "profile": "default", "stages": ["numbers", "sum"]}
_PROGRESS = {"done": 3, "total": 10, "unit": "numbers", "figures": {"loss": 0.25}}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    """The event log of a workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_PIPELINE", "toy_pipeline:PIPELINE")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    log = EventLog(tmp_path / "logs" / "events.jsonl", tell=pytest.fail)
    yield log
    log.close()


def _tell(log: EventLog, kind: Kind, stage: str = "", /, **data: Any) -> None:
    log.emit(Event(kind, stage, data))


def _begin(log: EventLog) -> None:
    _tell(log, Kind.RUN_STARTED, **_START)
    _tell(log, Kind.DECISION, "numbers", action="run", reason="NEVER_RAN", detail="nothing")
    _tell(log, Kind.STAGE_STARTED, "numbers", action="run")
    _tell(log, Kind.PROGRESS, "numbers", **_PROGRESS)


def _watch(stream: io.StringIO | None, *moments: Callable[[], object]) -> Answer:
    """Watch a run that does one of `moments` each time that the watching pauses; after the last one it is gone."""
    rest = iter(moments)
    with ExitStack() as held:
        held.enter_context(Workspace.at(Path()).locked())

        def pause(_seconds: float) -> None:
            next(rest, held.close)()

        return watch(SettingsOptions(), stream=stream, sleep=pause)


@pytest.mark.parametrize(
    ("start", "is_told"),
    [({}, True), ({"run": "default-12345678"}, False), ({"pid": 1}, False)],
    ids=["this run", "another run", "a run that was killed"],
)
def test_a_stage_on_which_a_run_works_is_at_work(
    call: Call, log: EventLog, tmp_path: Path, start: dict[str, Any], is_told: bool
) -> None:
    """And no other one; as soon as the run has ended none is, nor if whoever holds the workspace is not that run."""
    call("run --quiet --until data")
    call("reset data --yes")
    run = call("status --json").document["run"]
    before = states(call("status --json"))
    _tell(log, Kind.RUN_STARTED, **{**_START, "run": run, "pid": os.getpid(), **start})
    _tell(log, Kind.STAGE_STARTED, "numbers", action="run")
    _tell(log, Kind.PROGRESS, "numbers", **_PROGRESS)
    with Workspace.at(tmp_path).locked():
        told = states(call("status --json"))
        text = call("status").out
        planned = states(call("plan --json"))
        page = Planner(SettingsOptions(workspace=tmp_path)).overview(0)
    assert told == {**before, **({"numbers": "at work"} if is_told else {})}
    assert planned == told
    assert {stage.name: stage.state for stage in page.stages} == told
    assert bool(re.search(r"^numbers +at work +`pipeline status --watch` shows", text, re.MULTILINE)) == is_told
    assert states(call("status --json")) == before


def test_status_needs_no_log(call: Call, log: EventLog, tmp_path: Path) -> None:
    """What stands in its place is no log: nothing is known of stages at work."""
    log.close()
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "events.jsonl")
    with Workspace.at(tmp_path).locked():
        assert "at work" not in states(call("status --json")).values()


def test_where_no_run_is_at_work_it_says_so(call: Call, tmp_path: Path) -> None:
    """And tells the status, as without --watch."""
    watched = call("status --watch")
    first, rest = watched.out.split("\n\n", 1)
    assert first == f"no run is at work in {tmp_path}"
    assert rest == call("status").out


def test_a_terminal_shows_the_run_and_what_becomes_of_it(log: EventLog) -> None:
    """The same picture as where it runs, from the beginning of the run on, and at the end only its stages."""
    terminal, screens = FakeTerminal(), list[list[str]]()
    _begin(log)
    answer = _watch(
        terminal,
        lambda: screens.append(terminal.screen()),
        lambda: _tell(log, Kind.STAGE_FINISHED, "numbers", duration_seconds=2.5, metrics={}),
        lambda: screens.append(terminal.screen()),
        lambda: _tell(log, Kind.RUN_FINISHED, duration_seconds=2.75, targets=[]),
    )
    assert [line.partition("running")[0].rstrip() for line in screens[0]] == [
        "default-12345678",
        "├─ ▶ numbers  30%",
        "│    ██████████████▒░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 3/10 numbers",
        "│    loss 0.25",
        "└─ · sum      waiting",
    ]
    assert screens[1][1:] == ["├─ ✓ numbers  done in 2.5s", "└─ · sum      waiting"]
    assert terminal.screen() == []
    assert answer.text(80) == "default-12345678 is done\n\nnumbers  done     in 2.5s\nsum      waiting"


def test_after_a_pause_the_picture_begins_anew(log: EventLog) -> None:
    """Ctrl+Z and `fg`: the shell has written below it; at the end signals are as they were."""
    terminal = FakeTerminal()
    _begin(log)
    _watch(terminal, lambda: os.kill(os.getpid(), signal.SIGCONT), lambda: None)
    moves = [re.findall(r"\x1b\[\d+A", text) for text in terminal.writes()]
    assert [len(found) for found in moves] == [0, 0, 1, 1, 1]
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


def test_a_pipe_gets_lines_without_control_characters(log: EventLog) -> None:
    """Those that the run itself says in a pipe, from the beginning of the newest run on."""
    pipe = io.StringIO()
    _tell(log, Kind.RUN_STARTED, **{**_START, "run": "default-of-yesterday"})
    _begin(log)
    _watch(pipe, lambda: _tell(log, Kind.INFO, "numbers", text="half of it"))
    assert pipe.getvalue().splitlines() == [
        "run default-12345678",
        "numbers  RUN     NEVER_RAN         nothing",
        "numbers: half of it",
    ]


def test_ctrl_c_leaves_and_the_run_goes_on(log: EventLog) -> None:
    """The picture goes, and no error is told."""
    terminal = FakeTerminal()
    _begin(log)

    def press() -> None:
        raise KeyboardInterrupt

    answer = _watch(terminal, press)
    assert terminal.screen() == []
    assert answer.error is None
    assert answer.text(80).startswith("default-12345678 goes on\n\n")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_output_that_is_closed_ends_it(log: EventLog, is_terminal: bool) -> None:
    """As `head` does when it has read enough, or whoever closes the window."""
    stream = FakeTerminal() if is_terminal else io.StringIO()
    _begin(log)
    _watch(stream, stream.close, lambda: _tell(log, Kind.INFO, "sum", text="a"), pytest.fail)


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ((Kind.STAGE_FAILED, {"error": "NaN", "code": "E0104"}), "has ended: numbers failed: E0104: NaN"),
        ((Kind.INTERRUPTED, {"signal": 2, "where": "number 3"}), "has ended: numbers was interrupted: number 3"),
        (None, "has ended without a word, as after a kill; `pipeline run` with the same options goes on with it"),
    ],
)
def test_it_tells_how_the_run_ended(log: EventLog, last: tuple[Kind, dict[str, Any]] | None, sentence: str) -> None:
    """Failed, interrupted, or killed."""
    _begin(log)
    answer = _watch(io.StringIO(), *([partial(_tell, log, last[0], "numbers", **last[1])] if last else []))
    assert answer.text(0).splitlines()[0] == f"default-12345678 {sentence}"


def test_for_a_program_it_waits_for_the_end(log: EventLog, call: Call) -> None:
    """With --json nothing is shown, and the answer is the status at the end, with what was watched."""
    _begin(log)
    answer = _watch(None, lambda: None)
    assert answer.document["command"] == "status"
    document = json.loads(json.dumps(answer.document))
    watched = document.pop("watched")
    assert document == call("status --json").document
    assert (watched["run"], watched["is_over"]) == ("default-12345678", False)
    assert watched["stages"][0] == {"stage": "numbers", "state": "running", "seconds": None, "error": ""}


@pytest.mark.parametrize("words", ["", "--set numbers.count=3"])
def test_the_status_is_told_of_the_watched_run_alone(log: EventLog, call: Call, words: str) -> None:
    """Of a run of other settings the status would say what these ones lack; then the log tells of its stages."""
    watched, ours = (call("status --json", each).document["run"] for each in (words, ""))
    _tell(log, Kind.RUN_STARTED, **{**_START, "run": watched})
    _tell(log, Kind.STAGE_FINISHED, "numbers", duration_seconds=2.5, metrics={})
    targets = [{"data_set": "numbers", "metric": "mean", "minimum": 1.0, "value": 2.0}]
    answer = _watch(None, lambda: _tell(log, Kind.RUN_FINISHED, duration_seconds=2.75, targets=targets))
    first, rest = answer.text(0).split("\n\n", 1)
    assert first == f"{watched} is done"
    if watched == ours:
        assert rest == call("status").out.rstrip("\n")
    else:
        assert rest.splitlines()[:2] == ["numbers  done     in 2.5s", "sum      waiting"]
        assert re.search(r"mean +>= 1 +2 +met$", rest)


def test_a_log_that_is_begun_anew_is_read_anew(tmp_path: Path) -> None:
    """As after `reset all`."""
    path = tmp_path / "events.jsonl"
    followed = FollowedLog(path)
    assert list(followed.new_events()) == []
    for text in ("a rather long first line", "b"):
        log = EventLog(path, tell=pytest.fail)
        _tell(log, Kind.INFO, text=text)
        log.close()
        assert [logged.event.data["text"] for logged in followed.new_events()] == [text]
        assert list(followed.new_events()) == []
        path.unlink()


def test_a_process_on_another_machine_lives_as_long_as_its_lease_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be asked is taken to be gone after half a minute without a sign."""
    now = 0.0
    workspace = Workspace.at(tmp_path)
    holder = Holder(workspace, clock=lambda: now)
    assert not holder.is_at_work
    with workspace.locked():
        lease = json.loads((tmp_path / lock.LEASE_NAME).read_text())
    monkeypatch.setattr(lock, "_machine", lambda: "this one")
    for now, beat, is_at_work in ((0, 1, True), (20, 2, True), (49, 2, True), (51, 2, False), (52, 3, True)):
        (tmp_path / lock.LEASE_NAME).write_text(json.dumps({**lease, "machine": "another", "beat": beat}))
        assert holder.is_at_work == is_at_work, now
