"""Where a run that another process carries out is shown: on a terminal as a picture, in a pipe as lines."""

from __future__ import annotations

import time
from typing import Protocol, TextIO

from pipeline.canvas import Canvas
from pipeline.console import LineConsole, can_draw
from pipeline.events import Event
from pipeline.interrupts import StopFlag
from pipeline.reporting import Clock
from pipeline.run_view import RunView


class Display(Protocol):
    """Shows a run from its events."""

    @property
    def is_closed(self) -> bool:
        """Whether nobody looks any more."""

    def take(self, event: Event) -> None:
        """Take in an event."""

    def refresh(self, view: RunView) -> None:
        """Show the run as it is at this moment."""

    def close(self) -> None:
        """Leave the terminal as it should be."""


def display(stream: TextIO | None) -> Display:
    """Return the display for `stream`; with None nothing is shown."""
    if stream is None:
        return Silence()
    return Picture(stream) if can_draw(stream) else Lines(stream)


class Silence:
    """Shows nothing."""

    is_closed = False

    def take(self, event: Event) -> None:
        """Say nothing."""

    def refresh(self, view: RunView) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Hold nothing back."""


class Lines:
    """Says what each event tells, as `pipeline run` does."""

    def __init__(self, stream: TextIO) -> None:
        self._console = LineConsole(stream, stop=StopFlag())

    @property
    def is_closed(self) -> bool:
        """Whether the reader has gone."""
        return self._console.is_closed

    def take(self, event: Event) -> None:
        """Say what `event` tells."""
        self._console.emit(event)

    def refresh(self, view: RunView) -> None:
        """Leave it to the events."""

    def close(self) -> None:
        """Hold nothing back."""


class Picture:
    """Draws the run; moments are in seconds since 1970, as the log has them."""

    def __init__(self, stream: TextIO, *, clock: Clock = time.time) -> None:
        self._canvas = Canvas(stream)
        self._clock = clock
        self._canvas.begin()

    @property
    def is_closed(self) -> bool:
        """Whether the terminal was closed."""
        return self._canvas.is_closed

    def take(self, event: Event) -> None:
        """Leave it to the next picture."""

    def refresh(self, view: RunView) -> None:
        """Draw the run as it is at this moment."""
        self._canvas.draw(self._canvas.picture_of(view, at=self._clock()))

    def close(self) -> None:
        """Take the picture away."""
        self._canvas.end()
