"""The mean of each loss term since the mini-epoch began, summed where it costs no step anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

TOTAL = "total"


class LossMeter:
    """Sums of loss terms in float64 (their order is that of the steps, so a resumed sum is the same to the bit).

    On the CPU they are Python's own numbers, which takes half the time of torch's; on CUDA they stay on the device,
    because asking for a number would make the step wait for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, torch.Tensor | float] = {}
        self._num_steps = 0
        self._last: dict[str, float] = {}

    def add(self, terms: Mapping[str, torch.Tensor], *, total: torch.Tensor) -> None:
        """Add the loss terms of one step, and their sum."""
        for name, value in terms.items():
            self._add(name, value)
        self._add(TOTAL, total)
        self._num_steps += 1

    def means(self) -> dict[str, float]:
        """Return the mean of each term since the restart; just after it, those of before."""
        if not self._num_steps:
            return dict(self._last)
        # Sorted, because safetensors gives the terms back in an order that differs from run to run.
        return {name: float(self._sums[name]) / self._num_steps for name in sorted(self._sums)}

    def restart(self) -> None:
        """Begin a new mean."""
        self._last, self._sums, self._num_steps = self.means(), {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts."""
        sums = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in self._sums.items()}
        return {"sums": sums, "num_steps": self._num_steps, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from sums and counts."""
        is_on_host = self._device.type == "cpu"
        self._sums = {n: float(v) if is_on_host else v.to(self._device) for n, v in state["sums"].items()}
        self._num_steps = int(state["num_steps"])
        self._last = dict(state["last"])

    def _add(self, name: str, value: torch.Tensor) -> None:
        if self._device.type == "cpu":
            self._sums[name] = self._sums.get(name, 0.0) + value.item()
        elif name in self._sums:
            self._sums[name] += value.detach()  # in place: half as many operations
        else:
            self._sums[name] = value.detach().to(torch.float64, copy=True)
