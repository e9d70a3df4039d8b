"""Whether the disk of the workspace has room, is quick, and keeps a second run out."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline import files
from pipeline.doctor.finding import Finding, State
from pipeline.lock import NO_SUCH_LOCK
from pipeline.space import free_bytes

_LITTLE_BYTES, _SOME_BYTES = 1_000_000_000, 5_000_000_000  # a quick run takes 0.8 GB, the professional data set 1.7
_PROBE_BYTES = 64 << 20  # more than caches of disks hold back, less than a second on most
_SLOW_BYTES_PER_SECOND = 50e6  # a checkpoint of the standard profile, 140 MB, takes three seconds then
_SLOW_SYNC_SECONDS = 0.1  # a disk that turns needs 0.02
_NUM_SYNCS = 5


def examine_space(folder: Path, *, num_free: int | None = None) -> Finding:
    """Tell how much is free on the disk of `folder`."""
    from pipeline.tables import size

    num_free = free_bytes(folder) if num_free is None else num_free
    told, figures = f"{size(num_free)} free in {folder}", {"free_bytes": num_free}
    advice = "free some space (`pipeline gc` tells what is not needed), or give another disk with --workspace"
    if num_free < _LITTLE_BYTES:
        return Finding(name="disk", told=told, state=State.PROBLEM, advice=advice, figures=figures)
    if num_free < _SOME_BYTES:
        return Finding(name="disk", told=told, state=State.ADVICE, advice=advice, figures=figures)
    return Finding(name="disk", told=told, figures=figures)


def examine_speed(folder: Path, *, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """Measure how fast much is written durably, and how long the smallest durable write takes."""
    from pipeline.tables import size

    data = memoryview(os.urandom(1 << 20) * (_PROBE_BYTES >> 20))  # zeros would be packed by some disks
    with _probe(folder) as (descriptor, _):
        started = clock()
        written = 0
        while written < len(data):
            written += files.disk.write(descriptor, data[written:])
        files.disk.fsync(descriptor)
        rate = len(data) / max(clock() - started, 1e-9)
        syncs = []
        for _ in range(_NUM_SYNCS):
            started = clock()
            files.disk.write(descriptor, data[:4096])
            files.disk.fsync(descriptor)
            syncs.append(clock() - started)
    seconds = sorted(syncs)[_NUM_SYNCS // 2]
    advice = ""
    if rate < _SLOW_BYTES_PER_SECOND:
        advice = "a slow disk: checkpoints are saved less often, so that a kill costs more work; a local SSD is better"
    elif seconds > _SLOW_SYNC_SECONDS:
        advice = "each durable write waits long, as on network disks: larger chunks (data_generation.chunk_size) help"
    return Finding(
        name="write speed",
        told=f"{size(rate)}/s with fsync; a small write is durable after {seconds * 1000:.1f} ms",
        state=State.ADVICE if advice else State.OK,
        advice=advice,
        figures={"bytes_per_second": rate, "sync_seconds": seconds},
    )


def examine_locking(folder: Path, *, lock: Callable[[int, int], None] = fcntl.flock) -> Finding:
    """Take a lock twice: the second time must be refused."""
    with _probe(folder) as (_, path), path.open("rb") as first, path.open("rb") as second:
        try:
            lock(first.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_SUCH_LOCK:
                raise
            advice = "only a lease in a file keeps a second run out, and is seen after seconds; start one run at a time"
            told = "this file system knows no locks"
            return Finding(name="locking", told=told, state=State.ADVICE, advice=advice, figures={"has_locks": False})
        try:
            lock(second.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Finding(name="locking", told="a second run is kept out", figures={"has_locks": True})
    advice = "give a workspace on another file system with --workspace: two runs at once would spoil each other's files"
    told = "this file system gives the same lock twice"
    return Finding(name="locking", told=told, state=State.PROBLEM, advice=advice, figures={"has_locks": False})


def examine_disk_clock(folder: Path, *, clock: Callable[[], float] = time.time) -> float:
    """Return by how many seconds the clock that stamps files of `folder` is ahead of this machine's."""
    with _probe(folder) as (descriptor, path):
        before = clock()
        files.disk.write(descriptor, memoryview(b"x"))
        after, stamp = clock(), path.stat().st_mtime
    # Stamps may be as coarse as a tick of the kernel, which is no difference of clocks.
    return 0.0 if before - 0.1 <= stamp <= after + 0.1 else stamp - (before + after) / 2


@contextmanager
def _probe(folder: Path) -> Iterator[tuple[int, Path]]:
    """Give a new file in `folder`, open for writing; it is gone afterwards."""
    path = folder / f"{files.TEMPORARY_PREFIX}doctor-{uuid.uuid4().hex}"
    descriptor = files.disk.create(path)
    try:
        yield descriptor, path
    finally:
        files.disk.close(descriptor)
        with suppress(FileNotFoundError):
            files.disk.unlink(path)
