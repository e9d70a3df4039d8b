"""How batches get to the device on which training computes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from stages.chunks.buffers import BufferPool, Pool
from stages.chunks.reader import Batch
from stages.task import Task, Tensors
from stages.training.device_pool import DevicePool
from stages.training.precision import autocast


class DeviceBatches:
    """Brings batches to the device and prepares them there, in the given precision.

    Attributes:
        share_for_chunks: of a GPU's memory that is free when a reader asks for its first batch, for the chunks of this
            reader; those of training and validation together may take 7/16. A quarter leaves enough for what weights,
            gradients and a batch take, wherever it holds a data set at all (1.7 GB for the professional profile).
    """

    share_for_chunks = 0.25

    def __init__(self, task: Task, device: torch.device, *, precision: str, seed: int) -> None:
        self.device = device
        self._task = task
        self._precision = precision
        self._seed = seed

    def new_pool(self, batch_size: int) -> Pool:
        """Return where a reader is to bring its batches together: on a GPU in its own memory."""
        if self.device.type == "cpu":
            return BufferPool(batch_size)
        num_free, _ = torch.cuda.mem_get_info(self.device)
        return DevicePool(self.device, max_bytes=int(num_free * self.share_for_chunks))

    def prepare(self, batch: Batch, *, epoch: int | None) -> Tensors:
        """Return what the task makes of `batch`: augmented for `epoch`, or as it is where that is None."""
        # The reader uses its buffers again two batches later. A step is done with them by then; the metrics of a
        # validation may keep what they are given.
        arrays = {name: self._tensor(array, is_copied=epoch is None) for name, array in batch.arrays.items()}
        sample_ids = torch.from_numpy(batch.sample_ids)
        if self.device.type == "cuda":
            # From memory that is not pinned even the smallest copy would wait for all that the device has yet to do.
            sample_ids = sample_ids.pin_memory().to(self.device, non_blocking=True)
        return self._task.prepare(arrays, sample_ids, epoch=epoch, seed=self._seed)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which forward passes run."""
        return autocast(self._precision, self.device)

    def _tensor(self, array: Any, *, is_copied: bool) -> torch.Tensor:
        if isinstance(array, torch.Tensor):  # of a DevicePool, which gives each batch memory of its own
            return array
        return torch.from_numpy(array).to(self.device, copy=is_copied)
