"""The documented format of the event log is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.events import Kind
from pipeline.reporting import SCHEMA_VERSION

_TEXT = (Path(__file__).parent.parent / "docs" / "events.md").read_text()


def test_every_kind_of_event_is_described() -> None:
    """No kind is missing, and none is described that is not there."""
    rows = [line.split("|")[1] for line in _TEXT.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= set(Kind)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} - set(Kind) == {
        "v", "time", "run", "kind", "stage", "data",
    }  # fmt: skip


def test_the_version_is_that_of_the_code() -> None:
    """A new version cannot be forgotten here."""
    assert f"version of this format: {SCHEMA_VERSION}." in _TEXT
    assert f'{{"v": {SCHEMA_VERSION}, ' in _TEXT
