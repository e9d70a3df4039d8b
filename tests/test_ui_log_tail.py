"""A log that is taken up again: which places are its own, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_page import Author

from pipeline.events import Kind
from pipeline.ui.log_tail import LogChanged, Place, events_after, identify


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """What writes a log of four lines."""
    author = Author(tmp_path)
    author.begin()
    for number in range(3):
        author.tell(Kind.INFO, "numbers", text=f"{number}")
    return author


def test_batches_of_any_size_give_each_event_once(author: Author) -> None:
    """One behind the other, with the place behind each."""
    for limit in (1, 2, 3, 4, 5):
        place, ends, is_last = Place(), list[int](), False
        while not is_last:
            batch = events_after(author.path, place, limit=limit)
            ends += [logged.end for logged in batch.events]
            place, is_last = batch.place, batch.is_last
        assert ends == author.ends
        assert place == Place(identify(author.path), author.ends[-1])


def test_every_offset_that_is_no_end_of_a_line_is_refused(author: Author) -> None:
    """All of them are tried, up to behind the end; those of other numbers too."""
    size = author.path.stat().st_size
    good = []
    for offset in (*range(size + 3), -1, -size, 1 << 62, 1 << 63, 1 << 70):
        try:
            events_after(author.path, Place("", offset), limit=1)
        except LogChanged:
            continue
        good.append(offset)
    assert good == [0, *author.ends]


def test_a_log_is_told_by_its_first_line(author: Author) -> None:
    """Which grows into one as it is written, and stays the same however much follows."""
    log = identify(author.path)
    assert log
    author.tell(Kind.INFO, text="more")
    assert identify(author.path) == log
    data = author.path.read_bytes()
    author.path.write_bytes(data[:100])
    assert identify(author.path) == ""
    author.path.write_bytes(data.replace(b"small-12345678", b"small-12345679", 1))
    assert identify(author.path) not in ("", log)
    with pytest.raises(LogChanged):
        events_after(author.path, Place(log, author.ends[1]), limit=1)
    author.path.write_bytes(b"x" * 10_000)
    assert identify(author.path)


def test_a_log_that_is_not_there_has_no_events_and_no_other_place_than_its_begin(tmp_path: Path) -> None:
    """As before the first run."""
    batch = events_after(tmp_path / "none.jsonl", Place(), limit=5)
    assert (batch.events, batch.place, batch.is_last) == ((), Place(), True)
    with pytest.raises(LogChanged):
        events_after(tmp_path / "none.jsonl", Place("", 5), limit=5)


def test_a_log_that_is_replaced_while_it_is_read_is_not_taken_for_the_old_one(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read in between may be of either, so none of it is told."""
    place = Place(identify(author.path), author.ends[1])
    other = author.path.read_bytes().replace(b"small-12345678", b"small-99999999")

    def read_late(path: Path, **asked: int) -> list[object]:
        path.write_bytes(other)
        assert asked["offset"] == place.offset
        return []

    monkeypatch.setattr("pipeline.ui.log_tail.read_events", read_late)
    with pytest.raises(LogChanged):
        events_after(author.path, place, limit=5)
