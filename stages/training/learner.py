"""What changes the weights: task, model, optimizer and all that belongs to a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from stages.chunks.manifest import Manifest
from stages.task import Task, build_task
from stages.training.averaging import WeightAverage
from stages.training.config import TrainingConfig
from stages.training.device import DeviceBatches
from stages.training.optimizer import build_optimizer
from stages.training.precision import new_scaler
from stages.training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What changes the weights; `parameters` are those of the model, which takes a while to list them."""

    task: Task
    batches: DeviceBatches
    model: nn.Module
    parameters: tuple[nn.Parameter, ...]
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    average: WeightAverage


def build_learner(
    config: TrainingConfig, manifest: Manifest, device: torch.device, *, precision: str, total_steps: int
) -> Learner:
    """Return a learner with first weights, drawn from the global torch RNG, which the caller has seeded."""
    task = build_task(config.task.model_dump(mode="json"), manifest.meta)
    # channels_last trains twice as fast in bf16 on CPUs with AMX, and is what tensor cores want.
    model = task.build_model().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    optimizer = build_optimizer(model.parameters(), config.optimizer)
    return Learner(
        task=task,
        batches=DeviceBatches(task, device, precision=precision, seed=config.seed),
        model=model,
        parameters=tuple(model.parameters()),
        optimizer=optimizer,
        scaler=new_scaler(precision, device),
        schedule=Schedule(optimizer, config.schedule, total_steps=total_steps),
        average=WeightAverage(model, config.averaging, total_steps=total_steps),
    )
