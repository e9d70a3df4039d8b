"""Carrying out a stage: what is recorded, when, and what is not."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import toy_stages
from toy_stages import Toy, decisions

from pipeline import files, stat_cache, survey
from pipeline.decide import Action, Reason
from pipeline.errors import IntegrityError, Interrupted, PipelineError, StageFailed
from pipeline.events import Event, Kind
from pipeline.fingerprint import digest_file
from pipeline.lock import LOCK_NAME
from pipeline.stage import Output, StageContext, StageResult

toy = toy_stages.toy


def test_record_goes_before_work_begins(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stage works it has no record: a kill at any moment leaves it not whole."""
    toy.run()
    pipeline = toy.configure()

    def look(context: StageContext) -> StageResult:
        assert not list((context.workspace.checkpoints / "left").glob("*.json"))
        raise StageFailed("on purpose", code="T0001")

    monkeypatch.setattr(toy.left, "execute", look)
    with pytest.raises(StageFailed, match="on purpose"):
        pipeline.run(forced=["left"])
    assert toy.events[-1].kind is Kind.STAGE_FAILED
    assert decisions(toy.run())["left"][0] is Action.RUN


def test_any_failure_is_in_the_log_of_events(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that dies of a bug or of memory leaves an event that says so, and no record."""
    pipeline = toy.configure()

    def fail(_context: StageContext) -> StageResult:
        raise MemoryError("no more")

    monkeypatch.setattr(toy.left, "execute", fail)
    with pytest.raises(MemoryError):
        pipeline.run()
    assert toy.events[-1] == Event(Kind.STAGE_FAILED, "left", {"error": "out of memory: no more", "code": "E0603"})
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_inputs_edited_while_a_stage_runs_are_found(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage whose inputs changed under it fails and leaves neither a record nor a result."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def meddle(context: StageContext) -> StageResult:
        result = execute(context)
        toy.file("0.txt").write_text("5")
        return result

    monkeypatch.setattr(toy.left, "execute", meddle)
    with pytest.raises(StageFailed, match=r"inputs of left changed while it ran: .*0\.txt"):
        pipeline.run()
    assert not list(toy.workspace.results.rglob("left*"))
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_mended_stage_still_tells_of_changed_code(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair by edited code warns, and so does every run after it: the rest was made by the earlier code."""
    digests = {"toys": "first"}
    monkeypatch.setattr(survey, "code_digests", lambda *_, **__: dict(digests))
    toy.run(until="numbers")
    digests["toys"] = "edited"
    toy.file("1.txt").unlink()
    for action in (Action.REPAIR, Action.SKIP):
        toy.events.clear()
        assert toy.run(until="numbers")["numbers"].decision.action is action
        assert [event.stage for event in toy.events if event.kind is Kind.WARNING] == ["numbers"]


def test_work_continued_with_other_code_is_told_and_stays_known(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the code changed between a stop and its continuation the run says so, and so does the next one."""
    version = ["first"]
    monkeypatch.setattr(survey, "code_digests", lambda stage, **_: {f"toys.{stage.name}": version[0]})
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted):
        pipeline.run()
    version[0] = "edited"
    assert toy.configure().plan()[0].code_changes == ("toys.numbers",)
    assert toy.configure(reruns_on_code_change=True).plan()[0].decision.reason is Reason.CODE_CHANGED
    for _ in range(2):
        toy.run()
        warned = [event.stage for event in toy.events if event.kind is Kind.WARNING]
        assert warned == ["numbers"]
    assert not list(toy.workspace.root.rglob("*.begun"))


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "results"), "moved or removed"),
        (StageFailed("the stage has had enough", code="T0001"), "had enough"),
    ],
    ids=["of a missing file", "of itself"],
)
def test_workspace_that_was_moved_is_not_begun_anew(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    """A run whose workspace goes away says so, whatever its stage fails of, and leaves nothing where it was."""
    pipeline = toy.configure()
    moved = toy.workspace.root.with_name("moved")

    def move(_: StageContext) -> StageResult:
        toy.workspace.root.rename(moved)
        raise failure

    monkeypatch.setattr(toy.left, "execute", move)
    monkeypatch.setattr(stat_cache, "_RACY_NANOSECONDS", -10_000_000_000)  # there is something to remember
    with pytest.raises(PipelineError, match=told):
        pipeline.run()
    assert not toy.workspace.root.exists()


def test_disk_that_stores_other_bytes_gets_no_record(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage meant to write is what a record vouches for: other bytes of the right length are found."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def spoil(context: StageContext) -> StageResult:
        [output] = execute(context).outputs
        meant = digest_file(output.path)
        output.path.write_bytes(output.path.read_bytes().replace(b"1", b"3"))
        return StageResult(outputs=[Output(output.kind, output.path, meant)])

    monkeypatch.setattr(toy.left, "execute", spoil)
    with pytest.raises(IntegrityError, match="holds other bytes than were written"):
        pipeline.run()
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_note_of_a_run_that_was_killed_after_its_record_goes(toy: Toy) -> None:
    """A kill between the record and the end of its note leaves no note behind the next run."""
    toy.run()
    record = next((toy.workspace.checkpoints / "left").glob("*.json"))
    toy.workspace.records.begin(record.with_suffix(""), code={"some": "code"})
    assert list(toy.workspace.root.rglob("*.begun"))
    toy.run()
    assert not list(toy.workspace.root.rglob("*.begun"))


def test_no_record_without_the_lock(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that comes to its end when the workspace is no longer this run's leaves no record."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def lose(context: StageContext) -> StageResult:
        result = execute(context)
        (toy.workspace.root / LOCK_NAME).unlink()
        return result

    monkeypatch.setattr(toy.left, "execute", lose)
    with pytest.raises(IntegrityError, match="moved or removed"):
        pipeline.run()
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_leftovers_of_killed_writers_are_swept(toy: Toy) -> None:
    """A run removes the temporaries that a kill left."""
    torn = toy.workspace.results / f"{files.TEMPORARY_PREFIX}torn"
    files.make_folder(torn.parent)
    torn.write_bytes(b"1")
    toy.run()
    assert not torn.exists()


def test_overwritten_results_take_their_record_along(toy: Toy) -> None:
    """When other bytes take the place of a run's results, its record goes: a record never vouches for what is gone."""
    toy.run()
    old = next((toy.workspace.checkpoints / "left").glob("*.json"))
    toy.file("0.txt").write_text("5")
    numbers = next((toy.workspace.checkpoints / "numbers").glob("*.json"))
    numbers.unlink()  # as if the code of the first stage had changed: same config, other bytes
    toy.run()
    assert not old.exists()
    assert len(list((toy.workspace.checkpoints / "left").glob("*.json"))) == 1


def test_link_in_place_of_an_artifact_is_damage(toy: Toy, tmp_path: Path) -> None:
    """An artifact that became a link out of the workspace is not believed, and is made again without following it."""
    toy.run()
    precious = tmp_path / "precious.txt"
    precious.write_text("1")
    toy.file("1.txt").unlink()
    (next(toy.workspace.root.rglob("0.txt")).parent / "1.txt").symlink_to(precious)
    assert toy.run()["numbers"].decision.reason is Reason.ARTIFACT_DAMAGED
    assert not toy.file("1.txt").is_symlink()
    assert precious.read_text() == "1"


def test_unreadable_record_is_set_aside(toy: Toy) -> None:
    """What does not verify is kept under another name, for whoever wants to know what happened."""
    toy.run()
    path = next((toy.workspace.checkpoints / "left").glob("*.json"))
    path.write_text("torn")
    toy.run()
    assert path.with_name(f"{path.name}.corrupt-0").read_text() == "torn"


def test_records_tell_all_there_is_to_know(toy: Toy) -> None:
    """A record has config, inputs, artifacts with digests, environment and times."""
    record = toy.run()["left"].record
    assert record.config == {"amount": 1}
    assert set(record.inputs) == {"numbers"}
    assert record.artifacts[0].size == len("[1, 2, 3]")
    assert "python" in record.environment
    assert record.started_at <= record.finished_at
    document: Any = json.loads(next((toy.workspace.checkpoints / "left").glob("*.json")).read_text())
    assert document["schema_version"] == 2
