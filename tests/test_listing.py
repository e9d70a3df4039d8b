"""What a person reads before something is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.listing import Listed, listing
from pipeline.workspace import Workspace


@pytest.mark.parametrize(
    ("number", "rows"),
    [
        (
            3,
            [
                "old  1 file   10 B  datasets/d/0",
                "old  1 file   10 B  datasets/d/1",
                "old  1 file   10 B  datasets/d/2",
            ],
        ),
        (4, ["old  4 files  40 B  datasets/d/*"]),
    ],
)
def test_many_of_one_folder_are_one_row(tmp_path: Path, number: int, rows: list[str]) -> None:
    """Three are named; what is said of another one, or lies elsewhere, has a row of its own."""
    workspace = Workspace.at(tmp_path)
    things = [Listed("old", workspace.datasets / "d" / str(each), 1, 10) for each in range(number)]
    others = [Listed("new", workspace.datasets / "d" / "x", 1, 5), Listed("old", workspace.results / "y", 2, 7)]
    text = listing([*things, *others], workspace=workspace, width=0)
    normal = [" ".join(line.split()) for line in text.splitlines()]
    assert normal == [
        *(" ".join(row.split()) for row in rows),
        "new 1 file 5 B datasets/d/x",
        "old 2 files 7 B results/y",
    ]
    assert listing([], workspace=workspace, width=0) == ""
