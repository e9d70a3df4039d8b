"""The learning rate as a function of the one global step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from stages.training.config import ScheduleConfig


class Schedule:
    """Sets the optimizer's learning rate (with one_cycle: and momentum) before each step.

    Its only state is the step: everything else follows from the settings and `total_steps`.
    """

    def __init__(self, optimizer: Optimizer, config: ScheduleConfig, *, total_steps: int) -> None:
        self._scheduler = _build(optimizer, config, total_steps=total_steps)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._scheduler.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Move on by one optimizer step."""
        self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the step, and for people the learning rate."""
        return {"step": self._scheduler.last_epoch, "lr": self.lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to the step of `state`: rates are computed anew, so they are right with a fresh optimizer too."""
        step = int(state["step"])
        if step:
            # A count above 1 keeps torch from complaining that the optimizer has not stepped in this process.
            moved = {"last_epoch": step - 1, "_step_count": step + 1}
            self._scheduler.load_state_dict({**self._scheduler.state_dict(), **moved})
            self._scheduler.step()


def _build(optimizer: Optimizer, config: ScheduleConfig, *, total_steps: int) -> LRScheduler:
    if config.name == "one_cycle":
        # One more than are taken, so that the last of them still has a learning rate; and at least three, because
        # torch divides by the length of each of the two phases.
        steps = max(3, total_steps + 1)
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            pct_start=min(max(config.warmup * steps, 2.0), steps - 1.0) / steps,
            div_factor=config.div_factor,
            final_div_factor=config.final_div_factor,
        )
    return LambdaLR(optimizer, lambda step: _factor(step, config, total_steps=total_steps))


def _factor(step: int, config: ScheduleConfig, *, total_steps: int) -> float:
    # Never 0 at step 0, where the first step would be lost.
    num_warmup = config.warmup * total_steps
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if config.name == "constant":
        return 1.0
    done = min(1.0, (step - num_warmup) / max(1.0, total_steps - num_warmup))
    return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * done)) / 2
