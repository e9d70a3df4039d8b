"""Reading files that may be anything by now: only regular ones, only so large, and lost is told from not to be had."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import IntegrityError

# What says that the bytes of a file are gone: there is no such file, or the medium has lost it. All other errors (too
# many open files, no memory, no permission, a server that is away) say nothing of the file, which may be whole.
LOST = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO})


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, unbuffered; raises OSError, or IntegrityError for a pipe, a device or a folder."""
    # Without O_NONBLOCK opening a named pipe that nobody writes to would never return, not even for a signal.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError(
            f"{path} is no regular file", code="E0406", hint="remove what stands there; nothing reads it"
        )
    return os.fdopen(descriptor, "rb", buffering=0)


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """Return the contents of a file; raises as `open_regular` does, and IntegrityError for one that is larger."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise IntegrityError(
                f"{path} is larger than {max_bytes} bytes",
                code="E0407",
                hint="this program writes no file that large; remove it",
            )
        return file.readall()  # type: ignore[attr-defined, no-any-return]  # unbuffered: it is a FileIO


def require_lost(error: OSError) -> None:
    """Raise `error` again unless it says that the bytes of the file are lost: only then it is as good as damaged."""
    if error.errno not in LOST:
        raise error
