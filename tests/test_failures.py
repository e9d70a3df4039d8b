"""How what goes wrong is told, and with which code it ends."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import toy_command_line
import typer
from toy_command_line import Call, actions

from pipeline import errors
from pipeline.errors import (
    IntegrityError,
    Interrupted,
    NewerFormat,
    ResourceExhausted,
    StageFailed,
    TargetsMissed,
    UsageError,
    WorkspaceLocked,
)
from pipeline.explanation import OWN_FOLDER, load_explanation
from pipeline.failures import understand

call = toy_command_line.call


class OutOfMemoryError(RuntimeError):
    """Stands for torch's, which is recognised without torch."""


_TABLE: list[tuple[BaseException, int]] = [
    (StageFailed("x", code="T0001"), 1),
    (UsageError("x", code="T0001"), 2),
    (typer.BadParameter("x"), 2),
    (TargetsMissed("x", code="T0001"), 3),
    (IntegrityError("x", code="T0001"), 4),
    (NewerFormat("x", code="T0001"), 4),
    (WorkspaceLocked("x", code="T0001"), 5),
    (ResourceExhausted("x", code="T0001"), 6),
    (MemoryError(), 6),
    *((OSError(getattr(errno, name), name), 6) for name in ("ENOSPC", "EDQUOT", "EFBIG", "ENOMEM", "EMFILE", "ENFILE")),
    *((OSError(getattr(errno, name), name), 6) for name in ("EROFS", "EACCES", "EPERM")),
    *((OSError(getattr(errno, name), name), 4) for name in ("EIO", "ESTALE", "ENODEV", "ENXIO")),
    *((OSError(getattr(errno, name), name), 4) for name in ("ENOENT", "ENOTDIR", "ELOOP", "EEXIST", "EISDIR")),
    (OSError(errno.ENAMETOOLONG, "300 letters"), 2),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"), 6),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), 6),
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 6),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), 6),
    (RuntimeError("can't start new thread"), 6),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 101),
    (OSError(errno.EBADF, "bad descriptor"), 101),
    (OSError("an image library's words"), 101),
    (Interrupted(15), 75),
    (Interrupted(2), 130),
    (KeyboardInterrupt(), 130),
    (typer.Abort(), 130),
    (ZeroDivisionError("x"), 101),
    (SystemExit(1), 101),
]


@pytest.mark.parametrize(("error", "code"), _TABLE, ids=repr)
def test_every_exception_has_a_sentence_and_a_code(error: BaseException, code: int) -> None:
    """Nothing ends without words."""
    failure = understand(error, ["run"])
    assert failure.exit_code == code
    assert failure.text().startswith(f"error[{failure.code}]: {failure.message}")
    assert failure.document()["exit_code"] == code
    assert failure.code == "T0001" or load_explanation(OWN_FOLDER / f"{failure.code}.md").exit_code == code


def test_every_error_class_is_in_the_table_above() -> None:
    """A new class of error gets a row."""
    classes = {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.PipelineError)
    }
    assert classes - {errors.PipelineError} <= {type(error) for error, _ in _TABLE}


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOMEM, "--batch-size"),
        (errno.EACCES, "owner and permissions"),
        (errno.EIO, "dmesg"),
        (errno.ENOENT, "removed, moved or replaced"),
    ],
    ids=errno.errorcode.get,
)
def test_an_error_of_the_system_has_a_remedy_of_its_own(number: int, hint: str, tmp_path: Path) -> None:
    """The file is named, and what is advised fits the cause."""
    failure = understand(OSError(number, "what it is", str(tmp_path / "file")), ["run"])
    assert failure.message.startswith(f"{tmp_path / 'file'}: what it is")
    assert hint in failure.hint
    assert (" bytes are free" in failure.message) == (number == errno.ENOSPC)


def test_an_error_that_names_no_file_tells_what_was_being_done() -> None:
    """Writing to a descriptor fails without a name."""
    with pytest.raises(OSError, match="Bad file") as caught:
        os.fsync(1 << 20)
    failure = understand(OSError(errno.EIO, "I/O error").with_traceback(caught.value.__traceback__), ["run"])
    assert failure.message.startswith("I/O error, in test_an_error_that_names_no_file")


def test_a_page_about_an_allocator_is_not_told() -> None:
    """Of what torch says the first two sentences are for people."""
    failure = understand(
        OutOfMemoryError("CUDA out of memory. Tried 2 GiB. See PYTORCH_ALLOC_CONF.\nSee the documentation"), ["run"]
    )
    assert failure.message == "out of memory: CUDA out of memory. Tried 2 GiB"
    assert "--batch-size" in failure.hint


