"""What a plan says that a run would take, from records of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import toy_command_line
from fakes import let_vanish
from toy_command_line import Call
from toy_pipeline import CubesConfig

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.decide import Action, Decision, Reason
from pipeline.estimate import Estimate, Foresight, total_of
from pipeline.fingerprint import config_hash
from pipeline.observe import Damage
from pipeline.outcomes import StagePlan
from pipeline.records import Artifact, StageRecord
from pipeline.stage import StageContext, StageResult
from pipeline.workload import Workload
from pipeline.workspace import Workspace

call = toy_command_line.call

_RUN = StagePlan(Decision("cubes", Action.RUN, Reason.NEVER_RAN), None)
_CONFIG = CubesConfig()
_HASH = config_hash(stage="cubes", version=1, config=_CONFIG)


@dataclass(frozen=True)
class Plain:
    """A stage that tells nothing of its work."""

    config: CubesConfig = _CONFIG
    name: str = "cubes"
    version: int = 1
    reruns_on_code_change: bool = False

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It has none."""
        return {}

    def execute(self, context: StageContext) -> StageResult:
        """Never called."""
        raise NotImplementedError


class Saving(Plain):
    """One that saves half-done work now and then."""

    def workload(self, context: StageContext | None) -> Workload | None:
        """Return less where something is done already."""
        return Workload(amount=20 if context else 60, unit="cubes", is_saved=True)

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:
        """Return that it was as much."""
        assert record.stage == self.name
        assert not before
        return Workload(amount=60, unit="cubes", is_saved=True)


class Telling(Plain):
    """One that has 60 cubes to make, and once had as many as the record says."""

    def workload(self, context: StageContext | None) -> Workload | None:
        """Return the same in each context."""
        assert context is None
        return Workload(amount=60, unit="cubes", stored=60)

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:
        """Return what the record says, if its mode is the same."""
        assert not before
        if record.config["mode"] != self.config.mode:
            return None
        return Workload(amount=record.metrics["cubes"], unit="cubes", stored=record.metrics["all_cubes"])


def record(workspace: Workspace, *, day: int = 1, **changes: Any) -> StageRecord:
    """Put a record into the workspace that took 10 seconds and 3,000 bytes, finished on a day of January 2026."""
    known = StageRecord(
        stage="cubes",
        stage_version=1,
        run="small-01234567",
        config_hash=_HASH,
        config=_CONFIG.model_dump(mode="json"),
        inputs_digest=f"{day:08}" * 4,
        inputs={},
        artifacts=(Artifact(kind="cubes", path="results/a", size=2500, xxh3="0" * 32),
                   Artifact(kind="cubes", path="results/b", size=500, xxh3="0" * 32)),
        metrics={"cubes": 20, "all_cubes": 30},
        code={},
        runtime={"device": "auto", "action": "run"},
        environment={"num_cores": 2},
        started_at=f"2026-01-{day:02}T00:00:00+00:00",
        finished_at=f"2026-01-{day:02}T00:00:10+00:00",
        duration_seconds=10.0,
    ).model_copy(update=changes)  # fmt: skip
    workspace.records.save(known)
    return known


def estimate(
    workspace: Workspace, stage: Plain, plan: StagePlan = _RUN, *, device: str = "auto", keep: int = 3
) -> Estimate:
    """Return the estimate on a machine of two cores."""
    runtime = RuntimeOptions.model_validate({"device": device, "keep_checkpoints": keep})
    return Foresight(workspace, runtime=runtime, cores=lambda: 2).estimate(stage, plan)


@pytest.mark.parametrize("stage", [Plain(), Telling()])
def test_without_records_nothing_is_known(workspace: Workspace, stage: Plain) -> None:
    """Unknown is said, not guessed."""
    assert estimate(workspace, stage) == Estimate(seconds=None, num_bytes=None)


def test_a_stage_that_tells_nothing_is_as_it_was_with_the_same_settings(workspace: Workspace) -> None:
    """The newest counts; with other settings nothing is known."""
    record(workspace, day=2, duration_seconds=12.0)
    record(workspace, day=1)
    assert estimate(workspace, Plain()) == Estimate(seconds=12.0, num_bytes=3000, basis="as it took on 2026-01-02")
    assert estimate(workspace, Plain(CubesConfig(mode="signed"))) == Estimate(seconds=None, num_bytes=None)


