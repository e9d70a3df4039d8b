"""Reading chunks: exact from every position, and honest about what is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chunk_sets import chunk_entry, flip_byte, write_chunk_set
from conformance import assert_resumes_everywhere

from pipeline.errors import IntegrityError
from stages.chunks.listed import load_chunks
from stages.chunks.manifest import ChunkEntry, ChunkPlan, Manifest, save_manifest
from stages.chunks.order import EpochOrder
from stages.chunks.reader import Batch, ChunkReader, Chunks, Damage, Position, Segment
from stages.chunks.writer import write_chunk

_COUNTS = (5, 3, 1, 6)


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    """Give the manifest of 15 training samples in four chunks, 3 of validation and 2 of test."""
    return write_chunk_set(tmp_path, {"train": _COUNTS, "validation": (2, 1), "test": (2,)})


def _raise(damage: Damage) -> None:
    raise AssertionError(f"unexpected {damage}")


def _reader(
    manifest_path: Path,
    *,
    batch_size: int = 4,
    split: str = "train",
    is_shuffled: bool = True,
    skipped: Iterable[int] = (),
    on_damage: Callable[[Damage], None] = _raise,
) -> ChunkReader:
    return ChunkReader(
        load_chunks(manifest_path, split=split),
        batch_size=batch_size,
        seed=11,
        is_shuffled=is_shuffled,
        skipped=skipped,
        on_damage=on_damage,
    )


def _epoch(reader: ChunkReader, epoch: int = 0) -> list[int]:
    reader.reset(Position(epoch))
    return [sample_id for batch in reader for sample_id in batch.sample_ids.tolist()]


def _ignore(_: Damage) -> None:
    return None


def _from_json(position: Position) -> Position:
    return Position(**json.loads(json.dumps(asdict(position))))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 15, 40])
@pytest.mark.parametrize("is_shuffled", [True, False])
def test_it_resumes_at_every_position(manifest_path: Path, batch_size: int, *, is_shuffled: bool) -> None:
    """From every position of three epochs, once and twice in a row, what follows is what would have followed."""
    num_positions = assert_resumes_everywhere(
        lambda: _reader(manifest_path, batch_size=batch_size, is_shuffled=is_shuffled),
        [Position(0), Position(1), Position(2)],
        store=_from_json,
    )
    assert num_positions == 3 * (-(-15 // batch_size) + 1)


def test_it_resumes_at_every_position_of_damaged_data(manifest_path: Path) -> None:
    """Samples that were left out before an interruption are left out after it, known or found anew."""
    chunk_entry(manifest_path, "train", 1)[1].unlink()
    _damage_picture(manifest_path, chunk_id=3, row=2)
    assert_resumes_everywhere(
        lambda: _reader(manifest_path, batch_size=3, skipped=[0, 14], on_damage=_ignore), [Position(0), Position(1)]
    )


class _Forgetful(ChunkReader):
    """Resumes at the start of the chunk."""

    def reset(self, position: Position) -> None:
        super().reset(Position(position.epoch, position.chunk_id))


def test_the_proof_finds_a_reader_that_forgets_its_offset(manifest_path: Path) -> None:
    """The conformance helper itself can fail."""
    with pytest.raises(AssertionError, match=r"differs|shows"):
        assert_resumes_everywhere(
            lambda: _Forgetful(load_chunks(manifest_path, split="train"), batch_size=4, seed=0, on_damage=_raise),
            [Position(0)],
        )


def test_batches_follow_the_order_of_the_epoch(manifest_path: Path) -> None:
    """Each batch is the next samples of the order, across chunks; only the last one is shorter."""
    first_ids = np.cumsum([0, *_COUNTS])
    for epoch in range(3):
        order = EpochOrder(counts=_COUNTS, seed=11, epoch=epoch, is_shuffled=True)
        expected = [int(first_ids[chunk] + row) for chunk in order.chunks for row in order.samples(int(chunk))]
        reader = _reader(manifest_path)
        assert _epoch(reader, epoch) == expected
        reader.reset(Position(epoch))
        assert [len(batch.sample_ids) for batch in reader] == [4, 4, 4, 3]


def test_arrays_belong_to_their_samples(manifest_path: Path) -> None:
    """The pixels of a batch are those of the ids it names, and the bookkeeping arrays stay inside."""
    for batch in _reader(manifest_path):
        assert set(batch.arrays) == {"picture", "number"}
        assert batch.arrays["number"][:, 0].tolist() == (batch.sample_ids / 8).tolist()
        assert batch.arrays["picture"][:, 0, 0].tolist() == (batch.sample_ids * 7 % 256).tolist()


def test_a_batch_stays_valid_until_the_second_next(manifest_path: Path) -> None:
    """The batch before is still whole while a batch is used: a prefetch of one is possible."""
    reader = _reader(manifest_path)
    previous: Batch | None = None
    for batch in reader:
        for valid in filter(None, (previous, batch)):
            assert valid.arrays["number"][:, 0].tolist() == (valid.sample_ids / 8).tolist()
        previous = batch


def test_segments_say_what_a_batch_covers(manifest_path: Path) -> None:
    """They join without gaps, and their sum is the chunk; the position is behind the last of them."""
    offsets = dict.fromkeys(range(4), 0)
    for batch in _reader(manifest_path):
        for segment in batch.segments:
            assert segment.offset == offsets[segment.chunk_id]
            assert segment.chunk_size == _COUNTS[segment.chunk_id]
            offsets[segment.chunk_id] += segment.span
        last = batch.segments[-1]
        assert batch.position == Position(0, last.chunk_id, last.offset + last.span)
    assert tuple(offsets.values()) == _COUNTS


class _Counts(Sequence[int]):
    """Sizes of chunks that count how often one of them was looked at."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self.num_looks = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: Any) -> Any:
        self.num_looks += 1
        return self._sizes[index]


