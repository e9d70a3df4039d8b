"""What would be removed, as a table for the person who is asked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.tables import counted, size, table
from pipeline.workspace import Workspace

_LISTED_SINGLY = 3  # so many of one folder are named, more are counted


class Listed(NamedTuple):
    """A file or a folder, what is said of it, and how much it is."""

    label: str
    path: Path
    num_files: int
    num_bytes: int


def listing(things: Iterable[Listed], *, workspace: Workspace, width: int) -> str:
    """Return a row for each; many with one label in one folder are one row: a data set may have thousands of chunks."""
    groups: dict[tuple[str, Path], list[Listed]] = {}
    for each in things:
        groups.setdefault((each.label, each.path.parent), []).append(each)
    rows: list[tuple[str, str, str, str]] = []
    for (label, folder), group in groups.items():
        parts = [[each] for each in group] if len(group) <= _LISTED_SINGLY else [group]
        rows += [
            (
                label,
                counted(sum(each.num_files for each in part), "file"),
                size(sum(each.num_bytes for each in part)),
                workspace.relative(part[0].path if len(part) == 1 else folder / "*"),
            )
            for part in parts
        ]
    return table(rows, width=width)
