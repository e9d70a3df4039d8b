"""On what a stage ran: recorded beside its result, never part of its identity."""

from __future__ import annotations

import math
import os
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "aggdraw", "faster-coco-eval", "scipy", "pydantic")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def describe_environment() -> dict[str, object]:
    """Return Python, platform, host, usable cores and package versions, without importing the packages."""
    import platform  # only when something is recorded: a run that skips everything does without
    import socket

    return {
        "python": platform.python_version(),
        # Not platform.platform(), which starts a process.
        "platform": "-".join((platform.system(), platform.release(), platform.machine(), *platform.libc_ver())),
        "host": socket.gethostname(),
        "num_cores": usable_cores(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def usable_cores(*, cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """Return how many cores this process may use: all of the machine's, bounded by affinity mask and cgroup quotas."""
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([num_cores, *_quotas(cgroups, own_cgroup)]))


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _quotas(cgroups: Path, own_cgroup: Path) -> list[int]:
    """Return the cores that each control group above this process may use, rounded up."""
    found = []
    for folder in _group_folders(cgroups, own_cgroup):
        limit = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(limit) == 2 and limit[0] not in ("max", "-1"):
            found.append(math.ceil(int(limit[0]) / int(limit[1])))
    return found


def _group_folders(cgroups: Path, own_cgroup: Path) -> list[Path]:
    """Return the folders of this process's groups and of all groups around them; version 2 has no controller names."""
    folders = {cgroups, cgroups / "cpu"}  # inside a container the own group is often mounted as the root
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            root = cgroups / controllers if controllers else cgroups
            inner = root / group.strip("/")
            folders.update(folder for folder in (inner, *inner.parents) if folder.is_relative_to(cgroups))
    return sorted(folders)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
