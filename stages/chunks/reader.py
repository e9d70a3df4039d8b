"""Reading batches from chunks, from any position, exactly as if the reading had never been interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import IntegrityError
from stages.chunks.buffers import BufferPool, Part, Pool
from stages.chunks.chunk import Array
from stages.chunks.damage import Damage
from stages.chunks.opened import Chunks, OpenChunks
from stages.chunks.order import EpochOrder, Indices

__all__ = ["Batch", "ChunkReader", "Chunks", "Damage", "Position", "Segment"]


@dataclass(frozen=True)
class Position:
    """The place of the next sample: `offset` positions of the order of a chunk are consumed (chunk -1: the first)."""

    epoch: int
    chunk_id: int = -1
    offset: int = 0


@dataclass(frozen=True)
class Segment:
    """The run of positions of one chunk's order that a batch covers, those of left-out samples included."""

    chunk_id: int
    offset: int
    span: int
    chunk_size: int


@dataclass(frozen=True)
class Batch:
    """Consecutive samples of an epoch's order.

    Attributes:
        arrays: first axis: sample. What the reader's pool makes of them: arrays of NumPy, or tensors on a device. They
            may be views of buffers that are used again: valid until the second `next` after.
        sample_ids: int64 [B].
        position: of the sample after the batch.
    """

    epoch: int
    arrays: Mapping[str, Any]
    sample_ids: Indices
    segments: tuple[Segment, ...]
    position: Position


@dataclass(frozen=True)
class _Shuffled:
    """The samples of an open chunk that are not left out, in the order of the epoch, and their places in it."""

    arrays: Mapping[str, Array]
    rows: Indices
    sample_ids: Indices
    places: Indices


class ChunkReader:
    """Yields the batches of one epoch at a time: the next `batch_size` samples of its order, only the last shorter.

    Three verbs: `reset` goes to a position, `next` takes a batch, `get_state` tells the position of the next one.
    Start and continuation are one path. At the end of an epoch: `reset(Position(epoch + 1))`.

    Args:
        chunks: the split that is read.
        skipped: ids of samples to leave out: those that were lost earlier in the same run.
        on_damage: called when a damaged chunk is first opened (and when it changes later); may raise to stop.
        pool: where the samples of a batch are brought together; else in buffers of NumPy.
    """

    def __init__(
        self,
        chunks: Chunks,
        *,
        batch_size: int,
        seed: int,
        is_shuffled: bool = True,
        skipped: Iterable[int] = (),
        on_damage: Callable[[Damage], None],
        pool: Pool | None = None,
    ) -> None:
        self._chunks = chunks
        self._counts = chunks.counts
        self._batch_size = batch_size
        self._seed = seed
        self._is_shuffled = is_shuffled
        self._files = OpenChunks(chunks, skipped=skipped, on_damage=on_damage)
        self._pool = pool or BufferPool(batch_size)
        self.reset(Position(epoch=0))

    def reset(self, position: Position) -> None:
        """Make the sample at `position` the next one; raises IntegrityError where the data have no such place."""
        epoch, chunk_id, offset = position.epoch, position.chunk_id, position.offset
        limit = 0 if chunk_id == -1 else self._counts[chunk_id] if 0 <= chunk_id < len(self._counts) else -1
        if not 0 <= offset <= limit:
            raise IntegrityError(
                f"{self._chunks} has no position {offset} in chunk {chunk_id}",
                code="E0455",
                hint="the position belongs to another data set; start this training from zero",
            )
        self._order = EpochOrder(counts=self._counts, seed=self._seed, epoch=epoch, is_shuffled=self._is_shuffled)
        self._place = 0 if chunk_id == -1 else self._order.place(chunk_id)  # of the position's chunk in the order
        self._current: tuple[int, _Shuffled] | None = None
        is_named = chunk_id >= 0 or not len(self._counts)
        self._position = position if is_named else Position(epoch, int(self._order.chunks[0]), 0)

    def get_state(self) -> Position:
        """Return the position of the next sample."""
        return self._position

    def require_unaltered(self) -> None:
        """Raise IntegrityError where a chunk that was read since the last call was altered under the reader.

        Call it before anything is kept that was computed from the batches.
        """
        self._files.require_unaltered(still_open=self._current[0] if self._current is not None else None)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; raises StopIteration at the end of the epoch."""
        parts: list[Part] = []
        ids: list[Indices] = []
        segments: list[Segment] = []
        num_missing = self._batch_size
        place, offset = self._place, self._position.offset
        for place in range(self._place, len(self._order.chunks)):
            chunk_id = int(self._order.chunks[place])
            size = self._counts[chunk_id]
            if offset < size:
                chunk = self._open(chunk_id)
                first = int(chunk.places.searchsorted(offset))
                taken = slice(first, first + num_missing)
                rows = chunk.rows[taken]
                end = int(chunk.places[first + num_missing - 1]) + 1 if len(rows) == num_missing else size
                segments.append(Segment(chunk_id, offset, end - offset, size))
                if len(rows):
                    parts.append(Part(chunk_id, chunk.arrays, rows))
                    ids.append(chunk.sample_ids[taken])
                    num_missing -= len(rows)
                if not num_missing:
                    break
            offset = 0
        if not parts:
            raise StopIteration
        arrays = self._pool.gather(parts)
        last = segments[-1]
        self._place = place
        self._position = Position(self._position.epoch, last.chunk_id, last.offset + last.span)
        sample_ids = ids[0] if len(ids) == 1 else np.concatenate(ids)
        return Batch(self._position.epoch, arrays, sample_ids, tuple(segments), self._position)

    def _open(self, chunk_id: int) -> _Shuffled:
        if self._current is None or self._current[0] != chunk_id:
            arrays, lost = self._files.open(chunk_id)
            rows = self._order.samples(chunk_id)
            sample_ids = rows + self._chunks.sample_ids(chunk_id).start
            places = np.arange(len(rows))
            if lost:
                places = np.flatnonzero(~np.isin(sample_ids, list(lost)))
                rows, sample_ids = rows[places], sample_ids[places]
            self._current = (chunk_id, _Shuffled(arrays, rows, sample_ids, places))
        return self._current[1]
