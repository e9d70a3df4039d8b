"""The only module that writes durably: a file or folder is there whole, or it is not there.

Commit protocol: a temporary in the same folder, created exclusively; all bytes, the count checked; fsync; the size
compared; `os.replace`; fsync of the folder. An fsync that failed is never repeated: the temporary is dropped.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import IntegrityError, ResourceExhausted

TEMPORARY_PREFIX = ".tmp-"
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace the file at `path` by `data`, atomically and durably, making its folder where it is missing.

    Raises:
        ResourceExhausted: the disk or the quota is full; the old file is untouched.
        OSError: any other failure; the old file is untouched.
    """
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _dropping(temporary):
        _write_new(temporary, data)
        temporary.replace(path)
    fsync_folder(path.parent)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Create the folder `path` whole or not at all: `fill` writes flat files into a temporary, which is then renamed.

    Raises:
        FileExistsError: `path` is already there; a finished folder is never overwritten.
        ResourceExhausted: the disk or the quota is full.
    """
    if path.exists():
        raise FileExistsError(f"{path} is already there")
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _dropping(temporary):
        temporary.mkdir()
        fill(temporary)
        for file in sorted(temporary.iterdir()):
            fsync_file(file)
        fsync_folder(temporary)
        temporary.rename(path)
    fsync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create the folder `path` with its parents, and make each new entry durable."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_folder(path.parent)


def fsync_file(path: Path) -> None:
    """Make the contents of the file at `path` durable (for files that a library wrote)."""
    _fsync_path(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Make the entries of the folder `path` (new, renamed or removed names) durable."""
    _fsync_path(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none. Links are not followed."""
    if path.is_dir() and not path.is_symlink():
        # Renamed first: a removal that is killed half-way leaves a temporary, never a folder that looks whole.
        doomed = _temporary_beside(path)
        path.rename(doomed)
        fsync_folder(path.parent)
        shutil.rmtree(doomed)
    elif path.is_symlink() or path.exists():
        path.unlink()
        fsync_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Rename what does not verify to `<name>.corrupt-N` (first free N) and return its new path."""
    number = 0
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(target)
    fsync_folder(path.parent)
    return target


def sweep_temporaries(root: Path) -> int:
    """Remove what killed writers left anywhere under `root`; return how many entries that were.

    Only call it while holding the run lock: a living writer's temporary looks the same.
    """
    leftovers = [path for path in _walk(root) if path.name.startswith(TEMPORARY_PREFIX)]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, file_names in os.walk(root):
        yield from (Path(folder, name) for name in (*names, *file_names))
        names[:] = [name for name in names if not name.startswith(TEMPORARY_PREFIX)]


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{path.name}"[:255])


def _write_new(path: Path, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size != len(view):
        raise IntegrityError(f"{path} holds {size} bytes after {len(view)} were written", hint="check the disk")


def _fsync_path(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _dropping(temporary: Path) -> Iterator[None]:
    """Remove `temporary` when its writer fails, and turn a full disk into ResourceExhausted."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            free = shutil.disk_usage(temporary.parent).free
            raise ResourceExhausted(
                f"no space left for {temporary.parent}: {free} bytes are free",
                hint="free some space and run the same command again; what was finished is kept",
            ) from error
        raise
