"""A row of a Markdown table."""

from __future__ import annotations


def row(*cells: str) -> str:
    """Return a line of a table; a bar in a cell stays a bar, and a line break becomes a space."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
