"""The least that a training loop must do for a small model; with torch alone, so that peers are compared with it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

BATCH, FEATURES, CLASSES = 32, 64, 10
LR, CLIP_NORM, EMA_DECAY = 1e-3, 10.0, 0.99
NUM_WARM = 300  # steps that are not measured
Batch = tuple[torch.Tensor, torch.Tensor]


def build(width: int) -> nn.Sequential:
    """Return a perceptron with one hidden layer of 64, or with two of `width` where that is more."""
    if width == FEATURES:
        return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, CLASSES))
    return nn.Sequential(
        nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
    )


def new_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return what changes the weights."""
    return torch.optim.AdamW(model.parameters(), lr=LR, fused=True)


def new_schedule(optimizer: torch.optim.Optimizer, num_steps: int) -> OneCycleLR:
    """Return what changes the learning rate."""
    return OneCycleLR(optimizer, max_lr=LR, total_steps=num_steps + 1)


def new_average(model: nn.Module) -> AveragedModel:
    """Return the average of the weights."""
    ema = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=ema, use_buffers=True)


def random_data(num_steps: int) -> Batch:
    """Return the samples of so many steps: features float32 [N, 64], labels int64 [N]."""
    generator = torch.Generator().manual_seed(0)
    count = BATCH * num_steps
    features = torch.randn(count, FEATURES, generator=generator)
    return features, torch.randint(0, CLASSES, (count,), generator=generator)


def ready_batches(num_steps: int) -> list[Batch]:
    """Return batches that only need to be taken."""
    features, labels = random_data(num_steps)
    return list(zip(torch.split(features, BATCH), torch.split(labels, BATCH), strict=True))


class Watch:
    """Measures the steps after the first ones."""

    def __init__(self, num_steps: int) -> None:
        self._num_left = num_steps
        self._num_measured = num_steps - NUM_WARM
        self._started = self._ended = 0.0

    def step(self) -> None:
        """Take note that a step begins."""
        if self._num_left == self._num_measured:
            self._started = time.perf_counter()
        self._num_left -= 1
        if not self._num_left:
            self._ended = time.perf_counter()

    @property
    def microseconds(self) -> float:
        """The mean time of a step."""
        return 1e6 * (self._ended - self._started) / (self._num_measured - 1)


def train_bare(batches: Iterator[Batch], *, width: int, num_steps: int) -> float:
    """Train without anything around it, and return the microseconds of a step."""
    torch.manual_seed(0)
    model = build(width)
    optimizer = new_optimizer(model)
    schedule, average, watch = new_schedule(optimizer, num_steps), new_average(model), Watch(num_steps)
    parameters = list(model.parameters())
    for features, labels in batches:
        watch.step()
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(features), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    return watch.microseconds
