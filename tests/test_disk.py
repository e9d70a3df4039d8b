"""The disk: much at once is written past the page cache, to the same bytes, wherever that can be done."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import files

_BLOCK = 4096
_SIZES = (1 << 20, (1 << 20) + 1, (1 << 20) - 1, (3 << 20) + _BLOCK + 17)


def _aligned(size: int) -> memoryview:
    """Return memory that begins at a page, as that of snapshots does, full of different bytes."""
    memory = mmap.mmap(-1, size)
    memory[:] = (bytes(range(256)) * (size // 256 + 1))[:size]
    return memoryview(memory)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Give whether each write went past the cache, and how many bytes it took."""
    return _watch(monkeypatch, lambda _: None)


def _watch(monkeypatch: pytest.MonkeyPatch, meet: Callable[[bool], None]) -> list[tuple[bool, int]]:
    calls: list[tuple[bool, int]] = []
    write = os.write

    def watched(descriptor: int, data: memoryview) -> int:
        is_direct = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        meet(is_direct)
        calls.append((is_direct, write(descriptor, data)))
        return calls[-1][1]

    monkeypatch.setattr(os, "write", watched)
    return calls


@pytest.mark.parametrize("size", _SIZES)
def test_all_bytes_arrive_whatever_their_number(tmp_path: Path, size: int, written: list[tuple[bool, int]]) -> None:
    """Whole blocks may go past the cache; the rest of the file is written as ever."""
    data = _aligned(size)
    files.write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    direct = [count for is_direct, count in written if is_direct]
    assert sum(direct) in (0, size // _BLOCK * _BLOCK)  # 0: this file system has no such writes
    assert size >= 1 << 20 or not direct


@pytest.mark.parametrize("start", [0, 1, 512])
def test_memory_that_lies_elsewhere_is_written_too(tmp_path: Path, start: int) -> None:
    """Bytes that do not begin at a page are no error."""
    data = _aligned(2 << 20)[start:]
    files.write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.EFAULT])
def test_what_cannot_go_past_the_cache_goes_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """File system or memory refuse before anything is taken, and then the cache is used."""

    def refuse(is_direct: bool) -> None:
        if is_direct:
            raise OSError(number, os.strerror(number))

    data, written = _aligned(2 << 20), _watch(monkeypatch, refuse)
    files.write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert written == [(False, 2 << 20)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_the_disk_is_no_reason_to_write_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What failed past the cache may succeed into it without ever coming to the disk."""
    num_calls = []

    def fail(_: bool) -> None:
        num_calls.append(1)
        raise OSError(number, os.strerror(number))

    _watch(monkeypatch, fail)
    with pytest.raises(Exception, match=r"(?i)input/output error|no space left"):
        files.write_bytes(tmp_path / "file", _aligned(2 << 20))
    assert len(num_calls) == 1
    assert list(tmp_path.iterdir()) == []
