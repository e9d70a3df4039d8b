"""What training and evaluation know of a task: a model, named loss terms, predictions and figures of quality."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

import torch
from torch import nn

from pipeline.errors import UsageError

Tensors = Mapping[str, torch.Tensor]


class Metrics(Protocol):
    """Figures of quality over any number of batches."""

    def update(self, predictions: Tensors, batch: Tensors) -> None:
        """Take in one prepared batch and what was predicted for it."""

    def compute(self) -> dict[str, float]:
        """Return the figures over all that was taken in, by name."""


class Task(Protocol):
    """What is learned; the training loop and the evaluation know nothing else of it."""

    def build_model(self) -> nn.Module:
        """Return a new model; its weights are drawn from the global torch RNG, which the caller has seeded."""

    def prepare(self, arrays: Tensors, sample_ids: torch.Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Turn the arrays of a chunk, on the device, into what the model and the losses take.

        Augmentation is a pure function of (seed, epoch, sample id): never of the batch. None with `epoch` None.
        """

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        """Return the named loss terms, float32 scalars with their weights applied; their sum is minimised."""

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return detections, padded: `boxes` [B, K, 4] xywh in pixels, `scores` [B, K], `labels` [B, K] (-1: none)."""

    def new_metrics(self) -> Metrics:
        """Return empty metrics."""


def build_task(config: Mapping[str, Any], meta: Mapping[str, Any]) -> Task:
    """Make the task that `config["builder"]` ("module:function") names, for data described by `meta`.

    Raises:
        UsageError: there is no such function.
    """
    name = str(config["builder"])
    module_name, _, attribute = name.partition(":")
    try:
        build = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(
            f"the task builder {name!r} cannot be loaded: {error}",
            code="E0250",
            hint='write "module:function"; the module must be importable from the current folder',
        ) from error
    return cast("Task", build(config, meta))
