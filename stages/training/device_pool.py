"""Samples brought together on the device: chunks that stay there as they are, and batches that are sent one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.chunks.buffers import Layout, Part, layout_of, require_same_layout
from stages.chunks.chunk import Array
from stages.chunks.order import Indices


class DevicePool:
    """Keeps each chunk on the device once it was opened, as long as `max_bytes` suffice, and gathers batches there.

    A chunk that does not fit is gathered on the host into pinned memory, of which only the batch is sent. Nothing here
    waits for the device: copies have a stream of their own, on which they run while the device computes, and the host,
    which is ahead of the device, has asked for those of the next batch before it is needed.

    What a chunk holds never changes once its digest was compared (a sample that did not match is never asked for), so a
    chunk that is kept stays right; whether its file is altered is looked at by the reader as ever.
    """

    def __init__(self, device: torch.device, *, max_bytes: int) -> None:
        self._device = device
        self._bytes_left = max_bytes
        self._kept: dict[int, dict[str, _Kept]] = {}
        self._layout: Layout | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def gather(self, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return the given rows as tensors on the device."""
        gathered = [self._gather(part) for part in parts]
        if len(gathered) == 1:
            return gathered[0]
        return {name: torch.cat([tensors[name] for tensors in gathered]) for name in (gathered or [{}])[0]}

    def _gather(self, part: Part) -> dict[str, Tensor]:
        layout = layout_of(part.arrays)
        self._layout = self._layout or layout
        require_same_layout(self._layout, layout)
        arrays = {name: part.arrays[name] for name in layout}
        kept = self._kept.get(part.chunk_id) or self._keep(part.chunk_id, arrays)
        if kept is None:
            return {name: self.send(self._taken(array, part.rows)) for name, array in arrays.items()}
        rows = self.send(self._taken(part.rows, None))
        return {name: array.take(rows) for name, array in kept.items()}

    def _keep(self, chunk_id: int, arrays: Mapping[str, Array]) -> dict[str, _Kept] | None:
        num_bytes = sum(array.nbytes for array in arrays.values())
        if num_bytes > self._bytes_left:
            return None
        self._bytes_left -= num_bytes
        kept = {name: _Kept.of(self.send(self._taken(array, None))) for name, array in arrays.items()}
        self._kept[chunk_id] = kept
        return kept

    def _taken(self, array: Array, rows: Indices | None) -> Tensor:
        """Copy rows of a host array (all where `rows` is None) into memory from which the device can fetch them."""
        # torch keeps pinned memory that is no longer used until its copy is done, and then gives it out again.
        num_rows = len(array) if rows is None else len(rows)
        kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
        host = torch.empty((num_rows, *array.shape[1:]), dtype=kind, pin_memory=self._stream is not None)
        if rows is None:
            np.copyto(host.numpy(), array)
        else:
            np.take(array, rows, axis=0, out=host.numpy(), mode="clip")
        return host

    def send(self, host: Tensor) -> Tensor:
        """Return pinned memory as a tensor on the device; whatever is computed from it waits for the copy there."""
        if self._stream is None:
            return host
        with torch.cuda.stream(self._stream):
            sent = host.to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        sent.record_stream(current)  # its memory is not given out again before this stream is done with it
        return sent


class _Kept(NamedTuple):
    """An array of a chunk as words of a size that the device moves fast, whatever the type; and its type and shape."""

    words: Tensor
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Tensor) -> _Kept:
        """Keep `array`; eight bytes at a time where the size of a sample allows it, else one."""
        flat = array.reshape(len(array), -1)
        is_even = flat.shape[1] * flat.element_size() % 8 == 0
        return cls(flat.view(torch.int64 if is_even else torch.uint8), array.dtype, tuple(array.shape[1:]))

    def take(self, rows: Tensor) -> Tensor:
        """Return the given rows as they were."""
        return self.words.index_select(0, rows).view(self.dtype).view(len(rows), *self.shape)
