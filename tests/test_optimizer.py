"""The optimizer's state: exact, also after JSON, safetensors, and for weights in channels_last layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from stages.training.config import OptimizerConfig
from stages.training.optimizer import OptimizerState, build_optimizer
from stages.training.state import Stateful, TrainState

_CONFIGS: list[dict[str, Any]] = [
    {"name": "adamw"},
    {"name": "sgd", "lr": 0.1},
    {"name": "sgd", "lr": 0.1, "momentum": 0.0},
]


def _model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 4))
    return model.to(memory_format=torch.channels_last)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("settings", _CONFIGS)
def test_restored_optimizer_goes_on_bit_for_bit(settings: dict[str, Any]) -> None:
    """Five steps at once, and two steps, a round trip through files and three steps, give the same bits."""
    config = OptimizerConfig.model_validate(settings)
    model = _model()
    optimizer = build_optimizer(model.parameters(), config)
    for seed in range(5):
        _step(model, optimizer, seed)
        if seed == 1:
            parts: dict[str, Stateful] = {"model": model, "optimizer": OptimizerState(optimizer)}
            files = dict(TrainState(parts).files())
    again = _model()
    fresh = build_optimizer(again.parameters(), config)
    TrainState({"model": again, "optimizer": OptimizerState(fresh)}).load(files)
    for seed in range(2, 5):
        _step(again, fresh, seed)
    whole = dict(TrainState({"model": model, "optimizer": OptimizerState(optimizer)}).files())
    assert dict(TrainState({"model": again, "optimizer": OptimizerState(fresh)}).files()) == whole


def test_restored_moments_have_the_layout_of_their_weights() -> None:
    """Kernels read weights and moments side by side: another layout would be slower, and may round differently."""
    model = _model()
    optimizer = build_optimizer(model.parameters(), OptimizerConfig())
    _step(model, optimizer, 0)
    files = dict(TrainState({"optimizer": OptimizerState(optimizer)}).files())
    TrainState({"optimizer": OptimizerState(optimizer)}).load(files)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()
        assert state["exp_avg_sq"].stride() == parameter.stride()


def test_groups_keep_their_types() -> None:
    """JSON knows no tuples; the optimizer gets its own back."""
    optimizer = build_optimizer(_model().parameters(), OptimizerConfig())
    files = dict(TrainState({"optimizer": OptimizerState(optimizer)}).files())
    before = optimizer.state_dict()["param_groups"]
    TrainState({"optimizer": OptimizerState(optimizer)}).load(files)
    assert optimizer.state_dict()["param_groups"] == before
    assert isinstance(optimizer.param_groups[0]["betas"], tuple)
