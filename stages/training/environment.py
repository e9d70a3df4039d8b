"""What the bits of a result depend on besides the settings: versions, hardware, number of threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def describe_environment(
    device: torch.device, *, precision: str, cpu_info: Path = Path("/proc/cpuinfo")
) -> dict[str, Any]:
    """Return what a checkpoint remembers of where it was made."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": _cpu_name(cpu_info),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "world_size": 1,
        "precision": precision,
    }


def environment_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name what differs from the environment of a checkpoint; what an older program did not note is not known."""
    return [f"{key}: {old[key]!r} -> {value!r}" for key, value in new.items() if key in old and old[key] != value]


class Environments:
    """In which environments a training was computed, in their order; usually one, however often it was interrupted."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, dict[str, Any]]] = []

    def begin(self, environment: Mapping[str, Any]) -> None:
        """Forget all but `environment`, in which the first step is computed."""
        self._entries = [(0, dict(environment))]

    def enter(self, environment: Mapping[str, Any], *, after_step: int) -> None:
        """Note that the steps after `after_step` are computed in `environment`."""
        if environment_changes(self._entries[-1][1], environment):
            self._entries.append((after_step, dict(environment)))

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each change on the way."""
        return tuple(self._lines())

    def state_dict(self) -> dict[str, Any]:
        """Return all of them, each with the step after which it began."""
        return {"entries": [{"after_step": step, "environment": found} for step, found in self._entries]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after those of `state`."""
        self._entries = [(int(entry["after_step"]), dict(entry["environment"])) for entry in state["entries"]]

    def _lines(self) -> Iterator[str]:
        for (_, old), (step, new) in zip(self._entries, self._entries[1:], strict=False):
            changes = "; ".join(environment_changes(old, new))
            yield f"computed in another environment after step {step}, so its last bits may differ: {changes}"


def _cpu_name(cpu_info: Path) -> str:
    """Return the model of the processor: libraries choose by it how they compute, finer than by its capability."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
