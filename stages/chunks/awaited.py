"""The chunks of one split of a data set that is still being made: each is waited for when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pipeline.stream import Stream
from stages.chunks.manifest import ChunkEntry, chunk_path


class OnWait(Protocol):
    """What is told of a chunk that is not there yet: before it is waited for, and once it is there."""

    def __call__(self, chunk_id: int, /, *, is_over: bool) -> None:
        """Take it in."""


class AwaitedChunks:
    """What a reader asks of the chunks of a split (`stages.chunks.reader.Chunks`), answered by their maker.

    The maker promises {"manifest": where it will be, relative to `root`; "meta": what it will say; "chunks": all that
    its entries will say, but for size and digest}, and releases each entry under the name of its file.

    Args:
        on_wait: called with the number of a chunk that is not there yet.
    """

    def __init__(self, stream: Stream, *, root: Path, split: str, on_wait: OnWait) -> None:
        self._stream = stream
        self._manifest_path = root / stream.promise["manifest"]
        self._on_wait = on_wait
        self._planned: list[dict[str, Any]] = sorted(
            (chunk for chunk in stream.promise["chunks"] if chunk["split"] == split),
            key=lambda chunk: int(chunk["chunk_id"]),
        )
        self._entries: dict[int, ChunkEntry] = {}
        self.counts = tuple(chunk["count"] for chunk in self._planned)

    def sample_ids(self, chunk_id: int) -> range:
        """Return the ids of its samples."""
        first = self._planned[chunk_id]["first_sample_id"]
        return range(first, first + self.counts[chunk_id])

    def entry(self, chunk_id: int) -> ChunkEntry:
        """Return what its file must look like; raises Withheld where it does not come any more in this run."""
        if chunk_id not in self._entries:
            self._entries[chunk_id] = ChunkEntry(**self._facts(chunk_id))
        return self._entries[chunk_id]

    def _facts(self, chunk_id: int) -> Mapping[str, Any]:
        waits: list[int] = []

        def begin() -> None:
            waits.append(chunk_id)
            self._on_wait(chunk_id, is_over=False)

        facts = self._stream.wait_for(self._planned[chunk_id]["file"], on_wait=begin)
        if waits:
            self._on_wait(chunk_id, is_over=True)
        return facts

    def path(self, chunk_id: int) -> Path:
        """Return where its file lies."""
        return chunk_path(self._manifest_path, self.entry(chunk_id))

    def __str__(self) -> str:
        return str(self._manifest_path)
