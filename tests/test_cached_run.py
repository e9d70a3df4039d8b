"""A run that finds everything done: what it looks at, what it does without, and what it notices all the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import toy_stages
from toy_stages import ALL_SKIPPED, UP_TO_DATE, Toy, decisions

from pipeline import code_digest, observe, records, stat_cache
from pipeline.decide import Action, Reason
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_file
from pipeline.stage import StageContext, StageResult
from pipeline.stat_cache import StatCache

fresh_toy = toy_stages.toy


@pytest.fixture
def toy(fresh_toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Give a toy pipeline whose files count as old enough to be remembered."""
    monkeypatch.setattr(stat_cache, "_RACY_NANOSECONDS", -10_000_000_000)
    return fresh_toy


@pytest.fixture
def rotten(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Give a pipeline that has run, on a disk whose stats say from now on that nothing has changed."""
    monkeypatch.setattr(stat_cache, "_signature", lambda _: [])
    monkeypatch.setattr(stat_cache, "_joint_signature", lambda _: "")
    for _ in range(3):
        toy.run()
    return toy


def _rot_record(toy: Toy) -> None:
    path = next((toy.workspace.checkpoints / "numbers").glob("*.json"))
    path.write_text(path.read_text().replace('"size": 1', '"size": 2', 1))


def _refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("a cached run does not need this")


def test_nothing_is_read_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third run parses no record and no source, digests nothing, and looks up no file alone."""
    toy.run()
    toy.run()
    for module, name in (
        (records, "load_sealed"),
        (code_digest, "_parse"),
        (stat_cache, "digest_file"),
        (observe, "find_damage"),
        (StatCache, "get"),
    ):
        monkeypatch.setattr(module, name, _refused)
    assert decisions(toy.run()) == ALL_SKIPPED


def test_its_records_are_whole(toy: Toy) -> None:
    """What was not read because nobody needed it is there for who asks."""
    first = toy.run()
    toy.run()
    again = toy.run()
    assert decisions(again) == ALL_SKIPPED
    for name, outcome in again.items():
        assert outcome.record.artifacts == first[name].record.artifacts
        assert outcome.record.metrics == first[name].record.metrics
        assert outcome.record.finished_at == first[name].record.finished_at


def test_its_work_hardly_grows_with_the_files(toy: Toy) -> None:
    """Each further artifact costs a few calls: one look at its stat, and one at its name for leftovers of writers."""

    def num_calls(count: int) -> int:
        for _ in range(2):
            toy.run(count=count)
        pipeline = toy.configure(count=count)
        calls = 0

        def on_event(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(on_event)
        try:
            outcomes = pipeline.run()
        finally:
            sys.setprofile(None)
        assert {outcome.decision.action for outcome in outcomes} == {Action.SKIP}
        return calls

    assert num_calls(203) - num_calls(3) < 200 * 25


def _flip_keeping_size_and_mtime(path: Path) -> None:
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has ticked
        path.write_text(chr(ord(path.read_text()[0]) ^ 1))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_flip_keeping_size_and_mtime, Reason.ARTIFACT_DAMAGED),
        (lambda path: path.unlink(), Reason.ARTIFACT_DAMAGED),
        (lambda path: path.rename(path.with_name("x")) and path.symlink_to(__file__), Reason.ARTIFACT_DAMAGED),
        (os.utime, Reason.UP_TO_DATE),
    ],
    ids=["flipped", "removed", "a link out of the workspace", "touched"],
)
def test_it_notices(toy: Toy, change: Callable[[Path], object], reason: Reason) -> None:
    """One file of a remembered stage that is not as it was is looked at itself; only what it holds counts."""
    for _ in range(3):
        toy.run()
    change(toy.file("1.txt"))
    did = toy.run()
    assert did["numbers"].decision.reason is reason
    assert toy.numbers.written == ([1] if reason is Reason.ARTIFACT_DAMAGED else [])
    assert decisions(did) | {"numbers": UP_TO_DATE} == ALL_SKIPPED
    assert toy.file("1.txt").read_text() == "1"


