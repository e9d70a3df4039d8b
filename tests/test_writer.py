"""Chunks on disk: written whole, and believed only when they prove themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chunk_sets import flip_byte
from safetensors.numpy import load_file, save

from pipeline.errors import IntegrityError
from stages.chunks.chunk import Array, damaged_rows, decode_chunk, encode_chunk, map_chunk, prove_chunk
from stages.chunks.manifest import ChunkPlan
from stages.chunks.writer import find_chunk, write_chunk

_PLAN = ChunkPlan(chunk_id=0, split="train", file="c.safetensors", first_sample_id=40, count=3, origin="o")
_ARRAYS: dict[str, Array] = {
    "image": np.arange(3 * 35, dtype=np.uint8).reshape(3, 1, 7, 5),
    "boxes": np.arange(24, dtype=np.float32).reshape(3, 2, 4),
    "labels": np.array([[0, -1], [1, 1], [2, -1]], np.int64),
}


def test_a_chunk_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """The arrays come back in place, with the ids of their samples."""
    write_chunk(tmp_path, _PLAN, _ARRAYS)
    arrays = map_chunk(tmp_path / _PLAN.file)
    assert {name: array.tolist() for name, array in arrays.items() if name in _ARRAYS} == {
        name: array.tolist() for name, array in _ARRAYS.items()
    }
    assert arrays["sample_id"].tolist() == [40, 41, 42]
    assert not arrays["image"].flags.writeable


def test_a_chunk_is_a_safetensors_file(tmp_path: Path) -> None:
    """Anybody can read it with the library of that name."""
    write_chunk(tmp_path, _PLAN, _ARRAYS)
    loaded = load_file(tmp_path / _PLAN.file)
    mapped = map_chunk(tmp_path / _PLAN.file)
    assert loaded.keys() == mapped.keys()
    assert all(np.array_equal(loaded[name], mapped[name]) for name in loaded)


def test_a_chunk_has_the_bytes_that_the_library_gives() -> None:
    """Arrays of all types lie as the library lays them, so chunks of earlier versions are found again."""
    types = ("?", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8")
    arrays = {f"{letter}{kind} größe": np.ones((3, 2), kind) for kind in types for letter in "zq"}
    data = encode_chunk(arrays | {"empty": np.zeros((3, 0))}, first_sample_id=0, origin="o")
    read, seal = decode_chunk(data, name="chunk")
    assert data == save(read, metadata={"seal": seal})


def test_the_same_arrays_give_the_same_bytes() -> None:
    """Neither the order of the arrays nor their layout in memory shows in the file."""
    shuffled = {name: np.asfortranarray(_ARRAYS[name]) for name in reversed(list(_ARRAYS))}
    first = encode_chunk(_ARRAYS, first_sample_id=0, origin="o")
    assert encode_chunk(shuffled, first_sample_id=0, origin="o") == first
    assert encode_chunk(_ARRAYS, first_sample_id=1, origin="o") != first


def test_a_chunk_that_is_there_is_kept(tmp_path: Path) -> None:
    """A whole chunk of the same origin is found again, byte for byte."""
    written = write_chunk(tmp_path, _PLAN, _ARRAYS)
    assert find_chunk(tmp_path, _PLAN) == (written, "")
    assert find_chunk(tmp_path, replace(_PLAN, file="other.safetensors")) == (None, "")


def test_no_byte_of_a_chunk_can_change_unseen(tmp_path: Path) -> None:
    """Whichever byte is flipped, header and padding included: the chunk is not believed."""
    path = tmp_path / _PLAN.file
    data = write_chunk(tmp_path, _PLAN, _ARRAYS)
    for offset in range(len(data)):
        path.write_bytes(data)
        flip_byte(path, offset)
        with pytest.raises(IntegrityError, match=_PLAN.file):
            prove_chunk(path, first_sample_id=40, count=3, origin=_PLAN.seal_text)


def test_white_space_in_a_header_does_not_change_unseen(tmp_path: Path) -> None:
    """A header that JSON reads the same, because a space became a tab, is not the one that was written."""
    path = tmp_path / _PLAN.file
    data = write_chunk(tmp_path, _PLAN, _ARRAYS)
    spaces = [offset for offset in range(8, 8 + int.from_bytes(data[:8], "little")) if data[offset] == ord(" ")]
    assert spaces, "the header of this chunk is padded"
    for offset in spaces:
        path.write_bytes(data[:offset] + b"\t" + data[offset + 1 :])
        with pytest.raises(IntegrityError, match="its header is not as it was"):
            prove_chunk(path, first_sample_id=40, count=3, origin=_PLAN.seal_text)


def test_what_is_not_believed_is_set_aside(tmp_path: Path) -> None:
    """Nothing is deleted: the file is kept under another name, and it is said why."""
    for number in range(2):
        write_chunk(tmp_path, _PLAN, _ARRAYS)
        flip_byte(tmp_path / _PLAN.file, -1)
        found, complaint = find_chunk(tmp_path, _PLAN)
        assert found is None
        assert "altered" in complaint
        assert f"{_PLAN.file}.corrupt-{number}" in complaint


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_chunk_that_was_cut_short_is_set_aside(tmp_path: Path, size: int) -> None:
    """A torn file is never taken for a chunk, nor is one with something behind its end."""
    data = write_chunk(tmp_path, _PLAN, _ARRAYS)
    (tmp_path / _PLAN.file).write_bytes(data + b"x" if size == -1 else data[:size])
    assert find_chunk(tmp_path, _PLAN)[0] is None
    assert (tmp_path / f"{_PLAN.file}.corrupt-0").exists()


@pytest.mark.parametrize(
    "other",
    [replace(_PLAN, origin="other config"), replace(_PLAN, split="test"), replace(_PLAN, first_sample_id=43)],
)
def test_a_whole_chunk_of_something_else_is_not_taken(tmp_path: Path, other: ChunkPlan) -> None:
    """A chunk under a wrong name, or of other settings whose short hash is the same, is set aside."""
    write_chunk(tmp_path, other, _ARRAYS)
    found, complaint = find_chunk(tmp_path, _PLAN)
    assert found is None
    assert complaint


def test_damage_is_told_sample_by_sample() -> None:
    """A flipped pixel costs one sample, not the chunk."""
    data = bytearray(encode_chunk(_ARRAYS, first_sample_id=40, origin="o"))
    start = data.index(_ARRAYS["image"].tobytes())
    data[start + 35 + 3] ^= 1
    arrays, _ = decode_chunk(bytes(data), name="c")
    assert damaged_rows(arrays, first_sample_id=40, count=3, name="c").tolist() == [1]
    assert damaged_rows(arrays, first_sample_id=41, count=3, name="c").tolist() == [0, 1, 2]
    with pytest.raises(IntegrityError, match="4 samples"):
        damaged_rows(arrays, first_sample_id=40, count=4, name="c")


def _with_header(change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    data = encode_chunk(_ARRAYS, first_sample_id=0, origin="o")
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 16,
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
        (1 << 30).to_bytes(8, "little") + b"{" * 64,
        (6000).to_bytes(8, "little") + b"[" * 6000,
        _with_header(lambda header: header["image"].update(shape=[3, 1, 7, 500])),
        _with_header(lambda header: header["image"].update(shape=[-3, -1, 7, 5])),
        _with_header(lambda header: header["image"].update(data_offsets=[10**6, 10**6 + 105])),
        _with_header(lambda header: header["image"].update(data_offsets=[-105, 0])),
        _with_header(lambda header: header["image"].update(dtype="X9")),
        _with_header(lambda header: header["image"].update(shape="abc")),
    ],
)
def test_a_malformed_file_is_an_integrity_error(data: bytes) -> None:
    """Whatever the bytes are, reading them ends in a sentence and never reads outside of them."""
    with pytest.raises(IntegrityError, match="not readable as a chunk"):
        decode_chunk(data, name="c")
