"""A picture at the bottom of a terminal that is drawn again and again; lines of text scroll away above it."""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from pipeline.pauses import Pauses
from pipeline.picture import ASCII, UNICODE, Line, Signs, Span, picture
from pipeline.reporting import Clock
from pipeline.run_view import RunView
from pipeline.tables import terminal_size

_UP, _ERASE_LINE, _ERASE_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
_LEAST_SECONDS = 0.2  # between two pictures; the eye needs no more
# Of the time, at most, drawing takes from whoever works, however busy the machine is.
_SHARE = 1 / 250


class Canvas:
    """Draws on `stream`, which is a terminal; loads Rich for the styles.

    Between two calls the cursor stands, visible, at the start of the line below the picture, and no style is left on:
    a process that is killed leaves the terminal as it should be. Each picture is one write. A terminal that was closed
    is left alone, and one in which another process is in the foreground gets no picture.

    Args:
        clock: measures what drawing takes.
    """

    def __init__(self, stream: TextIO, *, clock: Clock = time.perf_counter) -> None:
        self._stream = stream
        self._clock = clock
        self._colors: _Colors | None = None
        self._drawn: list[int] = []  # the widths of the lines that are to be seen
        self._next_at = -math.inf
        self._pauses = Pauses()
        self.is_closed = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows that a picture may have: of each, one less than there are.

        In the last column some terminals erase what was just written, and the last row is that of the cursor.
        """
        columns, rows = terminal_size(self._stream)
        return max(1, columns - 1), max(1, rows - 1)

    @property
    def signs(self) -> Signs:
        """The characters that the terminal can show."""
        encoding = str(getattr(self._stream, "encoding", None) or "utf-8").lower()
        return UNICODE if encoding.startswith("utf") else ASCII

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next picture."""
        return self._clock() >= self._next_at

    def begin(self) -> None:
        """Begin to notice pauses, until `end`; only in the main thread can that be."""
        self._pauses.begin()

    def picture_of(self, view: RunView, *, at: float) -> list[Line]:
        """Return the picture of a run as it is `at` this moment, as high and as wide as this terminal allows."""
        columns, rows = self.size
        return picture(view, at=at, width=columns, height=rows, signs=self.signs)

    def draw(self, lines: Sequence[Line]) -> None:
        """Show `lines` in the place of those before."""
        began = self._clock()
        self._show(lines, above="")
        self._next_at = began + max(_LEAST_SECONDS, (self._clock() - began) / _SHARE)

    def say(self, text: str, lines: Sequence[Line]) -> None:
        """Write `text`, to stay, and `lines` below it."""
        self._show(lines, above=f"{text}\n")

    def clear(self) -> None:
        """Take the picture away."""
        if self._drawn:
            self._show((), above="")

    def end(self) -> None:
        """Take the picture away, and leave signals as they were."""
        self.clear()
        self._pauses.end()

    def _forget(self) -> None:
        """Leave what is to be seen as it is, and draw anew below it: others have written meanwhile."""
        self._drawn = []

    def _show(self, lines: Sequence[Line], *, above: str) -> None:
        if self._pauses.was_paused():
            self._forget()  # after Ctrl+Z and `fg` the shell has written below the picture
        if not _is_in_foreground(self._stream):
            self._forget()
            self._write(above)
            return
        # Text that stays may wrap, so the picture is erased before it, and otherwise only drawn over: no flicker.
        parts = [self._to_top(), f"{_ERASE_BELOW}{above}" if above else ""]
        parts += [f"{text}{_ERASE_LINE}\n" for text in self._styled(lines)]
        self._write("".join([*parts, _ERASE_BELOW]))

    def _to_top(self) -> str:
        """Return what moves the cursor to the first line of the picture."""
        columns, _ = terminal_size(self._stream)
        # A terminal that was made narrower has wrapped what it shows: a line then takes several rows.
        num_rows = sum(max(1, math.ceil(width / columns)) for width in self._drawn)
        return f"\r{_UP.format(num_rows)}" if num_rows else "\r"

    def _styled(self, lines: Sequence[Line]) -> list[str]:
        """Return the lines with their styles, as far as this terminal has them, and remember their widths."""
        self._drawn = []
        if not lines:
            return []
        from rich.cells import cell_len, set_cell_size

        columns, _ = self.size
        styled = []
        for line in lines:
            width = cell_len(line.text)  # some letters are two columns wide
            self._drawn.append(min(width, columns))
            spans = line.spans if width <= columns else (Span(set_cell_size(line.text, columns)),)
            styled.append("".join(self._rendered(span) for span in spans))
        return styled

    def _rendered(self, span: Span) -> str:
        from rich.color import ColorSystem
        from rich.style import Style

        if self._colors is None:
            self._colors = _Colors.of_terminal()
        style = Style.parse(span.style)  # which Rich remembers
        if self._colors.is_none:
            style = style.without_color
        # All of our colours are among the first eight, which every terminal with colours has. A whole console of Rich
        # takes fifty times as long to print a line.
        return style.render(span.text, color_system=ColorSystem.STANDARD if self._colors.has_styles else None)

    def _write(self, text: str) -> None:
        if self.is_closed or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.is_closed = True


class _Colors(NamedTuple):
    """What Rich finds out about a terminal: whether it has styles at all, and whether the user wants no colours."""

    has_styles: bool
    is_none: bool

    @classmethod
    def of_terminal(cls) -> _Colors:
        from rich.console import Console

        console = Console(file=io.StringIO(), force_terminal=True)
        return cls(console.color_system is not None, console.no_color)


def _is_in_foreground(stream: TextIO) -> bool:
    """Return whether this process may draw: a shell, say, is not drawn over by what it runs in the background."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # it is no terminal that has such a thing
        return True
