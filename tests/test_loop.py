"""The training loop: interrupted anywhere, any number of times, it ends with the bytes of the uninterrupted run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from fakes import RecordingReporter
from resume import KilledError, StepReporter, run_interrupted, run_to_the_end
from tiny_task import TRAIN_COUNTS, TinyMetrics, TinyTask, tiny_config, tiny_stage

from pipeline.errors import IntegrityError, Interrupted
from pipeline.events import Kind
from pipeline.interrupts import StopFlag
from stages.training.checkpoints import open_store

_STEPS_PER_EPOCH = -(-sum(TRAIN_COUNTS) // 4)
_CASES: dict[str, dict[str, Any]] = {
    "ema": {"epochs": 2},
    "swa": {
        "epochs": 2,
        "mini_epoch_chunks": 1,
        "averaging": {"method": "swa", "swa_start": 0.3},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "schedule": {"name": "cosine"},
    },
    "fp16, stops early": {
        "epochs": 3,
        "mini_epoch_chunks": 2,
        "precision": "fp16",
        "early_stopping": {"patience": 2, "min_delta": 0.5},
        "averaging": {"method": "none"},
    },
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.fsync", lambda _: None)  # only a power loss needs it, and no test here simulates one
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("case", _CASES)
def test_every_position_resumes_twice_to_the_same_bytes(tmp_path: Path, case: str, is_killed: bool) -> None:
    """Interrupted at step k, and again at a later one, it ends as if nothing had happened, for every k."""
    config = tiny_config(**_CASES[case])
    expected = run_to_the_end(tmp_path / "whole", config)
    num_steps = expected.metrics["steps"]
    for step in range(1, num_steps + 1):
        root = tmp_path / f"at{step}"
        for moment in (step, step + 2):
            interruption = {"kill_after" if is_killed else "stop_after": moment}
            was_interrupted = run_interrupted(root, config, **interruption)
            assert was_interrupted or moment > num_steps
        assert run_to_the_end(root, config) == expected, f"interrupted after step {step}"
        shutil.rmtree(root)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_resumes_to_the_same_bytes(tmp_path: Path, precision: str) -> None:
    """With `deterministic`, on the same device, a stop and a kill leave no trace on CUDA either."""
    config = tiny_config(precision=precision, mini_epoch_chunks=1)
    expected = run_to_the_end(tmp_path / "whole", config, device="cuda")
    run_interrupted(tmp_path / "cut", config, stop_after=3, device="cuda")
    run_interrupted(tmp_path / "cut", config, kill_after=9, device="cuda")
    assert run_to_the_end(tmp_path / "cut", config, device="cuda") == expected


def test_each_sample_is_trained_exactly_once_an_epoch(tmp_path: Path) -> None:
    """After a stop and a kill the steps that count hold every sample of every epoch once."""
    config = tiny_config(epochs=2)
    run_interrupted(tmp_path, config, stop_after=3)
    run_interrupted(tmp_path, config, kill_after=7)
    samples = run_to_the_end(tmp_path, config).samples
    for epoch in range(2):
        steps = range(epoch * _STEPS_PER_EPOCH + 1, (epoch + 1) * _STEPS_PER_EPOCH + 1)
        assert sorted(sample for step in steps for sample in samples[step]) == list(range(sum(TRAIN_COUNTS)))


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_validation_is_done_exactly_once_wherever_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """Interrupted in the middle of a validation, the run validates again, and the history is that of the whole run."""
    config = tiny_config(epochs=2, averaging={"method": "swa", "swa_start": 0.0})
    expected = run_to_the_end(tmp_path / "whole", config)
    stop = StopFlag()

    num_predictions = 0

    def interrupt() -> None:
        nonlocal num_predictions
        num_predictions += 1
        if is_killed:
            raise KilledError
        stop.set(15)

    monkeypatch.setattr(TinyTask, "on_predict", interrupt)
    stage, context = tiny_stage(tmp_path / "cut", config, stop=stop, sample_log=True)
    with pytest.raises((Interrupted, KilledError)):
        stage.execute(context)
    monkeypatch.undo()
    assert num_predictions == 1, "a validation that is asked to stop does not go on to its end"
    found = run_to_the_end(tmp_path / "cut", config)
    assert found == expected
    assert [entry["global_step"] for entry in found.metrics["history"]] == [_STEPS_PER_EPOCH, 2 * _STEPS_PER_EPOCH]


def test_a_stop_names_the_position_and_saves_it(tmp_path: Path) -> None:
    """After a stop the error and the partial work name the same place, and that step is in a checkpoint."""
    stage, context = tiny_stage(tmp_path)
    assert stage.partial_work(context) == ""
    assert run_interrupted(tmp_path, tiny_config(), stop_after=7)
    position = "epoch 1, chunk 2, sample 1 (step 7 of 15)"
    assert stage.partial_work(context) == position
    stop = StopFlag()
    stop.set(2)
    stage, context = tiny_stage(tmp_path, stop=stop)
    with pytest.raises(Interrupted, match=r"stopped by SIGINT at epoch 1") as caught:
        stage.execute(context)
    assert position in caught.value.message
    assert len(open_store(context).checkpoints()) == 2, "nothing happened since, so nothing is saved again"


def test_checkpoints_are_made_between_mini_epochs_when_asked_for(tmp_path: Path) -> None:
    """`checkpoint_interval_steps` bounds what a kill can cost, without changing the result."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    stage, context = tiny_stage(tmp_path / "often", checkpoint_interval_steps=2, keep_checkpoints=100)
    stage.execute(context)
    steps = [checkpoint.metadata.global_step for checkpoint in open_store(context).checkpoints()]
    assert steps == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    assert run_to_the_end(tmp_path / "often", tiny_config()).state == expected.state


