"""What a person sees of a run on a terminal: lines, and below them a picture that never gets in their way."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence

import pytest
from terminal import FakeTerminal
from test_console import FakeClock, finish, tell_of_a_run

from pipeline import canvas
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.live_console import LiveConsole
from pipeline.picture import Line


class _ClosingTerminal(FakeTerminal):
    """A terminal that can be closed under its process."""

    is_closed = False
    failures = 0

    def write(self, text: str) -> int:
        """Fail as a closed terminal does."""
        if self.is_closed:
            self.failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that goes only when told."""
    return FakeClock()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Iterator[LiveConsole]:
    """A console on a terminal of 80 columns, whose thread never draws by itself."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("pipeline.live_console._TICK_SECONDS", 3600)
    live = LiveConsole(_ClosingTerminal(), stop=StopFlag(), clock=clock)
    yield live
    live.close()


def _terminal(live: LiveConsole) -> _ClosingTerminal:
    terminal = live._stream
    assert isinstance(terminal, _ClosingTerminal)
    return terminal


_LINES = [
    "run standard-12345678",
    "training         RESUME  INTERRUPTED       continues from epoch 3, chunk 7,",
    "                                           sample 12",
    "training: checkpoint [bold]saved[/bold]",
]
_PICTURE = [
    "standard-12345678  running 30s",
    "├─ · data_generation  waiting",
    "└─ ▶ training         60%  ETA 1h06m",
    "     ████████████████████████████▒░░░░░░░░░░░░░░░░░░░ 602/1000 steps",
    "     0.1 steps/s",
    "     loss 0.5  lr 0.001",
    "     images/s 101.2",
]


def test_a_picture_stands_below_the_lines(live: LiveConsole, clock: FakeClock) -> None:
    """The lines stay, and the picture is always the newest."""
    tell_of_a_run(live, clock)
    assert _terminal(live).screen() == _LINES + _PICTURE


def test_at_40_columns_the_same_is_to_be_seen(
    live: LiveConsole, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut."""
    monkeypatch.setenv("COLUMNS", "40")
    tell_of_a_run(live, clock)
    assert _terminal(live).screen() == [
        "run standard-12345678",
        "training",
        "  RESUME  INTERRUPTED  continues from",
        "  epoch 3, chunk 7, sample 12",
        "training: checkpoint [bold]saved[/bold]",
        "standard-12345678  running 30s",
        "├─ · data_generation  waiting",
        "└─ ▶ training  60%  ETA 1h06m",
        "     ███████████▒░░░░░░░ 602/1000 steps",
        "     0.1 steps/s",
        "     loss 0.5  lr 0.001",
        "     images/s 101.2",
    ]


def test_the_picture_goes_when_the_run_ends(live: LiveConsole, clock: FakeClock) -> None:
    """Only the lines stay."""
    tell_of_a_run(live, clock)
    finish(live)
    assert _terminal(live).screen() == [*_LINES, "training: done in 3m05s"]


def test_a_run_with_nothing_to_do_draws_nothing(live: LiveConsole) -> None:
    """Where all stages are up to date only lines are written, and Rich is not even loaded."""
    live.emit(Event(Kind.RUN_STARTED, "", {"run": "a-1", "stages": ["a"]}))
    live.emit(Event(Kind.DECISION, "a", {"action": "skip", "reason": "UP_TO_DATE", "detail": "as recorded"}))
    live.tick()
    assert "\x1b" not in _terminal(live).getvalue()


def test_after_each_write_the_terminal_is_as_it_should_be(live: LiveConsole, clock: FakeClock) -> None:
    """A kill may come at any moment: the cursor is never hidden, no style stays on, and a new line has begun."""
    tell_of_a_run(live, clock)
    finish(live)
    for text in _terminal(live).writes():
        assert "\x1b[?25l" not in text
        styles = re.findall(r"\x1b\[([\d;]*)m", text)
        assert not styles or styles[-1] == "0"
        assert re.sub(r"\x1b\[\d*[A-Za-z]", "", text)[-1] in "\r\n"


def test_times_go_on_between_events(live: LiveConsole, clock: FakeClock) -> None:
    """A moment later the same picture tells other times."""
    tell_of_a_run(live, clock)
    clock.now += 600
    live.tick()
    screen = _terminal(live).screen()
    assert screen[: len(_LINES)] == _LINES
    assert screen[len(_LINES)] == "standard-12345678  running 10m30s"
    assert "ETA 56m10s" in screen[len(_LINES) + 2]


