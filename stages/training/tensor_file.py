"""A file of tensors as memory: written from there while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from stages.tensors import FileLayout

_PAGE = 4096  # what begins at a page can be written past the page cache
_CHUNK = 1 << 18  # numbers looked at together: they and the answers stay in the cache of a core
_EXPONENTS = {torch.bfloat16: 0x7F80, torch.float16: 0x7C00}  # all bits of it set: infinite, or no number
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # types of the same size that NumPy knows as well
_NCHW = 4  # dimensions
_WIDE = {torch.float32: np.float32, torch.float64: np.float64}


class TensorFile:
    """The memory of one file of tensors, used again for each snapshot of tensors that are laid out the same.

    Args:
        is_pinned: CUDA devices copy into it while both sides go on.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], *, is_pinned: bool) -> None:
        layout = FileLayout.of(tensors)
        self._described = _describe(tensors)
        self._is_pinned = is_pinned
        memory = torch.empty(layout.size + _PAGE, dtype=torch.uint8, pin_memory=is_pinned)
        start = -memory.data_ptr() % _PAGE
        memory = memory[start : start + layout.size]
        self._array = memory.numpy()
        self._num_header_bytes = len(layout.header)
        self._array[: self._num_header_bytes] = np.frombuffer(layout.header, np.uint8)
        # In the order of the tensors, and made once: for a large model these views take longer than a small copy.
        self._copies = {
            name: memory[slice(*layout.places[name])].view(tensor.dtype).view(tensor.shape)
            for name, tensor in tensors.items()
        }
        # Channels-last tensors are copied as they lie, which is twice as fast; `settle` gives them the order of files.
        self._turned = {name: _as_it_lies(self._copies[name]) for name, tensor in tensors.items() if _is_turned(tensor)}
        self._targets = list({**self._copies, **self._turned}.values())

    @property
    def data(self) -> memoryview:
        """The bytes of the file, once they are settled; of the next snapshot as soon as one is taken."""
        return self._array.data

    def fits(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Return whether `tensors` have the names, types, shapes and strides that the memory was made for."""
        return self._described == _describe(tensors)

    def touch(self) -> None:
        """Let the system give each page of the memory now rather than at the first copy; tensors in it are lost."""
        self._array[self._num_header_bytes :: _PAGE] = 0

    def copy(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy the tensors; from a CUDA device only in the order of its stream, without waiting for it."""
        sources = [tensor.detach() for tensor in tensors.values()]
        torch._foreach_copy_(self._targets, sources, non_blocking=self._is_pinned)

    def settle(self) -> None:
        """Bring what was copied as it lay into the order of the file; once after each copy."""
        for name in self._turned:
            bits = self._copies[name].view(_BITS[self._copies[name].element_size()]).numpy()
            number, channels, height, width = bits.shape
            as_it_lies = bits.reshape(number, height, width, channels).copy()
            bits[...] = as_it_lies.transpose(0, 3, 1, 2)

    def not_finite(self) -> str:
        """Return the name of a tensor that holds NaN or infinity, "" if there is none."""
        # NumPy, because torch would start its threads once more for this one, and take cores from training.
        return next((name for name, copy in self._copies.items() if not _is_finite(copy)), "")


def _describe(tensors: Mapping[str, torch.Tensor]) -> list[tuple[Any, ...]]:
    return [(name, tensor.dtype, tensor.shape, tensor.stride()) for name, tensor in tensors.items()]


def _is_turned(tensor: torch.Tensor) -> bool:
    return (
        tensor.dim() == _NCHW
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and tensor.element_size() in _BITS
    )


def _as_it_lies(copy: torch.Tensor) -> torch.Tensor:
    """Return a channels-last tensor in the same memory."""
    number, channels, height, width = copy.shape
    return copy.view(number, height, width, channels).permute(0, 3, 1, 2)


def _is_finite(tensor: torch.Tensor) -> bool:
    flat = tensor.reshape(-1)
    if (mask := _EXPONENTS.get(tensor.dtype)) is not None:
        bits = flat.view(torch.int16).numpy().view(np.uint16)
        return not any(((part & mask) == mask).any() for part in _parts(bits))
    if tensor.dtype in _WIDE:
        return all(np.isfinite(part).all() for part in _parts(flat.numpy()))
    return True


def _parts(array: np.ndarray) -> list[np.ndarray]:
    return [array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK)]
