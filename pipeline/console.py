"""What a run says to the person in front of it, line by line; where there is a terminal, below it a live picture."""

from __future__ import annotations

import os
import time
from typing import TextIO

from pipeline.events import Event, Kind, Reporter
from pipeline.interrupts import StopFlag
from pipeline.reporting import Clock, Wording
from pipeline.tables import printable_lines, text_width

# After so long without a word people begin to wonder whether a run hangs.
_SILENCE_SECONDS = 60.0
# What the error at the end of the command tells anyway, and what belongs into files and pictures only.
_UNTOLD = frozenset({Kind.METRICS, Kind.CHUNK, Kind.CHECKPOINT, Kind.STAGE_FAILED, Kind.INTERRUPTED, Kind.RUN_FINISHED})


def console(stream: TextIO, *, stop: StopFlag) -> Reporter:
    """Return the console for `stream`: a picture where it is a terminal that can, else lines."""
    if not can_draw(stream):
        return LineConsole(stream, stop=stop)
    from pipeline.live_console import LiveConsole

    return LiveConsole(stream, stop=stop)


def can_draw(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal on which the cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class LineConsole:
    """Writes lines without control characters; a stream that is closed under it is left alone.

    Training says a line for each mini-epoch. How far a stage is gets a line only after `silence` seconds without any.

    Attributes:
        is_closed: whether nobody reads any more.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        stop: StopFlag,
        silence: float = _SILENCE_SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self._stream = stream
        self._stop = stop
        self._silence = silence
        self._clock = clock
        self._said_at = clock()
        self._has_told_stop = False
        self._told_waits: set[tuple[str, bool]] = set()
        self.is_closed = False
        self._wording = Wording(clock)

    def emit(self, event: Event) -> None:
        """Say what `event` tells."""
        self._acknowledge_stop()
        if event.kind is Kind.PROGRESS:
            self._show_progress(event)
        elif event.kind is Kind.WAIT and self._is_told_already(event):
            return
        elif event.kind not in _UNTOLD and (text := self._wording.text(event, width=text_width(self._stream))):
            self._say(text)

    def close(self) -> None:
        """Nothing is held back."""

    def _acknowledge_stop(self) -> None:
        if self._stop.signal_number and not self._has_told_stop:
            self._has_told_stop = True
            self._say("stopping at the next safe point; Ctrl+C once more leaves at once")

    def _is_told_already(self, event: Event) -> bool:
        """Return whether a wait of this stage was told before, and note it: the first of many, and its end, will do."""
        wait = (event.stage, bool(event.data["is_over"]))
        is_told = wait in self._told_waits
        self._told_waits.add(wait)
        return is_told

    def _show_progress(self, event: Event) -> None:
        text = self._wording.text(event)
        if self._clock() - self._said_at >= self._silence:
            self._say(text)

    def _say(self, text: str) -> None:
        self._said_at = self._clock()
        self._write(printable_lines(text))

    def _write(self, text: str) -> None:
        if self.is_closed:
            return
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except (OSError, ValueError):  # a reader that has gone must not end the run
            self.is_closed = True
