"""How batches get to the device on which training computes."""

from __future__ import annotations

import torch

from stages.chunks.reader import Batch
from stages.task import Task, Tensors
from stages.training.precision import autocast


class DeviceBatches:
    """Brings batches to the device and prepares them there, in the given precision."""

    def __init__(self, task: Task, device: torch.device, *, precision: str, seed: int) -> None:
        self.device = device
        self._task = task
        self._precision = precision
        self._seed = seed

    def prepare(self, batch: Batch, *, epoch: int | None) -> Tensors:
        """Return what the task makes of `batch`: augmented for `epoch`, or as it is where that is None."""
        # The reader uses its buffers again two batches later. A step is done with them by then; the metrics of a
        # validation may keep what they are given.
        arrays = {
            name: torch.from_numpy(array).to(self.device, copy=epoch is None) for name, array in batch.arrays.items()
        }
        sample_ids = torch.from_numpy(batch.sample_ids).to(self.device)
        return self._task.prepare(arrays, sample_ids, epoch=epoch, seed=self._seed)

    def autocast(self) -> torch.autocast:
        """Return the context in which forward passes run."""
        return autocast(self._precision, self.device)
