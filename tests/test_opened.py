"""Chunks as open files: how long they stay so, and what a page that cannot be read does."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from pathlib import Path

import pytest
from chunk_sets import chunk_entry, write_chunk_set

from stages.chunks import chunk, damage, opened
from stages.chunks.chunk import Array, map_chunk, map_file
from stages.chunks.damage import Damage
from stages.chunks.listed import load_chunks
from stages.chunks.opened import OpenChunks


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    """Give the manifest of nine samples in three chunks."""
    return write_chunk_set(tmp_path, {"train": (3, 2, 4)})


def _open_chunks(manifest_path: Path, found: list[Damage]) -> OpenChunks:
    return OpenChunks(load_chunks(manifest_path, split="train"), skipped=(), on_damage=found.append)


def test_chunks_stay_open_as_long_as_there_is_room(manifest_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is mapped once, when it is verified; without room all but one are mapped anew, and hold the same."""
    mapped: list[str] = []

    def note(path: Path) -> dict[str, Array]:
        mapped.append(path.name)
        return map_chunk(path)

    monkeypatch.setattr(opened, "map_chunk", note)
    files = _open_chunks(manifest_path, [])

    def ids_of_all() -> list[list[int]]:
        return [files.open(chunk_id)[0]["sample_id"].tolist() for chunk_id in range(3)]

    everything = ids_of_all()
    assert everything == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    assert ids_of_all() == everything
    assert mapped == []
    monkeypatch.setattr(opened, "_KEPT_BYTES", 0)
    assert [ids_of_all(), ids_of_all()] == [everything] * 2
    assert mapped == [f"train_{chunk_id}.safetensors" for chunk_id in (1, 2, 0, 1, 2)]


def test_a_chunk_whose_pages_cannot_be_read_is_lost_and_kills_nobody(
    manifest_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ends before what was mapped of it, as pages on a failing disk, is an error and not a signal."""

    def map_and_cut(path: Path) -> mmap.mmap:
        mapped = map_file(path)
        os.truncate(path, 0)
        return mapped

    monkeypatch.setattr(damage, "map_file", map_and_cut)
    path = chunk_entry(manifest_path, "train", 1)[1]

    def read() -> None:
        found: list[Damage] = []
        assert _open_chunks(manifest_path, found).open(1) == ({}, {3, 4})
        assert found == [Damage(1, path, (3, 4), "unreadable: Input/output error")]

    process = multiprocessing.get_context("fork").Process(target=read)
    process.start()
    process.join()
    assert process.exitcode == 0, "the reader was killed, or its assertion failed"


def test_an_old_kernel_reads_chunks_all_the_same(manifest_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not know how to load pages, they come as they are touched."""
    monkeypatch.setattr(chunk, "_MADV_POPULATE_READ", 1000)
    found: list[Damage] = []
    arrays, lost = _open_chunks(manifest_path, found).open(2)
    assert (arrays["sample_id"].tolist(), lost, found) == ([5, 6, 7, 8], set(), [])
