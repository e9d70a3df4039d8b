"""Validation: the figures of a model on the validation split, leaving no trace in the state of training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from pipeline.complaints import nearest
from pipeline.errors import UsageError
from pipeline.interrupts import StopFlag
from pipeline.stream import Withheld
from stages.chunks.reader import ChunkReader, Position
from stages.task import Task
from stages.training.device import DeviceBatches
from stages.training.meter import TOTAL, LossMeter
from stages.training.rng import RngState

LOSS = "loss"


class Validator:
    """Computes the figures of the task; `metric` "loss" computes the sum of the loss terms instead.

    Only one of the two, because each costs a forward pass.

    Args:
        make_reader: called for the first validation, when all state is restored.
    """

    def __init__(
        self, task: Task, make_reader: Callable[[], ChunkReader], batches: DeviceBatches, *, metric: str
    ) -> None:
        self._task = task
        self._make_reader = make_reader
        self._reader: ChunkReader | None = None
        self._batches = batches
        self._metric = metric

    def run(
        self, model: nn.Module, *, rng: RngState, stop: StopFlag, on_batch: Callable[[int], None] = lambda _: None
    ) -> dict[str, float | None] | None:
        """Return the figures by name (None where one is no finite number), or None if a stop was asked for meanwhile.

        `on_batch` is told how many batches are done.

        Raises:
            UsageError: the task has no figure of the name that the settings ask for.
            IntegrityError: the data were altered meanwhile.
        """
        was_training = model.training
        model.eval()
        try:
            # Not inference_mode: a tensor that a task caches in it could never be used in training again.
            with rng.preserved(), torch.no_grad():
                figures = self._figures(model, stop, on_batch)
        except Withheld:  # its chunks are not there yet, and a stop was asked for
            figures = None
        finally:
            model.train(was_training)
        if figures is not None and self._metric not in figures:
            known = sorted({*figures, LOSS})
            raise UsageError(
                f"the task has no figure {self._metric!r}{nearest(self._metric, known)}",
                code="E0252",
                hint=f"figures: {', '.join(known)}",
            )
        return figures

    def _figures(
        self, model: nn.Module, stop: StopFlag, on_batch: Callable[[int], None]
    ) -> dict[str, float | None] | None:
        losses, metrics = LossMeter(self._batches.device), self._task.new_metrics()
        reader = self._reader = self._reader or self._make_reader()
        reader.reset(Position(epoch=0))
        for num_done, batch in enumerate(reader, start=1):
            # A long validation must not use up the grace that a SIGTERM gives; it is done again after the resume.
            if stop.is_set:
                return None
            prepared = self._batches.prepare(batch, epoch=None)
            with self._batches.autocast():
                if self._metric == LOSS:
                    terms = self._task.losses(model, prepared)
                    losses.add(terms, total=torch.stack(list(terms.values())).sum())
                else:
                    metrics.update(self._task.predict(model, prepared), prepared)
            on_batch(num_done)
        reader.require_unaltered()
        figures = {LOSS: losses.means()[TOTAL]} if self._metric == LOSS else metrics.compute()
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}
