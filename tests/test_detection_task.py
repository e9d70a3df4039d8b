"""The built-in task keeps the promises of the task protocol, and learns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from fake_cuda import Waits
from pydantic import ValidationError

from pipeline.errors import UsageError
from stages.detection.config import DetectionConfig
from stages.task import Task, build_task

META = {"classes": ["bar", "frame"], "image_size": 64, "channels": 1}
SMALL = {"channels": 16, "num_convs": 1}


def small_task(**settings: Any) -> Task:
    """Return a task with a small head."""
    return build_task(DetectionConfig.model_validate(SMALL | settings).model_dump(), META)


def scenes(count: int = 8, *, first: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return arrays as chunks have them: in each image a filled bar to the left and a hollow frame to the right."""
    image = torch.full((count, 1, 64, 64), 255, dtype=torch.uint8)
    boxes = torch.zeros(count, 6, 4)
    labels = torch.full((count, 6), -1)
    for row in range(count):
        generator = torch.Generator().manual_seed(first + row)
        (x, y, w, h), (u, v, a, b) = torch.randint(10, 20, (2, 4), generator=generator).tolist()
        image[row, 0, y : y + h, x : x + w] = 0
        image[row, 0, v : v + b, u + 30 : u + 30 + a] = 0
        image[row, 0, v + 2 : v + b - 2, u + 32 : u + 28 + a] = 255
        boxes[row, :2] = torch.tensor([[x, y, w, h], [u + 30, v, min(a, 34 - u), b]])
        labels[row, :2] = torch.tensor([0, 1])
    return {"image": image, "boxes": boxes, "labels": labels}, torch.arange(first, first + count)


def train(task: Task, *, num_steps: int, device: str = "cpu") -> tuple[torch.nn.Module, list[dict[str, float]]]:
    """Train for some steps on the same scenes; return the model and the terms of each step."""
    torch.manual_seed(0)
    model = task.build_model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    arrays, sample_ids = scenes()
    on_device = {name: value.to(device) for name, value in arrays.items()}
    history = []
    for step in range(num_steps):
        batch = task.prepare(on_device, sample_ids.to(device), epoch=step, seed=1)
        terms = task.losses(model, batch)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()
        history.append({name: float(term.detach()) for name, term in terms.items()})
    return model, history


def equal_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Return whether two models are the same bit for bit, buffers included."""
    other: Mapping[str, torch.Tensor] = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_detector_learns() -> None:
    """After a few steps on a few scenes the class and box terms have fallen by half, and boxes are found and named."""
    task = small_task(augment_orientation=False)
    model, history = train(task, num_steps=30)
    for name in ("class", "box"):  # quality has a floor, the entropy of the IoU that it predicts
        assert history[-1][name] < history[0][name] / 2, name
    arrays, sample_ids = scenes()
    model.train()  # after so few steps the running statistics of the batch norms have not settled
    batch = task.prepare(arrays, sample_ids, epoch=None, seed=0)
    with torch.no_grad():
        metrics = task.new_metrics()
        metrics.update(task.predict(model, batch), batch)
    assert metrics.compute()["ap50"] > 0.9


def test_training_repeats_bit_for_bit() -> None:
    """Two runs from the same seed have the same weights after three steps."""
    task = small_task()
    assert equal_weights(train(task, num_steps=3)[0], train(task, num_steps=3)[0])


def test_training_has_only_operations_that_repeat_on_cuda() -> None:
    """No operation of a step, backward pass included, is one that CUDA has in no deterministic form.

    They are those for which torch's documentation of `use_deterministic_algorithms` says that they raise there; and
    `topk`, whose choice among equals may vary.
    """
    with Waits() as operations:
        train(small_task(num_levels=3), num_steps=1)
    assert {"convolution_backward", "max_pool2d_with_indices_backward", "sort"} <= operations.names
    unfit = (
        "avg_pool3d", "adaptive_", "fractional_max_pool", "max_pool3d", "max_unpool", "linear1d", "linear2d",
        "bicubic2d", "linear3d", "_pad", "grid_sampler", "nll_loss", "ctc_loss", "embedding_bag", "histc", "bincount",
        "kthvalue", "median", "scatter_reduce", "resize_", "topk",
    )  # fmt: skip
    found = {name for name in operations.names if any(word in name for word in unfit)}
    assert found == set()


@pytest.mark.gpu
def test_training_repeats_bit_for_bit_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation of the training needs an algorithm that CUDA does not have in deterministic form."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        task = small_task(num_levels=3)
        assert equal_weights(*(train(task, num_steps=3, device="cuda")[0] for _ in range(2)))
    finally:
        torch.use_deterministic_algorithms(False)


def test_augmentation_is_function_of_sample() -> None:
    """A sample is prepared alike in any batch, otherwise in another epoch, and as it is without an epoch."""
    task = small_task()
    arrays, sample_ids = scenes(16)
    whole = task.prepare(arrays, sample_ids, epoch=3, seed=1)
    part = task.prepare({name: value[5:7] for name, value in arrays.items()}, sample_ids[5:7], epoch=3, seed=1)
    for name, value in part.items():
        assert torch.equal(value, whole[name][5:7])
    assert not torch.equal(whole["image"], task.prepare(arrays, sample_ids, epoch=4, seed=1)["image"])
    plain = task.prepare(arrays, sample_ids, epoch=None, seed=1)
    assert torch.equal(plain["image"], 1 - arrays["image"] / 255)
    assert torch.equal(plain["boxes"], arrays["boxes"])


def test_terms_are_float32_under_autocast() -> None:
    """In mixed precision the loss terms are float32 all the same."""
    task = small_task()
    batch = task.prepare(*scenes(), epoch=0, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = task.losses(task.build_model(), batch)
    assert {(term.dtype, term.shape) for term in terms.values()} == {(torch.float32, torch.Size([]))}


def test_predictions_are_padded() -> None:
    """Predictions have as many rows as the settings allow, with -1 as the label of empty ones, at any image size."""
    task = small_task(max_detections=7, score_threshold=0.0)
    arrays = {
        "image": torch.zeros(2, 1, 40, 72, dtype=torch.uint8),
        "boxes": torch.zeros(2, 1, 4),
        "labels": torch.full((2, 1), -1),
    }
    batch = task.prepare(arrays, torch.arange(2), epoch=None, seed=0)
    with torch.no_grad():
        found = task.predict(task.build_model().eval(), batch)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (2, 7, 4),
        "scores": (2, 7),
        "labels": (2, 7),
    }


def test_metrics_tell_average_precision() -> None:
    """Perfect detections have an AP of 1, over all batches; nothing at all has 0."""
    task = small_task()
    metrics = task.new_metrics()
    assert metrics.compute()["ap"] == 0
    for first in (0, 8):
        batch = task.prepare(*scenes(first=first), epoch=None, seed=0)
        perfect = {**batch, "scores": torch.ones(8, 6)}
        metrics.update(perfect, batch)
    assert metrics.compute() == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0})
    metrics.update({**batch, "scores": torch.ones(8, 6), "labels": 1 - batch["labels"].clamp(max=1)}, batch)
    assert metrics.compute()["ap"] < 0.9


def test_settings_are_checked() -> None:
    """Unknown settings, values out of bounds and builders that do not exist are refused."""
    for wrong in ({"backbone": "resnet34"}, {"num_levels": 4}, {"focus": float("nan")}, {"depth": 3}):
        with pytest.raises(ValidationError):
            DetectionConfig.model_validate(wrong)
    for builder in ("stages.detection.task:missing", "no_such_module:build"):
        with pytest.raises(UsageError, match="task builder"):
            build_task({"builder": builder}, META)
