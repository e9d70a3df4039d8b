"""Where the samples of a batch are brought together: in buffers of the host, or wherever else a pool has its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from stages.chunks.chunk import DIGEST, SAMPLE_ID, Array
from stages.chunks.order import Indices

Layout = Mapping[str, tuple[npt.DTypeLike, tuple[int, ...]]]


class Part(NamedTuple):
    """Rows of one chunk, of which `arrays` are the contents."""

    chunk_id: int
    arrays: Mapping[str, Array]
    rows: Indices


class Pool(Protocol):
    """Brings the samples of a batch together."""

    def gather(self, parts: Sequence[Part]) -> Mapping[str, Any]:
        """Return the rows of all parts, in order, for each array of the chunks; valid until the second call after.

        Raises:
            IntegrityError: the parts do not have the same arrays.
        """


class BufferPool:
    """Two sets of buffers in turn, one array of `size` rows for each array of the chunks.

    They are used again, because memory that is touched for the first time costs more than the copy.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sets: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        self._turn = 0
        self._checked: Mapping[str, Array] | None = None  # arrays of which the layout was looked at last

    def gather(self, parts: Sequence[Part]) -> dict[str, Array]:
        """Copy the given rows into the buffers that were used the longest ago."""
        self._turn = 1 - self._turn
        buffers = self._sets[self._turn]
        start = 0
        for _, arrays, rows in parts:
            stop = start + len(rows)
            if arrays is not self._checked:
                self._prepare(arrays)
            for name, buffer in buffers.items():
                # mode "clip" writes straight into `out`; the default would go through a temporary
                arrays[name].take(rows, axis=0, out=buffer[start:stop], mode="clip")
            start = stop
        return {name: buffer[:start] for name, buffer in buffers.items()}

    def _prepare(self, arrays: Mapping[str, Array]) -> None:
        layout = layout_of(arrays)
        for buffers in self._sets:
            if not buffers:
                buffers.update({name: np.empty((self._size, *shape), dtype) for name, (dtype, shape) in layout.items()})
        require_same_layout(layout_of(self._sets[0]), layout)
        self._checked = arrays


def layout_of(arrays: Mapping[str, Array]) -> Layout:
    """Return the type and the shape of a sample in each array of a chunk, without the format's own arrays."""
    return {name: (a.dtype, a.shape[1:]) for name, a in arrays.items() if name not in (SAMPLE_ID, DIGEST)}


def require_same_layout(known: Layout, layout: Layout) -> None:
    """Raise IntegrityError where a chunk's layout is not that of the chunks before."""
    if known != layout:
        raise IntegrityError(
            f"a chunk has other arrays than the chunks before: {_words(layout)} instead of {_words(known)}",
            code="E0453",
            hint="all chunks of a data set must hold the same arrays; write it again",
        )


def _words(layout: Layout) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in sorted(layout.items()))
