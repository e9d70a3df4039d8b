"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Give an empty workspace."""
    return Workspace.at(tmp_path / "workspace")
