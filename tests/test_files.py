"""Durable writes: whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.disk import Disk
from pipeline.errors import IntegrityError, ResourceExhausted


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    """A second write leaves the second content and no temporary."""
    path = tmp_path / "new" / "folder" / "file.bin"
    files.write_bytes(path, b"first")
    files.write_bytes(path, b"2nd")
    assert path.read_bytes() == b"2nd"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """When the disk fails, the old content stays and the temporary goes."""
    path = tmp_path / "file.bin"
    files.write_bytes(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match="input/output"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_says_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk becomes ResourceExhausted with the free bytes; the old file is untouched."""
    path = tmp_path / "file.bin"
    files.write_bytes(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(ResourceExhausted, match=rf"no space left for {path}: 3 bytes .* bytes are free"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes three bytes at a time still gets all of them."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    files.write_bytes(tmp_path / "file.bin", b"0123456789")
    assert (tmp_path / "file.bin").read_bytes() == b"0123456789"


def test_folder_appears_whole(tmp_path: Path) -> None:
    """While it is filled a folder has a temporary name; if filling fails, nothing stays."""
    target = tmp_path / "checkpoint"

    def contents(failure: type[BaseException] | None = None) -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        assert not target.exists()
        if failure:
            raise failure
        yield "b", b"2"

    files.write_folder(target, contents())
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"a": b"1", "b": b"2"}
    files.remove(target)
    with pytest.raises(RuntimeError):
        files.write_folder(target, contents(RuntimeError))
    assert list(tmp_path.iterdir()) == []


def test_finished_folder_is_never_overwritten(tmp_path: Path) -> None:
    """Writing a folder that is there fails and leaves it as it was."""
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(FileExistsError):
        files.write_folder(tmp_path / "checkpoint", [])


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    """Removing a link to a folder removes the link only."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    files.remove(tmp_path / "link")
    files.remove(tmp_path / "never was")
    assert (tmp_path / "precious" / "file").read_text() == "kept"
    assert not (tmp_path / "link").is_symlink()


def test_set_aside_never_overwrites(tmp_path: Path) -> None:
    """What does not verify is kept under numbered names."""
    for content in ("first", "second"):
        (tmp_path / "x.json").write_text(content)
        files.set_aside(tmp_path / "x.json")
    assert (tmp_path / "x.json.corrupt-0").read_text() == "first"
    assert (tmp_path / "x.json.corrupt-1").read_text() == "second"


def test_sweep_removes_only_temporaries(tmp_path: Path) -> None:
    """Leftovers of killed writers go, wherever they lie; everything else stays."""
    kept = tmp_path / "a" / "kept.bin"
    files.write_bytes(kept, b"1")
    (tmp_path / "a" / f"{files.TEMPORARY_PREFIX}123-x").write_bytes(b"torn")
    (tmp_path / f"{files.TEMPORARY_PREFIX}456-folder").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}456-folder" / "inner").write_bytes(b"torn")
    assert files.sweep_temporaries(tmp_path) == 2
    assert sorted(path for path in tmp_path.rglob("*")) == [tmp_path / "a", kept]


def test_order_of_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are durable before the name points to them, and the name is durable before the call returns."""
    operations: list[str] = []

    class Recorder(Disk):
        def __getattribute__(self, name: str) -> Any:
            operations.append(name)
            return super().__getattribute__(name)

    files.make_folder(tmp_path)
    monkeypatch.setattr(files, "disk", Recorder())
    files.write_bytes(tmp_path / "file.bin", b"1")
    assert operations == ["create", "write", "fsync", "close", "rename", "fsync_folder"]
    operations.clear()
    files.write_folder(tmp_path / "folder", [("a", b"1")])
    assert operations == ["mkdir", "create", "write", "fsync", "close", "fsync_folder", "rename", "fsync_folder"]


def test_folder_of_a_killed_process_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there, but whose name may be lost with the power, is synced before anything is put into it."""
    synced: list[Path] = []

    class Recorder(Disk):
        def fsync_folder(self, path: Path) -> None:
            synced.append(path)

    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(files, "disk", Recorder())
    files.write_bytes(tmp_path / "a" / "b" / "c", b"1")
    assert synced[-3:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """Where a folder on the way is a link, writing is refused, and what it points to stays as it was."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link" / "x", tmp_path / "link" / "new" / "x"):
        with pytest.raises(IntegrityError, match="leads through a link"):
            files.write_bytes(path, b"1")
    assert not list((tmp_path / "elsewhere").rglob("x"))
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere" / "precious")
    files.write_bytes(tmp_path / "file", b"1")
    assert not (tmp_path / "file").is_symlink()
    assert not (tmp_path / "elsewhere" / "precious").exists()


def test_disk_that_says_it_took_more_than_it_did_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses bytes and reports all of them written costs the new file, never the old one."""
    files.write_bytes(tmp_path / "file.bin", b"old")
    monkeypatch.setattr(os, "write", lambda _, data: len(data))
    with pytest.raises(IntegrityError, match="holds 0 bytes after 8 were written"):
        files.write_bytes(tmp_path / "file.bin", b"01234567")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_new_file_takes_nobody_s_place(tmp_path: Path) -> None:
    """A file is created where there is none: neither another one nor a link is written to."""
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    for name in ("precious", "link"):
        with pytest.raises(FileExistsError):
            files.disk.create(tmp_path / name)
    assert (tmp_path / "precious").read_bytes() == b"kept"


def test_removal_that_is_killed_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder loses its name before the first of its files goes."""

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    files.write_folder(tmp_path / "checkpoint", [("a", b"1"), ("b", b"2")])
    monkeypatch.setattr(files.disk, "unlink", fail)
    with pytest.raises(KeyboardInterrupt):
        files.remove(tmp_path / "checkpoint")
    [left] = tmp_path.iterdir()
    assert left.name.startswith(files.TEMPORARY_PREFIX)


def test_removal_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was removed or set aside stays so when the power goes: the folder is synced."""
    synced: list[Path] = []
    monkeypatch.setattr(files.disk, "fsync_folder", synced.append)
    for name in ("removed", "aside"):
        (tmp_path / name).write_bytes(b"1")
    files.remove(tmp_path / "removed")
    files.set_aside(tmp_path / "aside")
    assert synced == [tmp_path, tmp_path]
