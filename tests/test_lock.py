"""The run lock, with real processes; "another machine" is a process with another boot id that takes no kernel lock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, PipelineError, WorkspaceLocked
from pipeline.lock import LEASE_NAME, LOCK_NAME, RunLock, read_lease
from pipeline.workspace import Workspace

# The beat is long beside what a busy machine may delay a process, and short beside what a test may take.
_BEAT_SECONDS = 0.3
_HOLDER = """
import fcntl, sys
from pathlib import Path
from pipeline import lock
if sys.argv[2] == "elsewhere":
    fcntl.flock = lambda *_: None  # a shared disk that does not pass on locks
    lock._machine = lambda: "another machine"
with lock.RunLock(Path(sys.argv[1]), beat_seconds=float(sys.argv[3])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holder(root: Path, *, where: str = "here") -> Iterator[subprocess.Popen[str]]:
    """Give a process that holds the lock until its stdin ends, or the block does."""
    command = [sys.executable, "-c", _HOLDER, str(root), where, str(_BEAT_SECONDS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            yield holder
        finally:
            holder.kill()


def test_second_run_is_told_who_works(workspace: Workspace) -> None:
    """While one process holds the lock another fails at once and names pid, host and start time."""
    with _holder(workspace.root) as holder:
        with pytest.raises(WorkspaceLocked, match=rf"process {holder.pid} on \S+, started 20"), workspace.locked():
            pass
        assert f"process {holder.pid}" in workspace.owner
        holder.communicate()
    assert workspace.owner == ""
    with workspace.locked():
        pass


def test_lock_of_a_dead_owner_does_not_block(workspace: Workspace) -> None:
    """After SIGKILL the lock is free at once, although its files are still there."""
    with _holder(workspace.root) as holder:
        holder.kill()
    assert read_lease(workspace.root)["pid"] == holder.pid
    assert workspace.owner == ""
    told: list[str] = []
    with workspace.locked(tell=told.append):
        assert read_lease(workspace.root)["pid"] == os.getpid()
    assert not told
    assert not (workspace.root / LEASE_NAME).exists()


def test_run_on_another_machine_keeps_this_one_out(workspace: Workspace) -> None:
    """Where the kernel's lock does not reach, the moving lease of a living holder is enough: exit 5 with its name."""
    with _holder(workspace.root, where="elsewhere") as holder:
        told: list[str] = []
        contender = RunLock(workspace.root, tell=told.append, beat_seconds=_BEAT_SECONDS)
        with pytest.raises(WorkspaceLocked, match=rf"process {holder.pid} on \S+, started .*, last seen 20"), contender:
            pass
        assert "watching" in told[0]
        assert f"process {holder.pid}" in workspace.owner
        holder.communicate()


def test_lease_of_a_dead_machine_is_taken_over(workspace: Workspace) -> None:
    """A lease that does not move belongs to nobody: after watching it, the run begins, and says why it waited."""
    with _holder(workspace.root, where="elsewhere") as holder:
        holder.kill()
    told: list[str] = []
    with RunLock(workspace.root, tell=told.append, beat_seconds=_BEAT_SECONDS):
        assert read_lease(workspace.root)["pid"] == os.getpid()
    assert len(told) == 1


def test_holder_that_stood_still_leaves_when_another_took_over(workspace: Workspace) -> None:
    """A process that was stopped, and so lost the workspace, leaves with code 5 when it moves again."""
    with _holder(workspace.root, where="elsewhere") as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        with RunLock(workspace.root, beat_seconds=_BEAT_SECONDS) as held:
            os.kill(holder.pid, signal.SIGCONT)
            assert holder.wait(timeout=60) == WorkspaceLocked.exit_code
            assert holder.stderr is not None
            assert f"another run works in {workspace.root}: process {os.getpid()}" in holder.stderr.read()
            held.require_held()


def test_workspace_that_was_moved_is_no_longer_held(workspace: Workspace) -> None:
    """When the folder goes away under a run, the run is told, and nothing is made final any more."""
    lost: list[PipelineError] = []
    is_told = threading.Event()

    def on_lost(error: PipelineError) -> None:
        lost.append(error)
        is_told.set()

    with RunLock(workspace.root, on_lost=on_lost, beat_seconds=_BEAT_SECONDS) as held:
        workspace.root.rename(workspace.root.with_name("moved"))
        with pytest.raises(IntegrityError, match="moved or removed"):
            held.require_held()
        assert is_told.wait(timeout=60)
    assert isinstance(lost[0], IntegrityError)


@pytest.mark.parametrize("name", [LOCK_NAME, LEASE_NAME])
def test_lock_is_not_written_through_a_link(workspace: Workspace, tmp_path: Path, name: str) -> None:
    """A link in the place of the lock or the lease is refused, and what it points to stays as it was."""
    workspace.root.mkdir()
    (tmp_path / "precious").write_text("kept")
    (workspace.root / name).symlink_to(tmp_path / "precious")
    with pytest.raises(IntegrityError, match=r"is a link or a folder"), workspace.locked():
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("content", [b"", b"\0" * 1024, b"[]", b'{"pid": 1}', b'{"pid": 1' + b"[" * 5000])
def test_torn_lease_is_nobody_s(workspace: Workspace, content: bytes) -> None:
    """What a power cut left of a lease does not keep anybody out where the kernel's lock is free."""
    workspace.root.mkdir()
    (workspace.root / LEASE_NAME).write_bytes(content)
    with workspace.locked():
        assert read_lease(workspace.root)["pid"] == os.getpid()


@pytest.mark.parametrize("name", [LOCK_NAME, LEASE_NAME])
def test_named_pipe_in_the_place_of_the_lock_blocks_nobody(workspace: Workspace, name: str) -> None:
    """What is no regular file is refused by name, or holds nobody's name; it is never waited for."""
    workspace.root.mkdir()
    os.mkfifo(workspace.root / name)
    assert workspace.owner == ""
    with pytest.raises(IntegrityError, match=name), workspace.locked():
        pass


@pytest.mark.parametrize("change", [{"pid": 1e400}, {"pid": None}, {"beat": [1]}, {"host": "a\u001b[31mX"}])
def test_odd_lease_is_shown_without_harm(workspace: Workspace, change: dict[str, object]) -> None:
    """Numbers that are none are nobody's lease, and no letter of a name reaches a terminal as a command."""
    lease = {"pid": os.getpid(), "beat": 1, "token": "t", "machine": "m", "host": "h"}
    workspace.root.mkdir()
    (workspace.root / LEASE_NAME).write_text(json.dumps(lease | {"started_at": "s", "seen_at": "s"} | change))
    assert workspace.owner.isprintable()


def test_disk_without_locks_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk knows no locks, the lease alone keeps others out, also those of the same machine."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    told: list[str] = []
    with RunLock(workspace.root, tell=told.append, beat_seconds=_BEAT_SECONDS):
        assert "no file locks" in told[0]
        with pytest.raises(WorkspaceLocked), RunLock(workspace.root, beat_seconds=_BEAT_SECONDS):
            pass


def test_lease_is_readable_by_people(workspace: Workspace) -> None:
    """The lease is one line of JSON that says who works here since when."""
    with workspace.locked():
        lease = json.loads((workspace.root / LEASE_NAME).read_text())
        assert {"pid", "host", "started_at", "seen_at"} <= lease.keys()
