"""Room on the disk: what files take, and what is asked for before work begins rather than missed in its middle."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ResourceExhausted


def free_bytes(folder: Path) -> int:
    """Return how much the disk of `folder`, which need not be there yet, has left."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def sizes_under(path: Path) -> list[int]:
    """Return the bytes of the file at `path`, or of each file below the folder there; of a link they are its own.

    Without the run lock, a run may remove files meanwhile: what is gone before it was looked at has no size.
    """
    is_folder = path.is_dir() and not path.is_symlink()
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names) if is_folder else (path,)
    sizes = []
    for file in files:
        with suppress(FileNotFoundError):
            sizes.append(file.lstat().st_size)
    return sizes


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