def test_damaged_newest_checkpoint_falls_back_to_the_same_end(tmp_path: Path) -> None:
    """One flipped byte in the newest checkpoint is found and told; the older one gives the same bytes."""
    config = tiny_config()
    expected = run_to_the_end(tmp_path / "whole", config)
    root = tmp_path / "hurt"
    run_interrupted(root, config, stop_after=12)
    reporter = RecordingReporter()
    stage, context = tiny_stage(root, config, reporter=reporter, sample_log=True)
    newest = open_store(context).checkpoints()[-1].path
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "optimizer.safetensors").write_bytes(content)
    stage.execute(context)
    assert any("optimizer.safetensors was altered" in text for text in reporter.texts(Kind.WARNING))
    assert not list(newest.parent.glob("*.corrupt-*")), "its space is free again once newer ones are safe"
    assert run_to_the_end(root, config) == expected


def test_checkpoint_without_optimizer_is_used_with_a_warning(tmp_path: Path) -> None:
    """Where only weights are left training goes on from them, says so, and keeps step and learning rate."""
    run_interrupted(tmp_path, tiny_config(), stop_after=3)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, reporter=reporter)
    (open_store(context).checkpoints()[-1].path / "optimizer.safetensors").unlink()
    result = stage.execute(context)
    assert any("fresh optimizer" in text for text in reporter.texts(Kind.WARNING))
    assert result.metrics["steps"] == 15
    rates = {data["step"]: data["lr"] for data in reporter.of(Kind.METRICS) if "lr" in data}
    whole = RecordingReporter()
    stage, context = tiny_stage(tmp_path / "whole", reporter=whole)
    stage.execute(context)
    assert rates == {step: lr for step, lr in _rates(whole).items() if step > 3}


