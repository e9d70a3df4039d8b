"""Whether clock, processor and shared memory of this machine are as a run wants them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.doctor.finding import Finding, State
from pipeline.environment import usable_cores

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
_SMALL_BYTES = 256 << 20  # a container has 64 MiB if nobody asks for more
_DRIFT = 0.05  # of the time; slewing by NTP moves a clock by at most 0.0005
_WATCHED_SECONDS = 0.2
_SKEW_SECONDS = 2.0  # file systems that stamp by whole seconds, rounded either way


def examine_clock(
    *,
    disk_ahead: float = 0.0,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    not_before: float | None = None,
) -> Finding:
    """Compare the clock with the age of this program, with the time that passes, and with the clock of the disk.

    `disk_ahead`: seconds that the clock of the disk is ahead of this one.
    """
    started = wall(), monotonic()
    sleep(_WATCHED_SECONDS)
    passed = wall() - started[0], monotonic() - started[1]
    drift = passed[0] / passed[1] - 1 if passed[1] else 0.0
    made = Path(__file__).stat().st_mtime if not_before is None else not_before
    zone = time.strftime("%Z, UTC%z", time.localtime(started[0]))
    told = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(started[0]))} ({zone})"
    figures = {"drift": drift, "disk_ahead_seconds": disk_ahead, "zone": zone}
    advice = ""
    if started[0] < made - 86_400:
        told, advice = f"{told} is before this program was made", "set the clock (`timedatectl set-ntp true`)"
    elif abs(drift) > _DRIFT:
        told = f"{told}; it jumped or runs {drift:+.0%} off the time that passes"
        advice = "let the clock be kept by NTP (`timedatectl set-ntp true`): times in logs and reports will be wrong"
    elif abs(disk_ahead) > _SKEW_SECONDS:
        told = f"{told}; the clock of the disk is {disk_ahead:+.0f} seconds off"
        advice = "let both machines keep their clocks by NTP; nothing is decided by a clock, but times of files mislead"
    return Finding(name="clock", told=told, state=State.ADVICE if advice else State.OK, advice=advice, figures=figures)


def examine_cores(*, num_cores: int | None = None, num_machine: int | None = None) -> Finding:
    """Tell how many cores this process may use, of those that there are."""
    usable = usable_cores() if num_cores is None else num_cores
    all_of_them = (os.cpu_count() or usable) if num_machine is None else num_machine
    share = "" if usable == all_of_them else f" of {all_of_them}: affinity or a quota of the container allows no more"
    return Finding(name="cores", told=f"{usable} usable{share}", figures={"usable": usable, "machine": all_of_them})


def examine_shared_memory(folder: Path = _SHARED_MEMORY, *, num_bytes: int | None = None) -> Finding:
    """Tell how large the shared memory is, through which worker processes of torch hand on batches."""
    from pipeline.tables import size

    if num_bytes is None:
        try:
            status = os.statvfs(folder)
        except OSError as error:
            told, advice = f"{folder}: {error.strerror}", "stages of your own cannot use worker processes of torch"
            return Finding(name="shared memory", told=told, state=State.ADVICE, advice=advice)
        num_bytes = status.f_blocks * status.f_frsize
    is_small = num_bytes < _SMALL_BYTES
    advice = (
        "enough for the built-in stages; worker processes of torch in stages of your own need more: "
        "`docker run --shm-size=2g`, or an emptyDir of medium Memory in Kubernetes"
    )
    return Finding(
        name="shared memory",
        told=f"{size(num_bytes)} in {folder}",
        state=State.ADVICE if is_small else State.OK,
        advice=advice if is_small else "",
        figures={"num_bytes": num_bytes},
    )
