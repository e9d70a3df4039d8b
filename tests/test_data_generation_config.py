"""The settings of data generation: what they allow, and what they say when they do not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.fingerprint import config_hash
from stages.data_generation.config import CLASSES, DataGenerationConfig, StyleWeights


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"dataset_size": 0}, "dataset_size"),
        ({"dataset_size": 10**9}, "dataset_size"),
        ({"validation_size": -1}, "validation_size"),
        ({"test_size": 1.5}, "test_size"),
        ({"image_size": 100}, "image_size"),
        ({"image_size": 4096}, "image_size"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"seed": -1}, "seed"),
        ({"name": "../elsewhere"}, "name"),
        ({"classes": ()}, "classes"),
        ({"classes": ("triangle", "dodecahedron")}, "classes"),
        ({"max_shapes": 7}, "max_shapes"),
        ({"max_iou": float("nan")}, "max_iou"),
        ({"noise": 65}, "noise"),
        ({"jitter": 0.5}, "jitter"),
        ({"styles": {"outline": -1}}, "styles"),
        ({"styles": {"dots": 1}}, "styles"),
        ({"shape_count": 3}, "shape_count"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values: dict[str, Any], field: str) -> None:
    """Out of bounds, of the wrong type or unknown: the error names the field."""
    with pytest.raises(ValidationError) as caught:
        DataGenerationConfig.model_validate(values)
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_shapes": 4, "max_shapes": 2}, "min_shapes = 4 is above max_shapes = 2"),
        ({"min_extent": 0.6}, "min_extent = 0.6 is above max_extent = 0.5"),
        ({"min_stroke": 0.05}, "min_stroke = 0.05 is above"),
        ({"max_motif": 0.01}, "min_motif = 0.017 is above max_motif = 0.01"),
        ({"classes": ("star", "arc", "star")}, "classes names a class twice"),
        ({"image_size": 32}, "less than 8 pixels: raise one of them"),
        ({"image_size": 1024, "chunk_size": 1000}, "lower chunk_size to 512 or less"),
        ({"styles": dict.fromkeys(StyleWeights.model_fields, 0)}, "at least one style"),
    ],
)
def test_settings_that_contradict_each_other_say_how(values: dict[str, Any], message: str) -> None:
    """The message names both settings with their values."""
    with pytest.raises(ValidationError, match=message):
        DataGenerationConfig.model_validate(values)


def test_there_are_at_least_eight_classes() -> None:
    """All of them are drawn unless some are chosen."""
    assert len(CLASSES) >= 8
    assert DataGenerationConfig().classes == CLASSES


def test_every_setting_is_explained() -> None:
    """Each field tells people what it is, and is hashed."""
    assert all(field.description for field in DataGenerationConfig.model_fields.values())
    assert all(field.description for field in StyleWeights.model_fields.values())
    hashes = {
        config_hash(stage="data_generation", version=1, config=DataGenerationConfig.model_validate(values))
        for values in ({}, {"noise": 3}, {"styles": {"outline": 5}}, {"dataset_size": 4001}, {"test_size": 501})
    }
    assert len(hashes) == 5
