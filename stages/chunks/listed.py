"""The chunks of one split of a data set that is finished: all are listed in its manifest."""

from __future__ import annotations

from pathlib import Path

from stages.chunks.manifest import ChunkEntry, Manifest, chunk_path, load_manifest


class ListedChunks:
    """What a reader asks of the chunks of a split (`stages.chunks.reader.Chunks`), answered from a manifest.

    Args:
        path: where the manifest lies.
    """

    def __init__(self, manifest: Manifest, *, path: Path, split: str) -> None:
        self._path = path
        self._entries = manifest.split(split)
        self.counts = tuple(entry.count for entry in self._entries)

    def sample_ids(self, chunk_id: int) -> range:
        """Return the ids of its samples."""
        return self._entries[chunk_id].sample_ids

    def entry(self, chunk_id: int) -> ChunkEntry:
        """Return what its file must look like."""
        return self._entries[chunk_id]

    def path(self, chunk_id: int) -> Path:
        """Return where its file lies."""
        return chunk_path(self._path, self._entries[chunk_id])

    def __str__(self) -> str:
        return str(self._path)


def load_chunks(path: Path, *, split: str) -> ListedChunks:
    """Return the chunks of one split of the manifest at `path`; raises FileNotFoundError or IntegrityError."""
    return ListedChunks(load_manifest(path), path=path, split=split)
