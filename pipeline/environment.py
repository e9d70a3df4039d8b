"""On what a stage ran: recorded beside its result, never part of its identity."""

from __future__ import annotations

import os

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "aggdraw", "faster-coco-eval", "scipy", "pydantic")


def describe_environment() -> dict[str, object]:
    """Return Python, platform, host, usable cores and package versions, without importing the packages."""
    import platform  # only when something is recorded: a run that skips everything does without
    import socket

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
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
