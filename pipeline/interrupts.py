"""Stopping at a safe point: signals set a flag that stages look at between steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import Interrupted

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Remembers the first signal that asked for a stop; `signal_number` is 0 until then."""

    def __init__(self) -> None:
        self.signal_number = 0

    @property
    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal_number != 0

    def set(self, signal_number: int) -> None:
        """Ask for a stop; only the first call counts."""
        self.signal_number = self.signal_number or signal_number

    def check(self, *, where: str = "") -> None:
        """Raise Interrupted if a stop was asked for; call it only where all that is done is saved."""
        if self.is_set:
            raise Interrupted(self.signal_number, where=where)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a set flag; a second SIGINT leaves at once with code 130.

    Leaving at once is safe: every write is atomic, so nothing on disk can be half-done.
    """
    flag = StopFlag()

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        if flag.is_set and signal_number == signal.SIGINT:
            os._exit(130)
        flag.set(signal_number)

    previous = {number: signal.signal(number, handle) for number in _HANDLED}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
