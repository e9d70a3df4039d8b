"""A stand-in for a terminal: takes what is written and shows what a person would then see."""

from __future__ import annotations

import io
import re

_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?25([hl])|([\r\n])|([^\x1b\r\n]+)")


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal; understands what Rich writes: colours, erasing, and moving up."""

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
                lines[row] = ""
            elif end == "\r":
                column = 0
            elif end == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return [line.rstrip() for line in lines]

    def shows_cursor(self) -> bool:
        """Return whether the cursor was last shown, not hidden."""
        return self.getvalue().rfind("\x1b[?25h") >= self.getvalue().rfind("\x1b[?25l")
