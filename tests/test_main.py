"""The program as a process: signals, pipes, closed streams, and two at once."""

from __future__ import annotations

import gc
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline import __main__

PROGRAM = (sys.executable, "-m", "pipeline")
RUN = "run --set numbers.count=6"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the processes find in their environment."""
    monkeypatch.delenv("COLUMNS", raising=False)
    folder = str(Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": folder, "PIPELINE_PIPELINE": "toy_pipeline:PIPELINE", "TERM": "xterm"}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Start command lines in an empty folder; none outlives its test."""
    processes: list[subprocess.Popen[str]] = []

    def start_process(words: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *shlex.split(words)],
            cwd=tmp_path,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe at which the toy pipeline waits after its first number."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process and return its code, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def data_set(folder: Path) -> dict[str, bytes]:
    """Return all files that the toy stages made, less the records, which tell times."""
    return {
        path.name: path.read_bytes()
        for path in (*folder.glob("datasets/*/*"), *folder.glob("results/*/*"))
        if path.is_file()
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_stops_at_a_safe_point_and_the_told_command_goes_on(
    start: Start, fifo: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """What was done stays done, and the end is that of a run that was never stopped."""
    process = start(RUN + " --force-data", TOY_PAUSE=str(fifo))
    with fifo.open("w"):  # opens when the stage waits, so that the signal comes in its midst
        process.send_signal(number)
    ended, out, err = end(process)
    assert (ended, out) == (code, "")
    assert "stopping at the next safe point" in err
    assert f": stopped by {number.name} at number 1 of 6\n" in err
    told = re.search(r"hint: to go on from there, run: python -m pipeline (.*) \(without --force", err)
    assert told
    assert "interrupted  continues from number 1 of 6" in end(start("status --set numbers.count=6"))[1]
    ended, _, err = end(start(told[1]))
    assert ended == 0
    assert "numbers  RESUME  INTERRUPTED" in err
    stopped = data_set(tmp_path)
    assert end(start(RUN + " --workspace undisturbed"))[0] == 0
    assert stopped == data_set(tmp_path / "undisturbed")


def test_ctrl_c_while_modules_are_imported_has_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing has begun then, and what tells of errors may not be there yet."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_carry_out", interrupted)
    monkeypatch.setattr(__main__, "_end_at_once", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    gc.enable()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "error[E0701]: stopped by Ctrl+C\n"


def test_a_second_ctrl_c_leaves_at_once(start: Start, fifo: Path) -> None:
    """The process does not wait for its stage, which waits here for ever; what is on disk is whole."""
    process = start(RUN, TOY_PAUSE=str(fifo))
    with fifo.open("w"):
        while process.poll() is None:  # two signals that come at the same moment are one to the process
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
    assert process.returncode == 130
    assert end(start(RUN))[0] == 0


def test_a_second_run_ends_at_once_and_names_the_first(start: Start, fifo: Path) -> None:
    """Reading commands work meanwhile; what would write is refused with 5; a dead owner never blocks."""
    first = start(RUN, TOY_PAUSE=str(fifo))
    with fifo.open("w"):
        for words in (RUN, "reset all --yes", "progress reset --yes --set numbers.count=6"):
            ended, out, err = end(start(words))
            assert (ended, out) == (5, "")
            assert f"process {first.pid} on " in err
        assert end(start("status --set numbers.count=6"))[0] == 0
        assert end(start("progress show --set numbers.count=6"))[0] == 0
        first.kill()
    end(first)
    assert end(start(RUN))[0] == 0


def test_a_refused_run_leaves_the_logs_alone(start: Start, fifo: Path, tmp_path: Path) -> None:
    """What is in the event log comes from the run that works there."""
    first = start(RUN, TOY_PAUSE=str(fifo))
    with fifo.open("w"):
        before = (tmp_path / "logs" / "events.jsonl").read_bytes()
        assert end(start(RUN))[0] == 5
        assert (tmp_path / "logs" / "events.jsonl").read_bytes() == before
        first.kill()


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("config schema | head -n 1", 0, ""),
        ("config show > /dev/full", 6, "No space left on device"),
        ("config show --json > /dev/full", 6, "No space left on device"),
        ("config show >&-", 0, ""),
        ("run --until data 2>&-", 0, ""),
        ("run --until data >&- 2>&- <&-", 0, ""),
    ],
)
def test_streams_may_be_closed_or_full(
    tmp_path: Path, environment: dict[str, str], command: str, code: int, said: str
) -> None:
    """A reader that has gone is no error, a full disk is one, and neither shows a traceback."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(PROGRAM)} {command}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr
    assert said or done.stderr.count("error") == 0


def test_letters_that_a_stream_lacks_are_no_error(start: Start) -> None:
    """Bars are drawn with what there is."""
    end(start("run --quiet --until data"))
    ended, out, _ = end(start("progress show", PYTHONIOENCODING="ascii"))
    assert (ended, "????" in out) == (0, True)


def test_a_terminal_is_asked_before_a_reset(tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal reset says what would go and how much, and goes by the answer."""
    subprocess.run([*PROGRAM, "run", "--quiet"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    for answer, is_there in (("n", True), ("y", False)):
        master, slave = pty.openpty()
        os.write(master, f"{answer}\n".encode())
        done = subprocess.run(
            [*PROGRAM, "reset", "data"],
            cwd=tmp_path,
            env=environment,
            stdin=slave,
            capture_output=True,
            text=True,
            check=True,
        )
        os.close(slave)
        os.close(master)
        assert re.search(r"datasets/numbers-\w{8}\nnumbers .*\nRemove \d\.\d kB in 5 files\?", done.stderr)
        assert bool(list(tmp_path.glob("datasets/*"))) is is_there
        assert done.stdout.startswith("nothing was removed\n" if is_there else "removed ")


def test_a_run_on_a_terminal_ends_with_its_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    """On a real terminal decisions and results are told as in a pipe."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "run"], cwd=tmp_path, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    text = ""
    with suppress(OSError):  # what a terminal says that everybody has left
        while said := os.read(master, 1 << 16):  # at most a page at a time, however much there is
            text += said.decode(errors="replace")
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert re.search(r"numbers +RUN +NEVER_RAN", text)
    assert "results: results/small-" in text


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", ""),
        ("import atexit; atexit.register(print, 'registered')", "registered"),
        ("import threading as t; t.Thread(target=lambda: (t.main_thread().join(), print('waited'))).start()", "waited"),
    ],
    ids=["nothing", "a callback", "a thread"],
)
def test_only_what_waits_for_the_end_of_the_interpreter_gets_it(
    tmp_path: Path, environment: dict[str, str], before: str, said: str
) -> None:
    """A command ends without taking apart what it imported, but never before a thread or a registered callback."""
    script = f"""
import sys
{before}
leave = sys.exit
sys.exit = lambda code: (print("taken apart"), leave(code))
from pipeline.__main__ import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, "config", "show"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = ended.stdout.splitlines()
    assert "numbers.count" in ended.stdout
    assert [line for line in shown if line in (said, "taken apart")] == (["taken apart", said] if said else [])
