"""Damaged chunks: what differs from the manifest, and which samples are lost by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from pipeline.reading import require_lost
from stages.chunks.chunk import Array, damaged_rows, decode_chunk, load_pages, map_file
from stages.chunks.manifest import ChunkEntry


@dataclass(frozen=True)
class Damage:
    """A chunk that is not what the manifest says, and the ids of the samples that are left out because of it."""

    chunk_id: int
    file: Path
    sample_ids: tuple[int, ...]
    problem: str


def inspect_chunk(path: Path, entry: ChunkEntry) -> tuple[dict[str, Array], Damage | None]:
    """Read the whole chunk at `path`; return its arrays, as `map_chunk` does, and what is not as its entry says.

    The arrays are none where all samples are lost.
    """
    arrays: dict[str, Array] = {}
    lost = tuple(entry.sample_ids)
    try:
        mapped = map_file(path)
        load_pages(mapped, name=str(path))
        arrays, _ = decode_chunk(mapped, name=str(path))
        # The digest of what is mapped, so that it is these very pages that were looked at; this is also a third
        # faster than reading the file, and the pages are then there for the batches.
        if len(mapped) == entry.size and digest_bytes(memoryview(mapped)) == entry.xxh3:
            return arrays, None
        rows = damaged_rows(arrays, first_sample_id=entry.first_sample_id, count=entry.count, name=path.name)
        problem, lost = "altered after it was written", tuple(entry.sample_ids[row] for row in rows)
    except FileNotFoundError:
        problem = "missing"
    except OSError as error:
        require_lost(error)
        problem = f"unreadable: {error.strerror}"
    except IntegrityError as error:
        problem = error.message
    damage = Damage(entry.chunk_id, path, lost, problem)
    return ({} if len(lost) == entry.count else arrays), damage


def find_damage(path: Path, entry: ChunkEntry) -> Damage | None:
    """Read the whole chunk at `path`; None if it is what its manifest entry says, else what is lost of it."""
    return inspect_chunk(path, entry)[1]
