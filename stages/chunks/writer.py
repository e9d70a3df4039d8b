"""Writing chunks: whole or not at all, and never twice when what is there proves to be right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline import files
from pipeline.errors import IntegrityError
from stages.chunks.chunk import Array, encode_chunk, prove_chunk
from stages.chunks.manifest import ChunkPlan


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
