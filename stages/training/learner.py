"""What changes the weights: task, model, optimizer and all that belongs to a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from stages.task import Task, build_task
from stages.training.averaging import WeightAverage
from stages.training.compiling import Wish, compiled
from stages.training.config import TrainingConfig
from stages.training.device import DeviceBatches
from stages.training.optimizer import build_optimizer
from stages.training.precision import new_scaler
from stages.training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What changes the weights; `parameters` are those of the model, which takes a while to list them.

    Attributes:
        compiled: the same model in compiled form, for batches of `batch_size`; None if there is none.
    """

    task: Task
    batches: DeviceBatches
    model: nn.Module
    parameters: tuple[nn.Parameter, ...]
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    average: WeightAverage
    compiled: nn.Module | None
    batch_size: int

    def model_for(self, num_samples: int) -> nn.Module:
        """Return what computes the losses of so many samples.

        Only whole batches are compiled: the last batch of an epoch would cost as long a compilation again.
        """
        return self.compiled if self.compiled is not None and num_samples == self.batch_size else self.model


def build_learner(
    config: TrainingConfig,
    meta: Mapping[str, Any],
    device: torch.device,
    *,
    precision: str,
    total_steps: int,
    compile_wish: Wish,
    warn: Callable[[str], None],
) -> Learner:
    """Return a learner for samples that `meta` describes, its first weights drawn from the global, seeded torch RNG."""
    task = build_task(config.task.model_dump(mode="json"), meta)
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
        compiled=compiled(model, compile_wish, device, is_deterministic=config.deterministic, warn=warn),
        batch_size=config.batch_size,
    )
