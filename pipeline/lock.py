"""The lock that lets only one run work in a workspace, on this machine and on others that share its disk.

On one machine the kernel decides: it frees a lock when its holder dies. Not every shared disk passes such locks on to
other machines, so the holder also keeps a lease: a file with its name that it writes again every few seconds. Whoever
finds the lease of another machine watches it: if it moves, its holder lives. No clock is compared with another's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import IntegrityError, PipelineError, WorkspaceLocked
from pipeline.reading import read_regular
from pipeline.secrets import hide_text

LOCK_NAME = ".pipeline.lock"
LEASE_NAME = ".pipeline.lock.json"
_BEAT_SECONDS = 5.0  # attributes of files on network disks may be seconds old; a file that is opened is not
_WATCHED_BEATS = 3
_LEASE_BYTES = 1024  # of constant size: a lease is written over in place and never grows or shrinks
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NO_SUCH_LOCK = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})  # what disks say that know no locks


class RunLock:
    """Holds the workspace `root` between `__enter__` and `__exit__`.

    Args:
        tell: told when it takes a while to get the lock.
        on_lost: called from another thread when the lock is no longer ours, which must stop all work at once.
        beat_seconds: between two writes of the lease; the same for all who work in this workspace.
    """

    def __init__(
        self,
        root: Path,
        *,
        tell: Callable[[str], None] = lambda _: None,
        on_lost: Callable[[PipelineError], None] | None = None,
        beat_seconds: float = _BEAT_SECONDS,
    ) -> None:
        self._root = root
        self._tell = tell
        self._on_lost = on_lost or _leave
        self._beat_seconds = beat_seconds
        self._token = uuid.uuid4().hex
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._num_beats = 0
        self._descriptor = -1
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="run lock", daemon=True)

    def __enter__(self) -> RunLock:
        """Take the lock; raises WorkspaceLocked, naming the holder, when another process has it."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._descriptor = _open(self._root / LOCK_NAME)
        try:
            self._take_lease(has_kernel_lock=self._take_kernel_lock())
        except BaseException:
            os.close(self._descriptor)
            raise
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Free the lock."""
        self._released.set()
        self._heart.join()
        if read_lease(self._root).get("token") == self._token:
            (self._root / LEASE_NAME).unlink(missing_ok=True)
        os.close(self._descriptor)  # and with it the kernel's lock

    def require_held(self) -> None:
        """Make sure that this process still has the workspace, as before anything is made final.

        Raises:
            IntegrityError: the workspace was moved or removed.
            WorkspaceLocked: another machine took it, because this one did not move for too long.
        """
        try:
            is_same = os.path.samestat((self._root / LOCK_NAME).stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise IntegrityError(
                f"{self._root} was moved or removed while a run worked in it",
                code="E0413",
                hint="run the same command again where the workspace is now; what was finished is kept",
            )
        lease = read_lease(self._root)
        if lease and lease["token"] != self._token:
            raise self._is_taken(lease)

    def _take_kernel_lock(self) -> bool:
        """Return whether the kernel keeps the other processes of this machine out."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._is_taken(read_lease(self._root)) from None
        except OSError as error:
            if error.errno not in NO_SUCH_LOCK:
                raise
            self._tell(f"the disk of {self._root} knows no file locks; only the lease keeps other runs out")
            return False
        return True

    def _take_lease(self, *, has_kernel_lock: bool) -> None:
        """Write the lease; if the one that lies there may be of a living holder, after it was seen not to move."""
        known = read_lease(self._root)
        is_in_doubt = bool(known) and not (has_kernel_lock and known["machine"] == _machine())
        if is_in_doubt:
            self._tell(f"{describe(known)} has not said that it ended; watching for a while whether it still works")
            if self._moves(known):
                raise self._is_taken(read_lease(self._root))
        self._write()
        if is_in_doubt:
            # Another machine may have come to the same conclusion at the same time: the last to write has it.
            time.sleep(self._beat_seconds)
            self.require_held()

    def _moves(self, known: dict[str, Any]) -> bool:
        end = time.monotonic() + _WATCHED_BEATS * self._beat_seconds
        while time.monotonic() < end:
            time.sleep(self._beat_seconds / 10)
            if read_lease(self._root) != known:
                return bool(read_lease(self._root))  # gone: it ended
        return False

    def _keep_beating(self) -> None:
        while not self._released.wait(self._beat_seconds):
            try:
                self.require_held()
                self._write()
            except PipelineError as error:
                self._on_lost(error)
                return
            except OSError:
                continue  # a full or failing disk is met by those who have something to write

    def _write(self) -> None:
        self._num_beats += 1
        lease = {
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "started_at": self._started_at,
            "seen_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": _machine(),
            "token": self._token,
            "beat": self._num_beats,
        }
        descriptor = _open(self._root / LEASE_NAME)
        try:
            os.ftruncate(descriptor, _LEASE_BYTES)  # does nothing unless something else stood here
            os.pwrite(descriptor, json.dumps(lease).ljust(_LEASE_BYTES).encode(), 0)
        finally:
            os.close(descriptor)

    def _is_taken(self, lease: dict[str, Any]) -> WorkspaceLocked:
        return WorkspaceLocked(
            f"another run works in {self._root}: {describe(lease)}",
            code="E0501",
            hint="wait for it to end, or give another folder with --workspace",
        )


def owner(root: Path) -> str:
    """Describe the process that works in `root` now, for people; empty if there is none. Only the lock decides."""
    lease = read_lease(root)
    is_here = bool(lease) and lease["machine"] == _machine()
    return "" if not lease or (is_here and not _is_alive(lease["pid"])) else describe(lease)


def read_lease(root: Path) -> dict[str, Any]:
    """Return what the lease of the workspace `root` says; empty where there is none that can be read."""
    try:
        lease = json.loads(read_regular(root / LEASE_NAME, max_bytes=_LEASE_BYTES))
        texts = {name: _printable(str(lease[name])) for name in ("host", "started_at", "seen_at", "machine", "token")}
        return {"pid": int(lease["pid"]), "beat": int(lease["beat"]), **texts}
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, IntegrityError):
        return {}


def describe(lease: dict[str, Any]) -> str:
    """Say in words who wrote a lease."""
    if not lease:
        return "a process that has not yet said its name"
    words = f"process {lease['pid']} on {lease['host']}, started {lease['started_at']}"
    return words if lease["machine"] == _machine() else f"{words}, last seen {lease['seen_at']}"


def _leave(error: PipelineError) -> None:
    # At once, whatever the other threads do: each write from now on could meet one of the new holder. Nothing is
    # half-done by this, because every write is atomic.
    sys.stderr.write(hide_text(f"error[{error.code}]: {error.message}\nhint: {error.hint}\n"))
    sys.stderr.flush()
    os._exit(error.exit_code)


def _open(path: Path) -> int:
    hint = "remove what stands there; it is made anew"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        raise IntegrityError(
            f"{path} is a link or a folder, not the file of the run lock", code="E0414", hint=hint
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError(f"{path} is not the file of the run lock", code="E0414", hint=hint)
    return descriptor


def _printable(text: str) -> str:
    # A lease is shown on terminals, and anybody who can write the workspace may have written it.
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _machine() -> str:
    """Return what two processes share exactly if the same kernel, in the same life of it, runs both."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return os.uname().nodename


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
