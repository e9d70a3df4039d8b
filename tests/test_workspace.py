"""Paths that stay inside the workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.workspace import Workspace


def test_a_folder_of_the_workspace_may_be_a_link(workspace: Workspace, tmp_path: Path) -> None:
    """Data sets may lie on a larger disk; a link below them still may not lead elsewhere."""
    workspace.root.mkdir()
    (tmp_path / "large_disk").mkdir()
    (workspace.root / "datasets").symlink_to(tmp_path / "large_disk")
    assert workspace.resolve("datasets/x") == workspace.datasets / "x"
    (workspace.datasets / "link").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="leads out"):
        workspace.resolve("datasets/link/x")


def test_folder_that_links_to_nothing_is_told(workspace: Workspace, tmp_path: Path) -> None:
    """A disk that is not mounted is named before work begins; nothing is written in its place."""
    workspace.root.mkdir()
    (workspace.root / "datasets").symlink_to(tmp_path / "not mounted" / "datasets")
    with pytest.raises(IntegrityError, match=r"datasets is a link to .*not mounted"), workspace.locked():
        pass
    assert not (tmp_path / "not mounted").exists()


def test_paths_in_records_stay_inside(workspace: Workspace, tmp_path: Path) -> None:
    """A path that leads out of the workspace, by dots, absolutely or through a link, is refused."""
    workspace.root.mkdir()
    (workspace.root / "link").symlink_to(tmp_path)
    assert workspace.resolve("datasets/x") == workspace.root / "datasets" / "x"
    for path in ("../x", "/etc/passwd", "datasets/../../x", "link/x"):
        with pytest.raises(IntegrityError, match="leads out"):
            workspace.resolve(path)
