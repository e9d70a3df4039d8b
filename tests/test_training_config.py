"""The settings of training: bounded, frozen, and hashed whole, the task's own fields included."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tiny_task import TinyTaskConfig, tiny_config

from pipeline.config import StageConfig
from pipeline.fingerprint import config_hash
from stages.training.config import TrainingConfig


def _fields(model: type[StageConfig]) -> list[tuple[str, Any]]:
    return [(f"{model.__name__}.{name}", field) for name, field in model.model_fields.items()]


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"batch_size": 0},
        {"seed": 2**32},
        {"optimizer": {"lr": 0}},
        {"optimizer": {"lr": float("nan")}},
        {"optimizer": {"lr": float("inf")}},
        {"optimizer": {"betas": (0.9, 1.0)}},
        {"schedule": {"warmup": 1.0}},
        {"averaging": {"ema_decay": 1.0}},
        {"averaging": {"method": "mean"}},
        {"precision": "fp8"},
        {"gradient_clip_norm": -1},
        {"mini_epoch_chunks": 1.5},
        {"early_stopping": {"patience": 0}},
        {"max_skipped_fraction": 1.1},
        {"validation": {"metric": "loss", "goal": "max"}},
        {"epoch": 3},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    """Zero, negative, not finite, out of bounds, unknown: an error, never a run."""
    with pytest.raises(ValidationError):
        tiny_config(**change)


def test_every_setting_says_what_it_is() -> None:
    """Each field has a description, for `config show` and for editors."""
    models = [TrainingConfig]
    for model in models:
        for name, field in _fields(model):
            is_group = isinstance(field.annotation, type) and issubclass(field.annotation, StageConfig)
            if is_group and field.annotation not in models:
                models.append(field.annotation)
            assert field.description or is_group, name


def test_settings_of_the_task_are_part_of_the_hash() -> None:
    """A generic training hashes what its task adds, too."""
    hashes = {
        config_hash(stage="training", version=1, config=tiny_config(task=TinyTaskConfig(nan_ids=ids)))
        for ids in ((), (1,))
    }
    assert len(hashes) == 2
