"""What was computed from files, remembered as long as their stat stays the same, like git's index."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
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
_KEPT_RUNS = 20  # what other runs remember, the newest of it: settings are tried by the hundred, and most never again
_packed = struct.Struct("<qqQq").pack
CACHE_NAME = ".stat_cache"

# Names of files by their folders, which are named in a way that the `Locate` that comes along understands.
Files = Mapping[str, Sequence[str]]
Locate = Callable[[str], Path]


class StatCache:
    """Remembers values computed from one file, under (path, name of the computation), or from many, under a name.

    A value is forgotten when size, mtime, inode or ctime of a file differ: ctime cannot be set by a program, so a
    byte that was changed with size and mtime kept is seen too. Lost or damaged, the cache is empty.

    Args:
        path: where it lies. What follows from many files lies beside it, in one file for each `run`, so that a run in
            which nothing changed reads that file alone.
    """

    def __init__(self, path: Path, *, run: str = "any") -> None:
        self._opened = time.time_ns()
        self._before: dict[str, list[int]] = {}  # the first stat of each file that was read, from before that
        self._path = path
        self._of_one = _Shelf(path)
        self._of_many = _Shelf(path.with_name(f"{path.name}.{run}"))

    def get(self, path: Path, name: str, compute: Callable[[Path], Any]) -> Any:
        """Return `compute(path)`, a JSON value, from memory where that is safe; raises what `stat` and it raise."""
        key = f"{name}:{path}"
        signature = _signature(path.stat())
        self._before.setdefault(os.fspath(path), signature)
        known = self._of_one.entries.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        started = time.time_ns()
        value = compute(path)
        self._of_one.drop(key)
        after = path.stat()
        if _signature(after) == signature and _is_older(after, than=started):
            self._of_one.put(key, [signature, value])
        return value

    def digest(self, path: Path) -> str:
        """Return the xxh3-128 of the file at `path`; raises OSError."""
        digest: str = self.get(path, "xxh3", digest_file)
        return digest

    def note(self, path: Path) -> None:
        """Note the stat of the file at `path`, which is about to be read, for what `remember` will be told of it."""
        with suppress(OSError):  # whoever reads it is told
            self._before.setdefault(os.fspath(path), _signature(path.stat()))

    def recall(self, name: str, *, key: str, locate: Locate) -> Any:
        """Return the value that `remember` was given for `key` if no file behind it has changed since; else None."""
        known = self._of_many.entries.get(name)
        if known is None or known["key"] != key:
            return None
        try:
            if known["signature"] != _joint_signature(_stats(known["read"], locate)):
                return None
        except (OSError, IntegrityError, struct.error):
            # A file is gone, dated in another age, or its folder is reached through a link: whoever asks looks himself.
            return None
        is_still_absent = not any(os.path.lexists(locate(path)) for path in known["absent"])
        return known["value"] if is_still_absent else None

    def remember(
        self, name: str, value: Any, *, key: str, read: Files, locate: Locate, absent: Iterable[str] = ()
    ) -> None:
        """Keep `value`, which is not None, as the answer to `key`, unless a file may have changed since it was read.

        It follows from the files `read`, each of them read through this cache or after `note`, and from there being
        nothing at the paths `absent`.
        """
        self._of_many.drop(name)
        try:
            stats = list(_stats(read, locate))
            signature = _joint_signature(stats)
        except (OSError, IntegrityError, struct.error):
            return
        # Not by the clock alone, which may be set back, or be that of a server. Links are never as before: that was the
        # stat of what they lead to.
        is_unchanged = all(map(self._is_as_before, _paths(read, locate), stats))
        if is_unchanged and all(_is_older(each, than=self._opened) for each in stats):
            known = {"key": key, "read": read, "absent": list(absent), "signature": signature}
            self._of_many.put(name, {**known, "value": value})

    def clear(self) -> None:
        """Remove all that is remembered, by every run."""
        for shelf in (self._of_one, self._of_many):
            shelf.forget()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            files.remove(path)

    def forget_missing(self) -> None:
        """Drop what is remembered of single files that are gone."""
        for key in [key for key in self._of_one.entries if not os.path.lexists(key.partition(":")[2])]:
            self._of_one.drop(key)

    def save(self) -> None:
        """Write what is remembered, if that changed since it was loaded; then remove what only old runs remember."""
        self._of_one.save()
        if self._of_many.save():
            others = set(self._path.parent.glob(f"{self._path.name}.*")) - {self._of_many.path}
            for path in sorted(others, key=_mtime_ns)[:-_KEPT_RUNS]:
                files.remove(path)

    def _is_as_before(self, path: str, found: os.stat_result) -> bool:
        return self._before.get(path) == _signature(found)


class _Shelf:
    """A JSON object in a file, read when it is first asked for; a file that is lost or damaged is an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_dirty = False

    @cached_property
    def entries(self) -> dict[str, Any]:
        """What is on it."""
        try:
            digest, _, body = read_regular(self.path, max_bytes=_MAX_BYTES).partition(b"\n")
            if digest.decode("ascii", "replace") == digest_bytes(body):
                entries: dict[str, Any] = json.loads(body)
                return entries
        except (OSError, ValueError, RecursionError, IntegrityError):
            pass  # absent, torn or no file: everything is read again
        return {}

    def put(self, key: str, value: Any) -> None:
        """Put `value` there."""
        self.entries[key] = value
        self._is_dirty = True

    def drop(self, key: str) -> None:
        """Take away what is there, if anything is."""
        self._is_dirty = self.entries.pop(key, None) is not None or self._is_dirty

    def forget(self) -> None:
        """Do without what is on it; if asked again, read the file again."""
        self.__dict__.pop("entries", None)
        self._is_dirty = False

    def save(self) -> bool:
        """Write the file anew if something was put or dropped; return whether that was so."""
        if not self._is_dirty:
            return False
        body = json.dumps(self.entries, separators=(",", ":")).encode()
        files.write_bytes(self.path, digest_bytes(body).encode() + b"\n" + body)
        self._is_dirty = False
        return True


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return `paths`, which have slashes, as `Files`."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def _signature(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def _joint_signature(stats: Iterable[os.stat_result]) -> str:
    # The same four, packed: there may be tens of thousands.
    return digest_bytes(
        b"".join([_packed(each.st_size, each.st_mtime_ns, each.st_ino, each.st_ctime_ns) for each in stats])
    )


def _is_older(found: os.stat_result, *, than: int) -> bool:
    return max(found.st_ctime_ns, found.st_mtime_ns) < than - _RACY_NANOSECONDS


def _mtime_ns(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0  # somebody has removed it meanwhile


def _stats(named: Files, locate: Locate) -> Iterator[os.stat_result]:
    return map(os.lstat, _paths(named, locate))


def _paths(named: Files, locate: Locate) -> Iterator[str]:
    """Yield the paths of files; raises IntegrityError where a folder is reached through a link."""
    for folder, names in named.items():
        place = os.fspath(locate(folder))
        if files.leads_through_link(Path(place)):
            raise IntegrityError(f"{place} is reached through a link", code="E0403")
        for name in names:
            yield f"{place}/{name}"
