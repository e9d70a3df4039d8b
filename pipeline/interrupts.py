"""Stopping at a safe point: signals set a flag that stages look at between steps."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import Interrupted

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Remembers the first signal or failure that asks for a stop, and when SIGTERM came.

    Attributes:
        signal_number: that of the first signal; 0 until then.
        error: why work must stop without a signal; None until then.
        clock: gives seconds; what is compared with `seconds_left` is measured by it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.signal_number = 0
        self.error: Exception | None = None
        self.clock = clock
        self._terminated_at = math.inf

    @property
    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal_number != 0 or self.error is not None

    def set(self, signal_number: int) -> None:
        """Ask for a stop; only the first call counts, but for the grace, which begins with the first SIGTERM."""
        self.signal_number = self.signal_number or signal_number
        if signal_number == signal.SIGTERM:
            self._terminated_at = min(self._terminated_at, self.clock())

    def fail(self, error: Exception) -> None:
        """Ask for a stop because work beside it has failed; only the first call counts."""
        self.error = self.error or error

    def seconds_left(self, grace_seconds: float) -> float:
        """Return how long this process may still live; infinite unless SIGTERM came, which SIGKILL follows."""
        return self._terminated_at + grace_seconds - self.clock()

    def check(self, *, where: str = "") -> None:
        """Raise Interrupted, or the error, if a stop was asked for; call it only where all that is done is saved."""
        if self.signal_number:
            raise Interrupted(self.signal_number, where=where)
        if self.error is not None:
            raise self.error


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a set flag; a second SIGINT, also after this, leaves at once with code 130.

    Leaving at once is safe: every write is atomic, so nothing on disk can be half-done. SIGHUP is ignored, here and in
    the processes that are started meanwhile: a terminal that is closed does not stop hours of work.
    """
    flag = StopFlag()

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        if flag.signal_number and signal_number == signal.SIGINT:
            os._exit(130)
        flag.set(signal_number)

    previous = {number: signal.signal(number, handle) for number in _HANDLED}
    # Ignored, not handled by doing nothing: only the former is inherited by a new program.
    previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield flag
    finally:
        if flag.signal_number:
            del previous[signal.SIGINT]  # a second Ctrl+C often comes when the process is already ending
        for number, handler in previous.items():
            signal.signal(number, handler)
