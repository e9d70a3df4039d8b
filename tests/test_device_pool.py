"""Chunks on the device: the same batches, to the bit, wherever the samples lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from chunk_sets import chunk_entry, flip_byte, write_chunk_set
from conformance import assert_resumes_everywhere, snapshot

from pipeline.errors import IntegrityError
from stages.chunks.buffers import Part
from stages.chunks.chunk import Array
from stages.chunks.listed import load_chunks
from stages.chunks.reader import ChunkReader, Damage, Position
from stages.training.device_pool import DevicePool

_CPU = torch.device("cpu")
_COUNTS = (5, 3, 1, 6)
_CHUNK_BYTES = 6 + 4  # of a sample: `picture` and `number`
_BUDGETS = {"all": 1 << 20, "some": 8 * _CHUNK_BYTES, "none": 0}


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    """Give the manifest of 15 samples in four chunks, with damage: a chunk gone and a sample altered."""
    path = write_chunk_set(tmp_path, {"train": _COUNTS})
    chunk_entry(path, "train", 1)[1].unlink()
    file = chunk_entry(path, "train", 3)[1]
    picture = np.arange(6, dtype=np.uint8) + 11 * 7  # of sample 11, the third of the last chunk
    flip_byte(file, file.read_bytes().index(picture.tobytes()))
    return path


def _ignore(_: Damage) -> None:
    return None


def _reader(manifest_path: Path, *, pool: DevicePool | None, batch_size: int = 4) -> ChunkReader:
    chunks = load_chunks(manifest_path, split="train")
    return ChunkReader(chunks, batch_size=batch_size, seed=11, skipped=[0], on_damage=_ignore, pool=pool)


def _num_kept(pool: DevicePool) -> int:
    """Ask for each chunk with nothing but zeros on the host: of those that are kept, what was there before comes."""
    num_kept = 0
    for chunk_id, count in enumerate(_COUNTS):
        zeros: dict[str, Array] = {"picture": np.zeros((count, 2, 3), np.uint8), "number": np.zeros((count, 1), "f4")}
        num_kept += bool(pool.gather([Part(chunk_id, zeros, np.arange(count))])["number"].any())
    return num_kept


@pytest.mark.parametrize("budget", _BUDGETS)
@pytest.mark.parametrize("batch_size", [1, 4, 15])
def test_batches_are_those_of_host_buffers(manifest_path: Path, budget: str, batch_size: int) -> None:
    """With all chunks kept, some or none, three epochs over damaged data are the same, bytes and positions."""
    pool = DevicePool(_CPU, max_bytes=_BUDGETS[budget])
    kept, plain = (_reader(manifest_path, pool=p, batch_size=batch_size) for p in (pool, None))
    lost: set[int] = set()
    for epoch in range(3):
        kept.reset(Position(epoch))
        plain.reset(Position(epoch))
        for expected in plain:
            assert snapshot(next(kept)) == snapshot(expected)
            lost |= {0, 5, 6, 7, 11} & set(expected.sample_ids.tolist())
        with pytest.raises(StopIteration):
            next(kept)
    assert not lost
    assert _num_kept(pool) == {"all": 3, "some": 2, "none": 0}[budget]


@pytest.mark.parametrize("budget", _BUDGETS)
def test_it_resumes_at_every_position(manifest_path: Path, budget: str) -> None:
    """A reader with a pool is proved as every reader is, its pool being as fresh as after a kill."""
    assert_resumes_everywhere(
        lambda: _reader(manifest_path, pool=DevicePool(_CPU, max_bytes=_BUDGETS[budget]), batch_size=3),
        [Position(0), Position(1)],
    )


def test_a_kept_chunk_is_read_from_its_file_once() -> None:
    """What the arrays of a chunk hold later does not matter: its samples are on the device."""
    pool = DevicePool(_CPU, max_bytes=_BUDGETS["all"])
    array = np.arange(6, dtype=np.uint16).reshape(3, 2)
    rows = np.array([2, 0])
    first = pool.gather([Part(0, {"x": array}, rows)])["x"].clone()
    array[:] = 0
    assert torch.equal(pool.gather([Part(0, {"x": array}, rows)])["x"], first)
    assert first.tolist() == [[4, 5], [0, 1]]
    assert first.dtype == torch.uint16


def test_a_kept_chunk_that_is_altered_is_still_noticed(manifest_path: Path) -> None:
    """That a chunk is on the device does not hide that its file was written to under the reader."""
    reader = _reader(manifest_path, pool=DevicePool(_CPU, max_bytes=_BUDGETS["all"]))
    next(reader)
    reader.require_unaltered()
    flip_byte(chunk_entry(manifest_path, "train", 0)[1], -1)
    with pytest.raises(IntegrityError, match="altered while it was read"):
        reader.require_unaltered()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64"])
def test_every_type_comes_back_as_it_was(dtype: str) -> None:
    """Scalars, odd sizes and whole words of any type of a chunk are gathered bit for bit."""
    generator = np.random.default_rng(0)
    for shape in ((), (3,), (2, 4)):
        array = generator.integers(0, 2, (5, *shape)).astype(dtype)
        rows = np.array([4, 1, 1, 0])
        for budget in (0, 1 << 20):
            found = DevicePool(_CPU, max_bytes=budget).gather([Part(0, {"x": array}, rows)])["x"]
            assert found.numpy().dtype == array.dtype
            assert np.array_equal(found.numpy(), array[rows])


def test_chunks_must_have_the_same_arrays() -> None:
    """A chunk with other arrays is refused, as host buffers refuse it."""
    pool = DevicePool(_CPU, max_bytes=1 << 20)
    rows = np.array([0])
    pool.gather([Part(0, {"x": np.zeros((1, 2))}, rows)])
    with pytest.raises(IntegrityError, match="other arrays"):
        pool.gather([Part(1, {"x": np.zeros((1, 3))}, rows)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("budget", _BUDGETS)
def test_batches_on_a_gpu_are_those_of_host_buffers(manifest_path: Path, budget: str) -> None:
    """On CUDA, kept or sent, three epochs over damaged data are the same."""
    pool = DevicePool(torch.device("cuda"), max_bytes=_BUDGETS[budget])
    kept, plain = (_reader(manifest_path, pool=p) for p in (pool, None))
    for epoch in range(3):
        kept.reset(Position(epoch))
        plain.reset(Position(epoch))
        for expected in plain:
            arrays = next(kept).arrays
            assert {name: array.cpu().numpy().tobytes() for name, array in arrays.items()} == {
                name: array.tobytes() for name, array in expected.arrays.items()
            }
