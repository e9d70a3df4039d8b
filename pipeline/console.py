"""What a run says to the person in front of it: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.events import Event, Kind, Reporter
from pipeline.interrupts import StopFlag
from pipeline.reporting import Clock, ProgressWords, Throttle, Wording
from pipeline.tables import text_width, wrapped

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_REFRESH_SECONDS = 0.2  # between two pictures of the bar; the eye needs no more
# What the error at the end of the command tells anyway, and what belongs into files only.
_UNTOLD = frozenset({Kind.METRICS, Kind.STAGE_FAILED, Kind.INTERRUPTED, Kind.RUN_FINISHED})

_GLUE = "\u00a0"


def console(stream: TextIO, *, interval: float, stop: StopFlag) -> Reporter:
    """Return the console for `stream`; in a pipe a progress line comes every `interval` seconds."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveConsole(stream, stop=stop)
    return LineConsole(stream, interval=interval, stop=stop)


class LineConsole:
    """Writes lines without control characters; a stream that is closed under it is left alone."""

    def __init__(self, stream: TextIO, *, stop: StopFlag, interval: float = 0.0, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._stop = stop
        self._has_told_stop = False
        self._wording = Wording(clock)
        self._throttle = Throttle(interval, clock)
        self._throttle.is_due()  # the first interval begins now: what ends within it needs no progress line

    def emit(self, event: Event) -> None:
        """Say what `event` tells."""
        if self._stop.signal_number and not self._has_told_stop:
            self._has_told_stop = True
            self._say("stopping at the next safe point; Ctrl+C once more leaves at once")
        if event.kind is Kind.PROGRESS:
            self._show_progress(event)
        elif event.kind not in _UNTOLD and (text := self._wording.text(event, width=text_width(self._stream))):
            self._say(text)

    def close(self) -> None:
        """Nothing is held back."""

    def _show_progress(self, event: Event) -> None:
        text = self._wording.text(event)
        if self._throttle.is_due():
            self._say(text)

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a reader that has gone must not end the run
            self._stream.write(f"{text}\n")
            self._stream.flush()


class LiveConsole(LineConsole):
    """Keeps a bar with rate, remaining time and figures below the lines for each stage at work; loads Rich for it."""

    def __init__(self, stream: TextIO, *, stop: StopFlag, clock: Clock = time.monotonic) -> None:
        super().__init__(stream, stop=stop, interval=_REFRESH_SECONDS, clock=clock)
        self._live: Live | None = None
        self._bars: dict[str, RenderableType] = {}  # of the stages that are at work

    def emit(self, event: Event) -> None:
        """Say what `event` tells; a bar goes when its stage ends."""
        if event.kind in {Kind.STAGE_FINISHED, Kind.STAGE_FAILED, Kind.INTERRUPTED}:
            self._bars.pop(event.stage, None)
            if self._bars:
                self._draw()
            else:
                self.close()
        super().emit(event)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            with self._drawing():
                self._live.stop()
            self._live = None

    def _show_progress(self, event: Event) -> None:
        words = self._wording.progress(event)
        if self._throttle.is_due(event.stage):
            with self._drawing():
                self._bars[event.stage] = _picture(event, words, width=text_width(self._stream))
            self._draw()

    def _draw(self) -> None:
        from rich.console import Group

        with self._drawing():
            self._live = self._live or _start_live(self._stream)
            self._live.update(Group(*self._bars.values()), refresh=True)

    def _say(self, text: str) -> None:
        if self._live is None:
            super()._say(text)
        else:
            with self._drawing():
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            if self._live is not None:
                # The terminal was closed. Rich would keep for ever what it could not write.
                self._live.console.quiet = True


def _start_live(stream: TextIO) -> Live:
    from rich.console import Console
    from rich.live import Live

    class PatientConsole(Console):
        def on_broken_pipe(self) -> None:
            """Fall silent; Rich would end the process."""
            self.quiet = True

    console = PatientConsole(file=stream)
    # No thread draws: one that holds a lock while a stage forks its workers would stop them for ever.
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
    live.start()
    console.show_cursor(True)  # a run that is killed must not leave the terminal without one
    return live


def _picture(event: Event, words: ProgressWords, *, width: int) -> Any:
    """Return two lines or more: name, bar, share and remaining time; below them amount, rate and figures."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    bar = ProgressBar(total=event.data["total"], completed=event.data["done"])
    line.add_row(Text(event.stage), bar, Text(f"{words.share} {words.remaining}".strip()))
    # A name and its value stay on one line.
    parts = [part.replace(" ", _GLUE) for part in (words.amount, words.rate, *words.figures.split("  ")) if part]
    below = wrapped("  ".join(parts), width=width, indent="  ", hanging="  ").replace(_GLUE, " ")
    return Group(line, Text(below))
