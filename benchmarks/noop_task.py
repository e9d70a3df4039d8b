"""A detector that trains at the speed of reading: what the benchmark of cached runs records instead of a ResNet.

Its weights are as large as those of a real one (50 MB), so that what a cached run has to vouch for is too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stages.task import Metrics, Task, Tensors

_NUM_WEIGHTS = 12_500_000  # of 4 bytes


class _Model(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(1, 4 + num_classes)
        self.ballast = nn.Parameter(torch.zeros(_NUM_WEIGHTS))

    def forward(self, images: Tensor) -> Tensor:
        brightness = images[:, :, ::16, ::16].float().mean((1, 2, 3)) / 255
        out: Tensor = self.head(brightness[:, None]) + 0 * self.ballast[0]
        return out


class CheapDetector:
    """Finds one box in each image, from its brightness alone."""

    def __init__(self, *, num_classes: int, image_size: int) -> None:
        self._num_classes = num_classes
        self._image_size = image_size

    def build_model(self) -> nn.Module:
        """Return a model of 50 MB that computes next to nothing."""
        return _Model(self._num_classes)

    def prepare(self, arrays: Tensors, _sample_ids: Tensor, *, epoch: int | None, seed: int) -> Tensors:  # noqa: ARG002
        """Return the arrays as they are."""
        return {"image": arrays["image"], "box": arrays["boxes"][:, 0] / self._image_size}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Compare with the first shape of each scene."""
        return {"box": nn.functional.l1_loss(model(batch["image"])[:, :4], batch["box"])}

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return one detection for each image."""
        out = model(batch["image"]).float()
        scores, labels = out[:, 4:].softmax(-1).max(-1)
        boxes = out[:, None, :4].sigmoid() * self._image_size
        return {"boxes": boxes, "scores": scores[:, None], "labels": labels[:, None]}

    def new_metrics(self) -> Metrics:
        """Return nothing to fill: validation asks for the loss instead."""
        return _NoMetrics()


class _NoMetrics:
    def update(self, predictions: Tensors, batch: Tensors) -> None:
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        raise NotImplementedError


def build(_config: Mapping[str, Any], meta: Mapping[str, Any]) -> Task:
    """Make the task, as its settings name it."""
    return CheapDetector(num_classes=len(meta["classes"]), image_size=meta["image_size"])
