"""Real runs on real terminals: what is to be seen, and how a run that ends in any way leaves them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from terminal import FakeTerminal

_PATIENCE_SECONDS = 60  # for a test that fails
_PIPELINE = (sys.executable, "-m", "pipeline")
_RUN = (*_PIPELINE, "run", "--set", "numbers.count=3")


class _Terminal:
    """A pseudo terminal on which a process runs, and what it has written there."""

    def __init__(self, words: tuple[str, ...], folder: Path, environment: dict[str, str], *, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            words, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.written = ""

    def read_until(self, is_enough: Callable[[list[str]], bool]) -> None:
        """Take what is written until the screen shows what is asked for, or nobody writes any more."""
        with suppress(OSError):  # EIO: the last process has closed it
            while not is_enough(self.screen()):
                assert select.select([self._ours], [], [], _PATIENCE_SECONDS)[0], self.screen()
                self.written += os.read(self._ours, 1 << 16).decode()

    def screen(self) -> list[str]:
        """Return what is to be seen."""
        terminal = FakeTerminal()
        terminal.write(self.written)
        return terminal.screen()

    def end(self, *, fifo: Path | None = None) -> int:
        """Take all that is written to the end of the process, and return its exit code; it need not wait at `fifo`."""
        with suppress(OSError):
            while True:
                if fifo is not None:
                    with suppress(OSError):  # nobody waits at it
                        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                if select.select([self._ours], [], [], 0.01)[0]:
                    data = os.read(self._ours, 1 << 16)
                    self.written += data.decode()
        return self.process.wait(timeout=60)

    def is_as_it_should_be(self) -> bool:
        """Whether the cursor is there, at the start of a line, and no style is on."""
        styles = re.findall(r"\x1b\[([\d;]*)m", self.written)
        text = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", self.written)
        return "\x1b[?25l" not in self.written and text[-1:] in ("\n", "\r") and styles[-1:] in ([], ["0"])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a run of the toy pipeline, which waits at a named pipe after each number."""
    os.mkfifo(tmp_path / "fifo")
    folders = (Path(__file__).parent, Path(__file__).parent.parent)
    others = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return {
        **others,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PIPELINE_PIPELINE": "toy_pipeline:PIPELINE",
        "TERM": "xterm",
        "TOY_PAUSE": str(tmp_path / "fifo"),
    }


@contextmanager
def _opened(
    words: tuple[str, ...], folder: Path, environment: dict[str, str], *, columns: int = 80
) -> Iterator[_Terminal]:
    terminal = _Terminal(words, folder, environment, columns=columns)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal._ours)


def _shows(*words: str) -> Callable[[list[str]], bool]:
    return lambda screen: all(any(word in line for line in screen) for word in words)


def _without_times(screen: list[str]) -> list[str]:
    return [re.sub(r"(running|took|in) [\d.]+m?\d*s", r"\1 …", line) for line in screen]


@pytest.mark.parametrize("columns", [40, 80])
def test_a_run_is_seen_and_leaves_only_lines(tmp_path: Path, environment: dict[str, str], columns: int) -> None:
    """While a stage works there is a tree; at the end the results stand below what was said."""
    with _opened(_RUN, tmp_path, environment, columns=columns) as terminal:
        terminal.read_until(_shows("1/3 numbers"))
        tree = terminal.screen()[-7:]
        assert [line.split()[:3] for line in tree[1:2] + tree[-3:]] == [
            ["├─", "▶", "numbers"], ["├─", "·", "squares"], ["├─", "·", "cubes"], ["└─", "·", "total"],
        ]  # fmt: skip
        assert all(len(line) < columns for line in tree)
        assert terminal.end(fifo=tmp_path / "fifo") == 0
        assert terminal.is_as_it_should_be()
        assert not _shows("├─")(terminal.screen())
        assert _shows("total: done in", "action")(terminal.screen())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_run_that_is_killed_leaves_the_terminal_as_it_should_be(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    """Whatever comes next begins on a line of its own, with a cursor, in no colour."""
    with _opened(_RUN, tmp_path, environment) as terminal:
        terminal.read_until(_shows("1/3 numbers"))
        terminal.process.send_signal(number)
        assert terminal.end(fifo=tmp_path / "fifo") == code
        assert terminal.is_as_it_should_be()


def test_a_dumb_terminal_gets_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    """No control characters at all."""
    with _opened(_RUN, tmp_path, {**environment, "TERM": "dumb"}) as terminal:
        assert terminal.end(fifo=tmp_path / "fifo") == 0
        assert "\x1b" not in terminal.written


def test_another_terminal_shows_the_same(tmp_path: Path, environment: dict[str, str]) -> None:
    """`status --watch` draws what the run draws, and leaves when the run ends."""
    watch = (*_PIPELINE, "status", "--watch", "--set", "numbers.count=3")
    with _opened(_RUN, tmp_path, environment) as run:
        run.read_until(_shows("1/3 numbers"))
        with _opened(watch, tmp_path, environment) as watched:
            watched.read_until(_shows("1/3 numbers"))
            assert _without_times(watched.screen()) == _without_times(run.screen())[-7:]
            assert run.end(fifo=tmp_path / "fifo") == 0
            assert watched.end() == 0
            assert _shows("is done", "total    done")(watched.screen())
            assert watched.is_as_it_should_be()


def test_ctrl_c_ends_the_watching_and_not_the_run(tmp_path: Path, environment: dict[str, str]) -> None:
    """Its exit code is 0: that is how to leave it."""
    with _opened(_RUN, tmp_path, environment) as run:
        run.read_until(_shows("1/3 numbers"))
        with _opened((*_PIPELINE, "status", "--watch"), tmp_path, environment) as watched:
            watched.read_until(_shows("1/3 numbers"))
            watched.process.send_signal(signal.SIGINT)
            assert watched.end() == 0
            assert _shows("goes on")(watched.screen())
            assert watched.is_as_it_should_be()
        assert run.process.poll() is None
        assert run.end(fifo=tmp_path / "fifo") == 0
