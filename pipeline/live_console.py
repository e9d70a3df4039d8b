"""What a run says on a terminal: lines, and below them a picture of the run that is drawn again and again."""

from __future__ import annotations

import os
import threading
import time
from typing import TextIO

from pipeline.canvas import Canvas
from pipeline.console import LineConsole
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.picture import Line
from pipeline.reporting import Clock
from pipeline.run_view import RunView

_TICK_SECONDS = 1.0  # between two pictures while nothing happens: times go on
_TURNS = frozenset({Kind.STAGE_STARTED, Kind.STAGE_FINISHED, Kind.STAGE_FAILED, Kind.INTERRUPTED})


class LiveConsole(LineConsole):
    """Keeps a picture of the run below the lines as long as stages are at work.

    Between events a thread draws, so that times go on. No process is ever forked while it does: a child would
    otherwise inherit locks that nobody in it frees.
    """

    def __init__(self, stream: TextIO, *, stop: StopFlag, clock: Clock = time.monotonic) -> None:
        super().__init__(stream, stop=stop, clock=clock)
        self._view = RunView()
        self._canvas = Canvas(stream, clock=clock)
        self._turn = threading.RLock()
        self._is_shown = False
        self._is_over = threading.Event()

    def emit(self, event: Event) -> None:
        """Say what `event` tells, and draw what it changes."""
        with self._turn:
            self._view.take(event, at=self._clock())
            if event.kind is Kind.STAGE_STARTED and not self._is_shown:
                self._begin()
            super().emit(event)
            if self._is_shown and (event.kind in _TURNS or self._canvas.is_due):
                self._canvas.draw(self._lines())

    def tick(self) -> None:
        """Draw what a moment without events changes."""
        with self._turn:
            if self._is_shown:
                self._acknowledge_stop()
                self._canvas.draw(self._lines())

    def close(self) -> None:
        """Take the picture away."""
        self._is_over.set()
        with self._turn:
            self._canvas.end()
            self._is_shown = False

    def _begin(self) -> None:
        """Begin to draw: nothing of this is loaded where no stage has anything to do."""
        self._is_shown = True
        os.register_at_fork(
            before=self._turn.acquire, after_in_parent=self._turn.release, after_in_child=self._turn.release
        )
        self._canvas.begin()
        threading.Thread(target=self._keep_ticking, name="console", daemon=True).start()

    def _keep_ticking(self) -> None:
        while not self._is_over.wait(_TICK_SECONDS):
            self.tick()

    def _show_progress(self, event: Event) -> None:
        """Leave it to the picture."""

    def _write(self, text: str) -> None:
        if self._is_shown:
            self._canvas.say(text, self._lines())
        else:
            super()._write(text)

    def _lines(self) -> list[Line]:
        return self._canvas.picture_of(self._view, at=self._clock())
