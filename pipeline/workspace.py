"""Where a run keeps its files, and the lock that lets only one run work there at a time."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, WorkspaceLocked
from pipeline.records import RecordStore

LOCK_NAME = ".pipeline.lock"
OWNER_NAME = ".pipeline.lock.json"
_FOLDERS = ("checkpoints", "datasets", "results", "logs")
_UNNAMED = "a process that has not yet said its name"


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace; `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Workspace:
        """Return the workspace in the folder `root`, which need not exist yet."""
        return cls(root.expanduser().resolve())

    @property
    def checkpoints(self) -> Path:
        """Stage records, and the training state to continue from."""
        return self._folder("checkpoints")

    @property
    def datasets(self) -> Path:
        """Generated data sets."""
        return self._folder("datasets")

    @property
    def results(self) -> Path:
        """What a run is for: weights, metrics, predictions, reports."""
        return self._folder("results")

    @property
    def logs(self) -> Path:
        """Logs and events."""
        return self._folder("logs")

    def _folder(self, name: str) -> Path:
        # These four may be links to where there is room; they are resolved here, and no link is followed below them.
        return (self.root / name).resolve()

    @property
    def records(self) -> RecordStore:
        """The stage records of this workspace."""
        return RecordStore(self.checkpoints)

    def relative(self, path: Path) -> str:
        """Return `path`, which lies in the workspace, as it is written in records: relative, with slashes."""
        for name in _FOLDERS:
            if path.is_relative_to(self._folder(name)):
                return (Path(name) / path.relative_to(self._folder(name))).as_posix()
        return path.relative_to(self.root).as_posix()

    def absolute(self, relative: str) -> Path:
        """Return where the entry that a record names lies, which may itself be a link.

        Raises:
            IntegrityError: that would be outside the workspace.
        """
        first, *rest = Path(os.path.normpath(relative)).parts or ("",)
        if Path(relative).is_absolute() or first == ".." or "\0" in relative:
            raise _leads_out(relative, self.root)
        return (self._folder(first) if first in _FOLDERS else self.root / first).joinpath(*rest)

    def resolve(self, relative: str) -> Path:
        """Return the file that a record names; raises IntegrityError when it, or what it links to, lies outside."""
        path = self.absolute(relative)
        inside = [self.root, *(self._folder(name) for name in _FOLDERS)]
        if not any(path.resolve().is_relative_to(folder) for folder in inside):
            raise _leads_out(relative, self.root)
        return path

    @property
    def owner(self) -> str:
        """Describe the process that works here now, for people; empty if there is none. Only the lock decides."""
        known = _read_owner(self.root / OWNER_NAME)
        is_here = known.get("host") == socket.gethostname()
        return "" if not known or (is_here and not _is_alive(known["pid"])) else _describe(known)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run lock; raises WorkspaceLocked at once, naming the owner, when another process holds it.

        The kernel frees the lock when its owner dies, so a lock left by a killed run never blocks.
        """
        from filelock import FileLock, Timeout  # not needed by `--help`, `plan` and `status`

        self.root.mkdir(parents=True, exist_ok=True)
        owner = self.root / OWNER_NAME
        lock = FileLock(self.root / LOCK_NAME, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise WorkspaceLocked(
                f"another run works in {self.root}: {self.owner or _UNNAMED}",
                hint="wait for it to end, or give another folder with --workspace",
            ) from None
        try:
            owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started_at": now()}))
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _leads_out(relative: str, root: Path) -> IntegrityError:
    return IntegrityError(f"{relative!r} leads out of the workspace {root}", hint="it was not touched")


def now() -> str:
    """Return the local time with its offset, to the second, as ISO 8601; for people, never for order."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _read_owner(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
        return {"pid": int(known["pid"]), "host": str(known["host"]), "started_at": str(known["started_at"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _describe(owner: Mapping[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}, started {owner['started_at']}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
