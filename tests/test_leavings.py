"""What `gc` takes of the built-in stages, and what half-done work, or weights that are lost, need of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import tiny_command_line
from fakes import RecordingReporter
from tiny_command_line import Answered, Command

from pipeline import files
from pipeline.errors import Interrupted
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.options import SettingsOptions
from pipeline.sealed import load_sealed, save_sealed
from pipeline.session import open_session

finished, copy, call = tiny_command_line.finished, tiny_command_line.copy, tiny_command_line.call


class _Stopper(RecordingReporter):
    """Asks for a stop at the first event of a kind of a stage."""

    def __init__(self, stop: StopFlag, stage: str, kind: Kind) -> None:
        super().__init__()
        self._stop = stop
        self._at = (stage, kind)

    def emit(self, event: Event) -> None:
        """Keep `event`, and ask for the stop."""
        super().emit(event)
        if (event.stage, event.kind) == self._at:
            self._stop.set(signal.SIGTERM)


def _stopped(root: Path, stage: str, kind: Kind, *assignments: str) -> None:
    """Leave a run in the workspace that was stopped at the first event of `kind` of a stage; no log tells of it."""
    stop = StopFlag()
    session = open_session(SettingsOptions(workspace=root, assignments=list(assignments)))
    orchestrator = session.orchestrator(reporter=_Stopper(stop, stage, kind), stop=stop)
    with pytest.raises(Interrupted):
        orchestrator.run()


def _garbage(answered: Answered, *, why: str = "") -> set[str]:
    assert answered.code == 0, answered.error
    return {each["path"] for each in answered.document["garbage"] if why in ("", each["why"])}


def _chunks(root: Path) -> set[str]:
    return {path.name for path in root.glob("datasets/*/*.safetensors")}


def test_chunks_and_sizes_that_no_record_mentions_go(copy: Path, call: Command) -> None:
    """What bears a name that data generation gives goes; what somebody put beside it stays."""
    folder = next(copy.glob("datasets/bongard-*"))
    before = _chunks(copy)
    for name in ("consolidated_00009.safetensors", "test_00000_1.safetensors", "9-9-9/manifest.json", "notes.txt"):
        files.write_bytes(folder / name, b"x")
    gone = {"consolidated_00009.safetensors", "test_00000_1.safetensors", "9-9-9"}
    answered = call(copy, "gc", "--yes")
    assert {Path(path).name for path in _garbage(answered) if path.startswith("datasets")} == gone
    assert _chunks(copy) == before
    assert (folder / "notes.txt").exists()
    assert call(copy, "run").actions == ["skip"] * 3


def test_a_data_set_that_grew_leaves_its_chunks_to_the_smaller_one(copy: Path, call: Command) -> None:
    """Sizes share chunks: with the larger run only those go that it has alone."""
    before = _chunks(copy)
    larger = ("--set", "data_generation.dataset_size=9")
    assert call(copy, "run", *larger, "--until", "data").actions == ["run"]
    assert _chunks(copy) > before
    call(copy, "run")
    assert call(copy, "gc", "--keep", "1", "--yes").code == 0
    assert _chunks(copy) == before
    assert call(copy, "run").actions == ["skip"] * 3
    assert call(copy, "run", *larger, "--until", "data").actions == ["run"]


def test_a_half_done_data_set_keeps_its_chunks(copy: Path, call: Command) -> None:
    """No record mentions them yet, and the same command takes them up; with --keep they go with their run."""
    words = ("data_generation.dataset_size=30", "data_generation.seed=1")
    _stopped(copy, "data_generation", Kind.PROGRESS, *words, "runtime.incremental=false")
    begun = set(copy.glob("datasets/*/*.safetensors")) - set(copy.glob("datasets/bongard-4*/*"))
    num_begun = len(_chunks(copy))
    assert begun
    call(copy, "gc", "--yes")
    assert all(path.exists() for path in begun)
    assert len(_chunks(copy)) == num_begun
    again = call(copy, "plan", *(word for each in words for word in ("--set", each))).document["stages"][0]
    assert (again["action"], again["reason"]) == ("resume", "INTERRUPTED")
    call(copy, "run")
    kept = call(copy, "gc", "--keep", "1", "--yes")
    assert not any(path.exists() for path in begun)
    assert kept.document["garbage"]
    assert call(copy, "run").actions == ["skip"] * 3


@pytest.mark.parametrize("spoiled", ["no config", "another config", "digest"])
def test_half_done_work_of_another_version_is_left_with_all_that_it_may_need(
    copy: Path, call: Command, spoiled: str
) -> None:
    """Which chunks it would be continued from is not known: none goes, and it is said."""
    _stopped(copy, "data_generation", Kind.PROGRESS, "data_generation.seed=1", "runtime.incremental=false")
    note = next(copy.glob("checkpoints/data_generation/*.begun"))
    if spoiled == "no config":
        save_sealed(note, {"code": load_sealed(note)["code"]})  # as it was before it told of settings
    elif spoiled == "another config":
        known = load_sealed(note)
        save_sealed(note, {**known, "config": {**known["config"], "chunk_size": 1}})
    else:
        note.write_bytes(note.read_bytes() + b"x")
    before = _chunks(copy)
    answered = call(copy, "gc", "--yes")
    assert "was begun by another version" in answered.document["doubts"][0]
    assert _chunks(copy) == before


@pytest.mark.parametrize("incremental", ["true", "false"])
def test_a_half_done_training_is_continued_after_gc(copy: Path, call: Command, incremental: str) -> None:
    """Also one that began while its data were being made; the run that was stopped is the newest, so --keep 1 is it."""
    seeds = ("data_generation.seed=1", "training.seed=1")
    words = (*seeds, f"runtime.incremental={incremental}", "runtime.checkpoint_interval_steps=1")
    _stopped(copy, "training", Kind.METRICS, *words)
    settings = [word for each in words for word in ("--set", each)]
    call(copy, "run", *settings, "--until", "data")  # as a run does, it says in the log that it started
    call(copy, "gc", "--keep", "1", "--yes")
    assert not list(copy.glob("results/*/model.safetensors"))
    decided = call(copy, "run", *settings).document["stages"]
    assert [stage["action"] for stage in decided] == ["skip", "resume", "run"]


def test_of_a_finished_training_stays_what_gives_its_weights_again(copy: Path, call: Command) -> None:
    """Lost weights are made of the newest checkpoint, without a step; the others go."""
    weights = next(copy.glob("results/*/model.safetensors"))
    before = weights.read_bytes()
    checkpoints = sorted(copy.glob("checkpoints/training/*/checkpoint-*"))
    answered = call(copy, "gc", "--yes")
    left = sorted(copy.glob("checkpoints/training/*/checkpoint-*"))
    assert left[-1] == checkpoints[-1]
    assert len(left) <= 2 < len(checkpoints)
    assert _garbage(answered) == {path.relative_to(copy).as_posix() for path in set(checkpoints) - set(left)}
    weights.unlink()
    assert call(copy, "run").actions == ["skip", "resume", "skip"]
    assert weights.read_bytes() == before


def test_results_documents_of_evaluations_that_were_done_again_go(copy: Path, call: Command) -> None:
    """Each evaluation writes a document of its own; the record refers to the last."""
    old = set(copy.glob("results/*_training_results_*.json"))
    call(copy, "run", "--force-eval")
    answered = call(copy, "gc", "--yes")
    gone = {path for path in _garbage(answered) if path.startswith("results")}
    assert gone == {path.relative_to(copy).as_posix() for path in old}
    assert len(list(copy.glob("results/*_training_results_*.json"))) == 1
    assert call(copy, "run").actions == ["skip"] * 3
