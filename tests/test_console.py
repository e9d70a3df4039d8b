"""What a person sees of a run, on terminals of 40 and 80 columns and in a pipe."""

from __future__ import annotations

import errno
import io
import os
import re

import pytest
from terminal import FakeTerminal

from pipeline.console import LineConsole, LiveConsole, console
from pipeline.events import Event, Kind, Reporter
from pipeline.interrupts import StopFlag

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


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            "80",
            [
                "run standard-12345678",
                "training         RESUME  INTERRUPTED       continues from epoch 3, chunk 7,",
                "                                           sample 12",
                "training: checkpoint [bold]saved[/bold]",
                "training ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━ 60% ETA 1h06m",
                "  602/1000 steps  0.1/s  loss 0.5  lr 0.001  epoch 3  images/s 101.2",
            ],
        ),
        (
            "40",
            [
                "run standard-12345678",
                "training",
                "  RESUME  INTERRUPTED  continues from",
                "  epoch 3, chunk 7, sample 12",
                "training: checkpoint [bold]saved[/bold]",
                "training ━━━━━━━━━━╺━━━━━━ 60% ETA 1h06m",
                "  602/1000 steps  0.1/s  loss 0.5",
                "  lr 0.001  epoch 3  images/s 101.2",
            ],
        ),
    ],
)
def test_a_terminal_shows_a_bar_with_rate_and_figures_below_the_lines(
    monkeypatch: pytest.MonkeyPatch, columns: str, expected: list[str]
) -> None:
    """At 80 and at 40 columns the same is to be seen, and nothing is cut."""
    monkeypatch.setenv("COLUMNS", columns)
    terminal, clock = FakeTerminal(), FakeClock()
    tell_of_a_run(LiveConsole(terminal, stop=StopFlag(), clock=clock), clock)
    assert terminal.screen() == expected


def test_the_bar_goes_when_its_stage_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the lines stay."""
    monkeypatch.setenv("COLUMNS", "80")
    terminal, clock = FakeTerminal(), FakeClock()
    reporter = LiveConsole(terminal, stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    finish(reporter)
    assert [line for line in terminal.screen() if line][-2:] == [
        "training: checkpoint [bold]saved[/bold]",
        "training: done in 3m05s",
    ]


def test_a_killed_run_leaves_the_terminal_with_a_cursor() -> None:
    """The cursor is there at every moment, not only after a clean end."""
    terminal, clock = FakeTerminal(), FakeClock()
    tell_of_a_run(LiveConsole(terminal, stop=StopFlag(), clock=clock), clock)
    assert terminal.shows_cursor()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the bar moves, but nothing is coloured."""
    seen = []
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        terminal, clock = FakeTerminal(), FakeClock()
        tell_of_a_run(LiveConsole(terminal, stop=StopFlag(), clock=clock), clock)
        seen.append(re.search(r"\x1b\[(3|9)\d", terminal.getvalue()) is not None)
    assert seen == [True, False]


def test_a_pipe_gets_plain_lines_at_the_interval() -> None:
    """No control characters, one line for each thing, progress every few seconds."""
    pipe, clock = io.StringIO(), FakeClock()
    reporter = LineConsole(pipe, interval=15, stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    finish(reporter)
    assert pipe.getvalue().splitlines() == [
        "run standard-12345678",
        "training         RESUME  INTERRUPTED       continues from epoch 3, chunk 7, sample 12",
        "training  60%  602/1000 steps  0.1/s  ETA 1h06m  loss 0.5  lr 0.001  epoch 3  images/s 101.2",
        "training: checkpoint [bold]saved[/bold]",
        "training: done in 3m05s",
    ]


@pytest.mark.parametrize("kind", [LineConsole, LiveConsole])
def test_a_reader_that_has_gone_does_not_stop_the_run(kind: type[LineConsole]) -> None:
    """A closed terminal or pipe is no reason to fail."""
    clock = FakeClock()
    reporter = kind(ClosedPipe(), stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    finish(reporter)


def test_a_closed_terminal_is_left_alone() -> None:
    """A terminal that was closed under a run is not written to again, and what it missed is not kept."""

    class ClosedTerminal(FakeTerminal):
        failures = 0
        is_closed = False

        def write(self, text: str) -> int:
            if self.is_closed:
                self.failures += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().write(text)

    terminal, clock = ClosedTerminal(), FakeClock()
    reporter = LiveConsole(terminal, stop=StopFlag(), clock=clock)
    tell_of_a_run(reporter, clock)
    terminal.is_closed = True
    tell_of_a_run(reporter, clock)
    finish(reporter)
    reporter.close()
    assert terminal.failures <= 2  # the line that found out, and Rich tidying up after it


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
    assert type(console(stream, interval=5, stop=StopFlag())) is kind
