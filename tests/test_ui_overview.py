"""What the first page tells of decisions and records."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_command_line
from toy_command_line import Call

from pipeline import stat_cache
from pipeline.options import SettingsOptions
from pipeline.ui.overview import Overview, Planner

call = toy_command_line.call
_STAGES = {"numbers", "squares", "cubes", "total"}


@pytest.fixture
def planner(call: Call, tmp_path: Path) -> Planner:
    """What tells of a workspace in which everything is done; it looks again at once."""
    call("run --quiet")
    return Planner(SettingsOptions(workspace=tmp_path), clock=_Clock())


class _Clock:
    """A clock on which, whatever a look takes, the pause behind it is over when it is read the next time."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        self.now *= 100
        return self.now


def _told(overview: Overview) -> list[tuple[str, str, str]]:
    return [(stage.name, stage.state, f"{stage.action} {stage.reason}") for stage in overview.stages]


def test_all_done_is_told_as_status_and_plan_do(planner: Planner, call: Call) -> None:
    """Each stage, and the record that it stands on."""
    overview = planner.overview(0)
    assert overview.run == call("plan --json").document["run"]
    assert set(_told(overview)) == {(name, "done", "SKIP UP_TO_DATE") for name in _STAGES}
    assert {record.stage for record in overview.records if record.is_current} == _STAGES
    assert next(record for record in overview.records if record.stage == "numbers").num_files == 4


def test_a_record_that_is_remembered_is_the_one_on_disk(
    planner: Planner, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing has changed since the last run records are not read again; they are current all the same."""
    monkeypatch.setattr(stat_cache, "_RACY_NANOSECONDS", -10_000_000_000)
    call("run --quiet")
    overview = planner.overview(0)
    assert {record.stage for record in overview.records if record.is_current} == _STAGES


def test_damage_is_seen_without_a_new_start(planner: Planner, tmp_path: Path) -> None:
    """A file that was altered since, with the particulars; the record is not what a run would build on any more."""
    planner.overview(0)
    toy_number = next(tmp_path.glob("datasets/*/00002.json"))
    toy_number.write_text("7")
    overview = planner.overview(1)
    first = overview.stages[0]
    assert (first.state, first.action, first.reason) == ("damaged", "REPAIR", "ARTIFACT_DAMAGED")
    assert "00002.json" in " ".join(first.particulars)
    assert not [record for record in overview.records if record.stage == "numbers" and record.is_current]


def test_changed_settings_are_told_field_by_field(planner: Planner, tmp_path: Path) -> None:
    """Those of the settings file as it is now, not as it was when the page was started."""
    planner.overview(0)
    (tmp_path / "pipeline.toml").write_text("[numbers]\ncount = 6\ndraw.low = 3\n")
    first = planner.overview(1).stages[0]
    assert (first.action, first.reason) == ("RUN", "CONFIG_CHANGED")
    told = " ".join(first.particulars)
    assert "count: 4 -> 6" in told
    assert "draw.low: 1 -> 3" in told


def test_half_done_work_is_among_the_records(planner: Planner, tmp_path: Path) -> None:
    """Without a time and a size, as it has none."""
    state = next((tmp_path / "checkpoints" / "numbers").glob("*.json"))
    folder = state.with_suffix("")
    state.unlink()
    folder.mkdir()
    (folder / "part").write_text("")
    (record,) = [record for record in planner.overview(0).records if record.stage == "numbers"]
    assert (record.seconds, record.finished, record.is_current) == (None, "", False)


def test_nothing_is_looked_at_again_too_soon(call: Call, tmp_path: Path) -> None:
    """However many look: the files of a workspace may be many. Who is given the old state learns when to ask again."""
    call("run --quiet")
    now = 0.0
    planner = Planner(SettingsOptions(workspace=tmp_path), clock=lambda: now)
    first = planner.overview(0)
    assert planner.overview(0) is first
    assert planner.outdated(0) is None
    now = 0.5
    assert planner.overview(1) is first
    assert planner.outdated(1) == 1.5
    now = 2.5
    second = planner.overview(1)
    assert second is not first
    assert planner.outdated(1) is None
    now = 5.0
    assert planner.overview(1) is not second


def test_what_no_event_tells_of_is_seen_too(planner: Planner, tmp_path: Path) -> None:
    """A settings file that was edited, and a file that is gone: the log says nothing of either."""
    planner.overview(0)
    (tmp_path / "pipeline.toml").write_text("numbers.count = 6\n")
    assert planner.overview(0).stages[0].reason == "CONFIG_CHANGED"
    (tmp_path / "pipeline.toml").unlink()
    next(tmp_path.glob("datasets/*/00002.json")).unlink()
    assert planner.overview(0).stages[0].action == "REPAIR"


def test_what_hinders_a_plan_is_told_with_its_code(planner: Planner, call: Call, tmp_path: Path) -> None:
    """And is gone when it is mended."""
    (tmp_path / "pipeline.toml").write_text("numbers.count = -3\n")
    code = call("plan --json", code=2).document["error"]["code"]
    assert planner.overview(0).trouble.startswith(f"error[{code}]: ")
    (tmp_path / "pipeline.toml").unlink()
    assert planner.overview(1).trouble == ""
    assert len(planner.overview(1).stages) == 4
