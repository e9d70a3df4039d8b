"""The built-in stages on a dozen scenes with a detector of a few hundred weights, for tests that spoil its files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.cli import main
from pipeline.definition import PipelineDefinition
from stages.catalog import build
from stages.data_generation.config import DataGenerationConfig
from stages.evaluation.config import EvaluationConfig
from stages.task import Tensors
from stages.task_config import TaskConfig
from stages.training.config import TrainingConfig


class SmallTaskConfig(TaskConfig):
    """Settings of the small detector."""

    builder: str = "small_pipeline:build_task"


class SmallTrainingConfig(TrainingConfig):
    """The settings of training, with those of the small detector as its task."""

    task: SmallTaskConfig = Field(default_factory=SmallTaskConfig)


class SmallDetector:
    """Says for each scene where its first shape is, badly; dropout makes it depend on the random state."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes

    def build_model(self) -> nn.Module:
        """Return a model of two layers."""
        return nn.Sequential(
            nn.AvgPool2d(8), nn.Flatten(), nn.Linear(16, 12), nn.Dropout(0.3), nn.Linear(12, 4 + self._num_classes)
        )

    def prepare(self, arrays: Tensors, sample_ids: Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Change nothing but the types."""
        assert epoch is None or seed >= 0
        boxes, labels = arrays["boxes"][:, 0].float() / 32, arrays["labels"][:, 0].long()
        return {"image": arrays["image"].float() / 255, "box": boxes, "label": labels, "id": sample_ids}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Compare with the first shape."""
        found = model(batch["image"]).float()
        label = nn.functional.cross_entropy(found[:, 4:], batch["label"])
        return {"box": nn.functional.l1_loss(found[:, :4], batch["box"]), "class": label}

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return one detection for each scene."""
        found = model(batch["image"]).float()
        scores, labels = found[:, 4:].softmax(-1).max(-1)
        return {"boxes": found[:, None, :4].sigmoid() * 32, "scores": scores[:, None], "labels": labels[:, None]}

    def new_metrics(self) -> SmallMetrics:
        """Return metrics that nobody asks for figures."""
        return SmallMetrics()


class SmallMetrics:
    """No figures: validation looks at the loss."""

    def update(self, predictions: Tensors, batch: Tensors) -> None:
        """Take nothing in."""

    def compute(self) -> dict[str, float]:
        """Return nothing."""
        return {}


def build_task(_config: Mapping[str, Any], meta: Mapping[str, Any]) -> SmallDetector:
    """Make the task, as its settings name it."""
    return SmallDetector(len(meta["classes"]))


PIPELINE = PipelineDefinition(
    configs={
        "data_generation": DataGenerationConfig,
        "training": SmallTrainingConfig,
        "evaluation": EvaluationConfig,
    },
    build=build,
    profiles=Path(__file__).with_name("small_profiles"),
    default_profile="small",
    short_names={"data": "data_generation", "train": "training", "eval": "evaluation"},
)


@dataclass(frozen=True)
class Answered:
    """How a command ended, and its answer."""

    code: int
    document: Any

    @property
    def actions(self) -> list[str]:
        """What was or would be done with each stage, in order."""
        return [stage["action"] for stage in self.document["stages"]]

    @property
    def error(self) -> str:
        """The sentence and the hint of the error."""
        return f"{self.document['error']['message']} {self.document['error']['hint']}"


Command = Callable[..., Answered]


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what carries out command lines on the small pipeline in this process, in a workspace."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PIPELINE_PIPELINE", "small_pipeline:PIPELINE")

    def carry_out(workspace: Path, *words: str) -> Answered:
        code = main([*words, "--workspace", str(workspace), "--json"])
        return Answered(code, json.loads(capsys.readouterr().out))

    return carry_out


def contents(root: Path, *folders: str) -> dict[str, bytes]:
    """Return what lies in folders of a workspace, by relative path, but for what bears a time or a count of runs."""
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if "training_results" not in path.name}


def newest_checkpoint(root: Path) -> Path:
    """Return the folder of the newest checkpoint."""
    return max(root.glob("checkpoints/training/*/checkpoint-step*"), key=lambda path: (path.name, path.stat().st_mtime))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of tensors."""
    from safetensors.torch import load_file

    return load_file(path)
