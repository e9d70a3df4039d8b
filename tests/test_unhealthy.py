"""Trouble with numbers: what is not finite never gets into a checkpoint that is continued, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from fakes import RecordingReporter
from resume import run_interrupted, run_to_the_end
from tiny_task import TinyTask, TinyTaskConfig, tiny_config, tiny_stage

from pipeline.errors import StageFailed
from pipeline.events import Kind
from stages.training.checkpoints import TrainingFacts, open_store


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # only a power loss needs it, and no test here simulates one


@pytest.mark.parametrize(("kind", "what"), [("nan_ids", "the loss is nan"), ("huge_ids", "the gradient norm is inf")])
def test_step_that_is_not_finite_ends_the_training_naming_it(tmp_path: Path, kind: str, what: str) -> None:
    """A bad step is never saved; after three returns to the last good checkpoint it fails with step and sample ids."""
    config = tiny_config(task=TinyTaskConfig(**{kind: (16,)}))
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, config, reporter=reporter, checkpoint_interval_steps=1, sample_log=True)
    with pytest.raises(StageFailed) as caught:
        stage.execute(context)
    assert caught.value.message.startswith(f"{what} at step 4 (samples 16, 14, 17, 15)")
    assert len([text for text in reporter.texts(Kind.WARNING) if "goes back" in text]) == 3
    assert [item.metadata.global_step for item in open_store(context).checkpoints()] == [1, 2, 3]


def test_training_that_gave_up_goes_on_from_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three returns and exit code 1 the same command finds the checkpoint before the trouble, to the same end."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    root = tmp_path / "struck"
    losses = TinyTask.losses

    def struck(task: TinyTask, model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        scale = torch.nan if model.training and 16 in batch["sample_id"] else 1.0
        return {name: term * scale for name, term in losses(task, model, batch).items()}

    with monkeypatch.context() as patch:
        patch.setattr(TinyTask, "losses", struck)
        stage, context = tiny_stage(root, checkpoint_interval_steps=2, sample_log=True)
        with pytest.raises(StageFailed, match=r"samples 16, .*after 3 returns"):
            stage.execute(context)
    assert stage.partial_work(context).endswith("(step 2 of 15)")
    assert run_to_the_end(root, tiny_config()) == expected


def test_checkpoint_that_is_not_finite_is_never_chosen(tmp_path: Path) -> None:
    """One that verifies but holds NaN, by whatever fault, is set aside, saying so; the older gives the same end."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    root = tmp_path / "hurt"
    run_interrupted(root, tiny_config(), stop_after=8)
    reporter = RecordingReporter()
    stage, context = tiny_stage(root, reporter=reporter, sample_log=True)
    store = open_store(context)
    newest = store.checkpoints()[-1]
    contents = newest.read()
    tensors = safetensors.torch.load(contents["optimizer.safetensors"])
    tensors["state/0/exp_avg"].view(-1)[0] = torch.nan
    contents["optimizer.safetensors"] = safetensors.torch.save(tensors)
    facts = {name: getattr(newest.metadata, name) for name in TrainingFacts.model_fields}
    store.save(contents.items(), TrainingFacts(**facts | {"global_step": 9}))
    stage.execute(context)
    assert any("state/0/exp_avg in optimizer.safetensors holds" in text for text in reporter.texts(Kind.WARNING))
    assert run_to_the_end(root, tiny_config()) == expected


def test_passing_trouble_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN that does not come again costs the steps since the checkpoint and leaves no trace in the result."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    stage, context = tiny_stage(tmp_path / "struck", sample_log=True)
    num_steps = 0

    def strike(_: list[int]) -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 8:
            raise_nan.append(True)

    raise_nan: list[bool] = []
    losses = TinyTask.losses

    def struck(task: TinyTask, model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        terms = losses(task, model, batch)
        return {name: term * (torch.nan if raise_nan and raise_nan.pop() else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(TinyTask, "on_losses", strike)
    monkeypatch.setattr(TinyTask, "losses", struck)
    stage.execute(context)
    monkeypatch.undo()
    assert run_to_the_end(tmp_path / "struck", tiny_config()) == expected
