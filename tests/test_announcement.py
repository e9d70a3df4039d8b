"""What is told when a run begins."""

from __future__ import annotations

import os
import socket

from tiny_task import tiny_config

from pipeline.announcement import announcement
from pipeline.events import Kind
from pipeline.stage import AimsAtTargets
from stages.evaluation.config import EvaluationConfig
from stages.evaluation.stage import EvaluationStage
from stages.training.stage import TrainingStage


def test_it_names_stages_targets_process_and_command() -> None:
    """Targets are those of the stages that have some; nothing is measured yet."""
    config = EvaluationConfig.model_validate({"real_data": [{"name": "logo", "path": "nowhere"}]})
    stages = (TrainingStage(tiny_config()), EvaluationStage(config))
    event = announcement(
        stages, run="a-1", profile="a", config_hashes={"numbers": "0" * 32}, command=("pipeline", "run")
    )
    assert event.kind is Kind.RUN_STARTED
    assert event.data == {
        "run": "a-1",
        "profile": "a",
        "stages": ["training", "evaluation"],
        "config_hashes": {"numbers": "0" * 32},
        "targets": [
            {"data_set": "synthetic", "metric": "ap", "minimum": 0.85, "value": None},
            {"data_set": "synthetic", "metric": "ap50", "minimum": 0.95, "value": None},
            {"data_set": "logo", "metric": "agnostic_ap50", "minimum": 0.70, "value": None},
        ],
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": ["pipeline", "run"],
    }
    assert [isinstance(stage, AimsAtTargets) for stage in stages] == [False, True]


def test_a_target_for_real_data_needs_real_data() -> None:
    """What nobody asked to measure is no aim."""
    assert {target.data_set for target in EvaluationStage(EvaluationConfig()).aims()} == {"synthetic"}
