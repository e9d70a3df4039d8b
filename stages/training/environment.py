"""What the bits of a result depend on besides the settings: versions, hardware, number of threads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_threads(*, cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """Return how many threads can really run: torch's default, bounded by affinity mask and cgroup quota."""
    # More threads than cores that may be used spin against each other: 2 on one core ran at a fifth of the rate of 1.
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), num_cores, *_quotas(cgroups, own_cgroup)))


def describe_environment(device: torch.device, *, precision: str) -> dict[str, Any]:
    """Return what a checkpoint remembers of where it was made."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "world_size": 1,
        "precision": precision,
    }


def environment_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name what differs from the environment of a checkpoint."""
    return [f"{key}: {old.get(key)!r} -> {value!r}" for key, value in new.items() if old.get(key) != value]


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
