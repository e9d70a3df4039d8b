"""A stand-in for a terminal: takes what is written and shows what a person would then see."""

from __future__ import annotations

import io
import re

_CONTROL = re.compile(r"\x1b\[([\d;]*)([A-Za-z])|\x1b\[\?25([hl])|([\r\n])|([^\x1b\r\n]+)")


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal; understands what Rich writes: colours, erasing, and moving up."""

    def __init__(self) -> None:
        super().__init__()
        self._writes: list[str] = []

    def isatty(self) -> bool:
        """Say so."""
        return True

    def screen(self) -> list[str]:
        """Return the lines that are to be seen, without trailing spaces."""
        lines, row, column = [""], 0, 0
        for number, letter, _cursor, end, text in _CONTROL.findall(self.getvalue()):
            if letter == "A":
                row -= int(number or 1)
            elif letter == "K":
                lines[row] = lines[row][:column]
            elif letter == "J":
                lines[row] = lines[row][:column]
                del lines[row + 1 :]
            elif end == "\r":
                column = 0
            elif end == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        while lines and not lines[-1].strip():
            lines.pop()
        return [line.rstrip() for line in lines]

    def writes(self) -> list[str]:
        """Return what was written at a time."""
        return self._writes

    def write(self, text: str) -> int:
        """Take `text`."""
        self._writes.append(text)
        return super().write(text)

    def shows_cursor(self) -> bool:
        """Return whether the cursor was last shown, not hidden."""
        return self.getvalue().rfind("\x1b[?25h") >= self.getvalue().rfind("\x1b[?25l")
