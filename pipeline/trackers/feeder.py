"""Passing on to one tracker what a run says, without ever waiting for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from pipeline.secrets import hide_text

_MOST_WAITING = 10_000  # lines; a long training has a thousand points of curves
_MAX_ANSWER_BYTES = 2000
# Our own package comes last: an interpreter with packages of its own uses those.
_START = "import sys; sys.path.append(sys.argv[1]); from pipeline.trackers.process import main; sys.exit(main())"
_ROOT = Path(__file__).parent.parent.parent


class Feeder:
    """A queue, a thread that empties it, and the process of the tracker at its other end.

    The first thing that goes wrong is told once; from then on all that is put is lost.

    Args:
        opening: what the process is told first.
        python: its interpreter; empty: that of this process.
    """

    def __init__(self, opening: Mapping[str, Any], *, python: str = "", tell: Callable[[str], None]) -> None:
        self._name = str(opening["tracker"])
        self._python = python or sys.executable
        self._tell = tell
        # One's own tracker may lie where only this process looks.
        self._waiting: deque[Mapping[str, Any]] = deque([{**opening, "path": [] if python else sys.path}])
        self._news = Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._num_lost = 0
        self._is_ending = self._is_given_up = False
        self._thread = Thread(target=self._work, name=f"tracker {self._name}", daemon=True)
        self._thread.start()

    def put(self, said: Mapping[str, Any]) -> None:
        """Leave something to be passed on; points for which there is no room are lost, and counted."""
        if self._is_given_up:
            return
        with self._news:
            if len(self._waiting) < _MOST_WAITING or said["do"] != "points":  # of all else there is little
                self._waiting.append(said)
                self._news.notify()
            else:
                self._num_lost += 1

    def finish(self, status: str) -> None:
        """Say that this was all."""
        with self._news:
            self._waiting.append({"do": "finish", "status": status})
            self._is_ending = True
            self._news.notify()

    def wait(self, deadline: float, *, patience: float) -> None:
        """Wait until all is passed on and the tracker has ended, at most to `deadline` of the monotonic clock.

        That is the end of the `patience` seconds that all trackers have together.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        process = self._process
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
                self._give_up(f"did not finish within {patience:g} s, so what it had not written is lost")
            self._look_at_end(process)
        if self._num_lost and not self._is_given_up:
            self._give_up(f"was too slow: {self._num_lost} points of curves were not given to it")

    def _work(self) -> None:
        try:
            # Its own session: Ctrl+C reaches the run, and the run then says that it was interrupted.
            self._process = subprocess.Popen(  # noqa: S603 - the user's own interpreter
                [self._python, "-c", _START, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._give_up(f"cannot be started: {error.strerror}")
            return
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended before its time; how, is looked at below
            is_over = False
            while not is_over:
                is_over = self._pass_on()
            self._process.stdin.close()
            return
        self._process.wait()
        self._look_at_end(self._process)

    def _pass_on(self) -> bool:
        """Write all that waits, or comes; return whether that was the last of it."""
        assert self._process is not None and self._process.stdin is not None
        with self._news:
            while not self._waiting:
                self._news.wait()
            lines = [json.dumps(said, default=str) for said in self._waiting]
            self._waiting.clear()
            is_last = self._is_ending
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self._process.stdin.flush()
        return is_last

    def _look_at_end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        if process.returncode and not self._is_given_up:
            answer = process.stdout.read(_MAX_ANSWER_BYTES).decode(errors="replace").strip()
            self._give_up(answer.partition("\n")[0] or f"its process ended with exit code {process.returncode}")

    def _give_up(self, why: str) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            self._tell(hide_text(f"the tracker {self._name}: {why}; the run goes on without it"))
