"""What was computed from files, remembered as long as their stat stays the same, like git's index."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes, digest_file
from pipeline.reading import read_regular

# A file that changed within this time before it was read may change again without its stat showing it: kernels stamp
# files with the time of their last tick (4 ms on Linux), some file systems with whole seconds.
_RACY_NANOSECONDS = 2_000_000_000
_MAX_BYTES = 1 << 30  # about 200 for each file that was ever read


class StatCache:
    """Remembers values computed from files, under (path, name of the computation).

    A value is forgotten when size, mtime, inode or ctime of its file differ: ctime cannot be set by a program, so a
    byte that was changed with size and mtime kept is seen too. Lost or damaged, the cache is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, list[Any]] = _load(path)
        self._is_dirty = False

    def get(self, path: Path, name: str, compute: Callable[[Path], Any]) -> Any:
        """Return `compute(path)`, a JSON value, from memory where that is safe; raises what `stat` and it raise."""
        key = f"{name}:{path}"
        signature = _signature(path.stat())
        known = self._entries.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        started = time.time_ns()
        value = compute(path)
        self._is_dirty = self._entries.pop(key, None) is not None or self._is_dirty
        after = path.stat()
        newest = max(after.st_ctime_ns, after.st_mtime_ns)
        if _signature(after) == signature and newest < started - _RACY_NANOSECONDS:
            self._entries[key] = [signature, value]
            self._is_dirty = True
        return value

    def digest(self, path: Path) -> str:
        """Return the xxh3-128 of the file at `path`; raises OSError."""
        digest: str = self.get(path, "xxh3", digest_file)
        return digest

    def forget(self, path: Path) -> None:
        """Drop the digest of `path`, so that it is read again."""
        self._is_dirty = self._entries.pop(f"xxh3:{path}", None) is not None or self._is_dirty

    def save(self) -> None:
        """Write what is remembered, if that changed since it was loaded."""
        if self._is_dirty:
            body = json.dumps(self._entries, separators=(",", ":")).encode()
            files.write_bytes(self._path, digest_bytes(body).encode() + b"\n" + body)
            self._is_dirty = False


def _signature(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        digest, _, body = read_regular(path, max_bytes=_MAX_BYTES).partition(b"\n")
        if digest.decode("ascii", "replace") == digest_bytes(body):
            entries: dict[str, list[Any]] = json.loads(body)
            return entries
    except (OSError, ValueError, RecursionError, IntegrityError):
        pass  # absent, torn or no file: everything is read again
    return {}
