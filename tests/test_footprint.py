"""What the checkpoints of a training take is known before its first step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from resume import run_interrupted, run_to_the_end
from tiny_task import TinyTask, tiny_config, tiny_stage

from pipeline.errors import ResourceExhausted
from stages.training.checkpoints import Checkpoint, open_store
from stages.training.data import load_data
from stages.training.footprint import checkpoint_bytes
from stages.training.session import open_session


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # only a power loss needs it, and no test here simulates one


def _bytes(checkpoint: Checkpoint) -> int:
    return sum(path.stat().st_size for path in checkpoint.path.iterdir())


def _set_free(patch: pytest.MonkeyPatch, num_bytes: int) -> None:
    usage = shutil.disk_usage("/")
    patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=num_bytes))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"averaging": {"method": "none"}},
        {"averaging": {"method": "swa", "swa_start": 0.0}},
        {"optimizer": {"name": "sgd", "lr": 0.01}},
        {"optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.0}},
    ],
)
def test_estimate_is_close_and_never_below(tmp_path: Path, settings: dict[str, Any]) -> None:
    """With any optimizer and average a real checkpoint takes what was estimated, up to a few files of text."""
    config = tiny_config(epochs=1, **settings)
    stage, context = tiny_stage(tmp_path, config)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, config, data=load_data(manifest)) as session:
        estimate = checkpoint_bytes(session.learner, config)
    stage.execute(context)
    [checkpoint] = open_store(context).checkpoints()
    assert estimate - (1 << 16) < _bytes(checkpoint) < estimate


def test_training_that_cannot_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 6 before the first step, with the bytes of N+2 checkpoints, those that are free, and what to do."""
    monkeypatch.setattr(TinyTask, "on_losses", lambda _: pytest.fail("a step was taken"))
    config = tiny_config()
    stage, context = tiny_stage(tmp_path, config, keep_checkpoints=2)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, config, data=load_data(manifest)) as session:
        needed = 4 * checkpoint_bytes(session.learner, config)
    _set_free(monkeypatch, needed - 1)
    with pytest.raises(ResourceExhausted, match=rf"needs {needed} bytes more .* {needed - 1} bytes are free") as caught:
        stage.execute(context)
    assert "runtime.keep_checkpoints" in caught.value.hint
    assert not context.state_folder.exists()


def test_what_is_there_counts_when_a_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full but for one more checkpoint is enough: older ones go as newer ones come."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    root = tmp_path / "full"
    assert run_interrupted(root, tiny_config(), stop_after=13, checkpoint_interval_steps=1)
    stage, context = tiny_stage(root)
    [*_, newest] = open_store(context).checkpoints()
    with monkeypatch.context() as patch:
        _set_free(patch, _bytes(newest) // 2)
        with pytest.raises(ResourceExhausted, match="bytes are free"):
            stage.execute(context)
        _set_free(patch, 2 * _bytes(newest) + 4 * (1 << 16))
        assert run_to_the_end(root, tiny_config()).state == expected.state
        _set_free(patch, 0)
        stage.execute(context)  # it is over: only its weights are written again
