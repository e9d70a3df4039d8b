"""Drawing on a terminal: what was drawn before is gone, and nothing is wider than the terminal."""

from __future__ import annotations

import os
import re
import signal

import pytest
from rich.cells import cell_len
from terminal import FakeTerminal

from pipeline.canvas import Canvas
from pipeline.picture import ASCII, UNICODE, Line, Span


def _lines(*texts: str) -> list[Line]:
    return [Line((Span(text, "bold green"),)) for text in texts]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_each_picture_takes_the_place_of_the_one_before() -> None:
    """Also of a higher one, and of longer lines."""
    terminal = FakeTerminal()
    canvas = Canvas(terminal)
    for texts in (("a long line", "second", "third"), ("b", "2"), ("c", "22", "333", "4444")):
        canvas.draw(_lines(*texts))
        assert terminal.screen() == list(texts)
    canvas.clear()
    assert terminal.screen() == []


def test_what_is_said_stays_above() -> None:
    """However many lines it has, and however long they are."""
    terminal = FakeTerminal()
    canvas = Canvas(terminal)
    canvas.draw(_lines("one", "two"))
    canvas.say("first\nsecond", _lines("one"))
    canvas.draw(_lines("uno", "due"))
    assert terminal.screen() == ["first", "second", "uno", "due"]


def test_what_others_have_written_in_a_pause_is_not_erased() -> None:
    """Neither by the next picture nor when the last one is taken away: Ctrl+Z and `fg` came between."""
    terminal = FakeTerminal()
    canvas = Canvas(terminal)
    canvas.begin()
    for number in range(2):
        canvas.draw(_lines("picture"))
        terminal.write(f"shell {number}\n")
        os.kill(os.getpid(), signal.SIGCONT)
    canvas.end()
    assert terminal.screen() == ["picture", "shell 0", "picture", "shell 1"]
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


def test_letters_of_two_columns_are_counted_as_two() -> None:
    """A name in Chinese does not wrap the picture."""
    terminal = FakeTerminal()
    Canvas(terminal).draw(_lines("界" * 30))
    [line] = terminal.screen()
    assert cell_len(line) <= 19
    assert line.startswith("界" * 9)


@pytest.mark.parametrize(("encoding", "signs"), [("utf-8", UNICODE), ("UTF-8", UNICODE), ("ascii", ASCII)])
def test_signs_are_those_that_the_stream_can_write(
    monkeypatch: pytest.MonkeyPatch, encoding: str, signs: object
) -> None:
    """Under LANG=C there is no block of a bar."""
    monkeypatch.setattr(FakeTerminal, "encoding", encoding)
    assert Canvas(FakeTerminal()).signs is signs


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "anything")])
def test_without_colours_there_are_still_other_styles(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Bold is no colour."""
    monkeypatch.setenv(variable, value)
    terminal = FakeTerminal()
    Canvas(terminal).draw(_lines("a"))
    assert re.findall(r"\x1b\[([\d;]*)m", terminal.getvalue()) == ["1", "0"]


def test_a_terminal_that_does_not_say_its_size_is_taken_for_a_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of zero is no size: a new pseudo terminal says that."""
    monkeypatch.delenv("COLUMNS")
    assert Canvas(FakeTerminal()).size == (79, 23)
