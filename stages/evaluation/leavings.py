"""Which results documents nobody needs any more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

_DOCUMENT = re.compile(r".+_training_results_\d{8}_\d{6}(-\d+)?\.json")


def find_leavings(results: Path, *, recorded: Collection[Path]) -> Iterator[Path]:
    """Yield the documents of evaluations that were done again since, or whose records are gone."""
    for path in sorted(results.iterdir()) if results.is_dir() else ():
        if _DOCUMENT.fullmatch(path.name) and path not in recorded:
            yield path
