"""Plain text for people: aligned tables that fit a width, and sizes and times in words."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TextIO

_GAP = "  "
_INDENT = "  "
_PROSE_WIDTH = 24  # columns below which wrapped prose beside a table reads worse than beneath it
_BAR_WIDTH = 20


def text_width(stream: TextIO) -> int:
    """Return how many columns `stream` shows; 0 where lines may be of any length, as in a pipe."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    return terminal_size(stream)[0] if stream.isatty() else 0


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Return how many columns and rows the terminal `stream` shows at this moment; 80 and 24 where it does not say."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    told = os.environ.get("COLUMNS", "")
    columns = int(told) if told.isdecimal() and int(told) else columns
    return columns or 80, rows or 24


def table(rows: Sequence[Sequence[str]], *, width: int, header: Sequence[str] = (), least: Sequence[int] = ()) -> str:
    """Return `rows` in aligned columns, the last one wrapped; one under the other where they do not fit side by side.

    `width` is in characters, 0 means that nothing is wrapped; `least` widths of the columns line up with other tables.
    """
    header = tuple(map(printable, header))
    rows = [tuple(map(printable, row)) for row in rows]
    cells = [header, *rows] if header else rows
    widths = [max(both) for both in zip_longest(column_widths(cells), least, fillvalue=0)]
    longest = max((len(row[-1]) for row in cells), default=0)
    if width and sum(widths) + len(_GAP) * len(widths) + min(longest, _PROSE_WIDTH) > width:
        return "\n".join(_stacked(row, header=header, width=width) for row in rows)
    return "\n".join(_side_by_side(row, widths=widths, width=width) for row in cells)


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of all columns but the last."""
    return [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]


def wrapped(text: str, *, width: int, indent: str = "", hanging: str = "") -> str:
    """Return `text` in lines of at most `width` columns (0: one line); words and paths are never cut."""
    if not width:
        return indent + text
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return `text` with a mark for each letter that a terminal would obey; a line end or a tab becomes a space."""
    return "".join(letter if letter.isprintable() else " " if letter in "\n\t" else "�" for letter in text)


def printable_lines(text: str) -> str:
    """Return `text` with a mark for each control character but the ends of its lines."""
    return "\n".join(map(printable, text.split("\n")))


def bar(done: int, total: int) -> str:
    """Return a bar that is filled as far as `done` of `total`."""
    filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total) if total else 0
    return "█" * filled + "░" * (_BAR_WIDTH - filled)


def duration(seconds: float) -> str:
    """Return a time span as people write it: "0.3s", "42s", "3m05s", "1h05m"; "?" for what is no number."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def size(num_bytes: float) -> str:
    """Return an amount of bytes in words: "12 B", "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def counted(number: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _side_by_side(row: Sequence[str], *, widths: Sequence[int], width: int) -> str:
    head = "".join(cell.ljust(columns) + _GAP for cell, columns in zip(row[:-1], widths, strict=True))
    return wrapped(row[-1], width=width, indent=head, hanging=" " * len(head)).rstrip() or head.rstrip()


def _stacked(row: Sequence[str], *, header: Sequence[str], width: int) -> str:
    names = header or [""] * len(row)
    pairs = [f"{name} {cell}".strip() for name, cell in zip(names[1:], row[1:], strict=True) if cell]
    head = f"{row[0]}\n" if row[0] else ""  # a row without a name goes on with the one above
    return f"{head}{wrapped(_GAP.join(pairs), width=width, indent=_INDENT, hanging=_INDENT)}".rstrip()
