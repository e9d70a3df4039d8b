"""A training step on a GPU never makes the host wait for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import Waits, fake_cuda, with_numbers
from test_detection_task import META, SMALL, scenes
from tiny_task import tiny_stage

from stages.chunks.chunk import encode_chunk
from stages.chunks.manifest import ChunkPlan, Manifest, save_manifest
from stages.chunks.reader import Batch, Position, Segment
from stages.detection.config import DetectionConfig
from stages.detection.task import DetectionTask
from stages.training import guard as guard_module
from stages.training import session as session_module
from stages.training.config import TrainingConfig
from stages.training.data import load_data
from stages.training.loop import _step
from stages.training.session import Session, open_session

_SETTINGS: dict[str, dict[str, Any]] = {
    "swa": {"averaging": {"method": "swa"}},
    "ema": {"averaging": {"method": "ema"}},
    "in parts": {"on_oom": "accumulate", "averaging": {"method": "none"}, "gradient_clip_norm": 0},
}


def _config(**changes: Any) -> TrainingConfig:
    task = DetectionConfig.model_validate({**SMALL, "num_levels": 3})
    return TrainingConfig.model_validate({"task": task, "batch_size": 4, "precision": "bf16", **changes})


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    """Give the manifest of 64 scenes, and write the data of the tiny stage beside it."""
    tiny_stage(tmp_path)
    folder = tmp_path / "datasets" / "scenes"
    arrays = {name: value.numpy() for name, value in scenes(64)[0].items()}
    plan = ChunkPlan(chunk_id=0, split="train", file="train.safetensors", first_sample_id=0, count=64, origin="tests")
    data = encode_chunk(arrays, first_sample_id=0, origin=plan.seal_text)
    folder.mkdir(parents=True)
    (folder / plan.file).write_bytes(data)
    save_manifest(folder / "manifest.json", Manifest(meta=META, chunks=(plan.entry(data),)))
    return folder / "manifest.json"


@contextmanager
def _session(manifest_path: Path, config: TrainingConfig, *, device: str) -> Iterator[Session]:
    _, context = tiny_stage(manifest_path.parents[2], config, device=device)
    with open_session(context, config, data=load_data(manifest_path)) as session:
        # Figures are read for the display by the clock, and for the curves every so many steps: not in these.
        session.telemetry._points_every = 1_000
        session.telemetry._clock = lambda: 0.0
        yield session


def _fake_batch(offset: int) -> Batch:
    """Return a batch as the pool of a GPU gathers it."""
    arrays = {name: torch.empty((4, *value.shape[1:]), dtype=value.dtype, device="cuda") for name, value in _ARRAYS}
    segments = (Segment(0, offset, 4, 64),)
    return Batch(0, arrays, np.arange(offset, offset + 4), segments, Position(0, 0, offset + 4))


_ARRAYS = list(scenes(1)[0].items())


@pytest.mark.parametrize("settings", _SETTINGS)
def test_no_step_waits_for_the_device(manifest_path: Path, settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the batch to the commit of the position, three steps on a CUDA device neither read nor bring anything.

    The backward pass, which needs the driver of the device, is left out here; the next test has it.
    """
    monkeypatch.setattr(session_module, "choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(DetectionTask, "build_model", with_numbers(DetectionTask.build_model))
    with fake_cuda(monkeypatch), _session(manifest_path, _config(**_SETTINGS[settings]), device="cuda") as session:

        def backward(loss: torch.Tensor) -> None:
            assert loss.device.type == "cuda"
            for parameter in session.learner.parameters:
                parameter.grad = torch.empty_like(parameter)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        for offset in (0, 4, 8):
            batch = _fake_batch(offset)
            with Waits() as waits:
                _step(session, batch)
            assert waits.num_operations > 300
            assert waits.found == []


@pytest.mark.parametrize("settings", _SETTINGS)
def test_no_operation_of_a_step_depends_on_numbers(
    manifest_path: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole step, backward pass included, has no operation that asks for a number or for a size that depends on one.

    It is run on the CPU, where guard, sums of losses and chunks are made to do as on CUDA.
    """
    with _session(manifest_path, _config(**_SETTINGS[settings]), device="cpu") as session:
        monkeypatch.setattr(session.guard, "_window", session_module._GUARD_WINDOW_CUDA)
        monkeypatch.setattr(session.meter, "_device", torch.device("cuda"))
        monkeypatch.setattr(session.chunk_log, "_is_read_at_once", False)
        for _ in range(2):
            batch = session.feed.next(session.tracker.get_resume_position())
            assert batch is not None
            with Waits() as waits:
                _step(session, batch)
            assert waits.num_operations > 300
            assert waits.found == []


def test_numbers_are_read_once_a_window_and_one_window_late(
    manifest_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two windows and a half of steps the guard reads twice: what was sent when the window before was full."""
    read: list[int] = []
    arrived = guard_module._Sent.arrived

    def noted(sent: guard_module._Sent) -> tuple[list[float], list[float]]:
        read.extend(item.step for item in sent.items)
        return arrived(sent)

    monkeypatch.setattr(guard_module._Sent, "arrived", noted)
    with _session(manifest_path, _config(batch_size=1, precision="fp32"), device="cpu") as session:
        monkeypatch.setattr(session.guard, "_window", 4)
        for step in range(1, 11):
            batch = session.feed.next(session.tracker.get_resume_position())
            assert batch is not None
            _step(session, batch)
            assert read == list(range(1, (step // 4 - 1) * 4 + 1))
        session.guard.settle()
        assert read == list(range(1, 11))


def test_waiting_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: each way to wait is found and named, and what does not wait is not."""
    with fake_cuda(monkeypatch):
        x = torch.empty(3, 4, device="cuda")
        with Waits() as waits:
            torch.tensor([1.0, 2.0], device="cuda")
            x[:, [1, 0]]
            x.cpu()
            x.copy_(torch.zeros(4))
        assert waits.found == ["_to_copy", "_to_copy", "_to_copy", "copy_"]
        with Waits() as waits:
            torch.full((2,), 1.0, device="cuda")
            torch.zeros(4).to("cuda", non_blocking=True)
            torch.where(x > 0, 1.0, x)
        assert waits.found == []
    y = torch.ones(3, 4)
    with Waits() as waits:
        float(y.sum())
        y[y > 0]
        torch.unique(y)
        torch.equal(y, y)
    assert waits.found == ["_local_scalar_dense", "index", "_unique2", "equal"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("settings", _SETTINGS)
def test_cuda_itself_sees_no_waiting(manifest_path: Path, settings: str, precision: str) -> None:
    """With CUDA's own check for synchronising operations, whole steps run, the reading of their batches included."""
    config = _config(**{**_SETTINGS[settings], "precision": precision})
    with _session(manifest_path, config, device="cuda") as session:
        for step in range(12):
            torch.cuda.set_sync_debug_mode("error" if step >= 2 else "default")  # the first steps allocate
            try:
                batch = session.feed.next(session.tracker.get_resume_position())
                assert batch is not None
                _step(session, batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        session.guard.settle()
