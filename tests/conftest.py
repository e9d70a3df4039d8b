"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before torch is loaded, here and in every process that a test starts: bits depend on the number of threads, and two
# threads that share their cores with other work wait for each other at every operator.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# GNU readline, which pytest loads, leaves the size of the terminal to all that is started afterwards: with several
# workers the tests would find another width than with one.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

# Who starts the suite in the background of a script, or with `nohup`, lets it ignore signals, and with it all that it
# starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

import browser
from met_codes import MetCodes
from parsed_sources import parse_once

from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_configure(config: pytest.Config) -> None:
    """Note which error codes the tests meet, and parse no source twice."""
    config.pluginmanager.register(MetCodes(), "met-codes")
    parse_once()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Give an empty workspace."""
    return Workspace.at(tmp_path / "workspace")


# not of the session: until it ends no other test could use asyncio, and each would share the memory with it
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Give the one Chromium of a file of tests."""
    with browser.chromium() as started:
        yield started


@pytest.fixture
def visit(chromium: Browser) -> Iterator[browser.Open]:
    """Give what opens pages in it, each in a context of its own."""
    with browser.pages(chromium) as open_page:
        yield open_page
