"""Workspaces of every format that was ever written: the present program goes on with each of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes import RecordingReporter

from pipeline.decide import Action, Reason
from pipeline.options import SettingsOptions
from pipeline.orchestrator import Orchestrator
from pipeline.records import SCHEMA
from pipeline.sealed import load_sealed
from pipeline.session import open_session

_GOLDEN = Path(__file__).with_name("golden")
_FORMATS = sorted(int(path.name.removeprefix("format_")) for path in _GOLDEN.glob("format_*"))


@pytest.fixture(params=_FORMATS, ids=lambda number: f"format {number}")
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a copy of the golden workspace of a format."""
    return Path(shutil.copytree(_GOLDEN / f"format_{request.param}", tmp_path / "workspace"))


def _orchestrator(workspace: Path, **settings: Any) -> Orchestrator:
    assignments = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    options = SettingsOptions(profile="golden", workspace=workspace, assignments=assignments)
    session = open_session(options, environment={"PIPELINE_PIPELINE": "tiny_pipeline:PIPELINE"})
    return session.orchestrator(reporter=RecordingReporter())


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_format_has_its_golden_files() -> None:
    """There is a workspace of each format up to the one that is written now."""
    assert list(range(1, SCHEMA.version + 1)) == _FORMATS


def test_finished_work_is_found(workspace: Path) -> None:
    """Nothing that was done is done again; only evaluation runs whenever its code has changed since."""
    decisions = {plan.decision.stage: plan.decision for plan in _orchestrator(workspace).plan()}
    assert decisions["data_generation"].reason is Reason.UP_TO_DATE
    assert decisions["training"].reason is Reason.UP_TO_DATE
    assert decisions["evaluation"].reason in (Reason.UP_TO_DATE, Reason.CODE_CHANGED)


def test_every_byte_is_still_vouched_for(workspace: Path) -> None:
    """A deep validation finds all files as their records have them."""
    found = _orchestrator(workspace).upkeep.validate(is_deep=True)
    assert [each.problems for each in found] == [(), (), ()]
    assert all(each.num_records for each in found)


def test_half_done_training_goes_on(workspace: Path) -> None:
    """A training that an earlier version began continues at its step; what it left is not changed in place."""
    before = _files(workspace)
    orchestrator = _orchestrator(workspace, training__seed=1)
    outcomes = {outcome.decision.stage: outcome for outcome in orchestrator.run(until="training")}
    training = outcomes["training"]
    assert (training.decision.action, training.decision.reason) == (Action.RESUME, Reason.INTERRUPTED)
    assert "(step 4 of 8)" in training.decision.detail
    assert training.record.metrics["steps"] == 8
    after = _files(workspace)
    kept = {name for name in before.keys() & after.keys() if "training_progress.json" not in name}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    [record] = {
        str(path.relative_to(workspace)) for path in workspace.glob("checkpoints/training/*.json")
    } - before.keys()
    assert load_sealed(workspace / record)["schema_version"] == SCHEMA.version
