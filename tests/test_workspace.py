"""The run lock, with real processes, and paths that stay inside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, WorkspaceLocked
from pipeline.workspace import Workspace

_HOLDER = """
import sys
from pathlib import Path
from pipeline.workspace import Workspace
with Workspace.at(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def _start_holder(workspace: Workspace) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _HOLDER, str(workspace.root)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_second_run_is_told_who_works(workspace: Workspace) -> None:
    """While one process holds the lock another fails at once and names pid, host and start time."""
    with _start_holder(workspace) as holder:
        with pytest.raises(WorkspaceLocked, match=rf"process {holder.pid} on \S+, started 20"), workspace.locked():
            pass
        assert f"process {holder.pid}" in workspace.owner
        holder.communicate()
    assert workspace.owner == ""
    with workspace.locked():
        pass


def test_lock_of_a_dead_owner_does_not_block(workspace: Workspace) -> None:
    """After SIGKILL the lock is free at once, although its file is still there."""
    with _start_holder(workspace) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert workspace.owner == ""
    with workspace.locked():
        pass


def test_a_folder_of_the_workspace_may_be_a_link(workspace: Workspace, tmp_path: Path) -> None:
    """Data sets may lie on a larger disk; a link below them still may not lead elsewhere."""
    workspace.root.mkdir()
    (tmp_path / "large_disk").mkdir()
    workspace.datasets.symlink_to(tmp_path / "large_disk")
    assert workspace.resolve("datasets/x") == workspace.datasets / "x"
    (workspace.datasets / "link").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="leads out"):
        workspace.resolve("datasets/link/x")


def test_paths_in_records_stay_inside(workspace: Workspace, tmp_path: Path) -> None:
    """A path that leads out of the workspace, by dots, absolutely or through a link, is refused."""
    workspace.root.mkdir()
    (workspace.root / "link").symlink_to(tmp_path)
    assert workspace.resolve("datasets/x") == workspace.root / "datasets" / "x"
    for path in ("../x", "/etc/passwd", "datasets/../../x", "link/x"):
        with pytest.raises(IntegrityError, match="leads out"):
            workspace.resolve(path)
