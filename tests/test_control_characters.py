"""Whatever a name, a setting or an error holds: no character that a terminal would obey reaches a person."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_command_line
import toy_pipeline
from toy_command_line import Call

from pipeline.cli import main
from pipeline.errors import StageFailed
from pipeline.reporting import tell_on_stderr

call = toy_command_line.call

_HOSTILE = "\x1b[2Jboo\r\u202eoob\x9b31m"
_SEEN = "�[2Jboo��oob�31m"
_LABEL = shlex.quote(f"squares.label={_HOSTILE}")


def _assert_plain(text: str) -> None:
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"], repr(text)


def _fail(*_: object) -> None:
    raise StageFailed(f"{_HOSTILE}\nand more", code="T0001", hint=_HOSTILE)


def test_an_error_of_a_stage_is_marked_where_it_is_hostile(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sentence, its hint, the traceback and the log file; its own line ends stay, and JSON has all of it."""
    monkeypatch.setattr(toy_pipeline.TotalStage, "execute", _fail)
    ended = call("--debug run", code=1)
    assert f"\nerror[T0001]: {_SEEN}\nand more\nhint: {_SEEN}\n" in ended.err
    assert "Traceback" in ended.err
    (log,) = tmp_path.glob("logs/*_training.log")
    with log.open(newline="") as file:
        logged = file.read()
    assert f"failed: T0001: {_SEEN}\nand more\n" in logged
    for text in (ended.out, ended.err, logged):
        _assert_plain(text)
    assert call("run --json", code=1).document["error"]["message"] == f"{_HOSTILE}\nand more"


@pytest.mark.parametrize("command", ["run", "plan", "status", "config show", "report", "progress show", "gc"])
def test_a_hostile_setting_is_marked_wherever_it_is_shown(call: Call, command: str) -> None:
    """Also one with a line end, which would make a row of its own; JSON has it as it is."""
    words = f"{command} {'' if command == 'gc' else f'--set {_LABEL}'}"
    ended = call(words)
    _assert_plain(ended.out + ended.err)
    if command == "config show":
        assert _SEEN in ended.out
        assert call(words, "--json").document["settings"]["squares.label"]["value"] == _HOSTILE
        forged = shlex.quote("squares.label=a\ntotal.minimum  profile  99")
        assert "a total.minimum  profile  99" in call("config show --set", forged).out


def test_runs_with_hostile_settings_are_compared(call: Call) -> None:
    """Values stand in a column of their own."""
    for words in ("", f"--set {_LABEL}"):
        call("run --quiet", words)
        call("report", words)
    names = [call("status --json", words).document["run"] for words in ("", f"--set {_LABEL}")]
    ended = call("compare", *names)
    assert _SEEN in ended.out
    _assert_plain(ended.out)


@pytest.mark.parametrize(
    "say",
    [
        lambda: main(["run", f"--{_HOSTILE}"]),
        lambda: main(["reset", _HOSTILE]),
        lambda: main(["explain", _HOSTILE]),
        lambda: tell_on_stderr(_HOSTILE),
    ],
    ids=["option", "word", "code", "warning"],
)
def test_what_was_typed_or_warned_of_is_told_without_it(
    call: Call,  # noqa: ARG001 - the place
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[], object],
) -> None:
    """A mistake that is repeated to who made it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    say()
    assert "[2Jboo" in stream.getvalue()
    _assert_plain(stream.getvalue())
