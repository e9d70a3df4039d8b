"""Writing chunks: whole or not at all, and never twice when what is there proves to be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from stages.chunks.chunk import Array, encode_chunk, prove_chunk
from stages.chunks.manifest import ChunkEntry


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """A chunk that is to be there: where it belongs, which samples it holds, and what it is a part of.

    Attributes:
        file: name of its file in the folder of the data set.
        origin: digest of all that determines the samples of the data set.
    """

    chunk_id: int
    split: str
    file: str
    first_sample_id: int
    count: int
    origin: str

    def entry(self, data: bytes, *, folder: str = "") -> ChunkEntry:
        """Return the manifest entry for this chunk with these bytes; `folder` leads there from the manifest's."""
        known = {name: getattr(self, name) for name in ("chunk_id", "split", "first_sample_id", "count")}
        return ChunkEntry(**known, file=folder + self.file, size=len(data), xxh3=digest_bytes(data))

    @property
    def seal_text(self) -> str:
        """What the seal of the chunk binds it to."""
        return f"{self.origin}/{self.split}/{self.first_sample_id}+{self.count}"


def write_chunk(folder: Path, plan: ChunkPlan, arrays: Mapping[str, Array]) -> bytes:
    """Write a chunk durably and return its bytes; raises ResourceExhausted or OSError, leaving nothing half-done."""
    data = encode_chunk(arrays, first_sample_id=plan.first_sample_id, origin=plan.seal_text)
    files.write_bytes(folder / plan.file, data)
    return data


def find_chunk(folder: Path, plan: ChunkPlan) -> tuple[bytes | None, str]:
    """Return the bytes of a chunk that is already there and proves itself; else None.

    What does not prove itself is set aside; the second value then tells why (empty otherwise).
    """
    path = folder / plan.file
    try:
        _, data = prove_chunk(path, first_sample_id=plan.first_sample_id, count=plan.count, origin=plan.seal_text)
    except FileNotFoundError:
        return None, ""
    except IntegrityError as error:
        return None, f"{error.message}; kept as {files.set_aside(path).name} and made again"
    return data, ""