def test_older_whole_checkpoint_is_preferred_to_newer_weights(tmp_path: Path) -> None:
    """Losing a few steps gives the exact result; losing the optimizer's state does not."""
    config = tiny_config()
    expected = run_to_the_end(tmp_path / "whole", config)
    root = tmp_path / "hurt"
    run_interrupted(root, config, stop_after=7)
    reporter = RecordingReporter()
    stage, context = tiny_stage(root, config, reporter=reporter, sample_log=True)
    (open_store(context).checkpoints()[-1].path / "optimizer.safetensors").unlink()
    stage.execute(context)
    assert any("holds only weights" in text for text in reporter.texts(Kind.WARNING))
    assert run_to_the_end(root, config) == expected


def test_lost_weights_are_written_again_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the final checkpoint the same weights and figures come back, and not one step is taken."""
    expected = run_to_the_end(tmp_path, tiny_config())
    _, context = tiny_stage(tmp_path)
    (context.results_folder / "model.safetensors").unlink()
    monkeypatch.setattr(TinyTask, "on_losses", lambda _: pytest.fail("a step was taken"))
    assert run_to_the_end(tmp_path, tiny_config()) == expected


@pytest.mark.parametrize("method", ["none", "ema"])
@pytest.mark.parametrize("is_stopped_early", [False, True])
def test_best_weights_are_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, is_stopped_early: bool
) -> None:
    """After an early stop, and when asked for, the weights are those of the best validation, as they were validated."""
    settings = {"early_stopping": {"patience": 1, "min_delta": 0.9}} if is_stopped_early else {"final_weights": "best"}
    config = tiny_config(averaging={"method": method, "ema_decay": 0.5}, **settings)
    scores = iter([0.9, 0.2, 0.1])
    monkeypatch.setattr(TinyMetrics, "compute", lambda _: {"score": next(scores)})
    found = run_to_the_end(tmp_path, config)
    assert found.metrics["is_stopped_early"] == is_stopped_early
    assert found.metrics["steps"] == (2 if is_stopped_early else 3) * _STEPS_PER_EPOCH
    best = found.metrics["best"]["global_step"]
    assert found.metrics["weights_step"] == best == _STEPS_PER_EPOCH
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert run_interrupted(tmp_path / "short", config, stop_after=6)
    _, context = tiny_stage(tmp_path / "short", config)
    [checkpoint] = [item for item in open_store(context).checkpoints() if item.metadata.global_step == best]
    name, prefix = ("model", "") if method == "none" else ("ema", "module.")
    expected = safetensors.torch.load(checkpoint.read()[f"{name}.safetensors"])
    weights = safetensors.torch.load(found.weights)
    assert weights.keys() == {key.removeprefix(prefix) for key in expected} - {"n_averaged"}
    assert all(torch.equal(tensor, expected[f"{prefix}{key}"]) for key, tensor in weights.items())


def test_best_weights_that_are_gone_are_not_replaced_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removed their checkpoint: the error says which step it was of, and what to do."""
    config = tiny_config(final_weights="best")
    scores = iter([0.9, 0.2, 0.1, 0.1])
    monkeypatch.setattr(TinyMetrics, "compute", lambda _: {"score": next(scores)})
    assert run_interrupted(tmp_path, config, stop_after=_STEPS_PER_EPOCH + 2)
    _, context = tiny_stage(tmp_path, config)
    [best] = [item for item in open_store(context).checkpoints() if item.metadata.is_best]
    shutil.rmtree(best.path)
    with pytest.raises(IntegrityError, match=rf"best validation \(step {_STEPS_PER_EPOCH}\) is no longer in") as caught:
        run_to_the_end(tmp_path, config)
    assert caught.value.code == "E0468"


def test_mended_chunk_stays_left_out(tmp_path: Path) -> None:
    """What was left out before an interruption is left out after it: the run has one set of samples to its end."""
    config = tiny_config(max_skipped_fraction=0.5, epochs=2)
    tiny_stage(tmp_path)
    path = tmp_path / "datasets" / "tiny" / "train_00001.safetensors"
    content = path.read_bytes()
    path.unlink()
    run_interrupted(tmp_path, config, stop_after=3)
    path.write_bytes(content)
    found = run_to_the_end(tmp_path, config)
    assert found.metrics["skipped_samples"] == TRAIN_COUNTS[1]
    assert found.metrics["samples"] == 2 * (sum(TRAIN_COUNTS) - TRAIN_COUNTS[1])


