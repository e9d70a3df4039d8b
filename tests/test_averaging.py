"""The average of the weights: of steps or of mini-epochs, restored exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from stages.training.averaging import WeightAverage
from stages.training.config import AveragingConfig
from stages.training.state import TrainState


def _new(**settings: Any) -> tuple[nn.Module, WeightAverage]:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    return model, WeightAverage(model, AveragingConfig.model_validate(settings), total_steps=10)


def _set(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)


def _weight(average: WeightAverage) -> float:
    return float(average.model.state_dict()["0.weight"])


def test_ema_takes_in_each_step() -> None:
    """The first weights count whole, then each step moves the average by 1 - decay."""
    model, average = _new(method="ema", ema_decay=0.75)
    for value in (4.0, 8.0):
        _set(model, value)
        average.after_mini_epoch(global_step=9)
        average.after_step()
    assert _weight(average) == 5.0


def test_swa_is_the_mean_of_mini_epochs_after_its_start() -> None:
    """Steps do not count, nor mini-epochs before the start; counters of batch norm are the newest."""
    model, average = _new(method="swa", swa_start=0.5)
    assert average.model is model
    for step, value in ((4, 100.0), (5, 1.0), (7, 2.0), (10, 6.0)):
        _set(model, value)
        average.after_step()
        average.after_mini_epoch(global_step=step)
    assert _weight(average) == pytest.approx(3.0)
    assert int(average.model.state_dict()["1.num_batches_tracked"]) == 6
    assert float(average.model.state_dict()["1.running_mean"]) == pytest.approx(3.0)


def test_without_an_average_the_model_is_delivered() -> None:
    """`none` averages nothing and has no state."""
    model, average = _new(method="none")
    average.after_step()
    average.after_mini_epoch(global_step=10)
    assert average.model is model
    assert average.state_dict() == {}


@pytest.mark.parametrize("num_before", [0, 1, 2])
def test_average_is_restored_exactly(num_before: int) -> None:
    """Restored before, after and between updates, it ends with the same bits."""
    model, average = _new(method="swa", swa_start=0.0)
    for index in range(4):
        if index == num_before:
            files = dict(TrainState({"swa": average}).files())
        _set(model, 1 / (index + 3))
        average.after_mini_epoch(global_step=index)
    again_model, again = _new(method="swa", swa_start=0.0)
    TrainState({"swa": again}).load(files)
    for index in range(num_before, 4):
        _set(again_model, 1 / (index + 3))
        again.after_mini_epoch(global_step=index)
    assert dict(TrainState({"swa": again}).files()) == dict(TrainState({"swa": average}).files())
