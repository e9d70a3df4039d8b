"""Every operation on the disk of a whole run fails in turn, and nothing is lost."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from faults import CountingDisk, Fault, FaultyDisk, Point

from pipeline import files
from pipeline.errors import IntegrityError, ResourceExhausted

_WRITE = 2  # `files.write_bytes` in a folder that is known to be durable: create, write, fsync, close, rename, sync


def _write(folder: Path, monkeypatch: pytest.MonkeyPatch, point: Point) -> Path:
    """Replace an old file on a disk that fails at `point`."""
    path = folder / "file"
    files.write_bytes(path, b"old")
    monkeypatch.setattr(files, "disk", FaultyDisk(point))
    files.write_bytes(path, b"new bytes")
    return path


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.EIO, OSError), (Fault.ENOSPC, ResourceExhausted), (Fault.FULL, ResourceExhausted),
     (Fault.LYING, IntegrityError)],
)  # fmt: skip
def test_fault_is_met_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    """The injector fails as it says, and the old file stays, without a temporary."""
    with pytest.raises(error):
        _write(tmp_path, monkeypatch, Point(fault, _WRITE))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The injector takes half of the bytes, once, and the rest is written after them."""
    assert _write(tmp_path, monkeypatch, Point(Fault.SHORT, _WRITE)).read_bytes() == b"new bytes"
    assert isinstance(files.disk, CountingDisk)
    assert files.disk.operations[:4] == ["create", "write", "write", "fsync"]


def test_failed_sync_loses_the_bytes(tmp_path: Path) -> None:
    """The injector loses what could not be synced, so that a second fsync, which would succeed, saves nobody."""
    disk = FaultyDisk(Point(Fault.EIO, 3))
    descriptor = disk.create(tmp_path / "file")
    disk.write(descriptor, memoryview(b"bytes"))
    with pytest.raises(OSError, match="error") as failed:
        disk.fsync(descriptor)
    disk.fsync(descriptor)
    disk.close(descriptor)
    assert failed.value.errno == errno.EIO
    assert (tmp_path / "file").read_bytes() == b""


def test_run_survives_every_kill_and_a_sample_of_all_faults() -> None:
    """After a fault at any operation the same command ends with the same bytes, having redone nothing.

    Killed at each operation in turn that finds another workspace than the one before it; of the other faults a sample.
    `make crash` tries all. What is checked each time is in invariants.py; a failure names the option that repeats it.
    """
    crash = Path(__file__).parent.parent / "benchmarks" / "crash.py"
    options = ["--part", "points", "--sample", "8", "--all-of", Fault.KILLED, "--distinct"]
    done = subprocess.run([sys.executable, crash, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
