"""Whether this process was stopped, by Ctrl+Z say, and continued meanwhile."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Any


class Pauses:
    """Notices SIGCONT at once, in any thread.

    A handler in Python runs when the main thread comes to it, which may be in the middle of a long computation. But
    Python's own handler writes the number of each signal into a pipe before that.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None  # of the pipe: to read from, to write to
        self._previous: Any = None
        self._previous_end = -1

    def begin(self) -> None:
        """Begin to notice; nothing is noticed where this is not the main thread, to which signals belong."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ends = read_end, write_end
        with suppress(ValueError):
            self._previous_end = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
            self._previous = signal.signal(signal.SIGCONT, _do_nothing)

    def was_paused(self) -> bool:
        """Return whether the process was continued since the last call."""
        if self._ends is None:
            return False
        try:
            return signal.SIGCONT in os.read(self._ends[0], 4096)
        except BlockingIOError:
            return False

    def end(self) -> None:
        """Leave signals as they were."""
        if self._ends is None:
            return
        with suppress(ValueError):
            if self._previous is not None:
                signal.set_wakeup_fd(self._previous_end)
                signal.signal(signal.SIGCONT, self._previous)
        for end in self._ends:
            os.close(end)
        self._ends = None


def _do_nothing(_signal_number: int, _frame: FrameType | None) -> None:
    """Stand for a handler: without one Python would take no note of the signal."""
