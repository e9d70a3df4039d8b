"""The loop over stages: what it decides to do with each, and why."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import toy_stages
from toy_stages import ALL_SKIPPED, UP_TO_DATE, Numbers, Toy, decisions

from pipeline import survey
from pipeline.decide import Action, Reason
from pipeline.errors import Interrupted, UsageError, WorkspaceLocked
from pipeline.events import Kind
from pipeline.outcomes import StageOutcome

toy = toy_stages.toy


def test_everything_runs_once(toy: Toy) -> None:
    """A first run runs every stage because none ever ran; a second one runs nothing and says why."""
    first = toy.run()
    assert list(decisions(first)) in (["numbers", "left", "right", "sum"], ["numbers", "right", "left", "sum"])
    assert set(decisions(first).values()) == {(Action.RUN, Reason.NEVER_RAN)}
    assert toy.file("sum.json").read_text() == str((1 + 2 + 3) + (10 + 11 + 12))
    assert decisions(toy.run()) == ALL_SKIPPED
    assert (toy.numbers.written, toy.left.num_runs, toy.sum.num_runs) == ([], 0, 0)


def test_changed_config_is_told_field_by_field(toy: Toy) -> None:
    """A changed setting runs its stage and what depends on it, and nothing beside it."""
    toy.run()
    did = toy.run(left=2)
    assert did["left"].decision.detail == "amount: 1 -> 2"
    assert decisions(did) == {
        "numbers": UP_TO_DATE,
        "left": (Action.RUN, Reason.CONFIG_CHANGED),
        "right": UP_TO_DATE,
        "sum": (Action.RUN, Reason.INPUTS_CHANGED),
    }


def test_going_back_to_an_earlier_config_is_a_cache_hit(toy: Toy) -> None:
    """After A, B, A nothing runs the third time, down to the last stage, and A's files are the ones on disk."""
    toy.run()
    changed = toy.run(start=100)
    assert Action.SKIP not in {action for action, _ in decisions(changed).values()}
    assert decisions(toy.run()) == ALL_SKIPPED
    total = toy.run()["sum"].record.artifacts[0]
    assert toy.workspace.resolve(total.path).read_text() == "39"


def test_same_bytes_from_upstream_leave_the_rest_alone(toy: Toy) -> None:
    """A forced stage that ends with the same bytes does not make the stages behind it run."""
    toy.run()
    assert decisions(toy.run(forced=["numbers"])) == ALL_SKIPPED | {"numbers": (Action.RUN, Reason.FORCED)}
    assert toy.numbers.written == [0, 1, 2]


def test_damaged_artifacts_are_mended_alone(toy: Toy) -> None:
    """A damaged file of a stage that can mend is made again alone; nothing behind it runs."""
    toy.run()
    toy.file("1.txt").write_text("7")
    did = toy.run()
    assert decisions(did) == ALL_SKIPPED | {"numbers": (Action.REPAIR, Reason.ARTIFACT_DAMAGED)}
    assert "1.txt was altered" in did["numbers"].decision.detail
    assert toy.numbers.written == [1]
    assert toy.file("1.txt").read_text() == "1"


@pytest.mark.parametrize("content", [None, "", "[1, 2, 4]"], ids=["missing", "cut", "altered"])
def test_damage_that_cannot_be_mended_runs_the_stage_again(toy: Toy, content: str | None) -> None:
    """A missing, cut or altered file of a plain stage makes that stage run, and is never fed to the next."""
    toy.run()
    path = toy.file("left.json")
    path.unlink() if content is None else path.write_text(content)
    did = toy.run()
    assert decisions(did) == ALL_SKIPPED | {"left": (Action.RUN, Reason.ARTIFACT_DAMAGED)}
    words = {None: "is missing", "": "has 0 bytes instead of 9"}.get(content, "its digest does not match")
    assert words in did["left"].decision.detail
    assert path.read_text() == "[1, 2, 3]"


def test_interrupted_stage_goes_on_where_it_was(toy: Toy) -> None:
    """A stop leaves no record; the next run resumes and does only what is missing."""
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted, match="number 2"):
        pipeline.run()
    assert toy.events[-1].kind is Kind.INTERRUPTED
    did = toy.run()
    assert decisions(did)["numbers"] == (Action.RESUME, Reason.INTERRUPTED)
    assert "2 of 3 numbers" in did["numbers"].decision.detail
    assert toy.numbers.written == [2]


