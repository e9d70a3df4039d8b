"""Chunks of a data set that is still being made: what is told while they are waited for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny_task import tiny_stage

from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.stream import Stream
from stages.training.data import open_data

_CHUNKS = [
    {"chunk_id": number, "split": split, "file": f"{split}_{number}", "first_sample_id": 4 * number, "count": 4}
    for split in ("train", "validation")
    for number in range(2)
]


class _Maker:
    """A reporter that makes whatever is waited for as soon as it is told so."""

    def __init__(self) -> None:
        self.stream = Stream(
            "data_generation", {"manifest": "data/manifest.json", "meta": {}, "chunks": _CHUNKS}, stop=StopFlag()
        )
        self.told: list[tuple[str, bool]] = []

    def emit(self, event: Event) -> None:
        """Make the chunk that the event is about."""
        assert event.kind is Kind.WAIT
        self.told.append((event.data["text"], event.data["is_over"]))
        if not event.data["is_over"]:
            _waits, _for, split, _chunk, number, *_ = event.data["text"].split()
            self.make(split, int(number))

    def make(self, split: str, number: int) -> None:
        """Make one chunk."""
        chunk = next(each for each in _CHUNKS if (each["split"], each["chunk_id"]) == (split, number))
        self.stream.put(str(chunk["file"]), {**chunk, "size": 10, "xxh3": "0" * 32})

    def close(self) -> None:
        """Nothing is held back."""


def test_each_wait_is_told_with_its_end(tmp_path: Path) -> None:
    """Of each chunk once, and of what is there already nothing."""
    maker = _Maker()
    _, context = tiny_stage(tmp_path, reporter=maker)
    data = open_data(replace(context, streams={"data_generation": maker.stream}), stage="data_generation")
    maker.make("train", 1)
    for chunks in (data.train, data.validation):
        assert [chunks.entry(number).size for number in (0, 1, 0)] == [10, 10, 10]
    assert maker.told == [
        ("waits for train chunk 0 of data_generation", False),
        ("goes on with train chunk 0", True),
        ("waits for validation chunk 0 of data_generation", False),
        ("goes on with validation chunk 0", True),
        ("waits for validation chunk 1 of data_generation", False),
        ("goes on with validation chunk 1", True),
    ]