def test_record_that_was_altered_is_not_recalled(toy: Toy) -> None:
    """A record is remembered together with its artifacts: one byte of it, and it is read and refused."""
    for _ in range(3):
        toy.run()
    path = next((toy.workspace.checkpoints / "left").glob("*.json"))
    path.write_text(path.read_text().replace('"size": 9', '"size": 8'))
    assert decisions(toy.run()) == ALL_SKIPPED | {"left": (Action.RUN, Reason.RECORD_UNREADABLE)}


def test_what_only_a_deep_validation_sees_is_mended_by_the_next_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that a disk changed without touching their stat are believed until somebody reads them, then no more."""
    toy.run()
    path = toy.file("1.txt")
    path.write_text("7")
    with monkeypatch.context() as patch:  # as if these bytes had had this stat when they were remembered
        real = digest_file(path)
        recorded = toy.run(until="numbers") and digest_file(path)
        path.write_text("7")
        patch.setattr(stat_cache, "digest_file", lambda file: recorded if file == path else digest_file(file))
        assert recorded != real
        toy.run()
    assert decisions(toy.run()) == ALL_SKIPPED
    assert not any(found.problems for found in toy.configure().upkeep.validate(is_deep=False))
    problems = [found.problems for found in toy.configure().upkeep.validate(is_deep=True) if found.problems]
    assert "1.txt was altered" in problems[0][0]
    assert decisions(toy.run()) == ALL_SKIPPED | {"numbers": (Action.REPAIR, Reason.ARTIFACT_DAMAGED)}
    assert path.read_text() == "1"


def test_record_that_rots_unseen_ends_one_run_only(rotten: Toy) -> None:
    """Who needs what it says reads it and refuses; the next run believes no stat, and makes the record anew."""
    _rot_record(rotten)
    with pytest.raises(IntegrityError, match="altered after it was written") as caught:
        rotten.run(forced=["left"])
    assert "the next one believes no stat" in caught.value.hint
    did = decisions(rotten.run(forced=["left"]))
    assert did["numbers"] == (Action.RESUME, Reason.RECORD_UNREADABLE)
    assert did["left"][0] is Action.RUN


def test_input_that_rots_unseen_ends_one_run_only(rotten: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that finds its input damaged, as a reader of chunks does, finds it mended when it runs again."""
    execute = toy_stages.Add.execute

    def reading(stage: toy_stages.Add, context: StageContext) -> StageResult:
        if "7" in [path.read_text() for path in context.input_paths("numbers", "number")]:
            raise IntegrityError("a number was altered", code="T0001", hint="run the same command again")
        return execute(stage, context)

    monkeypatch.setattr(toy_stages.Add, "execute", reading)
    rotten.file("1.txt").write_text("7")
    with pytest.raises(IntegrityError, match="a number was altered"):
        rotten.run(forced=["left"])
    did = decisions(rotten.run(forced=["left"]))
    assert did["numbers"] == (Action.REPAIR, Reason.ARTIFACT_DAMAGED)
    assert rotten.file("1.txt").read_text() == "1"


def test_problem_of_a_shallow_validation_is_seen_by_the_next_run(rotten: Toy) -> None:
    """Where one stat is found to lie, the others are not believed either."""
    _rot_record(rotten)
    assert any(found.problems for found in rotten.configure().upkeep.validate(is_deep=False))
    assert decisions(rotten.run(forced=["left"]))["numbers"] == (Action.RESUME, Reason.RECORD_UNREADABLE)


@pytest.mark.parametrize("is_deep", [False, True])
def test_validation_says_what_it_cannot_clear(toy: Toy, is_deep: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a run that works here, problems are told together with the fact that runs may go on believing stats."""
    toy.run()
    toy.file("1.txt").write_text("7")
    with toy.workspace.locked():
        assert any(found.problems for found in toy.configure().upkeep.validate(is_deep=is_deep))
    told = capsys.readouterr().err
    assert "another run works in" in told
    assert "is not cleared" in told


def test_record_that_is_recalled_and_then_read_is_remembered_for_that(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new question to an old record costs one reading of it, not one in each run."""
    for _ in range(3):
        toy.run()
    monkeypatch.setattr(toy_stages.Add, "inputs", {"numbers": ()})
    assert decisions(toy.run()) == ALL_SKIPPED
    monkeypatch.setattr(records, "load_sealed", _refused)
    assert decisions(toy.run()) == ALL_SKIPPED
