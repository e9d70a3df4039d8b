"""Damaged chunks: what differs from the manifest, and which samples are lost by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_file
from pipeline.reading import require_lost
from stages.chunks.chunk import damaged_rows, map_chunk
from stages.chunks.manifest import ChunkEntry


@dataclass(frozen=True)
class Damage:
    """A chunk that is not what the manifest says, and the ids of the samples that are left out because of it."""

    chunk_id: int
    file: Path
    sample_ids: tuple[int, ...]
    problem: str


def find_damage(path: Path, entry: ChunkEntry) -> Damage | None:
    """Read the whole chunk at `path`; None if it is what its manifest entry says, else what is lost of it."""
    lost = tuple(entry.sample_ids)
    try:
        if path.stat().st_size == entry.size and digest_file(path) == entry.xxh3:
            return None
        rows = damaged_rows(map_chunk(path), first_sample_id=entry.first_sample_id, count=entry.count, name=path.name)
        problem, lost = "altered after it was written", tuple(entry.sample_ids[row] for row in rows)
    except FileNotFoundError:
        problem = "missing"
    except OSError as error:
        require_lost(error)
        problem = f"unreadable: {error.strerror}"
    except IntegrityError as error:
        problem = error.message
    return Damage(entry.chunk_id, path, lost, problem)
