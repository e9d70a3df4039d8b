"""Chunks as files: verified when they are first opened, kept open, and looked at again when they change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.errors import IntegrityError
from stages.chunks.chunk import Array, map_chunk
from stages.chunks.damage import Damage, find_damage, inspect_chunk
from stages.chunks.manifest import ChunkEntry

_INODE = 2  # its place in an identity
# Opening a mapping anew costs a batch a third of its time, for the page faults; keeping it costs 1/512 of its size in
# page tables: 8 MiB for these.
_KEPT_BYTES = 4 << 30


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


class OpenChunks:
    """The files of a split as they are read: none is believed before it was compared with its entry.

    Args:
        skipped: ids of samples to leave out, though their chunk be whole.
        on_damage: called when a damaged chunk is first opened (and when it changes later); may raise to stop.
    """

    def __init__(self, chunks: Chunks, *, skipped: Iterable[int], on_damage: Callable[[Damage], None]) -> None:
        self._chunks = chunks
        self._skipped = set(skipped)
        self._on_damage = on_damage
        self._paths: dict[int, Path] = {}  # to make one takes longer than to look at its file
        self._verified: dict[int, tuple[int, ...] | None] = {}
        self._mapped: OrderedDict[int, dict[str, Array]] = OrderedDict()  # those opened last come last
        self._read: set[int] = set()  # chunks that were opened, since they were last looked at

    def open(self, chunk_id: int) -> tuple[dict[str, Array], set[int]]:
        """Return the arrays of a chunk (none where all is lost), and the ids of its samples that are to be left out.

        Raises:
            OSError: it cannot be read now, which says nothing of what it holds.
        """
        entry = self._chunks.entry(chunk_id)
        self._read.add(chunk_id)
        path = self._paths.get(chunk_id) or self._paths.setdefault(chunk_id, self._chunks.path(chunk_id))
        arrays = self._mapped.pop(chunk_id, None)
        identity = _identity(path)
        if self._verified.get(chunk_id, ()) != identity:
            self._verified[chunk_id] = identity
            arrays, damage = inspect_chunk(path, entry)
            if damage is not None:
                self._skipped.update(damage.sample_ids)
                self._on_damage(damage)
        lost = self._skipped.intersection(entry.sample_ids) if self._skipped else set()
        if len(lost) == entry.count:
            return {}, lost
        if arrays is None:
            arrays = map_chunk(path)
        self._mapped[chunk_id] = arrays
        while len(self._mapped) > max(1, _KEPT_BYTES // max(1, entry.size)):
            self._mapped.popitem(last=False)
        return arrays, lost

    def require_unaltered(self, *, still_open: int | None) -> None:
        """Raise IntegrityError where a chunk that was read since the last call was altered under the reader.

        A chunk is mapped, not copied: what is written into its file after it was verified is read. Call it before
        anything is kept that was computed from the batches. `still_open`: the chunk that is being read.
        """
        for chunk_id in sorted(self._read):
            path, known = self._paths[chunk_id], self._verified.get(chunk_id)
            found = _identity(path)
            # Another file in its place, or none, is no matter here: what was mapped is the old one.
            if found == known or found is None or known is None or found[_INODE] != known[_INODE]:
                continue
            damage = find_damage(path, self._chunks.entry(chunk_id))
            if damage is not None and not self._skipped.issuperset(damage.sample_ids):
                raise IntegrityError(
                    f"{path} was altered while it was read: {damage.problem}",
                    code="E0452",
                    hint="what was computed since the last checkpoint is not kept; run the same command again: damaged "
                    "chunks are made anew before it goes on",
                )
        self._read = set() if still_open is None else {still_open}


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
