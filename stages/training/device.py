"""Where training computes, and how batches get there."""

from __future__ import annotations

import torch

from pipeline.errors import UsageError
from stages.chunks.reader import Batch
from stages.task import Task, Tensors
from stages.training.precision import autocast


def choose_device(requested: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; raises UsageError where there is no such device."""
    has_cuda = torch.cuda.is_available()
    if requested == "cuda" and not has_cuda:
        raise UsageError("runtime.device is cuda, but torch finds no CUDA device", hint="use --device auto or cpu")
    return torch.device("cuda", torch.cuda.current_device()) if has_cuda and requested != "cpu" else torch.device("cpu")


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
