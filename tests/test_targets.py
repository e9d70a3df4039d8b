"""Targets are judged by what was measured, and settings that cannot be judged are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.records import Target
from stages.evaluation.config import EvaluationConfig, TargetConfig
from stages.evaluation.targets import judge

SYNTHETIC = {"ap": 0.90, "ap50": 0.94, "agnostic_ap50": 0.99}


def test_default_targets_are_those_of_the_project() -> None:
    """AP 0.85 and AP50 0.95 on held-out scenes, class-agnostic AP50 0.70 on each real data set."""
    metrics = {"synthetic": SYNTHETIC, "logo": {"agnostic_ap50": 0.7}, "own": {"agnostic_ap50": 0.699}}
    assert judge(EvaluationConfig().targets, metrics) == (
        Target(data_set="synthetic", metric="ap", minimum=0.85, value=0.90),
        Target(data_set="synthetic", metric="ap50", minimum=0.95, value=0.94),
        Target(data_set="logo", metric="agnostic_ap50", minimum=0.70, value=0.7),
        Target(data_set="own", metric="agnostic_ap50", minimum=0.70, value=0.699),
    )
    assert [target.is_met for target in judge(EvaluationConfig().targets, metrics)] == [True, False, True, False]


def test_target_for_real_data_is_not_missed_where_there_is_none() -> None:
    """What nobody asked to measure is not in the table."""
    targets = judge(EvaluationConfig().targets, {"synthetic": SYNTHETIC})
    assert {target.data_set for target in targets} == {"synthetic"}


def test_undefined_figure_is_not_met() -> None:
    """A data set without large objects cannot meet a target for large objects."""
    (target,) = judge(
        [TargetConfig(data_set="synthetic", metric="ap_large", minimum=0.1)], {"synthetic": {"ap_large": None}}
    )
    assert target.value is None
    assert not target.is_met


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"real_data": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "its own"),
        ({"real_data": [{"name": "synthetic", "path": "x"}]}, "its own"),
        ({"real_data": [{"name": "real", "path": "x"}]}, "its own"),
        ({"real_data": [{"name": "../a", "path": "x"}]}, "pattern"),
        ({"targets": [{"data_set": "logo", "metric": "ap", "minimum": 0.5}]}, "logo"),
        ({"targets": [{"data_set": "synthetic", "metric": "accuracy", "minimum": 0.5}]}, "metric"),
        ({"targets": [{"data_set": "synthetic", "metric": "ap", "minimum": 1.5}]}, "less than or equal to 1"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_judged_are_refused(settings: dict[str, Any], complaint: str) -> None:
    """Names that clash or are unknown, metrics that do not exist, minima out of reach."""
    with pytest.raises(ValidationError, match=complaint):
        EvaluationConfig.model_validate(settings)


def test_target_may_name_one_real_data_set() -> None:
    """A minimum for one data set alone does not touch the others."""
    config = EvaluationConfig.model_validate(
        {
            "real_data": [{"name": "a", "path": "x"}, {"name": "b", "path": "y"}],
            "targets": [{"data_set": "b", "metric": "ap", "minimum": 0.5}],
        }
    )
    metrics = {"synthetic": SYNTHETIC, "a": {"ap": 0.1}, "b": {"ap": 0.6}}
    assert judge(config.targets, metrics) == (Target(data_set="b", metric="ap", minimum=0.5, value=0.6),)
