"""What the benchmark of checkpoints saves, and what trains meanwhile; with torch alone, so that peers use it too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width and number of the bottlenecks of a ResNet-50
_AFTER = 20  # steps by which the usual time of a step is known


def build() -> nn.Module:
    """Return 38 million parameters in the shapes of a detector: a ResNet-50, a pyramid, and a dense head."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7)]
    width = 64
    for inner, count in _STAGES:
        for _ in range(count):
            layers += [nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner), nn.Conv2d(inner, inner, 3)]
            layers += [nn.BatchNorm2d(inner), nn.Conv2d(inner, 4 * inner, 1), nn.BatchNorm2d(4 * inner)]
            width = 4 * inner
    layers += [nn.Conv2d(channels, 256, 1) for channels in (256, 512, 1024, 2048)]
    layers += [nn.Conv2d(256, 256, 3) for _ in range(4)]
    layers += [nn.Linear(256 * 49, 880), nn.Linear(880, 880), nn.Linear(880, 80)]
    model = nn.Sequential(*layers)
    return model.to(memory_format=torch.channels_last)


def take_a_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer its moments, by gradients that are as good as any."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def training_step() -> Callable[[], None]:
    """Return what trains on one core while a checkpoint is written, in about 30 ms."""
    images, layer = torch.randn(8, 64, 56, 56), nn.Conv2d(64, 64, 3)

    def step() -> None:
        layer(images).sum().backward()

    for _ in range(5):
        step()
    return step


def measure(step: Callable[[], None], *, save: Callable[[], None], is_over: Callable[[], bool]) -> tuple[float, float]:
    """Save while training; return for how long training was blocked, and how much it lost in all, in seconds."""
    started = time.perf_counter()
    save()
    training = time.perf_counter()
    num_steps = 0
    while not is_over():
        step()
        num_steps += 1
    busy = time.perf_counter() - training
    calm = time.perf_counter()
    for _ in range(_AFTER):
        step()
    usual = (time.perf_counter() - calm) / _AFTER
    blocked = training - started
    return blocked, blocked + max(0.0, busy - num_steps * usual)


def serve(methods: Mapping[str, Callable[[], tuple[float, float, float]]]) -> None:
    """Answer each name of a method on stdin with its measurements on stdout, until stdin ends."""
    print(json.dumps(list(methods)), flush=True)
    for line in sys.stdin:
        print(json.dumps(methods[line.strip()]()), flush=True)
