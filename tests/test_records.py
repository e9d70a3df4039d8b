"""Stage records on disk."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import IntegrityError, NewerFormat
from pipeline.records import Artifact, StageRecord, Target
from pipeline.sealed import load_sealed, save_sealed
from pipeline.workspace import Workspace


def _record(**changes: Any) -> StageRecord:
    values: dict[str, Any] = {
        "stage": "training",
        "stage_version": 1,
        "run": "quick-12345678",
        "config_hash": "c" * 32,
        "config": {"lr": 0.1},
        "inputs_digest": "1" * 32,
        "inputs": {"data": "d" * 32},
        "artifacts": (Artifact(kind="weights", path="results/w", size=1, xxh3="a" * 32),),
        "metrics": {"loss": 0.5},
        "targets": (Target(data_set="synthetic", metric="ap", minimum=0.85, value=None),),
        "code": {},
        "runtime": {},
        "environment": {},
        "started_at": "2026-11-21T07:00:00+0000",
        "finished_at": "2026-11-21T07:01:00+0000",
        "duration_seconds": 60.0,
    }
    return StageRecord.model_validate(values | changes)


def test_round_trip(workspace: Workspace) -> None:
    """What was saved is what is loaded, and it lies where config hash and inputs digest say."""
    store = workspace.records
    path = store.save(_record())
    assert store.load(path) == _record()
    assert path == workspace.checkpoints / "training" / f"{'c' * 32}-11111111.json"
    assert store.path("training", config_hash="c" * 32, inputs_digest="").name == f"{'c' * 32}.json"


def test_newer_schema_is_refused_by_its_number(workspace: Workspace) -> None:
    """A whole record of a later format is not guessed at: the format and the version that wrote it are named."""
    path = workspace.records.save(_record())
    save_sealed(path, load_sealed(path) | {"schema_version": 99, "written_by": "9.8.7"})
    with pytest.raises(NewerFormat, match="of format 99") as caught:
        workspace.records.load(path)
    assert "9.8.7" in caught.value.hint


@pytest.mark.parametrize("change", [{"stage": 5}, {"extra": 1}, {"artifacts": [{"path": "x"}]}])
def test_other_documents_are_no_records(workspace: Workspace, change: dict[str, Any]) -> None:
    """A sealed document of another shape is an IntegrityError that names the file."""
    path = workspace.records.save(_record())
    save_sealed(path, load_sealed(path) | change)
    with pytest.raises(IntegrityError, match="is not a stage record"):
        workspace.records.load(path)


def test_readable_skips_what_is_torn(workspace: Workspace) -> None:
    """The list of records is in the order in which they were finished, without those that cannot be read."""
    later = _record(config_hash="e" * 32, finished_at="2026-11-22T07:01:00+0000")
    for record in (later, _record()):
        workspace.records.save(record)
    (workspace.checkpoints / "training" / "torn.json").write_text("{")
    assert workspace.records.readable("training") == [_record(), later]
    assert workspace.records.readable("evaluation") == []


@pytest.mark.parametrize(("value", "is_met"), [(None, False), (0.84, False), (0.85, True), (0.9, True)])
def test_target_is_met_from_its_minimum_on(*, value: float | None, is_met: bool) -> None:
    """A target that was not measured is not met."""
    assert Target(data_set="synthetic", metric="ap", minimum=0.85, value=value).is_met is is_met
