"""What a power loss leaves: all that was acknowledged, and of the rest old or new, never a third thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from crash_states import PAGE, PowerLoss, Tree, distinct, moments
from power_loss import open_store, recover, save_checkpoint, write_everything
from recording import Step, Trace, recorded

from pipeline import files
from stages.training.checkpoints import METADATA_NAME


@pytest.fixture
def script(tmp_path: Path) -> Trace:
    """Give what the script of all durable writes does to the disk."""
    root = tmp_path / "script"
    root.mkdir()
    with recorded(root) as disk:
        write_everything(root)
    return disk.trace


def _states(*steps: Step, tree: Tree = ()) -> set[Tree]:
    disk = PowerLoss(tree)
    for step in steps:
        disk.take(step)
    return set(disk.states())


def test_what_is_not_synced_is_lost_zeroed_or_torn() -> None:
    """Of a new file with a name and no sync the model keeps nothing, no bytes, zeros, whole pages, or all."""
    data = b"a" * PAGE + b"b" * 10
    create, write = Step("create", "f", number=1), Step("write", number=1, data=data)
    found = _states(create, write, Step("fsync_folder"))
    zeros = bytes(PAGE)
    contents = [b"", bytes(len(data)), b"a" * PAGE, b"a" * PAGE + bytes(10), zeros + b"b" * 10, data]
    assert found == {(("f", each),) for each in contents}
    assert _states(create, write, Step("fsync", number=1)) == {(), (("f", data),)}
    assert _states(create, write, Step("fsync", number=1), Step("fsync_folder")) == {(("f", data),)}


def test_names_are_lost_in_any_order_until_the_folder_is_synced() -> None:
    """Two renames without a sync leave four states, each with exactly one of the names, and one state after it."""
    renames = (Step("rename", "a", "b"), Step("rename", "c", "d"))
    tree: Tree = (("a", b"1"), ("c", b"2"))
    expected = {((first, b"1"), (second, b"2")) for first in "ab" for second in "cd"}
    assert _states(*renames, tree=tree) == expected
    assert _states(*renames, Step("fsync_folder"), tree=tree) == {(("b", b"1"), ("d", b"2"))}


def test_folder_that_is_not_synced_may_lack_any_of_its_files() -> None:
    """The sync of a file does not keep its name, and neither does that of the folder around its folder."""
    steps = (Step("mkdir", "d"), Step("create", "d/f", number=1), Step("fsync", number=1), Step("fsync_folder"))
    assert _states(*steps) == {(("d", ()),), (("d", (("f", b""),)),)}


def test_no_state_loses_what_was_acknowledged(script: Trace, tmp_path: Path) -> None:
    """In every state that a power loss leaves of the script, it is all there, and found by what reads it."""
    found = distinct(moments(script))
    problems = [problem for index, each in enumerate(found) for problem in recover(each, tmp_path / str(index))]
    assert len(found) > 500
    assert problems == []


def test_every_sync_is_needed(script: Trace) -> None:
    """Whichever sync of a file or a folder is left out of the script, some state breaks the promise."""
    syncs = [index for index, step in enumerate(script.steps) if step.name.startswith("fsync")]
    superfluous = [index for index in syncs if all(moment.holds for moment in moments(script, without=index))]
    assert len(syncs) > 50
    assert [script.steps[index] for index in superfluous] == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_rename_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_folder: bool) -> None:
    """If files and folders were written under their final names, some state would hold half of one."""
    monkeypatch.setattr(files, "_temporary_beside", lambda path: path)
    with recorded(tmp_path) as disk:
        if is_folder:
            files.write_folder(tmp_path / "new", [("a", b"1"), ("b", b"2")])
        else:
            files.write_bytes(tmp_path / "new", b"1")
    assert not all(moment.holds for moment in moments(disk.trace))


def test_metadata_of_a_checkpoint_is_written_last(tmp_path: Path) -> None:
    """When the file that makes a folder a checkpoint is created, all others are synced, whatever the rename adds."""
    with recorded(tmp_path) as disk:
        save_checkpoint(open_store(tmp_path), 1)
    steps = disk.trace.steps
    created = [step for step in steps if step.name == "create"]
    last = steps.index(created[-1])
    assert created[-1].path.endswith(f"/{METADATA_NAME}")
    assert {step.number for step in steps[:last] if step.name == "fsync"} == {step.number for step in created[:-1]}


def test_run_survives_every_power_loss_and_a_sample_of_two() -> None:
    """From every state that a power loss leaves of a whole run, the same command ends with the same bytes.

    Then the power is lost once more, in the run that goes on; of these states a sample, of which `make crash` tries
    all. States that differ only in what temporaries hold are run to the end once, after all of them were read.
    """
    crash = Path(__file__).parent.parent / "benchmarks" / "crash.py"
    words = [sys.executable, str(crash), "--part", "states", "--sample", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
