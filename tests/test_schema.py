"""Versions of documents: migrated in memory, refused when newer."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import __version__
from pipeline.errors import IntegrityError, NewerFormat
from pipeline.schema import Schema, add_writer


def _rename(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "old"} | {"new": document["old"]}


_SCHEMA = Schema("thing", migrations=(_rename, add_writer))


def test_each_older_format_is_brought_to_the_present_one() -> None:
    """Migrations are applied from the version of the document on, and the document that was read is not changed."""
    first = {"schema_version": 1, "old": 5}
    assert _SCHEMA.migrate(first, name="x") == {"schema_version": 3, "new": 5, "written_by": ""}
    assert first == {"schema_version": 1, "old": 5}
    second = {"schema_version": 2, "new": 6}
    assert _SCHEMA.migrate(second, name="x") == {"schema_version": 3, "new": 6, "written_by": ""}
    assert _SCHEMA.migrate({"schema_version": 3, "new": 7}, name="x") == {"schema_version": 3, "new": 7}


def test_newer_format_names_the_version_needed() -> None:
    """What a later program wrote is refused with the version that can read it, where the document tells that."""
    with pytest.raises(NewerFormat, match=f"x is a thing of format 4; this program, version {__version__}") as caught:
        _SCHEMA.migrate({"schema_version": 4, "written_by": "7.1"}, name="x")
    assert "use version 7.1 " in caught.value.hint
    with pytest.raises(NewerFormat) as caught:
        _SCHEMA.migrate({"schema_version": 4}, name="x")
    assert f"newer than {__version__}" in caught.value.hint


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True, [1]])
def test_version_that_is_none_is_refused(version: object) -> None:
    """A document without a whole number from 1 as its version is none of ours."""
    with pytest.raises(IntegrityError, match="does not say which version"):
        _SCHEMA.migrate({"schema_version": version}, name="x")
