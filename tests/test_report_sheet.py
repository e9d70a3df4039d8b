"""The sheet that a run leaves for its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.report.sheet import SCHEMA, load_sheet
from pipeline.sealed import save_sealed


@pytest.mark.parametrize(
    "document", [{}, {"stages": [{"nmae": "training"}]}, {"stages": [], "run": "standard-01234567"}], ids=str
)
def test_a_sheet_that_lacks_something_is_none(tmp_path: Path, document: dict[str, object]) -> None:
    """The error says how it is written again."""
    path = tmp_path / "sheet.json"
    save_sealed(path, {"schema_version": SCHEMA.version, **document})
    with pytest.raises(IntegrityError, match=r"sheet\.json is no run sheet$") as caught:
        load_sheet(path)
    assert caught.value.code == "E0418"
    assert "pipeline report" in caught.value.hint
