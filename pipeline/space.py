"""Room on the disk, asked for before work begins rather than found missing in its middle."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.errors import ResourceExhausted


def free_bytes(folder: Path) -> int:
    """Return how much the disk of `folder`, which need not be there yet, has left."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def require_space(folder: Path, *, num_bytes: int, what: str, hint: str) -> None:
    """Raise ResourceExhausted where the disk of `folder`, which need not be there yet, has not `num_bytes` free.

    `what` begins the sentence, "the data set" say; `hint` tells how to need less.
    """
    free = free_bytes(folder)
    if num_bytes > free:
        raise ResourceExhausted(
            f"{what} needs {num_bytes} bytes more in {folder}, and {free} bytes are free",
            code="E0602",
            hint=f"free some space, give another disk with --workspace, or {hint}; nothing was begun",
        )
