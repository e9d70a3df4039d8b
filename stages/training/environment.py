"""What the bits of a result depend on besides the settings: versions, hardware, number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


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