def test_history_has_the_mean_of_each_mini_epoch(tmp_path: Path) -> None:
    """An entry tells the mean of the losses of its own steps, interrupted or not, and where it ended."""
    config = tiny_config(epochs=2)
    stop = StopFlag()
    reporter = StepReporter(stop=stop, stop_after=3)
    stage, context = tiny_stage(tmp_path, config, reporter=reporter, stop=stop)
    with pytest.raises(Interrupted):
        stage.execute(context)
    stage, context = tiny_stage(tmp_path, config, reporter=reporter)
    history = stage.execute(context).metrics["history"]
    losses = [data["loss"] for data in reporter.of(Kind.METRICS) if "loss" in data]
    for entry, part in zip(history, (losses[:_STEPS_PER_EPOCH], losses[_STEPS_PER_EPOCH:]), strict=True):
        assert entry["losses"]["total"] == pytest.approx(sum(part) / len(part), abs=1e-5)
    assert [(entry["mini_epoch"], entry["epoch"], entry["global_step"]) for entry in history] == [(1, 0, 5), (2, 1, 10)]


@pytest.mark.parametrize("num_chunks", [1, 2, 0])
def test_swa_takes_each_mini_epoch_once(tmp_path: Path, num_chunks: int) -> None:
    """The delivered weights are the mean of as many models as there were mini-epochs."""
    config = tiny_config(epochs=2, mini_epoch_chunks=num_chunks, averaging={"method": "swa", "swa_start": 0.0})
    found = run_to_the_end(tmp_path, config)
    average = safetensors.torch.load(found.state["swa.safetensors"])
    assert int(average["n_averaged"]) == found.metrics["mini_epochs"] == {1: 6, 2: 4, 0: 2}[num_chunks]
    weights = safetensors.torch.load(found.weights)
    assert all(torch.equal(tensor, average[f"module.{name}"]) for name, tensor in weights.items())


def test_missing_chunk_is_left_out_counted_and_listed(tmp_path: Path) -> None:
    """Up to the limit training goes on without a missing chunk, and a resumed run leaves out the same samples."""
    config = tiny_config(max_skipped_fraction=0.5)
    endings = []
    for name in ("whole", "cut"):
        root = tmp_path / name
        tiny_stage(root)
        (root / "datasets" / "tiny" / "train_00001.safetensors").unlink()
        if name == "cut":
            run_interrupted(root, config, stop_after=6)
        stage, context = tiny_stage(root, config, reporter=RecordingReporter())
        result = stage.execute(context)
        assert result.metrics["skipped_samples"] == TRAIN_COUNTS[1]
        assert result.metrics["samples"] == 3 * (sum(TRAIN_COUNTS) - TRAIN_COUNTS[1])
        assert result.warnings == ("datasets/tiny/train_00001.safetensors (missing): 5 samples left out",)
        assert result.tolerated_damage == ("datasets/tiny/train_00001.safetensors",)
        endings.append(run_to_the_end(root, config))
    assert endings[0].state == endings[1].state


def test_too_many_lost_samples_end_the_training(tmp_path: Path) -> None:
    """Over the limit it is an integrity error that names the file and counts the samples."""
    stage, context = tiny_stage(tmp_path)
    (tmp_path / "datasets" / "tiny" / "train_00001.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"5 of 18 samples are lost, and 0 may be: .*train_00001"):
        stage.execute(context)


def _rates(reporter: RecordingReporter) -> dict[int, float]:
    return {data["step"]: data["lr"] for data in reporter.of(Kind.METRICS) if "lr" in data}
