"""The average of the weights that is validated and delivered: exponential over steps, or the mean of mini-epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.training.config import AveragingConfig


class WeightAverage:
    """An average of all weights and buffers of `model`; buffers too, so that no pass over the data is needed for them.

    The two averages are "Polyak averaging" and SWA (https://arxiv.org/abs/1803.05407) as torch implements them. SWA
    takes the weights at the end of each mini-epoch after `swa_start`, while the learning rate follows its schedule.
    """

    def __init__(self, model: nn.Module, config: AveragingConfig, *, total_steps: int) -> None:
        self._model = model
        self._method = config.method
        self._first_swa_step = config.swa_start * total_steps
        self._average: AveragedModel | None = None
        if config.method != "none":
            ema = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            # With `use_buffers` batch norm's statistics are averaged as well: the alternative, a pass over the data
            # to measure them anew, would itself have to be resumable.
            update = ema if config.method == "ema" else _mean_update
            self._average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The averaged model; the model itself as long as nothing was averaged."""
        return self._average.module if self._average is not None and self._has_begun else self._model

    @property
    def _has_begun(self) -> bool:
        return self._average is not None and int(self._average.n_averaged) > 0

    def after_step(self) -> None:
        """Take in the weights after an optimizer step."""
        if self._average is not None and self._method == "ema":
            self._average.update_parameters(self._model)

    def after_mini_epoch(self, *, global_step: int) -> None:
        """Take in the weights at the end of a mini-epoch."""
        if self._average is not None and self._method == "swa" and global_step >= self._first_swa_step:
            self._average.update_parameters(self._model)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and how many they are the average of; empty as long as there are none."""
        return dict(self._average.state_dict()) if self._average is not None and self._has_begun else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if state and self._average is not None:
            self._average.load_state_dict(state)


@torch.no_grad()
def _mean_update(averages: Any, current: Any, num_averaged: torch.Tensor | int) -> None:
    # torch's own function divides counters, which are integers, and fails on CUDA; they are taken as they are.
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, current, 1 / (int(num_averaged) + 1))
    else:
        torch._foreach_copy_(averages, current)
