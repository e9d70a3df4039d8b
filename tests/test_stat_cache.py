"""Digests that are remembered, and when they are not believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import stat_cache
from pipeline.fingerprint import digest_bytes, digest_file
from pipeline.stat_cache import StatCache, by_folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record which files are really read."""
    seen: list[Path] = []

    def read(path: Path) -> str:
        seen.append(path)
        return digest_file(path)

    monkeypatch.setattr(stat_cache, "digest_file", read)
    monkeypatch.setattr(stat_cache, "_RACY_NANOSECONDS", -10_000_000_000)  # as if all files had been there for long
    return seen


def _flip_byte_keeping_size_and_mtime(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_unchanged_files_are_read_once(tmp_path: Path, reads: list[Path]) -> None:
    """A digest is computed once and then remembered, also by the next process."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cache = StatCache(tmp_path / "cache")
    assert cache.digest(file) == cache.digest(file) == digest_file(file)
    cache.save()
    assert StatCache(tmp_path / "cache").digest(file) == digest_file(file)
    assert reads == [file]


def test_flipped_byte_with_size_and_mtime_kept_is_seen(tmp_path: Path, reads: list[Path]) -> None:
    """The change that no peer sees is seen, because ctime cannot be set back."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cache = StatCache(tmp_path / "cache")
    before = cache.digest(file)
    ctime = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == ctime:  # until the kernel's clock has ticked
        _flip_byte_keeping_size_and_mtime(file)
    if digest_file(file) == before:
        _flip_byte_keeping_size_and_mtime(file)
    assert cache.digest(file) == digest_file(file) != before
    assert len(reads) == 2


def test_fresh_files_are_not_remembered(tmp_path: Path) -> None:
    """A file that was just written may be written again in the same clock tick: its digest is not kept."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cache = StatCache(tmp_path / "cache")
    cache.digest(file)
    cache.save()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"garbage", b"0" * 32 + b"\n{}"])
def test_damaged_cache_is_empty(tmp_path: Path, reads: list[Path], damage: bytes) -> None:
    """A cache that does not prove itself is not believed, and costs one reading."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    (tmp_path / "cache").write_bytes(damage)
    assert StatCache(tmp_path / "cache").digest(file) == digest_file(file)
    assert reads == [file]


def test_named_pipe_in_its_place_is_an_empty_cache(tmp_path: Path) -> None:
    """What would never answer is not waited for."""
    os.mkfifo(tmp_path / "cache")
    (tmp_path / "file").write_bytes(b"1")
    assert StatCache(tmp_path / "cache").digest(tmp_path / "file") == digest_bytes(b"1")


class _Remembered:
    """What follows from the files a and b in a folder, asked for by one process after the other."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "folder"
        self.folder.mkdir()
        self.files = [self.folder / name for name in ("a", "b")]
        for file in self.files:
            file.write_bytes(b"abc")
        self._root = root

    def recall(self, key: str = "question") -> Any:
        """Ask in a new process, as it were."""
        return StatCache(self._root / "cache").recall("name", key=key, locate=self._root.joinpath)

    def remember(self, *, meanwhile: Callable[[Path], object] = lambda _: None) -> None:
        """Remember the answer in a process of its own; `meanwhile` befalls the file b once it is read."""
        cache = StatCache(self._root / "cache")
        for file in self.files:
            cache.note(file)
        meanwhile(self.files[-1])
        read = by_folder(file.relative_to(self._root).as_posix() for file in self.files)
        cache.remember("name", [1], key="question", read=read, absent=["folder/c"], locate=self._root.joinpath)
        cache.save()


@pytest.fixture
def remembered(tmp_path: Path, reads: list[Path]) -> _Remembered:  # noqa: ARG001 - for its clock
    """Give an answer that is remembered."""
    remembered = _Remembered(tmp_path)
    remembered.remember()
    assert remembered.recall() == [1]
    return remembered


def _flip(file: Path) -> None:
    ctime = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == ctime:  # until the kernel's clock has ticked
        _flip_byte_keeping_size_and_mtime(file)


@pytest.mark.parametrize(
    "change",
    [
        _flip,
        lambda file: file.unlink(),
        lambda file: file.rename(file.with_name("c")),
        lambda file: file.with_name("c").mkdir(),
        lambda file: (file.rename(file.with_name("d")), file.symlink_to(file.with_name("d"))),
        lambda file: (file.parent.rename(file.parents[1] / "d"), file.parent.symlink_to(file.parents[1] / "d")),
    ],
    ids=["flipped", "gone", "renamed", "a new one", "a link to the same file", "a link to the same folder"],
)
def test_answer_is_forgotten_with_any_of_its_files(remembered: _Remembered, change: Callable[[Path], object]) -> None:
    """One changed file of many, one that is new where none was, or a link on the way: the answer is asked for again."""
    change(remembered.files[1])
    assert remembered.recall() is None


def test_answer_to_another_question_is_none(remembered: _Remembered) -> None:
    """What was remembered for other settings is not taken."""
    assert remembered.recall("another question") is None


def test_links_and_fresh_files_are_not_remembered(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer from a link, whose own stat says nothing of what it leads to, or from fresh files is not kept."""
    remembered = _Remembered(tmp_path)
    remembered.files[1].rename(tmp_path / "real")
    remembered.files[1].symlink_to(tmp_path / "real")
    remembered.remember()
    assert remembered.recall() is None
    remembered.files.pop()
    with monkeypatch.context() as patch:
        patch.setattr(stat_cache, "_RACY_NANOSECONDS", 10_000_000_000)
        remembered.remember()
    assert remembered.recall() is None
    remembered.remember()
    assert remembered.recall() == [1]
    assert reads == []


def test_file_that_changed_after_it_was_read_is_not_remembered(remembered: _Remembered) -> None:
    """Whatever the clocks say: the answer is that of bytes that are no longer there."""
    remembered.remember(meanwhile=_flip)
    assert remembered.recall() is None


def test_file_that_changed_after_its_digest_was_taken_is_not_remembered(tmp_path: Path, reads: list[Path]) -> None:
    """A digest counts as a reading; a second digest of the new bytes does not make up for the first."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cache = StatCache(tmp_path / "cache")
    cache.digest(file)
    _flip(file)
    cache.digest(file)
    cache.remember("name", [1], key="question", read={"": ["x"]}, locate=tmp_path.joinpath)
    assert cache.recall("name", key="question", locate=tmp_path.joinpath) is None
    assert reads == [file, file]


def test_date_that_fits_no_number_is_only_not_remembered(remembered: _Remembered) -> None:
    """A file dated after 2262 is looked at each time."""
    os.utime(remembered.files[1], ns=(1 << 63, 1 << 63))
    assert remembered.files[1].stat().st_mtime_ns >= 1 << 63
    assert remembered.recall() is None
    remembered.remember()
    assert remembered.recall() is None


def test_what_old_runs_remember_goes(tmp_path: Path, remembered: _Remembered) -> None:
    """Whoever remembers something leaves that of the twenty other runs that did so last."""
    for number in range(30):
        path = tmp_path / f"cache.{number}"
        path.write_bytes(b"")
        os.utime(path, (number, number))
    os.utime(tmp_path / "cache.any", (0, 0))
    remembered.remember()
    assert {path.name for path in tmp_path.glob("cache*")} == {
        "cache.any",
        *(f"cache.{each}" for each in range(10, 30)),
    }
    assert remembered.recall() == [1]


def test_cleared_cache_knows_nothing_any_more(tmp_path: Path, remembered: _Remembered) -> None:
    """Neither on disk nor in the memory of the process that cleared it, which does not write it again."""
    cache = StatCache(tmp_path / "cache")
    question: dict[str, Any] = {"name": "name", "key": "question", "locate": tmp_path.joinpath}
    assert cache.recall(**question) == [1]
    cache.clear()
    assert cache.recall(**question) is None
    cache.save()
    assert remembered.recall() is None
    assert list(tmp_path.glob("cache*")) == []
