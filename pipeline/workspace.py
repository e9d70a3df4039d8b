"""Where a run keeps its files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.lock import RunLock, owner
from pipeline.records import RecordStore

_FOLDERS = ("checkpoints", "datasets", "results", "logs")
MAX_NAME_BYTES = 255  # what file systems allow
_MAX_PATH_LENGTH = 2000  # of the 4096 bytes that Linux allows with the workspace before it


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
        return self._folders["checkpoints"]

    @property
    def datasets(self) -> Path:
        """Generated data sets."""
        return self._folders["datasets"]

    @property
    def results(self) -> Path:
        """What a run is for: weights, metrics, predictions, reports."""
        return self._folders["results"]

    @property
    def logs(self) -> Path:
        """Logs and events."""
        return self._folders["logs"]

    @property
    def event_log(self) -> Path:
        """What every run here has told, line by line."""
        return self.logs / "events.jsonl"

    @cached_property
    def _folders(self) -> Mapping[str, Path]:
        # These four may be links to where there is room, and no link is followed below them. Resolved once: a data set
        # has thousands of files to ask about.
        return {name: (self.root / name).resolve() for name in _FOLDERS}

    @property
    def records(self) -> RecordStore:
        """The stage records of this workspace."""
        return RecordStore(self.checkpoints)

    def relative(self, path: Path) -> str:
        """Return `path`, which lies in the workspace, as it is written in records: relative, with slashes."""
        for name, folder in self._folders.items():
            if path.is_relative_to(folder):
                return (Path(name) / path.relative_to(folder)).as_posix()
        return path.relative_to(self.root).as_posix()

    def absolute(self, relative: str) -> Path:
        """Return where the entry that a record names lies, which may itself be a link.

        Raises:
            IntegrityError: that would be outside the workspace.
        """
        first, *rest = Path(os.path.normpath(relative)).parts or ("",)
        is_too_long = (
            any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in (first, *rest)) or len(relative) > _MAX_PATH_LENGTH
        )
        if Path(relative).is_absolute() or first == ".." or "\0" in relative or is_too_long:
            raise _leads_out(relative, self.root)
        return self._folders.get(first, self.root / first).joinpath(*rest)

    def resolve(self, relative: str) -> Path:
        """Return the file that a record names; raises IntegrityError when it, or what it links to, lies outside."""
        path = self.absolute(relative)
        real = path.resolve()
        if not any(real.is_relative_to(folder) for folder in (self.root, *self._folders.values())):
            raise _leads_out(relative, self.root)
        return path

    @property
    def owner(self) -> str:
        """Describe the process that works here now, for people; empty if there is none. Only the lock decides."""
        return owner(self.root)

    def locked(self, *, tell: Callable[[str], None] = lambda _: None) -> RunLock:
        """Return the run lock: raises WorkspaceLocked when entered while another process holds it.

        `tell` is told when it takes a while, as after a run on another machine that did not say that it ended. Raises
        IntegrityError as `require_folders` does.
        """
        self.require_folders()
        return RunLock(self.root, tell=tell)

    def require_folders(self) -> None:
        """Make sure that what is written here comes where it belongs.

        Raises:
            IntegrityError: a folder of the workspace is a link to nothing, as to a disk that is not mounted.
        """
        for link in (self.root / name for name in _FOLDERS):
            if link.is_symlink() and not link.exists():
                raise IntegrityError(
                    f"{link} is a link to {link.readlink()}, which is not there",
                    code="E0405",
                    hint="mount that disk, or remove the link; nothing was touched",
                )


def _leads_out(relative: str, root: Path) -> IntegrityError:
    return IntegrityError(f"{relative!r} leads out of the workspace {root}", code="E0404", hint="it was not touched")


def now() -> str:
    """Return the local time with its offset, to the second, as ISO 8601; for people, never for order."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
