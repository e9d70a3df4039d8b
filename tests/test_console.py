"""What a person sees of a run in a pipe."""

from __future__ import annotations

import io

import pytest
from terminal import FakeTerminal

from pipeline.console import LineConsole, console
from pipeline.events import Event, Kind, Reporter
from pipeline.interrupts import StopFlag
from pipeline.live_console import LiveConsole

DECISION = {"action": "resume", "reason": "INTERRUPTED", "detail": "continues from epoch 3, chunk 7, sample 12"}
FIGURES = {"loss": 0.5, "lr": 0.001, "epoch": 3, "images/s": 101.23}


class FakeClock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


class ClosedPipe(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        """Fail as a pipe does."""
        raise BrokenPipeError(32, "Broken pipe", text)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


def tell_of_a_run(reporter: Reporter, clock: FakeClock) -> None:
    """Tell `reporter` what a resumed training says until its middle."""
    reporter.emit(Event(Kind.RUN_STARTED, "", {"run": "standard-12345678", "stages": ["data_generation", "training"]}))
    reporter.emit(Event(Kind.DECISION, "training", DECISION))
    reporter.emit(Event(Kind.STAGE_STARTED, "training", {"action": "resume"}))
    for step in (600, 601, 602):
        data = {"done": step, "total": 1000, "unit": "steps", "figures": FIGURES}
        reporter.emit(Event(Kind.PROGRESS, "training", data))
        reporter.emit(Event(Kind.METRICS, "training", {"step": step, "loss": 0.5}))
        clock.now += 10
    reporter.emit(Event(Kind.INFO, "training", {"text": "checkpoint [bold]saved[/bold]"}))


def finish(reporter: Reporter) -> None:
    """Tell `reporter` how the run ends."""
    reporter.emit(Event(Kind.STAGE_FINISHED, "training", {"duration_seconds": 185.0, "metrics": {}}))
    reporter.emit(Event(Kind.RUN_FINISHED, "", {"duration_seconds": 185.1, "targets": []}))
    reporter.close()


def test_a_pipe_gets_a_line_for_each_thing() -> None:
    """No control characters, and no progress: a mini-epoch, a warning, a stage that is done have a line each."""
    pipe, clock = io.StringIO(), FakeClock()
    reporter = LineConsole(pipe, stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    finish(reporter)
    assert pipe.getvalue().splitlines() == [
        "run standard-12345678",
        "training         RESUME  INTERRUPTED       continues from epoch 3, chunk 7, sample 12",
        "training: checkpoint [bold]saved[/bold]",
        "training: done in 3m05s",
    ]


def test_after_a_long_silence_there_is_a_sign_of_life() -> None:
    """One line, and then silence may last as long again."""
    pipe, clock = io.StringIO(), FakeClock()
    reporter = LineConsole(pipe, stop=StopFlag(), silence=60, clock=clock)
    for step in range(600, 780):
        data = {"done": step, "total": 1000, "unit": "steps", "figures": {"loss": 0.5}}
        reporter.emit(Event(Kind.PROGRESS, "training", data))
        clock.now += 1
    assert pipe.getvalue().splitlines() == [
        "training  66%  660/1000 steps  1/s  ETA 5m40s  loss 0.5",
        "training  72%  720/1000 steps  1/s  ETA 4m40s  loss 0.5",
    ]


def test_what_is_said_takes_the_place_of_a_sign_of_life() -> None:
    """Where something was said there is no doubt that the run goes on."""
    pipe, clock = io.StringIO(), FakeClock()
    reporter = LineConsole(pipe, stop=StopFlag(), silence=60, clock=clock)
    for step in range(10):
        reporter.emit(Event(Kind.PROGRESS, "training", {"done": step, "total": 10, "unit": "steps"}))
        clock.now += 50
        reporter.emit(Event(Kind.INFO, "training", {"text": f"mini-epoch {step}"}))
    assert len(pipe.getvalue().splitlines()) == 10
    assert "%" not in pipe.getvalue()


def test_people_are_told_once_that_a_stage_waits_and_that_it_goes_on() -> None:
    """A training that keeps up with its data would otherwise tell of nothing else."""
    pipe = io.StringIO()
    reporter = LineConsole(pipe, stop=StopFlag())
    for chunk in range(3):
        reporter.emit(Event(Kind.WAIT, "training", {"text": f"waits for chunk {chunk}", "is_over": False}))
        reporter.emit(Event(Kind.WAIT, "training", {"text": f"goes on with chunk {chunk}", "is_over": True}))
    reporter.emit(Event(Kind.WAIT, "evaluation", {"text": "waits too", "is_over": False}))
    assert pipe.getvalue().splitlines() == [
        "training: waits for chunk 0",
        "training: goes on with chunk 0",
        "evaluation: waits too",
    ]


def test_no_text_of_a_stage_can_command_a_terminal() -> None:
    """A pipe may end in one."""
    pipe = io.StringIO()
    LineConsole(pipe, stop=StopFlag()).emit(Event(Kind.WARNING, "a", {"text": "red \x1b[31m\b text\nsecond"}))
    assert pipe.getvalue() == "a: warning: red \ufffd[31m\ufffd text\nsecond\n"


def test_a_reader_that_has_gone_does_not_stop_the_run() -> None:
    """A closed pipe is no reason to fail."""
    clock = FakeClock()
    reporter = LineConsole(ClosedPipe(), stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    finish(reporter)


def test_a_stop_is_acknowledged_once() -> None:
    """Whoever pressed Ctrl+C sees that it was heard, and how to leave at once."""
    pipe, stop = io.StringIO(), StopFlag()
    reporter = LineConsole(pipe, stop=stop)
    stop.set(2)
    for text in ("a", "b"):
        reporter.emit(Event(Kind.INFO, "", {"text": text}))
    assert pipe.getvalue().splitlines() == [
        "stopping at the next safe point; Ctrl+C once more leaves at once",
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("stream", "term", "kind"),
    [
        (FakeTerminal(), "xterm", LiveConsole),
        (FakeTerminal(), "dumb", LineConsole),
        (io.StringIO(), "xterm", LineConsole),
    ],
)
def test_only_a_terminal_that_can_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str, kind: type[LineConsole]
) -> None:
    """Pipes and dumb terminals get lines."""
    monkeypatch.setenv("TERM", term)
    assert type(console(stream, stop=StopFlag())) is kind
