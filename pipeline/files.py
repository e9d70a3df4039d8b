"""The only module that writes durably: a file or folder is there whole, or it is not there.

Commit protocol: a temporary in the same folder, created exclusively; all bytes, the count checked; fsync; the size
compared; rename; fsync of the folder. An fsync that failed is never repeated: the temporary is dropped. Nothing is
ever written through a link.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.disk import Disk
from pipeline.errors import IntegrityError, ResourceExhausted

TEMPORARY_PREFIX = ".tmp-"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

disk = Disk()  # what all writes of this process go through; only tests put another one here
_durable_folders: set[Path] = set()  # whose names this process knows to be durable


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace the file at `path` by `data`, atomically and durably, making its folder where it is missing.

    Raises:
        ResourceExhausted: the disk or the quota is full; the old file is untouched.
        IntegrityError: the disk took other than these bytes, or a link stands in the way; the old file is untouched.
        OSError: any other failure; the old file is untouched.
    """
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _telling_of_full_disk(path, num_bytes=len(data)), _dropping(temporary):
        _write_new(temporary, data)
        disk.rename(temporary, path)
    disk.fsync_folder(path.parent)


def write_folder(path: Path, contents: Iterable[tuple[str, bytes | memoryview]]) -> None:
    """Create the folder `path` with the files `contents` (name, data), in their order, whole or not at all.

    Raises:
        FileExistsError: `path` is already there; a finished folder is never overwritten.
        ResourceExhausted, IntegrityError, OSError: as `write_bytes`; nothing of it is there.
    """
    if path.exists():
        raise FileExistsError(f"{path} is already there")
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _telling_of_full_disk(path, num_bytes=0), _dropping(temporary):
        disk.mkdir(temporary)
        for name, data in contents:
            with _telling_of_full_disk(path, num_bytes=len(data)):
                _write_new(temporary / name, data)
        disk.fsync_folder(temporary)
        disk.rename(temporary, path)
    disk.fsync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create the folder `path` with its parents, and make each entry durable; raises as `write_bytes` does."""
    if path in _durable_folders and path.is_dir():
        return
    # Not only folders that are new: one that is there may have been made by a process that was killed before the fsync.
    # What cannot have been made by such a process, because it may not be written or is another disk, is left out.
    if not path.is_dir() or (os.access(path.parent, os.W_OK) and not path.is_mount()):
        make_folder(path.parent)
        if not path.is_dir():
            _make_one(path)
        disk.fsync_folder(path.parent)
    _refuse_links(path)
    _durable_folders.add(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none. Links are not followed."""
    if path.is_dir() and not path.is_symlink():
        # Renamed first: a removal that is killed half-way leaves a temporary, never a folder that looks whole.
        doomed = _temporary_beside(path)
        disk.rename(path, doomed)
        disk.fsync_folder(path.parent)
        _remove_tree(doomed)
    elif path.is_symlink() or path.exists():
        disk.unlink(path)
        disk.fsync_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Rename what does not verify to `<name>.corrupt-N` (first free N) and return its new path."""
    number = 0
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    rename(path, target.name)
    return target


def rename(path: Path, name: str) -> None:
    """Give a file or folder another name in the same folder, durably; there must be nothing of that name."""
    disk.rename(path, path.with_name(name))
    disk.fsync_folder(path.parent)


def sweep_temporaries(root: Path) -> int:
    """Remove what killed writers left anywhere under `root`; return how many entries that were.

    Only call it while holding the run lock: a living writer's temporary looks the same.
    """
    leftovers = [path for path in _walk(root) if path.name.startswith(TEMPORARY_PREFIX)]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        else:
            disk.unlink(path)
    return len(leftovers)


def _make_one(path: Path) -> None:
    try:
        disk.mkdir(path)
    except FileExistsError:
        if not path.is_dir():  # else another process was faster
            raise


def _remove_tree(folder: Path) -> None:
    """Remove a folder whose name says that it is no longer wanted: it may stay half-removed, so nothing is synced."""
    for path, names, file_names in os.walk(folder, topdown=False):
        inner = [Path(path, name) for name in (*names, *file_names)]
        for entry in inner:
            if entry.is_dir() and not entry.is_symlink():
                disk.rmdir(entry)
            else:
                disk.unlink(entry)
    disk.rmdir(folder)


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, file_names in os.walk(root):
        yield from (Path(folder, name) for name in (*names, *file_names))
        names[:] = [name for name in names if not name.startswith(TEMPORARY_PREFIX)]


def _temporary_beside(path: Path) -> Path:
    # File systems allow 255 bytes for a name, and letters may take several.
    tail = os.fsencode(path.name)[-200:].decode(errors="ignore")
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{tail}")


def _write_new(path: Path, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    descriptor = disk.create(path)
    try:
        written = 0
        while written < len(view):
            written += disk.write(descriptor, view[written:])
        disk.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        disk.close(descriptor)
    # A disk that says it took more than it did is found out here.
    if size != len(view):
        raise IntegrityError(
            f"{path} holds {size} bytes after {len(view)} were written", code="E0402", hint="check the disk"
        )


def leads_through_link(folder: Path) -> bool:
    """Return whether a link is on the way to `folder`, which need not be there."""
    return os.path.realpath(folder) != os.path.abspath(folder)  # noqa: PTH100 - Path.absolute keeps `..`


def _refuse_links(folder: Path) -> None:
    if leads_through_link(folder):
        raise IntegrityError(
            f"{folder} leads through a link to {folder.resolve()}; nothing is written through links",
            code="E0403",
            hint="remove the link; only checkpoints, datasets, results and logs themselves may be links",
        )


@contextmanager
def _telling_of_full_disk(path: Path, *, num_bytes: int) -> Iterator[None]:
    """Turn a full disk into ResourceExhausted that names `path`, where the bytes were to go."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # writing and syncing what is open name no file
            error.filename = str(path)
        if error.errno not in DISK_FULL:
            raise
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            raise ResourceExhausted(
                f"no space left for {path}: {num_bytes} bytes were to be written, {free} bytes are free "
                f"({os.strerror(error.errno).lower()})",
                code="E0601",
                hint="free some space and run the same command again; what was finished is kept",
            ) from error
        raise


@contextmanager
def _dropping(temporary: Path) -> Iterator[None]:
    """Remove `temporary` when its writer fails."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if temporary.is_dir():
                _remove_tree(temporary)
            else:
                disk.unlink(temporary)
        raise
