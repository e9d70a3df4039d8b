"""Durable writes: whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline import files
from pipeline.errors import ResourceExhausted


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
    with pytest.raises(ResourceExhausted, match="bytes are free"):
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

    def fill(folder: Path) -> None:
        assert not target.exists()
        (folder / "a").write_bytes(b"1")

    files.write_folder(target, fill)
    assert [path.name for path in target.iterdir()] == ["a"]

    def fail(folder: Path) -> None:
        (folder / "a").write_bytes(b"1")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        files.write_folder(tmp_path / "other", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_finished_folder_is_never_overwritten(tmp_path: Path) -> None:
    """Writing a folder that is there fails and leaves it as it was."""
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(FileExistsError):
        files.write_folder(tmp_path / "checkpoint", lambda _: None)


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
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        operations.append("fsync folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "fsync file")
        fsync(descriptor)

    def record_replace(self: Path, target: Path) -> Path:
        operations.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    files.write_bytes(tmp_path / "file.bin", b"1")
    assert operations == ["fsync file", "replace", "fsync folder"]
    files.write_folder(tmp_path / "folder", lambda folder: files.write_bytes(folder / "a", b"1"))
    assert operations[-3:] == ["fsync file", "fsync folder", "fsync folder"]
