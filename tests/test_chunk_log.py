"""What is told of each chunk: when it is trained to its end, with the loss of its own steps, also after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import RecordingReporter
from resume import KilledError, StepReporter
from tiny_task import TRAIN_COUNTS, tiny_config, tiny_stage

from pipeline.errors import Interrupted
from pipeline.events import Kind
from pipeline.interrupts import StopFlag
from stages.chunks.order import EpochOrder
from stages.training.chunk_log import ChunkLog
from stages.training.config import TrainingConfig
from stages.training.meter import LossMeter
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import TrainingProgressTracker


def _train(root: Path, config: TrainingConfig, **interruption: int) -> RecordingReporter:
    """Train to the end, or to where the keywords of StepReporter interrupt it, and return what was told."""
    stop = StopFlag()
    reporter = StepReporter(stop=stop, **interruption)
    stage, context = tiny_stage(root, config, reporter=reporter, stop=stop, checkpoint_interval_steps=2)
    try:
        stage.execute(context)
    except (Interrupted, KilledError):
        assert interruption
    return reporter


def _by_place(*reporters: RecordingReporter) -> dict[tuple[int, int], dict[str, Any]]:
    """Return what was told last of each chunk of each epoch."""
    return {(data["epoch"], data["chunk"]): data for each in reporters for data in each.of(Kind.CHUNK)}


def _order(epoch: int, seed: int = 3) -> list[int]:
    return [int(c) for c in EpochOrder(counts=TRAIN_COUNTS, seed=seed, epoch=epoch, is_shuffled=True).chunks]


def test_each_chunk_is_told_once_in_the_order_of_its_epoch(tmp_path: Path) -> None:
    """With how many are done, and that all of its samples were trained."""
    told = _train(tmp_path, tiny_config(epochs=2)).of(Kind.CHUNK)
    assert [(data["epoch"], data["chunk"]) for data in told] == [(e, c) for e in range(2) for c in _order(e)]
    assert [data["done"] for data in told] == [1, 2, 3] * 2
    assert {data["total"] for data in told} == {3}
    assert [data["samples"] for data in told] == [TRAIN_COUNTS[data["chunk"]] for data in told]
    assert {data["skipped"] for data in told} == {0}


def test_the_loss_is_the_mean_of_the_steps_that_began_in_the_chunk(tmp_path: Path) -> None:
    """Batches of 4 out of chunks of 7, 5 and 6: steps 1 and 2 begin in the first, 3 in the second, 4 and 5 after it."""
    reporter = _train(tmp_path, tiny_config(epochs=1))
    losses = {data["step"]: data["loss"] for data in reporter.of(Kind.METRICS) if "loss" in data}
    steps = {0: (1, 2), 1: (3,), 2: (4, 5)}
    for chunk, own in steps.items():
        expected = sum(losses[step] for step in own) / len(own)
        assert _by_place(reporter)[0, chunk]["loss"] == pytest.approx(expected, abs=2e-6)


def test_a_chunk_in_which_no_step_began_has_the_loss_of_the_step_that_took_it(tmp_path: Path) -> None:
    """A batch of 13 takes the first chunk, the second and one sample of the third."""
    reporter = _train(tmp_path, tiny_config(epochs=1, batch_size=13))
    losses = {data["step"]: data["loss"] for data in reporter.of(Kind.METRICS) if "loss" in data}
    told = [data["loss"] for data in reporter.of(Kind.CHUNK)]
    assert told == pytest.approx([losses[1], losses[1], losses[2]], abs=2e-6)


@pytest.mark.parametrize("mini_epoch_chunks", [0, 1])
@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_an_interruption_leaves_no_trace_in_what_is_told(
    tmp_path: Path, is_killed: bool, mini_epoch_chunks: int
) -> None:
    """Interrupted after any step, the two runs together tell the same of each chunk as the whole one, to the bit."""
    config = tiny_config(epochs=2, mini_epoch_chunks=mini_epoch_chunks)
    expected = _by_place(_train(tmp_path / "whole", config))
    for step in range(1, 10):
        root = tmp_path / f"at{step}"
        first = _train(root, config, **{"kill_after" if is_killed else "stop_after": step})
        assert _by_place(first, _train(root, config)) == expected, f"interrupted after step {step}"


@pytest.mark.parametrize("is_behind_last_batch", [False, True])
def test_samples_that_are_left_out_are_counted(tmp_path: Path, is_behind_last_batch: bool) -> None:
    """A chunk that is lost has no loss, and takes its place in the epoch, at its end too."""
    last = _order(1)[-1]
    batch_size = sum(TRAIN_COUNTS) - TRAIN_COUNTS[last] if is_behind_last_batch else 4
    config = tiny_config(epochs=2, batch_size=batch_size, max_skipped_fraction=0.5)
    tiny_stage(tmp_path, config)
    (tmp_path / "datasets" / "tiny" / f"train_{last:05d}.safetensors").write_bytes(b"")
    told = _by_place(_train(tmp_path, config))
    assert told[1, last] == {
        "epoch": 1, "chunk": last, "done": 3, "total": 3, "samples": 0, "skipped": TRAIN_COUNTS[last], "loss": None,
    }  # fmt: skip
    assert len(told) == 6
    assert all(data["skipped"] == 0 for (_, chunk), data in told.items() if chunk != last)


def test_on_cuda_nothing_waits_until_it_is_asked_for(tmp_path: Path) -> None:
    """Losses stay on the device; what is told then has the sums of its own time."""
    reporter = RecordingReporter()
    _, context = tiny_stage(tmp_path, reporter=reporter)
    tracker = TrainingProgressTracker(tmp_path / "progress.json", seed=3)
    # Tensors on the host take the same ways.
    meter = LossMeter(torch.device("meta"))
    mini_epochs = MiniEpochs(TRAIN_COUNTS, seed=3, num_chunks=0)
    log = ChunkLog(context, tracker=tracker, meter=meter, mini_epochs=mini_epochs, device=torch.device("cuda"))
    for chunk, loss in ((0, 1.0), (1, 2.0)):
        meter.add({"a": torch.tensor(loss)}, total=torch.tensor(loss))
        count = TRAIN_COUNTS[chunk]
        tracker.update(
            global_step=chunk, epoch=0, chunk_id=chunk, offset=count, samples_in_batch=count, chunk_size=count
        )
        log.end_chunk(chunk, loss=torch.tensor(loss))
    meter.restart()
    assert reporter.of(Kind.CHUNK) == []
    log.flush()
    log.flush()
    assert [data["loss"] for data in reporter.of(Kind.CHUNK)] == [1.0, 2.0]
