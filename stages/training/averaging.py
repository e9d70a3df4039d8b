"""The average of the weights that is validated and delivered: exponential over steps, or the mean of mini-epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.training.config import AveragingConfig

_Place = tuple[Any, str]  # a module's dict of tensors, and a name in it
_Places = tuple[list[_Place], ...]


class WeightAverage:
    """An average of all weights and buffers of `model`; buffers too, so that no pass over the data is needed for them.

    The two averages are "Polyak averaging" and SWA (https://arxiv.org/abs/1803.05407) as torch implements them. SWA
    takes the weights at the end of each mini-epoch after `swa_start`, while the learning rate follows its schedule.
    """

    def __init__(self, model: nn.Module, config: AveragingConfig, *, total_steps: int) -> None:
        self._model = model
        self._method = config.method
        self._first_swa_step = config.swa_start * total_steps
        # A copy of the model and a counter, in the form in which torch saves them; batch norm's statistics are averaged
        # as well: the alternative, a pass over the data to measure them anew, would itself have to be resumable.
        self._average = AveragedModel(model, use_buffers=True) if config.method != "none" else None
        # Found once: the walk through the modules takes longer than a step of a small model. Places, not tensors,
        # because a module may put another tensor in a buffer's place.
        self._places: tuple[_Places, _Places] | None = None
        self._num_averaged = 0  # the same as the counter, without asking a tensor
        ema = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
        self._update: Callable[[Any, Any, int], None] = ema if config.method == "ema" else _mean_update

    @property
    def model(self) -> nn.Module:
        """The averaged model; the model itself as long as nothing was averaged."""
        return self._average.module if self._average is not None and self._num_averaged else self._model

    def after_step(self) -> None:
        """Take in the weights after an optimizer step."""
        if self._method == "ema":
            self._take_in()

    def after_mini_epoch(self, *, global_step: int) -> None:
        """Take in the weights at the end of a mini-epoch."""
        if self._method == "swa" and global_step >= self._first_swa_step:
            self._take_in()

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and how many they are the average of; empty as long as there are none."""
        return dict(self._average.state_dict()) if self._average is not None and self._num_averaged else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if state and self._average is not None:
            self._average.load_state_dict(state)
            self._num_averaged = int(self._average.n_averaged)

    @torch.no_grad()
    def _take_in(self) -> None:
        # torch's own `update_parameters` brings its counter to the device at each step, for which the host waits.
        assert self._average is not None
        self._places = self._places or (_places(self._average.module), _places(self._model))
        for averages, current in zip(*map(_tensors, self._places), strict=True):
            if not averages:
                continue
            if self._num_averaged:
                self._update(averages, current, self._num_averaged)
            else:
                torch._foreach_copy_(averages, current)
        self._num_averaged += 1
        self._average.n_averaged += 1


def _places(model: nn.Module) -> _Places:
    """Return where a model keeps its floating-point tensors, and where all others; a copy of it has the same order."""
    found: dict[int, tuple[bool, _Place]] = {}
    for module in model.modules():
        for holder in (module._parameters, module._buffers):
            for name, tensor in holder.items():
                if tensor is not None:
                    found.setdefault(id(tensor), (tensor.is_floating_point(), (holder, name)))
    return tuple([place for is_float, place in found.values() if is_float is kind] for kind in (True, False))


def _tensors(places: _Places) -> list[list[torch.Tensor]]:
    return [[holder[name] for holder, name in kind] for kind in places]


def _mean_update(averages: list[torch.Tensor], current: list[torch.Tensor], num_averaged: int) -> None:
    # torch's own function divides counters, which are integers, and fails on CUDA; they are taken as they are.
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, current, 1 / (num_averaged + 1))
    else:
        torch._foreach_copy_(averages, current)
