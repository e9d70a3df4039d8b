"""What a reset takes away, and what it leaves."""

from __future__ import annotations

import pytest
import toy_stages
from fakes import let_vanish
from toy_stages import ALL_SKIPPED, Toy, decisions

from pipeline import files
from pipeline.decide import Action, Reason
from pipeline.errors import Interrupted
from pipeline.lock import LOCK_NAME
from pipeline.reset import everything_of
from pipeline.workspace import Workspace

toy = toy_stages.toy


def test_reset_takes_one_stage_with_its_record(toy: Toy) -> None:
    """A reset names what goes with its size; after it that stage runs again and the others stay skipped."""
    toy.run()
    pipeline = toy.configure()
    removals = pipeline.upkeep.removals(["numbers"], only_this_run=False)
    assert sum(removal.num_files for removal in removals) == 4  # three numbers and the record
    pipeline.upkeep.reset(removals)
    assert decisions(toy.run()) == ALL_SKIPPED | {"numbers": (Action.RUN, Reason.NEVER_RAN)}


def test_reset_of_one_config_leaves_the_others(toy: Toy) -> None:
    """A reset of the run that the settings name leaves the runs of other settings."""
    toy.run()
    toy.run(left=2)
    pipeline = toy.configure(left=2)
    pipeline.upkeep.reset(pipeline.upkeep.removals(["left"], only_this_run=True))
    assert decisions(toy.run()) == ALL_SKIPPED
    assert decisions(toy.run(left=2))["left"][0] is Action.RUN


def test_reset_of_one_config_leaves_files_that_another_vouches_for(toy: Toy) -> None:
    """Artifacts that two configs share stay with the one that is left."""
    record = toy.run()["left"].record
    toy.workspace.records.save(record.model_copy(update={"config_hash": "f" * 32}))
    pipeline = toy.configure()
    removals = pipeline.upkeep.removals(["left"], only_this_run=True)
    assert [removal.path.suffix for removal in removals] == [".json"]
    assert removals[0].path.parent == toy.workspace.checkpoints / "left"
    pipeline.upkeep.reset(removals)
    assert toy.file("left.json").exists()


def test_half_done_work_is_what_has_no_record(toy: Toy) -> None:
    """A finished stage is not half-done; one that was stopped is, and its work can be discarded."""
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted):
        pipeline.run()
    assert toy.configure().upkeep.half_done() == {"numbers": "2 of 3 numbers"}
    toy.configure().upkeep.discard_partial_work("numbers")
    assert toy.configure().upkeep.half_done() == {}
    toy.run()
    assert toy.configure().upkeep.half_done() == {}


@pytest.mark.parametrize("after", range(1, 6))
def test_what_a_run_removes_meanwhile_does_not_end_the_listing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Nobody has the lock until the user has agreed: what is gone has no size, whenever it went."""
    folder = workspace.results / "old"
    for name in ("a", "b"):
        files.write_bytes(folder / name, b"x" * 1000)
    let_vanish(monkeypatch, folder, after=after)
    assert sum(each.num_bytes for each in everything_of([], workspace=workspace, has_all=True)) in (0, 1000, 2000)
    assert not folder.exists()


def test_reset_of_all_leaves_nothing(toy: Toy) -> None:
    """After a reset of all stages no file of theirs is left, results of earlier runs and caches included."""
    toy.run()
    toy.run(left=2)
    assert len(list(toy.workspace.checkpoints.glob(".stat_cache*"))) == 3
    files.write_bytes(toy.workspace.results / "toy_results_1.json", b"{}")
    pipeline = toy.configure()
    removals = pipeline.upkeep.removals([stage.name for stage in pipeline.stages], only_this_run=False)
    pipeline.upkeep.reset(removals)
    left = {path.name for path in toy.workspace.root.rglob("*") if path.is_file()}
    assert left == {LOCK_NAME}
