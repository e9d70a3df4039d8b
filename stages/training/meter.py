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
        # The sum of the total, and the number of steps, up to which `take` has told.
        self._taken: torch.Tensor | float = 0.0
        self._num_taken = 0

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

    def take(self) -> tuple[torch.Tensor | float, int]:
        """Return the sum of the total, and the number of steps, since the call before; on CUDA nothing waits for it."""
        total = self._sums.get(TOTAL, 0.0)
        taken = total - self._taken, self._num_steps - self._num_taken
        self._taken = total.clone() if isinstance(total, torch.Tensor) else total
        self._num_taken = self._num_steps
        return taken

    def restart(self) -> None:
        """Begin a new mean."""
        self._taken = self._taken - self._sums.get(TOTAL, 0.0)
        self._num_taken -= self._num_steps
        self._last, self._sums, self._num_steps = self.means(), {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts."""
        sums = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in self._sums.items()}
        return {
            "sums": sums,
            "num_steps": self._num_steps,
            "last": self._last,
            "taken": torch.as_tensor(self._taken, dtype=torch.float64),
            "num_taken": self._num_taken,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from sums and counts."""
        self._sums = {name: self._placed(value) for name, value in state["sums"].items()}
        self._num_steps = int(state["num_steps"])
        self._last = dict(state["last"])
        if "taken" in state:
            self._taken, self._num_taken = self._placed(state["taken"]), int(state["num_taken"])
        else:  # an earlier version wrote it: what this process sees is all that can be told
            self.take()

    def _placed(self, value: torch.Tensor) -> torch.Tensor | float:
        return float(value) if self._device.type == "cpu" else value.to(self._device)

    def _add(self, name: str, value: torch.Tensor) -> None:
        if self._device.type == "cpu":
            self._sums[name] = self._sums.get(name, 0.0) + value.item()
        elif name in self._sums:
            self._sums[name] += value.detach()  # in place: half as many operations
        else:
            self._sums[name] = value.detach().to(torch.float64, copy=True)
