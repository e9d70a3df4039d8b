"""The settings of training; every one of them changes the weights that come out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SerializeAsAny, model_validator

from pipeline.config import StageConfig, later
from stages.task_config import TaskConfig


class OptimizerConfig(StageConfig):
    """How a gradient becomes a change of the weights."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="the optimizer of torch.optim")
    # 2e-3 with a clip of 10 and an average of 0.995 met the targets in every run of the prototype of the detector.
    lr: float = Field(2e-3, gt=0, le=100, description="learning rate; with one_cycle its peak")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decay of the weights, relative to the learning rate")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW: decay of the two moment estimates")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD: momentum, of Nesterov's kind when above 0")

    @model_validator(mode="after")
    def _has_valid_betas(self) -> OptimizerConfig:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must be at least 0 and below 1")
        return self


class ScheduleConfig(StageConfig):
    """How the learning rate depends on the global step."""

    name: Literal["one_cycle", "cosine", "constant"] = Field("one_cycle", description="shape of the learning rate")
    warmup: float = Field(0.15, ge=0, le=0.9, description="part of all steps in which the learning rate rises")
    div_factor: float = Field(25.0, ge=1, le=1e6, description="one_cycle: peak over first learning rate")
    final_div_factor: float = Field(1e4, ge=1, le=1e9, description="one_cycle: first over last learning rate")
    final_fraction: float = Field(0.0, ge=0, le=1, description="cosine: last learning rate as a part of the peak")


class AveragingConfig(StageConfig):
    """Which average of the weights is validated and delivered."""

    method: Literal["none", "ema", "swa"] = Field("ema", description="ema: of every step; swa: mean of mini-epochs")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="ema: weight of the past at each step")
    swa_start: float = Field(0.75, ge=0, lt=1, description="swa: part of all steps before the first weights count")


class EarlyStoppingConfig(StageConfig):
    """When training ends before its last epoch."""

    patience: int = Field(5, ge=1, le=10_000, description="validations without a better figure that end the training")
    min_delta: float = Field(0.0, ge=0, description="by how much a figure must be better to count as better")


class ValidationConfig(StageConfig):
    """Which figure of the validation split tells better from worse."""

    metric: str = Field("ap", min_length=1, description='a figure of the task, or "loss" for the sum of its loss terms')
    goal: Literal["max", "min"] = Field("max", description="whether more or less of it is better")

    @model_validator(mode="after")
    def _has_sensible_goal(self) -> ValidationConfig:
        if self.metric == "loss" and self.goal == "max":
            raise ValueError('more loss is never better: set goal = "min" with metric = "loss"')
        return self


class GuardConfig(StageConfig):
    """What is done about gradients and losses that are out of all proportion."""

    max_rollbacks: int = Field(3, ge=0, le=100, description="returns to the last good checkpoint before giving up")
    # Far outside of what trains: healthy runs of the detector stay between 0.1 and 100.
    vanishing_norm: float = Field(1e-6, ge=0, description="gradient norms below this are warned of")
    exploding_norm: float = Field(1e4, gt=0, description="gradient norms above this are warned of")


class TrainingConfig(StageConfig):
    """All settings of training; a pipeline narrows `task` to the settings of its own task."""

    # NumPy's global generator takes no larger seed.
    seed: int = Field(0, ge=0, le=2**32 - 1, description="determines first weights, order, augmentation and dropout")
    epochs: int = Field(3, ge=1, le=100_000, description="passes over the training split; fixes the schedule's length")
    batch_size: int = Field(16, ge=1, le=65_536, description="samples for each optimizer step")
    task: SerializeAsAny[TaskConfig] = Field(description="what is learned")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    averaging: AveragingConfig = Field(default_factory=AveragingConfig)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware computes in it, else fp32; kept when a run is continued"
    )
    gradient_clip_norm: float = Field(10.0, ge=0, le=1e9, description="gradients are scaled down to this; 0: off")
    mini_epoch_chunks: int = Field(
        0, ge=0, le=10**9, description="chunks between validation and checkpoint; 0: a whole epoch"
    )
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    early_stopping: EarlyStoppingConfig | None = Field(None, description="when to stop early; none: never")
    final_weights: Literal["last", "best"] = Field(
        "last", description="last: the weights at the end (the best ones after an early stop); best: always the best"
    )
    # A lost chunk in twenty is no reason to throw a training away; more than that is another data set.
    max_skipped_fraction: float = Field(
        0.05, ge=0, le=1, description="part of a split that may be left out because its chunks are damaged"
    )
    guard: GuardConfig = Field(default_factory=GuardConfig)
    deterministic: bool = Field(True, description="use only algorithms that give the same bits every time")
    compile: Literal["off", "auto", "on"] = later(
        "off", description="compile the model for whole batches: never, on CUDA, or always; needs a compiler"
    )
    on_oom: Literal["stop", "accumulate"] = later(
        "stop", description="out of memory: stop, or take batches in parts, each half as large, and add their gradients"
    )
