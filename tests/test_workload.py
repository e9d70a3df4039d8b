"""How much the built-in stages say that they have to do, and which earlier records tell how long that takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.records import StageRecord
from pipeline.workload import Foreseeable, Workload
from stages.catalog import PIPELINE

_SMALL = {"dataset_size": 100, "validation_size": 20, "test_size": 30, "image_size": 64, "min_extent": 0.2}


def stages(
    data: Mapping[str, Any] = _SMALL,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> dict[str, Foreseeable]:
    """Return the built-in stages with settings that differ from the defaults."""
    given: dict[str, Mapping[str, Any]] = {
        "data_generation": data, "training": training or {}, "evaluation": evaluation or {}
    }  # fmt: skip
    configs = {name: model.model_validate(given[name]) for name, model in PIPELINE.configs.items()}
    found: dict[str, Foreseeable] = {}
    for stage in PIPELINE.build(configs):
        assert isinstance(stage, Foreseeable)
        found[stage.name] = stage
    return found


def record(stage: str, config: Mapping[str, Any], **metrics: Any) -> StageRecord:
    """Return a record of which only settings and figures matter."""
    model = PIPELINE.configs[stage].model_validate(config)
    return StageRecord(
        stage=stage,
        stage_version=1,
        run="small-01234567",
        config_hash="",
        config=model.model_dump(mode="json"),
        inputs_digest="",
        inputs={},
        artifacts=(),
        metrics=metrics,
        code={},
        runtime={},
        environment={},
        started_at="",
        finished_at="",
        duration_seconds=1.0,
    )


DATA = record("data_generation", _SMALL, train=100, validation=20, test=30, new_images=50)
TRAINING = record("training", {"epochs": 2}, samples=200)
EVALUATION = record("evaluation", {}, synthetic={"num_images": 30})
BEFORE = {"data_generation": DATA, "training": TRAINING}


def test_scenes_are_counted_that_are_not_there_yet() -> None:
    """In the time of a record fewer may have been drawn than it vouches for: others were there already."""
    stage = stages()["data_generation"]
    assert stage.workload(None) == Workload(amount=150, unit="scenes", stored=150)
    assert stage.workload_of(DATA, {}) == Workload(amount=50, unit="scenes", stored=150)


@pytest.mark.parametrize(
    ("changes", "is_alike"),
    [
        ({"seed": 7, "dataset_size": 7, "chunk_size": 7, "name": "other"}, True),
        ({"image_size": 96}, False),
        ({"max_shapes": 2}, False),
        ({"noise": 0}, False),
    ],
    ids=str,
)
def test_scenes_take_as_long_as_their_settings_say(changes: dict[str, Any], is_alike: bool) -> None:
    """How many and which scenes there are is no matter, how they look is."""
    assert (stages({**_SMALL, **changes})["data_generation"].workload_of(DATA, {}) is not None) == is_alike


def test_samples_are_counted_over_all_epochs() -> None:
    """From the settings of the data, before there are any."""
    assert stages(training={"epochs": 3})["training"].workload(None) == Workload(
        amount=300, unit="samples", is_saved=True
    )
    assert stages()["training"].workload_of(TRAINING, BEFORE) == Workload(amount=200, unit="samples", is_saved=True)


def test_a_training_that_goes_on_has_the_rest_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the newest checkpoint is."""
    facts = SimpleNamespace(metadata=SimpleNamespace(global_step=30, total_steps=40))
    monkeypatch.setattr("stages.training.stage._newest", lambda _: facts)
    context: Any = object()
    assert stages(training={"epochs": 4})["training"].workload(context) == Workload(
        amount=100, unit="samples", is_saved=True
    )


@pytest.mark.parametrize(
    ("training", "data", "is_alike"),
    [
        ({"epochs": 9, "seed": 3, "optimizer": {"lr": 0.1}}, {"dataset_size": 9000}, True),
        ({"batch_size": 8}, {}, False),
        ({"precision": "fp32"}, {}, False),
        ({"task": {"channels": 8}}, {}, False),
        ({}, {"image_size": 96}, False),
    ],
    ids=str,
)
def test_a_sample_takes_as_long_as_model_and_image_say(
    training: dict[str, Any], data: dict[str, Any], is_alike: bool
) -> None:
    """How often, and on how many, is no matter."""
    stage = stages({**_SMALL, **data}, training)["training"]
    assert (stage.workload_of(TRAINING, BEFORE) is not None) == is_alike
    assert stage.workload_of(TRAINING, {}) is None


@pytest.mark.parametrize(
    ("evaluation", "training", "data", "is_alike"),
    [
        ({}, {"epochs": 9}, {"test_size": 60}, True),
        ({"batch_size": 1}, {}, {}, False),
        ({"real_data": [{"name": "own", "path": "photos"}]}, {}, {}, False),
        ({}, {"task": {"channels": 8}}, {}, False),
        ({}, {}, {"image_size": 96}, False),
    ],
    ids=str,
)
def test_a_held_out_scene_takes_as_long_as_model_and_image_say(
    evaluation: dict[str, Any], training: dict[str, Any], data: dict[str, Any], is_alike: bool
) -> None:
    """So does the disk space of what is predicted for it."""
    stage = stages({**_SMALL, **data}, training, evaluation)["evaluation"]
    found = stage.workload_of(EVALUATION, BEFORE)
    assert found == (Workload(amount=30, unit="scenes", stored=30) if is_alike else None)
    assert stage.workload(None) == Workload(amount=(n := data.get("test_size", 30)), unit="scenes", stored=n)


def test_real_images_take_a_part_of_the_time_that_does_not_grow() -> None:
    """So with them only an evaluation on as many scenes tells how long it takes."""
    real = {"real_data": [{"name": "own", "path": "photos"}]}
    known = record("evaluation", real, synthetic={"num_images": 30})
    assert stages(evaluation=real)["evaluation"].workload_of(known, BEFORE) is not None
    assert stages({**_SMALL, "test_size": 60}, evaluation=real)["evaluation"].workload_of(known, BEFORE) is None