def test_time_and_disk_are_scaled_by_what_each_is_proportional_to(workspace: Workspace) -> None:
    """60 cubes after 20 that were made in 10 seconds, beside 10: thrice the time, twice the disk."""
    record(workspace)
    basis = "60 cubes, of which 20 took 10s on 2026-01-01"
    assert estimate(workspace, Telling()) == Estimate(seconds=30.0, num_bytes=6000, basis=basis)
    assert estimate(workspace, Telling(CubesConfig(mode="signed"))) == Estimate(seconds=None, num_bytes=None)


def test_the_same_settings_tell_more_than_similar_ones(workspace: Workspace) -> None:
    """Although another record is newer."""
    record(workspace)
    record(workspace, day=2, config_hash="f" * 32, duration_seconds=99.0)
    assert estimate(workspace, Telling()).seconds == 30.0


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": {"device": "auto", "action": "resume"}},
        {"runtime": {"device": "auto"}},
        {"runtime": {"device": "cuda", "action": "run"}},
        {"environment": {"num_cores": 64}},
        {"metrics": {"cubes": 0, "all_cubes": 30}},
    ],
    ids=str,
)
def test_a_time_that_says_nothing_of_the_whole_is_not_used(workspace: Workspace, changes: dict[str, Any]) -> None:
    """Continued, on another device, with other cores, or of no work at all; the disk space is known all the same."""
    record(workspace, **changes)
    assert estimate(workspace, Telling()) == Estimate(seconds=None, num_bytes=6000)


def test_what_is_kept_beside_the_results_counts_as_disk(workspace: Workspace) -> None:
    """Checkpoints lie in the folder that bears the name of the record."""
    path = workspace.records.path_of(record(workspace))
    files.write_bytes(path.with_suffix("") / "step1" / "state", b"x" * 1000)
    assert estimate(workspace, Plain()).num_bytes == 4000


