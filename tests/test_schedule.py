"""The learning rate: a function of the global step and of nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from stages.training.config import ScheduleConfig
from stages.training.schedule import Schedule

_SHAPES: list[dict[str, Any]] = [
    {"name": "one_cycle"},
    {"name": "cosine", "warmup": 0.2, "final_fraction": 0.1},
    {"name": "constant", "warmup": 0.0},
]


def _new(settings: dict[str, Any], *, total_steps: int) -> tuple[torch.optim.Optimizer, Schedule]:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.01)
    return optimizer, Schedule(optimizer, ScheduleConfig.model_validate(settings), total_steps=total_steps)


def _rates(optimizer: torch.optim.Optimizer, schedule: Schedule, num_steps: int) -> list[tuple[float, Any]]:
    """Return learning rate and betas of the next steps."""
    rates = []
    for _ in range(num_steps):
        optimizer.step()
        rates.append((schedule.lr, optimizer.param_groups[0]["betas"]))
        schedule.step()
    return rates


@pytest.mark.parametrize("settings", _SHAPES, ids=lambda settings: settings["name"])
@pytest.mark.parametrize("step", [0, 1, 7, 19])
def test_schedule_goes_on_from_any_step_with_a_fresh_optimizer(settings: dict[str, Any], step: int) -> None:
    """Restored into an optimizer that knows nothing of the past, rates and momentum are those of the whole run."""
    whole = _rates(*_new(settings, total_steps=20), 20)
    optimizer, schedule = _new(settings, total_steps=20)
    _rates(optimizer, schedule, step)
    state = json.loads(json.dumps(schedule.state_dict()))
    optimizer, schedule = _new(settings, total_steps=20)
    schedule.load_state_dict(state)
    assert _rates(optimizer, schedule, 20 - step) == whole[step:]


def test_one_cycle_rises_to_its_peak_and_ends_low() -> None:
    """The peak is the rate of the settings, after `warmup` of the steps; the last step still has a rate."""
    rates = [lr for lr, _ in _rates(*_new({"name": "one_cycle", "warmup": 0.25}, total_steps=40), 40)]
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[0] == pytest.approx(0.01 / 25)
    assert 0 < rates[-1] < rates[0]


def test_cosine_ends_at_its_fraction() -> None:
    """After the warm-up it falls from the peak to the given part of it."""
    rates = [lr for lr, _ in _rates(*_new(_SHAPES[1], total_steps=40), 41)]
    assert max(rates) == pytest.approx(0.01)
    assert rates[40] == pytest.approx(0.001)


@pytest.mark.parametrize("settings", _SHAPES, ids=lambda settings: settings["name"])
@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 5, 49])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 0.5, 0.9])
def test_no_length_is_too_short(settings: dict[str, Any], total_steps: int, warmup: float) -> None:
    """Every number of steps and every warm-up give positive rates to the end (torch divides by phase lengths)."""
    rates = _rates(*_new({**settings, "warmup": warmup}, total_steps=total_steps), total_steps)
    assert all(0 < lr <= 0.010001 for lr, _ in rates)
