"""The operations on the disk from which every durable write is made, one method each."""

from __future__ import annotations

import os
from pathlib import Path

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Disk:
    """The real disk; all methods raise OSError.

    `pipeline.files` changes nothing but through these methods, so tests can count them, record them, and break each.
    """

    def create(self, path: Path) -> int:
        """Create the file `path`, which must not be there, and return a descriptor to write to."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write the beginning of `data` and return how many bytes that was."""
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
