"""Reading batches from chunks, from any position, exactly as if the reading had never been interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import IntegrityError
from stages.chunks.buffers import BufferPool, Part, Pool
from stages.chunks.chunk import Array, map_chunk
from stages.chunks.damage import Damage, find_damage
from stages.chunks.manifest import ChunkEntry
from stages.chunks.order import EpochOrder, Indices

_INODE = 2  # its place in an identity

__all__ = ["Batch", "ChunkReader", "Chunks", "Damage", "Position", "Segment"]


class Chunks(Protocol):
    """The chunks of one split, numbered from 0; they need not all be written when their reading begins."""

    @property
    def counts(self) -> Sequence[int]:
        """The number of samples of each chunk, known before the chunks are there."""

    def sample_ids(self, chunk_id: int) -> range:
        """Return the ids of its samples, known before it is there."""

    def entry(self, chunk_id: int) -> ChunkEntry:
        """Return what its file must look like; called when the chunk is opened, and waits until it is written."""

    def path(self, chunk_id: int) -> Path:
        """Return where its file lies; called after `entry`."""

    def __str__(self) -> str:
        """Name the data set in a message."""


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
class _OpenChunk:
    arrays: Mapping[str, Array]
    rows: Indices  # in the order of the epoch
    usable: Indices  # positions in `rows` of the samples that are not left out


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
        self._batch_size = batch_size
        self._seed = seed
        self._is_shuffled = is_shuffled
        self._skipped = set(skipped)
        self._on_damage = on_damage
        self._verified: dict[int, tuple[int, ...] | None] = {}
        self._read: set[int] = set()  # chunks that were opened, since they were last looked at
        self._pool = pool or BufferPool(batch_size)
        self.reset(Position(epoch=0))

    def reset(self, position: Position) -> None:
        """Make the sample at `position` the next one; raises IntegrityError where the data have no such place."""
        counts, chunk_id = self._chunks.counts, position.chunk_id
        limit = 0 if chunk_id == -1 else counts[chunk_id] if 0 <= chunk_id < len(counts) else -1
        if not 0 <= position.offset <= limit:
            raise IntegrityError(
                f"{self._chunks} has no position {position.offset} in chunk {chunk_id}",
                hint="the position belongs to another data set; start this training from zero",
            )
        self._order = EpochOrder(counts=counts, seed=self._seed, epoch=position.epoch, is_shuffled=self._is_shuffled)
        self._places = {int(chunk): place for place, chunk in enumerate(self._order.chunks)}
        self._current: tuple[int, _OpenChunk] | None = None
        self._position = replace(position, chunk_id=int(self._order.chunks[0])) if counts and chunk_id < 0 else position

    def get_state(self) -> Position:
        """Return the position of the next sample."""
        return self._position

    def require_unaltered(self) -> None:
        """Raise IntegrityError where a chunk that was read since the last call was altered under the reader.

        A chunk is mapped, not copied: what is written into its file after it was verified is read. Call it before
        anything is kept that was computed from the batches.
        """
        for chunk_id in sorted(self._read):
            path, known = self._chunks.path(chunk_id), self._verified.get(chunk_id)
            found = _identity(path)
            # Another file in its place, or none, is no matter here: what was mapped is the old one.
            if found == known or found is None or known is None or found[_INODE] != known[_INODE]:
                continue
            damage = find_damage(path, self._chunks.entry(chunk_id))
            if damage is not None and not self._skipped.issuperset(damage.sample_ids):
                raise IntegrityError(
                    f"{path} was altered while it was read: {damage.problem}",
                    hint="what was computed since the last checkpoint is not kept; run the same command again: damaged "
                    "chunks are made anew before it goes on",
                )
        self._read = {self._current[0]} if self._current is not None else set()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; raises StopIteration at the end of the epoch."""
        parts: list[tuple[int, _OpenChunk, Indices]] = []
        segments: list[Segment] = []
        num_missing = self._batch_size
        for chunk_id, offset in self._ahead():
            chunk = self._open(chunk_id)
            first = int(np.searchsorted(chunk.usable, offset))
            taken = chunk.usable[first : first + num_missing]
            end = int(chunk.usable[first + num_missing - 1]) + 1 if len(taken) == num_missing else len(chunk.rows)
            segments.append(Segment(chunk_id, offset, end - offset, len(chunk.rows)))
            parts.append((chunk_id, chunk, chunk.rows[taken]))
            num_missing -= len(taken)
            if not num_missing:
                break
        if num_missing == self._batch_size:
            raise StopIteration
        sample_ids = np.concatenate([rows + self._chunks.sample_ids(chunk_id).start for chunk_id, _, rows in parts])
        arrays = self._pool.gather([Part(chunk_id, chunk.arrays, rows) for chunk_id, chunk, rows in parts if len(rows)])
        last = segments[-1]
        self._position = replace(self._position, chunk_id=last.chunk_id, offset=last.offset + last.span)
        return Batch(self._position.epoch, arrays, sample_ids, tuple(segments), self._position)

    def _ahead(self) -> Iterator[tuple[int, int]]:
        """Yield the chunks from the position on, each with the offset from which it is still to be read."""
        if not self._chunks.counts:
            return
        place = self._places[self._position.chunk_id]
        if self._position.offset < self._chunks.counts[self._position.chunk_id]:
            yield self._position.chunk_id, self._position.offset
        yield from ((int(chunk_id), 0) for chunk_id in self._order.chunks[place + 1 :])

    def _open(self, chunk_id: int) -> _OpenChunk:
        if self._current is None or self._current[0] != chunk_id:
            arrays = self._arrays(self._chunks.entry(chunk_id))
            self._read.add(chunk_id)
            rows = self._order.samples(chunk_id)
            ids = self._chunks.sample_ids(chunk_id)
            lost = self._skipped.intersection(ids)
            is_lost = (
                np.isin(rows, [sample_id - ids.start for sample_id in lost]) if lost else np.zeros(len(rows), bool)
            )
            self._current = (chunk_id, _OpenChunk(arrays, rows, np.flatnonzero(~is_lost)))
        return self._current[1]

    def _arrays(self, entry: ChunkEntry) -> dict[str, Array]:
        path = self._chunks.path(entry.chunk_id)
        identity = _identity(path)
        if self._verified.get(entry.chunk_id, ()) != identity:
            self._verified[entry.chunk_id] = identity
            if (damage := find_damage(path, entry)) is not None:
                self._skipped.update(damage.sample_ids)
                self._on_damage(damage)
        return {} if self._skipped.issuperset(entry.sample_ids) else map_chunk(path)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
