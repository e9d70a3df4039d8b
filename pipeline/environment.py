"""On what a stage ran: recorded beside its result, never part of its identity."""

from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "aggdraw", "faster-coco-eval", "pydantic")


def describe_environment() -> dict[str, object]:
    """Return Python, platform, host, usable cores and package versions, without importing the packages."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "num_cores": usable_cores(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity mask where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
