"""The smallest real pipeline: the built-in stages on nine scenes, with a detector that trains in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from pipeline.definition import PipelineDefinition
from stages.catalog import build
from stages.data_generation.config import DataGenerationConfig
from stages.evaluation.config import EvaluationConfig
from stages.task import Metrics, Task, Tensors
from stages.task_config import TaskConfig
from stages.training.config import TrainingConfig


class TinyDetectorConfig(TaskConfig):
    """Settings of the tiny detector."""

    builder: str = "tiny_pipeline:build_task"


class TinyDetector:
    """Finds one box in each image, badly; with batch norm and dropout, which make resuming hard."""

    def __init__(self, *, num_classes: int, image_size: int) -> None:
        self._num_classes = num_classes
        self._image_size = image_size

    def build_model(self) -> nn.Module:
        """Return a convolution and a layer whose weights fill more than one page of a disk."""
        return nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=4),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(8 * ((self._image_size - 5) // 4 + 1) ** 2, 4 + self._num_classes),
        )

    def prepare(self, arrays: Tensors, sample_ids: Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Brighten each image by a function of (seed, epoch, sample id)."""
        images = arrays["image"].float() / 255
        if epoch is not None:
            images = images + ((sample_ids * 7 + epoch * 3 + seed) % 11).view(-1, 1, 1, 1) / 100
        return {"image": images, "box": arrays["boxes"][:, 0] / self._image_size, "label": arrays["labels"][:, 0]}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Compare with the first shape of each scene."""
        boxes, logits = self._predict(model, batch)
        return {
            "box": nn.functional.l1_loss(boxes, batch["box"]),
            "class": nn.functional.cross_entropy(logits, batch["label"].long()),
        }

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return one detection for each image."""
        boxes, logits = self._predict(model, batch)
        scores, labels = logits.softmax(-1).max(-1)
        return {
            "boxes": boxes[:, None].clamp(0, 1) * self._image_size,
            "scores": scores[:, None],
            "labels": labels[:, None],
        }

    def new_metrics(self) -> Metrics:
        """Return nothing to fill: validation asks for the loss instead."""
        return _NoMetrics()

    def _predict(self, model: nn.Module, batch: Tensors) -> tuple[Tensor, Tensor]:
        out = model(batch["image"]).float()
        return out[:, :4].sigmoid(), out[:, 4:]


class _NoMetrics:
    def update(self, predictions: Tensors, batch: Tensors) -> None:
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        raise NotImplementedError


class TinyTrainingConfig(TrainingConfig):
    """The settings of training, with those of the tiny detector as its task."""

    task: TinyDetectorConfig = Field(default_factory=TinyDetectorConfig)


def build_task(_config: Mapping[str, Any], meta: Mapping[str, Any]) -> Task:
    """Make the task, as its settings name it."""
    return TinyDetector(num_classes=len(meta["classes"]), image_size=meta["image_size"])


PIPELINE = PipelineDefinition(
    configs={
        "data_generation": DataGenerationConfig,
        "training": TinyTrainingConfig,
        "evaluation": EvaluationConfig,
    },
    build=build,
    profiles=Path(__file__).with_name("tiny_profiles"),
    default_profile="tiny",
    short_names={"data": "data_generation", "train": "training", "eval": "evaluation"},
)
SMALL = replace(PIPELINE, default_profile="small")  # three chunks an epoch, and more than one to keep
