"""The built-in pipeline: from settings to its three stages, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import Field

from pipeline.config import RuntimeOptions, StageConfig
from pipeline.definition import PipelineDefinition
from pipeline.stage import Stage
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.stage import DataGenerationStage
from stages.detection.config import DetectionConfig
from stages.evaluation.config import EvaluationConfig
from stages.evaluation.stage import EvaluationStage
from stages.foreseen import Foreseen
from stages.training.config import TrainingConfig
from stages.training.stage import TrainingStage

if TYPE_CHECKING:
    from pipeline.doctor.finding import Finding


class DetectionTrainingConfig(TrainingConfig):
    """The settings of training, with those of the built-in detector as its task."""

    task: DetectionConfig = Field(default_factory=DetectionConfig)


def build(configs: Mapping[str, StageConfig]) -> tuple[Stage, ...]:
    """Return the three stages with their configs."""
    data = cast("DataGenerationConfig", configs["data_generation"])
    training = cast("TrainingConfig", configs["training"])
    foreseen = Foreseen(
        num_train=data.dataset_size,
        num_test=data.test_size,
        image_size=data.image_size,
        task=training.task.model_dump(mode="json"),
    )
    return (
        DataGenerationStage(data),
        TrainingStage(training, foreseen=foreseen),
        EvaluationStage(cast("EvaluationConfig", configs["evaluation"]), foreseen=foreseen),
    )


def examine(runtime: RuntimeOptions) -> Iterable[Finding]:
    """Look at torch and its devices."""
    from stages.checkup import examine  # a process is started only then

    return examine(runtime)


PIPELINE = PipelineDefinition(
    configs={
        "data_generation": DataGenerationConfig,
        "training": DetectionTrainingConfig,
        "evaluation": EvaluationConfig,
    },
    build=build,
    profiles=Path(__file__).with_name("profiles"),
    explanations=Path(__file__).with_name("explanations"),
    examine=examine,
    default_profile="standard",
    short_names={"data": "data_generation", "train": "training", "eval": "evaluation"},
    flags={
        "dataset_size": "data_generation.dataset_size",
        "epochs": "training.epochs",
        "batch_size": "training.batch_size",
        "device": "runtime.device",
    },
)
