"""How the columns of a table are set: which hold numbers, and which stay whole on a sheet of paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from pipeline.report.parts import MatrixBlock

_DIFFERENCE = re.compile(r"[+-][0-9.]+(e[+-][0-9]+)?")
_PRINTED_LETTERS = 84  # side by side in a table on a sheet of A4 paper
_MATRIX_LETTERS = 120  # of those that the style makes smaller
_LEAST_LETTERS = 12  # for a column whose words may be broken
_GAP_LETTERS = 2  # between columns


def figure_words(value: object) -> str:
    """Return what a cell holds as pages show it: counts in groups of three, other numbers with four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    # Figures under each other have as many digits, as long as that shows what they are.
    return f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"


def number_columns(rows: Sequence[Sequence[object]], header: Sequence[object]) -> list[bool]:
    """Return of each column whether numbers stand in it; one without any value goes with those beside it.

    The first one never does: it holds the heads of the rows.
    """
    columns = [[cell for cell in cells if cell is not None] for _, *cells in list(zip_longest(header, *rows))[1:]]
    are_numbers = [all(map(_is_number, column)) for column in columns]
    has_numbers = any(column and flag for column, flag in zip(columns, are_numbers, strict=True))
    return [False, *(flag and has_numbers for flag in are_numbers)]


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or (isinstance(cell, str) and bool(_DIFFERENCE.fullmatch(cell)))


def whole_columns(
    rows: Sequence[Sequence[object]], header: Sequence[object], letters: int = _PRINTED_LETTERS
) -> list[bool]:
    """Return of each column whether its words stay whole in print: those with short ones, as long as there is room.

    All others may break anywhere, so that no word is too long for a sheet of paper.
    """
    longest = [max(map(_longest_word, column)) for column in zip_longest(header, *rows)]

    def is_room(limit: int) -> bool:
        needed = (width if width <= limit else min(width, _LEAST_LETTERS) for width in longest)
        return sum(needed) + _GAP_LETTERS * len(longest) <= letters

    limit = max(filter(is_room, longest), default=-1)
    return [width <= limit for width in longest]


def _longest_word(cell: object) -> int:
    words = [] if cell is None else figure_words(cell).split()
    return max((len(word) + sum(map(_is_wide, word)) for word in words), default=0)


def _is_wide(letter: str) -> bool:
    """Return whether a letter takes the room of up to two."""
    return letter in "mw%@" or letter.isupper() or not letter.isascii()


def whole_in_matrix(matrix: MatrixBlock) -> list[bool]:
    """Return of each column of a matrix, that of the names of its rows first, whether its words stay whole in print."""
    rows = [(name, *counts) for name, counts in zip(matrix.row_names, matrix.counts, strict=True)]
    return whole_columns(rows, ("", *matrix.column_names), _MATRIX_LETTERS)
