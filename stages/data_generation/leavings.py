"""Which files of data sets nobody needs any more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from stages.data_generation.plan import DataSetPlan

# The names that `plan_data_set` gives.
_FOLDER = re.compile(r"[a-z][a-z0-9_-]{0,39}-[0-9a-f]{8}")
_VIEW = re.compile(r"\d+-\d+-\d+")
_CHUNK = re.compile(r"(consolidated|validation|test)_\d{5,}(_\d+)?\.safetensors")


def find_leavings(datasets: Path, *, recorded: Collection[Path], begun: Sequence[DataSetPlan]) -> Iterator[Path]:
    """Yield the chunks and the folders of sizes under `datasets` that are not `recorded` and of no set in `begun`."""
    planned = {plan.folder / chunk.file for plan in begun for chunk in plan.chunks}
    views = {path.parent for path in recorded} | {plan.view for plan in begun}
    folders = (path for path in datasets.iterdir() if path.is_dir()) if datasets.is_dir() else ()
    for folder in (folder for folder in folders if _FOLDER.fullmatch(folder.name)):
        for path in sorted(folder.iterdir()):
            is_chunk = _CHUNK.fullmatch(path.name) and path not in recorded and path not in planned
            if is_chunk or (_VIEW.fullmatch(path.name) and path not in views):
                yield path
