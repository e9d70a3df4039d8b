"""The operations on the disk from which every durable write is made, one method each."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECT = getattr(os, "O_DIRECT", 0)
_DIRECT_BYTES = 1 << 20  # less is not worth the two extra calls
_BLOCK = 4096  # what is written past the page cache begins, in memory and on the disk, at multiples of it
# What lies at no block, a file system that writes only through the cache, and memory that a driver has mapped, as it
# may for a GPU, from which the disk cannot fetch.
_ONLY_THROUGH_CACHE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EFAULT})


class Disk:
    """The real disk; all methods raise OSError.

    `pipeline.files` changes nothing but through these methods, so tests can count them, record them, and break each.
    """

    def create(self, path: Path) -> int:
        """Create the file `path`, which must not be there, and return a descriptor to write to."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write the beginning of `data` and return how many bytes that was.

        Much at once goes past the page cache, where memory and file system allow it: it takes no second copy of it,
        which costs as much as the writing, and no room there from what will be read again.
        """
        if _DIRECT and len(data) >= _DIRECT_BYTES and (written := _write_past_cache(descriptor, data)):
            return written
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make the contents of an open file durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor of `create`."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`; a file that has it is replaced, in one step."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file, or a link and not what it points to."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Create an empty folder."""
        path.mkdir()

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def fsync_folder(self, path: Path) -> None:
        """Make the entries of a folder (new, renamed or removed names) durable."""
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_past_cache(descriptor: int, data: memoryview) -> int:
    """Write the whole blocks of `data` and return how many bytes that was; 0 where that cannot be done for these."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT)
        return os.write(descriptor, data[: len(data) // _BLOCK * _BLOCK])
    except OSError as error:
        if error.errno not in _ONLY_THROUGH_CACHE:  # with these, none of the bytes was written
            raise
        return 0
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
