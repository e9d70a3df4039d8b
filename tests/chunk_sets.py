"""Small data sets in chunks, for tests of whatever reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.chunks.manifest import ChunkEntry, ChunkPlan, Manifest, chunk_path, load_manifest, save_manifest
from stages.chunks.writer import write_chunk

FIRST_IDS = {"train": 0, "validation": 1000, "test": 2000}


def write_chunk_set(folder: Path, counts: Mapping[str, Sequence[int]]) -> Path:
    """Write chunks of the given counts for each split and return the path of their manifest.

    Every sample has a `picture` uint8 [2, 3] and a `number` float32 [1], both functions of its id.
    """
    entries = []
    for split, sizes in counts.items():
        first = FIRST_IDS[split]
        for chunk_id, count in enumerate(sizes):
            file = f"{split}_{chunk_id}.safetensors"
            plan = ChunkPlan(
                chunk_id=chunk_id, split=split, file=file, first_sample_id=first, count=count, origin="tests"
            )
            ids = np.arange(first, first + count)
            pictures = (ids[:, None, None] * 7 + np.arange(6).reshape(2, 3)).astype(np.uint8)
            numbers = (ids[:, None] / 8).astype(np.float32)
            entries.append(plan.entry(write_chunk(folder, plan, {"picture": pictures, "number": numbers})))
            first += count
    manifest_path = folder / "manifest.json"
    save_manifest(manifest_path, Manifest(meta={"name": "numbers"}, chunks=tuple(entries)))
    return manifest_path


def chunk_entry(manifest_path: Path, split: str, chunk_id: int) -> tuple[ChunkEntry, Path]:
    """Return the entry of a chunk and the path of its file."""
    entry = load_manifest(manifest_path).split(split)[chunk_id]
    return entry, chunk_path(manifest_path, entry)


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte of a file; a negative offset counts from its end."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x55
    path.write_bytes(data)