@pytest.mark.parametrize(
    ("program", "words", "command"),
    [
        ("/usr/bin/pipeline", ["run"], "pipeline run"),
        ("/x/pipeline/__main__.py", ["run", "--profile", "quick"], "python -m pipeline run --profile quick"),
        ("pipeline", ["run", "--force-data", "--set", "a.b=c d", "--force_all"], "pipeline run --set 'a.b=c d'"),
    ],
)
def test_a_stopped_run_tells_the_command_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, program: str, words: list[str], command: str
) -> None:
    """The same command line, to be copied; without --force, and it says so."""
    monkeypatch.setattr(sys, "argv", [program])
    failure = understand(Interrupted(15, where="step 7"), words)
    assert failure.message == "stopped by SIGTERM at step 7"
    has_force = any("force" in word for word in words)
    note = " (without --force, which would start from zero again)" if has_force else ""
    assert failure.hint == f"to go on from there, run: {command}{note}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stats", "no such command 'stats'. Did you mean 'status'?"),
        ("config shwo", "Did you mean 'show'?"),
        ("run --forse-all", "no such option: --forse-all (Possible options: --force-all"),
        ("run extra", "unexpected extra argument"),
        ("run --on-code-change maybe", "value for '--on-code-change': 'maybe' is not one of 'warn', 'rerun'"),
        ("gc --keep 0", "invalid value for '--keep': must be at least 1"),
        ("gc --keep few", "invalid value for '--keep': must be a whole number"),
        ("ui --port 99999", "invalid value for '--port': must be at most 65535"),
        ("reset", "missing argument"),
        ("reset dat --yes", "there is no stage 'dat'; did you mean 'data'?"),
        ("plan --until totl", "there is no stage 'totl'; did you mean 'total'?"),
        ("plan --profile larg", "there is no profile 'larg'; did you mean 'large'?"),
        ("plan --professional", "there is no profile 'professional'"),
        ("plan --professional --profile small", "--professional and --profile small contradict each other"),
        ("plan --epochs 3", "this pipeline has no setting for --epochs"),
        ("plan --force-train", "this pipeline has no stage for --force-train"),
        ("plan --dataset-size 0", "numbers.count = 0 (--dataset-size): must be a whole number, at least 1"),
        ("plan --device gpu", 'runtime.device = "gpu" (--device): must be one of "auto", "cpu", "cuda"'),
        ("plan --set numbers.cuont=3", "did you mean 'numbers.count'?"),
        ("plan --config absent.toml", "absent.toml cannot be read"),
    ],
)
def test_what_cannot_be_understood_ends_with_2_and_a_hint(call: Call, tmp_path: Path, words: str, said: str) -> None:
    """The same sentence for people on stderr and for programs on stdout; nothing is touched."""
    ended = call(words, code=2)
    assert ended.out == ""
    assert said in ended.err
    assert "\nhint: " in ended.err
    assert "Traceback" not in ended.err
    error = call(words, "--json", code=2).document["error"]
    assert error.keys() == {"code", "kind", "message", "hint", "exit_code"}
    assert (error["kind"], error["exit_code"]) == ("UsageError", 2)
    assert said in error["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("run --epochs", "run"),
        ("--debug run --quiet --epochs", "run"),
        ("progress show --epochs", "progress show"),
        ("run --forse-all", "run"),
    ],
)
def test_help_is_that_of_the_command(call: Call, words: str, command: str) -> None:
    """Also where an option lacks its value."""
    assert f"hint: `pipeline {command} --help` lists what it takes\n" in call(words, code=2).err


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        ("stage", 1, "the total cannot be added up\nhint: try smaller numbers"),
        ("memory", 6, "out of memory"),
        ("disk", 6, "total.json: No space left on device"),
        ("denied", 6, "total.json: Permission denied"),
        ("bug", 101, "internal error: KeyError: 'oops'"),
    ],
)
def test_a_failure_ends_with_a_sentence_and_its_code(
    call: Call, monkeypatch: pytest.MonkeyPatch, failure: str, code: int, said: str
) -> None:
    """No traceback without --debug, wherever --debug stands; what was finished is kept."""
    monkeypatch.setenv("TOY_FAILURE", failure)
    ended = call("run", code=code)
    assert f"]: {said}" in ended.err
    assert "Traceback" not in ended.err
    for words in ("--debug run", "run --debug"):
        assert "Traceback" in call(words, code=code).err
    assert call("run --json", code=code).document["error"]["exit_code"] == code
    monkeypatch.delenv("TOY_FAILURE")
    assert actions(call("run --json")) == {"numbers": "skip", "squares": "skip", "cubes": "skip", "total": "run"}


def test_an_error_says_how_to_learn_more(call: Call) -> None:
    """The last line is a command to be copied; who has stopped a run himself needs none."""
    assert call("reset dat --yes", code=2).err.endswith("\nmore: pipeline explain E0202\n")
    assert "more:" not in understand(Interrupted(15), ["run"]).text()


def test_a_bug_is_told_with_the_command_that_shows_where(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line is the same, with --debug."""
    monkeypatch.setenv("TOY_FAILURE", "bug")
    ended = call("run --set 'squares.label=two words'", code=101)
    assert "run: pipeline --debug run --set 'squares.label=two words'\n" in ended.err
