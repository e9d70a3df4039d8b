"""What is on disk for a stage: how its settings differ from those of another run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import make_context, make_record

from pipeline.config import StageConfig, later
from pipeline.decide import FieldChange
from pipeline.observe import Sight, observe
from pipeline.stage import StageContext, StageResult
from pipeline.stat_cache import StatCache


class _Config(StageConfig):
    lr: float = 0.1


class _GrownConfig(_Config):
    mode: str = later("old", description="came later")


class _Stage:
    name = "made"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def execute(self, _: StageContext) -> StageResult:
        """Make nothing."""
        return StageResult(outputs=())


def _look(stage: _Stage, root: Path) -> Sight:
    return observe(
        stage,
        make_context(stage, root),
        is_forced=False,
        reruns_on_code_change=False,
        code={},
        cache=StatCache(root / "cache"),
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (_Config(), {"lr": 0.2}, [("lr", 0.1, 0.2)]),
        (_Config(), {"mode": "new"}, [("mode", "old", "new")]),
        (_Config(lr=0.2), {"mode": "new"}, [("lr", 0.2, 0.1), ("mode", "old", "new")]),
        (_GrownConfig(mode="new"), {}, [("mode", "new", "old")]),
        (_GrownConfig(mode="new"), {"mode": "new", "lr": 0.2}, [("lr", 0.1, 0.2)]),
    ],
)
def test_changed_settings_are_named_old_and_new(
    tmp_path: Path, before: StageConfig, after: dict[str, Any], expected: list[tuple[str, Any, Any]]
) -> None:
    """A record of before a setting was added is compared as if it had its default, which then is not named."""
    first, second = _Stage(before), _Stage(_GrownConfig(**after))
    context = make_context(first, tmp_path)
    context.workspace.records.save(make_record(first, context, first.execute(context)))
    sight = _look(second, tmp_path)
    assert sight.record is None
    assert list(sight.observation.config_changes) == [FieldChange(*change) for change in expected]


def test_settings_are_compared_with_the_run_most_like_this_one(tmp_path: Path) -> None:
    """What was run meanwhile with quite other settings hides nothing; among equals the newest counts."""
    before = {
        "first": _GrownConfig(lr=0.2, mode="new"),
        "near": _GrownConfig(lr=0.2),
        "newer": _GrownConfig(lr=0.3),
        "far": _GrownConfig(lr=0.4, mode="new"),
    }
    for day, (run, config) in enumerate(before.items(), start=1):
        stage = _Stage(config)
        context = make_context(stage, tmp_path)
        record = make_record(stage, context, stage.execute(context))
        finished = {"run": run, "finished_at": f"2026-01-0{day}T00:00:00+0000"}
        context.workspace.records.save(record.model_copy(update=finished))
    seen = _look(_Stage(_GrownConfig()), tmp_path).observation
    assert (seen.compared_run, seen.config_changes) == ("newer", (FieldChange("lr", 0.3, 0.1),))


def test_record_of_before_a_setting_was_added_is_found(tmp_path: Path) -> None:
    """At its default the new setting changes nothing: the record is the record of this run."""
    first, second = _Stage(_Config()), _Stage(_GrownConfig())
    context = make_context(first, tmp_path)
    context.workspace.records.save(make_record(first, context, first.execute(context)))
    sight = _look(second, tmp_path)
    assert sight.record is not None
