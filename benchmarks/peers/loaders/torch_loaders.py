"""torch's own world on the chunk files: StatefulDataLoader (map-style and iterable) and Accelerate's skipping."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from samples import ARRAYS, BATCH_SIZE, SEED, Sample, chunk_files, collate, map_arrays
from torch.utils.data import Dataset, IterableDataset, Sampler

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # mapped chunks are only read


class _Chunks(Dataset):
    """Map-style: a sample is a view of its mapped chunk, which stays open."""

    def __init__(self, folder: Path) -> None:
        self._files = chunk_files(folder)
        self._chunk_size = len(map_arrays(self._files[0])["sample_id"])
        self._opened: dict[int, dict[str, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self._files) * self._chunk_size

    def __getitem__(self, index: int) -> Sample:
        chunk_id, row = divmod(index, self._chunk_size)
        if chunk_id not in self._opened:
            arrays = map_arrays(self._files[chunk_id])
            self._opened[chunk_id] = {name: torch.from_numpy(arrays[name]) for name in (*ARRAYS, "sample_id")}
        chunk = self._opened[chunk_id]
        return {"id": chunk["sample_id"][row], **{name: chunk[name][row] for name in ARRAYS}}


class _ChunkOrder(Sampler):
    """Chunks in random order, and the samples of each in random order: the usual way to shuffle files."""

    def __init__(self, num_samples: int, *, chunk_size: int, is_shuffled: bool) -> None:
        self._num_samples = num_samples
        self._chunk_size = chunk_size
        self._is_shuffled = is_shuffled

    def __len__(self) -> int:
        return self._num_samples

    def __iter__(self) -> Iterator[int]:
        if not self._is_shuffled:
            return iter(range(self._num_samples))
        random = np.random.default_rng(SEED)
        chunks = random.permutation(self._num_samples // self._chunk_size)
        order = [chunk * self._chunk_size + random.permutation(self._chunk_size) for chunk in chunks]
        return iter(np.concatenate(order).tolist())


class _Stream(IterableDataset):
    """The same samples behind an iterator that knows of no state."""

    def __init__(self, data: _Chunks, order: _ChunkOrder) -> None:
        self._data = data
        self._order = order

    def __iter__(self) -> Iterator[Sample]:
        return (self._data[index] for index in self._order)


def _parts(folder: Path, *, is_shuffled: bool) -> tuple[_Chunks, _ChunkOrder]:
    data = _Chunks(folder)
    return data, _ChunkOrder(len(data), chunk_size=data._chunk_size, is_shuffled=is_shuffled)


class Stateful:
    """StatefulDataLoader on a map-style data set, or on an iterable one."""

    def __init__(self, folder: Path, *, is_shuffled: bool, is_iterable: bool = False) -> None:
        from torchdata.stateful_dataloader import StatefulDataLoader

        data, order = _parts(folder, is_shuffled=is_shuffled)
        self.loader = (
            StatefulDataLoader(_Stream(data, order), BATCH_SIZE, collate_fn=collate)
            if is_iterable
            else StatefulDataLoader(data, BATCH_SIZE, sampler=order, collate_fn=collate)
        )

    def state(self, num_batches: int) -> Any:  # noqa: ARG002
        """Return what the loader says of itself."""
        return self.loader.state_dict()

    def resume(self, state: Any) -> None:
        """Give it back."""
        self.loader.load_state_dict(state)


class Accelerated:
    """Accelerate's prepared loader, continued with `skip_first_batches`."""

    def __init__(self, folder: Path, *, is_shuffled: bool, is_iterable: bool = False) -> None:
        from accelerate import Accelerator

        data, order = _parts(folder, is_shuffled=is_shuffled)
        self._accelerator = Accelerator(cpu=True)
        loader = (
            torch.utils.data.DataLoader(_Stream(data, order), BATCH_SIZE, collate_fn=collate)
            if is_iterable
            else torch.utils.data.DataLoader(data, BATCH_SIZE, sampler=order, collate_fn=collate)
        )
        self.loader = self._accelerator.prepare(loader)

    def state(self, num_batches: int) -> Any:
        """Return the number of batches: all that is needed."""
        return num_batches

    def resume(self, state: Any) -> None:
        """Skip them."""
        self.loader = self._accelerator.skip_first_batches(self.loader, state)
