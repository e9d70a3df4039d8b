"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is loaded, here and in every process that a test starts: bits depend on the number of threads, and two
# threads that share their cores with other work wait for each other at every operator.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from met_codes import MetCodes

from pipeline.workspace import Workspace


def pytest_configure(config: pytest.Config) -> None:
    """Note which error codes the tests meet."""
    config.pluginmanager.register(MetCodes(), "met-codes")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Give an empty workspace."""
    return Workspace.at(tmp_path / "workspace")
