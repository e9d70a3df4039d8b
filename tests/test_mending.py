"""A bit of any file flips: the next run mends no more than that, and ends the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tiny_command_line
from tiny_command_line import Command, contents, newest_checkpoint

from pipeline.sealed import load_sealed, sealed_bytes
from stages.training.checkpoints import METADATA_NAME

finished = tiny_command_line.finished
copy = tiny_command_line.copy
call = tiny_command_line.call


def _flip_a_bit(path: Path, *, seed: int) -> None:
    bits = random.Random(seed)  # noqa: S311 - chooses what to break
    spoilt = bytearray(path.read_bytes())
    spoilt[bits.randrange(len(spoilt))] ^= 1 << bits.randrange(8)
    path.write_bytes(spoilt)


# A file of a finished workspace, and what the next run does with data generation, training and evaluation.
_MENDED = {
    "datasets/*/consolidated_00001.safetensors": ["repair", "skip", "skip"],
    "datasets/*/test_00000.safetensors": ["repair", "skip", "skip"],
    "datasets/*/*/manifest.json": ["repair", "skip", "skip"],
    "datasets/*/*/annotations.json": ["repair", "skip", "skip"],
    "checkpoints/data_generation/*.json": ["resume", "skip", "skip"],
    "checkpoints/training/*.json": ["skip", "resume", "skip"],
    "checkpoints/evaluation/*.json": ["skip", "skip", "run"],
    "results/*/model.safetensors": ["skip", "resume", "skip"],
    "results/*/predictions.json": ["skip", "skip", "run"],
    "results/*_training_results_*.json": ["skip", "skip", "run"],
    "checkpoints/.stat_cache": ["skip", "skip", "skip"],
    "checkpoints/training/*/training_progress.json": ["skip", "skip", "skip"],
    "checkpoints/training/*/checkpoint-*/model.safetensors": ["skip", "skip", "skip"],
}


@pytest.mark.parametrize("pattern", _MENDED)
def test_a_finished_run_mends_what_was_spoilt(finished: Path, copy: Path, pattern: str, call: Command) -> None:
    """The next run makes again what was spoilt and no more, gives the same bytes, and the run after it does nothing."""
    _flip_a_bit(max(copy.glob(pattern)), seed=len(pattern))
    answered = call(copy, "run")
    assert (answered.code, answered.actions) == (0, _MENDED[pattern])
    made = contents(copy, "datasets", "results")
    assert {name: data for name, data in made.items() if ".corrupt-" not in name} == contents(
        finished, "datasets", "results"
    )
    assert call(copy, "run").actions == ["skip", "skip", "skip"]


@pytest.mark.parametrize("num_spoilt", [1, 3])
@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.safetensors", "ema.safetensors", "rng.safetensors", "trainer_state.json",
     METADATA_NAME],
)  # fmt: skip
def test_training_falls_back_and_ends_the_same(
    finished: Path, copy: Path, name: str, num_spoilt: int, call: Command
) -> None:
    """With spoilt checkpoints training goes on from an older one, or from zero if all are spoilt, to the same bytes."""
    next(copy.glob("checkpoints/training/*.json")).unlink()
    next(copy.glob("results/*/model.safetensors")).unlink()
    folders = sorted(newest_checkpoint(copy).parent.glob("checkpoint-step*"))[-num_spoilt:]
    for folder in folders:
        _flip_a_bit(folder / name, seed=1)
    answered = call(copy, "run")
    assert answered.code == 0
    assert contents(copy, "results") == contents(finished, "results")
    told = (copy / "logs" / "events.jsonl").read_text()
    assert all(f"{folder.name}/{name}" in told for folder in folders)
    assert call(copy, "run").actions == ["skip", "skip", "skip"]


def test_a_checkpoint_of_sealed_nonsense_is_set_aside(copy: Path, call: Command) -> None:
    """Metadata with a right seal and wrong contents is no checkpoint; the older one is used."""
    next(copy.glob("checkpoints/training/*.json")).unlink()
    metadata = newest_checkpoint(copy) / METADATA_NAME
    document = load_sealed(metadata)
    metadata.write_bytes(sealed_bytes({**document, "files": {"../../../precious": {"size": 1, "xxh3": "0"}}}))
    assert call(copy, "run").code == 0
    assert "is no training checkpoint" in (copy / "logs" / "events.jsonl").read_text()
