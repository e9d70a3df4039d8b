"""Digests that are remembered, and when they are not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import stat_cache
from pipeline.fingerprint import digest_bytes, digest_file
from pipeline.stat_cache import StatCache


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


def test_forget_reads_again(tmp_path: Path, reads: list[Path]) -> None:
    """`validate --deep` can make the cache read every byte."""
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cache = StatCache(tmp_path / "cache")
    cache.digest(file)
    cache.forget(file)
    cache.digest(file)
    assert reads == [file, file]