def test_only_a_forced_run_discards_work(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that cannot be read, e.g. of a newer version, is left to the stage: it is never removed unseen."""
    discarded: list[str] = []
    monkeypatch.setattr(Numbers, "discard_partial_work", lambda _, context: discarded.append(context.stage))
    toy.run()
    toy.run(start=100)
    assert discarded == []
    toy.run(forced=["numbers"])
    assert discarded == ["numbers"]


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 99}'])
def test_unreadable_record_counts_as_none(toy: Toy, text: str) -> None:
    """A record that does not verify is told and not believed; partial work is used."""
    toy.run()
    next((toy.workspace.checkpoints / "numbers").glob("*.json")).write_text(text)
    next((toy.workspace.checkpoints / "left").glob("*.json")).write_text(text)
    did = decisions(toy.run())
    assert did["numbers"] == (Action.RESUME, Reason.RECORD_UNREADABLE)
    assert did["left"] == (Action.RUN, Reason.RECORD_UNREADABLE)
    assert did["sum"] == UP_TO_DATE


def test_until_leaves_the_rest_alone(toy: Toy) -> None:
    """`--until left` runs left and what it needs."""
    assert list(toy.run(until="left")) == ["numbers", "left"]


def test_plan_tells_what_run_does_and_touches_nothing(toy: Toy) -> None:
    """A plan creates no file; behind a stage that would run, the rest is open."""
    plans = {plan.decision.stage: plan.decision for plan in toy.configure().plan()}
    assert plans["numbers"].reason is Reason.NEVER_RAN
    assert plans["sum"].reason is Reason.UPSTREAM_PENDING
    assert plans["sum"].may_become_skip
    assert not toy.workspace.root.exists()
    toy.run()
    before = {path: path.stat().st_mtime_ns for path in toy.workspace.root.rglob("*")}
    assert {plan.decision.action for plan in toy.configure().plan()} == {Action.SKIP}
    assert before == {path: path.stat().st_mtime_ns for path in toy.workspace.root.rglob("*")}


def test_changed_code_warns_or_runs_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that asks for it runs again when its code changed; the others stay skipped and name the function."""
    digests = {"toys.{}": "first"}
    monkeypatch.setattr(
        survey,
        "code_digests",
        lambda stage, **_: {name.format(stage.name): code for name, code in digests.items()},
    )
    toy.run()
    digests["toys.{}"] = "edited"
    did = toy.run()
    assert decisions(did) == ALL_SKIPPED | {"sum": (Action.RUN, Reason.CODE_CHANGED)}
    assert "toys.sum" in did["sum"].decision.detail
    warned = [event for event in toy.events if event.kind is Kind.WARNING]
    assert {event.stage for event in warned} == {"numbers", "left", "right"}
    assert "toys.left" in next(event.data["text"] for event in warned if event.stage == "left")
    assert decisions(toy.run(reruns_on_code_change=True)) == {
        **dict.fromkeys(["numbers", "left", "right"], (Action.RUN, Reason.CODE_CHANGED)),
        "sum": UP_TO_DATE,
    }
    assert decisions(toy.run(reruns_on_code_change=True)) == ALL_SKIPPED


def test_only_one_run_at_a_time(toy: Toy) -> None:
    """A run in a locked workspace fails before it touches anything."""
    pipeline = toy.configure()
    with toy.workspace.locked(), pytest.raises(WorkspaceLocked):
        pipeline.run()
    assert toy.events == []


def test_artifact_that_cannot_be_had_now_is_not_taken_for_damaged(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, say, ends the run; nothing is done again because of it."""
    toy.run()
    before = toy.file("0.txt").stat().st_mtime_ns
    opened = os.open

    def fail(path: Any, *arguments: Any) -> int:
        if os.fspath(path).endswith("0.txt"):
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return opened(path, *arguments)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(os, "open", fail)
        toy.configure().run()
    assert toy.file("0.txt").stat().st_mtime_ns == before
    assert decisions(toy.run()) == ALL_SKIPPED


def test_missing_external_files_are_told_before_any_work(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in the settings of the last stage stops the run before the first stage begins."""
    pipeline = toy.configure()

    def missing() -> dict[str, tuple[Path, ...]]:
        raise UsageError("there is no folder 'photos'", code="T0001")

    monkeypatch.setattr(toy.sum, "external_files", missing, raising=False)
    for attempt in (pipeline.run, pipeline.plan):
        with pytest.raises(UsageError, match="photos"):
            attempt()
    assert toy.numbers.written == []


def test_changed_external_files_run_the_stage_again(toy: Toy, tmp_path: Path) -> None:
    """The contents of files from outside the workspace count as inputs of the stage that reads them."""
    photo = tmp_path / "photo.png"

    def run() -> dict[str, StageOutcome]:
        pipeline = toy.configure()
        toy.sum.external_files = lambda: {"photos": (photo,)}  # type: ignore[attr-defined]
        return {outcome.decision.stage: outcome for outcome in pipeline.run()}

    photo.write_bytes(b"1")
    run()
    assert decisions(run()) == ALL_SKIPPED
    photo.write_bytes(b"2")
    again = run()
    assert decisions(again) == ALL_SKIPPED | {"sum": (Action.RUN, Reason.INPUTS_CHANGED)}
    assert again["sum"].decision.detail == "it ran with other inputs: photos"


def test_validate_names_what_is_damaged(toy: Toy) -> None:
    """Validation counts files and bytes and names each artifact that is not as recorded."""
    pipeline = toy.configure()
    pipeline.run()
    good = {found.stage: found for found in pipeline.upkeep.validate(is_deep=True)}
    assert (good["numbers"].num_files, good["numbers"].num_bytes, good["numbers"].problems) == (3, 3, ())
    toy.file("2.txt").unlink()
    bad = {found.stage: found for found in pipeline.upkeep.validate(is_deep=False)}
    assert "2.txt is missing" in bad["numbers"].problems[0]
    assert bad["left"].problems == ()
