"""Buffers for batches that are used again, because memory touched for the first time costs more than the copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import IntegrityError
from stages.chunks.chunk import DIGEST, SAMPLE_ID, Array
from stages.chunks.order import Indices


class BufferPool:
    """Two sets of buffers in turn, one array of `size` rows for each array of the chunks."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sets: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        self._turn = 0

    def gather(self, parts: Sequence[tuple[Mapping[str, Array], Indices]]) -> dict[str, Array]:
        """Copy the given rows of all parts, in order, into the buffers that were used the longest ago.

        Raises:
            IntegrityError: the parts do not have the same arrays.
        """
        self._turn = 1 - self._turn
        buffers = self._sets[self._turn]
        start = 0
        for arrays, rows in parts:
            stop = start + len(rows)
            self._prepare(buffers, arrays)
            for name, buffer in buffers.items():
                # mode "clip" writes straight into `out`; the default would go through a temporary
                np.take(arrays[name], rows, axis=0, out=buffer[start:stop], mode="clip")
            start = stop
        return {name: buffer[:start] for name, buffer in buffers.items()}

    def _prepare(self, buffers: dict[str, Array], arrays: Mapping[str, Array]) -> None:
        layout = {name: (a.dtype, a.shape[1:]) for name, a in arrays.items() if name not in (SAMPLE_ID, DIGEST)}
        if not buffers:
            buffers.update({name: np.empty((self._size, *shape), dtype) for name, (dtype, shape) in layout.items()})
        known = {name: (buffer.dtype, buffer.shape[1:]) for name, buffer in buffers.items()}
        if known != layout:
            raise IntegrityError(
                f"a chunk has other arrays than the chunks before: {_words(layout)} instead of {_words(known)}",
                hint="all chunks of a data set must hold the same arrays; write it again",
            )


def _words(layout: Mapping[str, tuple[object, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in sorted(layout.items()))