def test_a_stop_is_acknowledged_without_an_event(live: LiveConsole, clock: FakeClock) -> None:
    """A step may take a minute; whoever pressed Ctrl+C sees at once that it was heard."""
    tell_of_a_run(live, clock)
    live._stop.set(signal.SIGINT)
    live.tick()
    assert "stopping at the next safe point; Ctrl+C once more leaves at once" in _terminal(live).screen()


def test_a_picture_is_drawn_so_rarely_that_it_costs_nothing(
    live: LiveConsole, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred steps a second five are seen, and fewer where drawing takes long."""
    tell_of_a_run(live, clock)
    progress = Event(Kind.PROGRESS, "training", {"done": 700, "total": 1000, "unit": "steps", "figures": {}})

    def pictures_of_ten_seconds() -> int:
        before = len(_terminal(live).writes())
        for _ in range(1000):
            clock.now += 0.01
            live.emit(progress)
        return len(_terminal(live).writes()) - before

    assert 45 <= pictures_of_ten_seconds() <= 50
    slow = live._canvas._styled

    def styled(lines: Sequence[Line]) -> list[str]:
        clock.now += 0.004
        return slow(lines)

    monkeypatch.setattr(live._canvas, "_styled", styled)
    assert pictures_of_ten_seconds() <= 11


def test_no_color_is_respected(live: LiveConsole, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the picture is drawn, but nothing is coloured."""
    tell_of_a_run(live, clock)
    assert re.search(r"\x1b\[[\d;]*3\d", _terminal(live).getvalue())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = LiveConsole(_ClosingTerminal(), stop=StopFlag(), clock=clock)
    tell_of_a_run(plain, clock)
    plain.close()
    assert not re.search(r"\x1b\[[\d;]*3\d", _terminal(plain).getvalue())


def test_a_terminal_that_is_made_narrower_is_drawn_over_from_the_first_line(
    live: LiveConsole, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has wrapped the picture: lines of 70 columns take two rows of 40."""
    tell_of_a_run(live, clock)
    wide = [len(line) for line in _PICTURE]
    monkeypatch.setenv("COLUMNS", "40")
    clock.now += 1
    live.tick()
    assert _terminal(live).writes()[-1].startswith(f"\r\x1b[{sum(-(-width // 40) for width in wide)}A")
    assert max(wide) > 40


def test_in_the_background_only_lines_are_written(
    live: LiveConsole, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell is not drawn over; when the run is in the foreground again, its picture begins below what is there."""
    monkeypatch.setattr(canvas, "_is_in_foreground", lambda _: False)
    tell_of_a_run(live, clock)
    assert _terminal(live).screen() == _LINES
    assert "\x1b" not in _terminal(live).getvalue()
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "80")
    clock.now += 1
    live.tick()
    assert "A" not in re.findall(r"\x1b\[\d*([A-Z])", _terminal(live).writes()[-1])


def test_after_a_pause_the_picture_begins_anew(live: LiveConsole, clock: FakeClock) -> None:
    """Ctrl+Z and `fg`: the shell has written below it."""
    tell_of_a_run(live, clock)
    os.kill(os.getpid(), signal.SIGCONT)
    clock.now += 1
    live.tick()
    assert "A" not in re.findall(r"\x1b\[\d*([A-Z])", _terminal(live).writes()[-1])
    live.close()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


def test_a_closed_terminal_is_left_alone(live: LiveConsole, clock: FakeClock) -> None:
    """A terminal that was closed under a run is not written to again, and the run goes on."""
    tell_of_a_run(live, clock)
    _terminal(live).is_closed = True
    tell_of_a_run(live, clock)
    finish(live)
    assert _terminal(live).failures <= 2


def test_no_process_is_forked_while_a_picture_is_drawn(live: LiveConsole, clock: FakeClock) -> None:
    """A child would inherit locks that nobody in it frees."""
    tell_of_a_run(live, clock)
    is_drawing, may_end = threading.Event(), threading.Event()

    def draw() -> None:
        with live._turn:
            is_drawing.set()
            may_end.wait(timeout=30)

    thread = threading.Thread(target=draw)
    thread.start()
    is_drawing.wait(timeout=30)
    threading.Timer(0.05, may_end.set).start()
    child = os.fork()
    if not child:
        os._exit(0 if may_end.is_set() and live._turn.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