@pytest.mark.parametrize("after", range(1, 6))
def test_a_checkpoint_that_a_run_removes_meanwhile_does_not_end_the_estimate(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whenever that is: what is gone takes no room."""
    path = workspace.records.path_of(record(workspace)).with_suffix("")
    for name in ("a", "b"):
        files.write_bytes(path / "step1" / name, b"x" * 1000)
    let_vanish(monkeypatch, path, after=after)
    assert estimate(workspace, Plain()).num_bytes in (3000, 4000, 5000)
    assert not path.exists()


@pytest.mark.parametrize("keep", [2, 3, 7])
def test_as_many_saves_are_to_be_expected_as_a_run_keeps(workspace: Workspace, keep: int) -> None:
    """However many are left of the earlier run: the newest, the best, and the one that is being written."""
    path = workspace.records.path_of(record(workspace))
    files.write_bytes(path.with_suffix("") / "step1" / "state", b"x" * 1000)
    files.write_bytes(path.with_suffix("") / "step2" / "state", b"x" * 900)
    assert estimate(workspace, Saving(), keep=keep).num_bytes == 3000 + (keep + 2) * 1000


def test_where_no_save_is_left_nothing_tells_what_the_next_ones_take(workspace: Workspace) -> None:
    """As after all of them were removed: the artifacts alone would promise too much room."""
    record(workspace)
    assert estimate(workspace, Saving()).num_bytes is None


@pytest.mark.parametrize("reason", [Reason.FORCED, Reason.CODE_CHANGED])
def test_half_done_work_that_is_thrown_away_first_spares_nothing(workspace: Workspace, reason: Reason) -> None:
    """A stage that starts from zero has all of it to do, and to write, whatever there is."""
    path = workspace.records.path_of(record(workspace)).with_suffix("")
    files.write_bytes(path / "step1" / "state", b"x" * 1000)
    context: Any = SimpleNamespace(state_folder=path)
    from_zero = StagePlan(Decision("cubes", Action.RUN, reason), None, context=context)
    going_on = StagePlan(Decision("cubes", Action.RESUME, Reason.INTERRUPTED), None, context=context)
    found = estimate(workspace, Saving(), from_zero)
    assert (found.seconds, found.num_bytes) == (10.0, 8000)
    found = estimate(workspace, Saving(), going_on)
    assert (found.seconds, found.num_bytes) == (10.0 / 3, 7000)


def test_a_repair_takes_the_part_that_is_damaged(workspace: Workspace) -> None:
    """By bytes: 500 of 3,000."""
    known = record(workspace)
    plan = StagePlan(
        Decision("cubes", Action.REPAIR, Reason.ARTIFACT_DAMAGED),
        known,
        (),
        (Damage(known.artifacts[1], "is missing"),),
    )
    found = estimate(workspace, Plain(), plan)
    assert found == Estimate(seconds=10.0 / 6, num_bytes=500, basis="16.7% of its bytes")


def test_what_is_skipped_takes_nothing(workspace: Workspace) -> None:
    """Whatever it took once."""
    plan = replace(_RUN, decision=Decision("cubes", Action.SKIP, Reason.UP_TO_DATE), record=record(workspace))
    assert estimate(workspace, Plain(), plan) == Estimate(seconds=0.0, num_bytes=0)


def test_a_sum_is_known_only_when_all_of_it_is() -> None:
    """Of time and disk each for itself."""
    known, half = Estimate(seconds=1.0, num_bytes=2), Estimate(seconds=None, num_bytes=3)
    assert total_of([known, known]) == Estimate(seconds=2.0, num_bytes=4)
    assert total_of([known, half]) == Estimate(seconds=None, num_bytes=5)


def test_a_plan_has_the_numbers_of_each_stage_and_of_all(call: Call) -> None:
    """In its document; before the first run they are null."""
    first = call("plan --json").document
    assert [stage["estimate"] for stage in first["stages"]] == [{"seconds": None, "num_bytes": None, "basis": ""}] * 4
    assert first["free_bytes"] > 0
    run = call("run --json").document
    forced = call("plan --json --force-all").document
    seconds = {stage["stage"]: stage["estimate"]["seconds"] for stage in forced["stages"]}
    assert seconds["numbers"] == pytest.approx(run["stages"][0]["seconds"], abs=0.5)
    assert forced["estimate"]["seconds"] == pytest.approx(sum(seconds.values()))
    assert forced["estimate"]["num_bytes"] == sum(stage["estimate"]["num_bytes"] for stage in forced["stages"]) > 0
    assert call("plan --json").document["estimate"] == {"seconds": 0.0, "num_bytes": 0, "basis": ""}


def test_a_plan_up_to_a_stage_has_the_numbers_of_the_stages_in_it(call: Call) -> None:
    """The squares, which stand between them in the whole plan, are not among them."""
    call("run --quiet")
    whole, part = (call("plan --json --force-all", words).document["stages"] for words in ("", "--until cubes"))
    assert [stage["stage"] for stage in part] == ["numbers", "cubes"]
    assert [stage["estimate"] for stage in part] == [whole[0]["estimate"], whole[2]["estimate"]]


def test_every_changed_setting_has_a_line_of_its_own(call: Call) -> None:
    """With the run that it is compared with; in the document with old and new value."""
    name = call("run --json").document["run"]
    words = "plan --set numbers.draw.low=5 --set numbers.draw.step=2 --set numbers.count=6"
    lines = [line.strip() for line in call(words).out.splitlines()]
    assert lines[0].endswith(f"RUN  CONFIG_CHANGED    3 changed settings (since {name}):")
    assert lines[1:4] == ["count: 4 -> 6", "draw.low: 1 -> 5", "draw.step: 1.0 -> 2.0"]
    stage = call(words, "--json").document["stages"][0]
    assert stage["compared_run"] == name
    assert stage["changes"][1] == {"field": "draw.low", "old": 1, "new": 5}
    assert call("plan --set numbers.draw.low=5").out.splitlines()[0].endswith(f" draw.low: 1 -> 5 (since {name})")


def test_what_is_known_of_a_sum_is_told_where_the_rest_is_not(call: Call) -> None:
    """At least so much."""
    call("run --quiet")
    told = call("plan --force-all --set cubes.mode=signed").out.splitlines()
    assert "time unknown, disk unknown" in "".join(told)
    assert told[-1].startswith("in all: time unknown, at least about ")