class _Counted:
    """Chunks that note what they were asked for; those of `counts` are not there yet."""

    def __init__(self, chunks: Chunks, counts: Sequence[int]) -> None:
        self._chunks = chunks
        self.counts = _Counts(counts)
        self.sample_ids = chunks.sample_ids
        self.path = chunks.path
        self.asked: list[int] = []

    def entry(self, chunk_id: int) -> ChunkEntry:
        self.asked.append(chunk_id)
        return self._chunks.entry(chunk_id)


def test_a_chunk_is_asked_for_when_its_first_sample_is_due(manifest_path: Path) -> None:
    """Chunks that are still to be written are waited for one after the other, and the position needs none of them."""
    chunks = _Counted(load_chunks(manifest_path, split="train"), _COUNTS)
    reader = ChunkReader(chunks, batch_size=4, seed=11, on_damage=_raise)
    reader.reset(Position(0, 3, 1))
    reader.reset(Position(0))
    asked = [list(chunks.asked)]
    for _ in reader:
        reader.require_unaltered()
        asked.append(list(chunks.asked))
    assert asked == [[], [0], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("chunk_size", [1, 100, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_going_to_a_position_costs_nothing_for_samples(
    manifest_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, chunk_size: int
) -> None:
    """Of 1,000 chunks none is opened and at most one size is looked at; only their own order is drawn."""
    drawn: list[int] = []

    class Philox(np.random.Philox):
        def random_raw(self, size: Any = None, output: Any = True) -> Any:
            drawn.append(size)
            return super().random_raw(size, output)

    chunks = _Counted(load_chunks(manifest_path, split="train"), [chunk_size] * 1000)
    reader = ChunkReader(chunks, batch_size=32, seed=11, on_damage=_raise)
    last = int(EpochOrder(counts=chunks.counts, seed=11, epoch=3, is_shuffled=True).chunks[int(share * 999)])
    monkeypatch.setattr(np.random, "Philox", Philox)
    chunks.counts.num_looks = 0
    reader.reset(Position(3, last, int(share * chunk_size)))
    assert (chunks.counts.num_looks, chunks.asked, drawn) == (1, [], [1000])


def test_the_first_epoch_begins_at_the_first_chunk(manifest_path: Path) -> None:
    """A position without a chunk is told as the place it means."""
    reader = _reader(manifest_path)
    assert reader.get_state() == Position(0, 0, 0)
    assert next(reader).segments == (Segment(0, 0, 4, 5),)


def test_splits_are_read_apart(manifest_path: Path) -> None:
    """Each split has its own samples; one that does not exist is empty."""
    assert _epoch(_reader(manifest_path, split="validation", is_shuffled=False)) == [1000, 1001, 1002]
    assert _epoch(_reader(manifest_path, split="test", is_shuffled=False)) == [2000, 2001]
    assert _epoch(_reader(manifest_path, split="nothing")) == []


@pytest.mark.parametrize(
    "position", [Position(0, 4, 0), Position(0, 2, 2), Position(0, 0, -1), Position(0, -1, 1), Position(0, -2, 0)]
)
def test_a_position_of_other_data_is_refused(manifest_path: Path, position: Position) -> None:
    """A checkpoint that does not fit the data set does not silently start somewhere."""
    with pytest.raises(IntegrityError, match="no position") as caught:
        _reader(manifest_path).reset(position)
    assert caught.value.hint


def _damage_picture(manifest_path: Path, *, chunk_id: int, row: int) -> None:
    entry, path = chunk_entry(manifest_path, "train", chunk_id)
    pictures = (np.array(entry.sample_ids)[:, None, None] * 7 + np.arange(6).reshape(2, 3)).astype(np.uint8).tobytes()
    flip_byte(path, path.read_bytes().index(pictures) + 6 * row)


def test_a_flipped_pixel_costs_one_sample(manifest_path: Path) -> None:
    """The chunk is compared sample by sample; it is reported once, in however many epochs it is read."""
    found: list[Damage] = []
    _damage_picture(manifest_path, chunk_id=0, row=3)
    reader = _reader(manifest_path, on_damage=found.append)
    for epoch in range(3):
        assert sorted(_epoch(reader, epoch)) == [number for number in range(15) if number != 3]
    assert [(damage.chunk_id, damage.sample_ids) for damage in found] == [(0, (3,))]
    assert found[0].file.name == "train_0.safetensors"
    assert "altered" in found[0].problem


def test_a_missing_chunk_costs_its_samples(manifest_path: Path) -> None:
    """The others are read as ever, in full batches."""
    found: list[Damage] = []
    chunk_entry(manifest_path, "train", 1)[1].unlink()
    reader = _reader(manifest_path, on_damage=found.append)
    assert [len(batch.sample_ids) for batch in reader] == [4, 4, 4]
    assert sorted(_epoch(reader)) == [0, 1, 2, 3, 4, *range(8, 15)]
    assert [(damage.sample_ids, damage.problem) for damage in found] == [((5, 6, 7), "missing")]


@pytest.mark.parametrize("offset", [0, 12, -100, -1])
def test_whatever_byte_is_broken_no_sample_is_lost_unseen(manifest_path: Path, offset: int) -> None:
    """A broken header costs the chunk, a broken array what it belongs to; every sample is either read or reported."""
    found: list[Damage] = []
    flip_byte(chunk_entry(manifest_path, "train", 3)[1], offset)
    kept = _epoch(_reader(manifest_path, on_damage=found.append))
    (damage,) = found
    assert damage.problem
    assert sorted([*kept, *damage.sample_ids]) == list(range(15))
    assert set(damage.sample_ids) <= set(range(9, 15))


def test_an_unreadable_file_is_told_from_a_missing_one(manifest_path: Path) -> None:
    """What the system says about a file that cannot be opened is passed on."""
    found: list[Damage] = []
    _, path = chunk_entry(manifest_path, "train", 2)
    path.unlink()
    path.mkdir()
    assert len(_epoch(_reader(manifest_path, on_damage=found.append))) == 14
    assert found[0].sample_ids == (8,)


def test_known_losses_are_left_out_though_the_chunk_is_whole_again(manifest_path: Path) -> None:
    """Within a run a sample is lost for good, or a resumed run would differ from what it continues."""
    assert sorted(_epoch(_reader(manifest_path, skipped=[3, 8, 1000]))) == [0, 1, 2, 4, 5, 6, 7, *range(9, 15)]


def test_left_out_samples_are_covered_by_segments(manifest_path: Path) -> None:
    """Offsets count places in the order, so that a position means the same whatever is left out."""
    reader = _reader(manifest_path, is_shuffled=False, skipped=[1, 5, 6, 7])
    assert next(reader).segments == (Segment(0, 0, 5, 5),)
    assert next(reader).segments == (Segment(1, 0, 3, 3), Segment(2, 0, 1, 1), Segment(3, 0, 3, 6))


def test_damage_can_stop_the_reading(manifest_path: Path) -> None:
    """What `on_damage` raises comes out of `next`, and the position stays where it was."""
    chunk_entry(manifest_path, "train", 1)[1].unlink()
    reader = _reader(manifest_path, on_damage=_raise)
    next(reader)
    before = reader.get_state()
    with pytest.raises(AssertionError, match="missing"):
        next(reader)
    assert reader.get_state() == before


def test_a_chunk_is_looked_at_again_when_it_changes(manifest_path: Path) -> None:
    """A chunk that is altered after its first reading is not believed in the next epoch, whatever its mtime says."""
    found: list[Damage] = []
    reader = _reader(manifest_path, on_damage=found.append)
    assert len(_epoch(reader, 0)) == 15
    path = chunk_entry(manifest_path, "train", 0)[1]
    before = path.stat()
    _damage_picture(manifest_path, chunk_id=0, row=0)
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock that stamps files ticks every few milliseconds
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(_epoch(reader, 1)) == 14
    path.unlink()
    assert len(_epoch(reader, 2)) == 10
    assert [damage.sample_ids for damage in found] == [(0,), (0, 1, 2, 3, 4)]


def test_chunks_with_other_arrays_are_refused(tmp_path: Path) -> None:
    """A data set whose chunks do not agree is an error of its writer, told with both layouts."""
    manifest_path = write_chunk_set(tmp_path, {"train": (2,)})
    one, _ = chunk_entry(manifest_path, "train", 0)
    plan = ChunkPlan(chunk_id=1, split="train", file="b.safetensors", first_sample_id=2, count=2, origin="x")
    data = write_chunk(tmp_path, plan, {"picture": np.zeros((2, 2, 3), np.int64)})
    save_manifest(manifest_path, Manifest(meta={}, chunks=(one, plan.entry(data))))
    with pytest.raises(IntegrityError, match="picture int64"):
        _epoch(_reader(manifest_path))
