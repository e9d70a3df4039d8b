"""Scenes: exact boxes, little overlap, and pixels that depend on nothing but the settings and the sample's id."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash

from stages.chunks.chunk import Array
from stages.data_generation.config import CLASSES, DataGenerationConfig, StyleWeights
from stages.data_generation.render import INK_BELOW, Box, draw_shape, render_samples
from stages.data_generation.scene import Strokes, lay_out
from stages.data_generation.shapes import KINDS, NUM_PARAMETERS, NUM_POINTS
from stages.data_generation.styles import make_marks


def _config(**values: Any) -> DataGenerationConfig:
    return DataGenerationConfig.model_validate({"image_size": 96, "noise": 0, **values})


def _render(config: DataGenerationConfig, count: int, first: int = 0) -> dict[str, Array]:
    return render_samples(config, first_sample_id=first, count=count)


def _ink_box(image: npt.NDArray[np.uint8]) -> list[int]:
    rows, columns = np.nonzero(image < INK_BELOW)
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_a_sample_is_the_same_in_any_chunk() -> None:
    """Image, boxes and labels of a sample do not depend on the samples beside it."""
    config = _config(noise=20)
    together = _render(config, 9, first=1_000_000_040)
    for index in range(9):
        alone = _render(config, 1, first=1_000_000_040 + index)
        assert all((alone[name][0] == together[name][index]).all() for name in together)


@pytest.mark.parametrize(
    ("values", "digest"),
    [
        ({"image_size": 416}, "64298991091a352d"),
        ({"image_size": 96, "style_change": 1.0, "jitter": 0.1, "noise": 40}, "62ea3bedbfa49e45"),
        ({"image_size": 64, "min_extent": 0.2, "noise": 0}, "5d2ca169e6b4dfbc"),
    ],
)
def test_samples_keep_their_bytes(values: dict[str, Any], digest: str) -> None:
    """Other versions of the drawing give the same bytes, or data sets that people have could not be continued."""
    arrays = render_samples(DataGenerationConfig(**values), first_sample_id=999_999_997, count=60)
    found = xxhash.xxh3_64()
    for name in sorted(arrays):
        found.update(arrays[name].tobytes())
    assert found.hexdigest() == digest


def test_arrays_have_the_promised_form() -> None:
    """Types, shapes and padding are those that readers rely on."""
    arrays = _render(_config(), 30)
    forms = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    assert forms == {"image": ("|u1", (30, 1, 96, 96)), "boxes": ("<f4", (30, 6, 4)), "labels": ("<i8", (30, 6))}
    is_there = arrays["labels"] >= 0
    assert (np.sort(is_there, axis=1)[:, ::-1] == is_there).all()
    assert (arrays["boxes"][~is_there] == 0).all()
    assert (arrays["labels"][~is_there] == -1).all()


def test_boxes_are_the_extent_of_the_ink() -> None:
    """For scenes of one shape, the box is exactly where the dark pixels are, for each class and style."""
    arrays = _render(_config(max_shapes=1, style_change=0.5), 200)
    for image, boxes in zip(arrays["image"], arrays["boxes"], strict=True):
        assert boxes[0].tolist() == _ink_box(image[0])
    assert set(arrays["labels"][:, 0].tolist()) == set(range(len(CLASSES)))


def test_boxes_of_many_shapes_hold_all_ink_and_end_at_ink() -> None:
    """Nothing dark lies outside of all boxes, and every side of every box touches something dark."""
    arrays = _render(_config(min_shapes=4), 60)
    for image, boxes, labels in zip(arrays["image"][:, 0], arrays["boxes"].astype(int), arrays["labels"], strict=True):
        is_ink = image < INK_BELOW
        is_inside = np.zeros_like(is_ink)
        for x, y, width, height in boxes[labels >= 0]:
            part = is_ink[y : y + height, x : x + width]
            assert part.shape == (height, width)
            assert part[0].any() and part[-1].any() and part[:, 0].any() and part[:, -1].any()
            is_inside[y : y + height, x : x + width] = True
        assert not (is_ink & ~is_inside).any()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"min_stroke": 0.05, "max_stroke": 0.05, "max_motif": 0.1},
        {"min_stroke": 0.002, "max_stroke": 0.002, "min_motif": 0.01, "max_motif": 0.01},
        {"image_size": 32, "min_extent": 0.25, "max_extent": 0.9, "jitter": 0.2},
    ],
)
def test_no_ink_is_cut_off(values: dict[str, Any]) -> None:
    """Each shape's own sheet is large enough, with the thickest lines and the sharpest corners too."""
    config = _config(**values)
    side = config.image_size
    strokes = lay_out(config, first_sample_id=0, count=60)
    shift = strokes.sheet[:, :2, None] + side
    generous = replace(
        strokes, sheet=np.tile([0, 0, 3 * side, 3 * side], (len(shift), 1)), points=strokes.points + shift
    )
    tight, wide = (_boxes_of(one) for one in (strokes, generous))
    assert len(tight) > 60
    assert tight == [(x - side, y - side, width, height) for x, y, width, height in wide]


def _boxes_of(strokes: Strokes) -> list[Box]:
    sheets, widths = strokes.sheet.tolist(), strokes.width.tolist()
    shapes = zip(make_marks(strokes), sheets, widths, strict=True)
    return [draw_shape(marks, sheet=sheet, width=width)[1] for marks, sheet, width in shapes]


@pytest.mark.parametrize("max_iou", [0.0, 0.05, 0.3])
def test_boxes_overlap_little(max_iou: float) -> None:
    """No two measured boxes of a scene overlap by more than the setting; a larger setting is made use of."""
    arrays = _render(_config(max_iou=max_iou, min_shapes=6), 150)
    ious = [
        iou
        for boxes, labels in zip(arrays["boxes"].astype(float), arrays["labels"], strict=True)
        for iou in _pairwise_ious(boxes[labels >= 0])
    ]
    assert max(ious) <= max_iou
    assert max(ious) >= 0.2 * max_iou


def _pairwise_ious(boxes: npt.NDArray[np.float64]) -> list[float]:
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    overlap = np.maximum(sides, 0).prod(axis=2)
    areas = boxes[:, 2:].prod(axis=1)
    ious = overlap / (areas[:, None] + areas - overlap)
    return [float(ious[row, column]) for row in range(len(boxes)) for column in range(row)]


def test_shapes_have_the_sizes_and_numbers_that_were_asked_for() -> None:
    """Every scene has a shape, and extents and numbers span their ranges, up to the width of a line."""
    arrays = _render(_config(), 400)
    numbers = (arrays["labels"] >= 0).sum(axis=1)
    assert set(numbers.tolist()) == {1, 2, 3, 4, 5, 6}
    extents = arrays["boxes"][arrays["labels"] >= 0][:, 2:].max(axis=1) / 96
    assert 0.07 < extents.min() < 0.13
    assert 0.45 < extents.max() < 0.54
    assert 0.2 < np.median(extents) < 0.3  # as on real Bongard-LOGO images


def test_noise_is_light_and_spoils_no_box() -> None:
    """Noise moves each pixel by its strength at most, and boxes and labels stay those of the clean scene."""
    clean, noisy = _render(_config(), 30), _render(_config(noise=24), 30)
    change = np.abs(noisy["image"].astype(int) - clean["image"])
    assert 20 <= change.max() <= 24
    assert len(np.unique(change.max(axis=(1, 2, 3)))) > 8  # each image has a strength of its own
    assert (noisy["boxes"] == clean["boxes"]).all()
    assert (noisy["labels"] == clean["labels"]).all()


@pytest.mark.parametrize("style", list(StyleWeights.model_fields))
def test_each_style_can_be_drawn_alone(style: str) -> None:
    """A weight decides which style is drawn; each looks different from the plain outline."""
    only = _config(styles=dict.fromkeys(StyleWeights.model_fields, 0.0) | {style: 1.0})
    outline = _config(styles=dict.fromkeys(StyleWeights.model_fields, 0.0) | {"outline": 1.0})
    is_same = (_render(only, 5)["image"] == _render(outline, 5)["image"]).all()
    assert is_same == (style == "outline")


def test_classes_can_be_chosen() -> None:
    """Labels are places in the chosen classes, and their paths are what their names say."""
    arrays = _render(_config(classes=("circle",), max_shapes=1, style_change=0, styles={"zigzag": 0}), 20)
    assert set(arrays["labels"].ravel().tolist()) == {0, -1}
    centre_x, centre_y = (arrays["boxes"][:, 0, :2] + arrays["boxes"][:, 0, 2:] / 2).astype(int).T
    assert (arrays["image"][np.arange(20), 0, centre_y, centre_x] == 255).all()


@pytest.mark.parametrize("name", CLASSES)
def test_paths_of_each_class_are_sound(name: Any) -> None:
    """For any random numbers, a path has an extent in x and y, no gaps, and few enough points."""
    u = np.random.Generator(np.random.PCG64(0)).random((300, NUM_PARAMETERS))
    u[0], u[1] = 0, 1 - 1e-12
    path = KINDS[name].path(u)
    assert path.shape[0] == 300
    assert path.shape[1] <= NUM_POINTS
    assert np.isfinite(path).all()
    assert np.ptp(path, axis=1).min() > 0.05


@pytest.mark.parametrize(("name", "num_corners"), [("triangle", 3), ("quadrangle", 4), ("pentagon", 5), ("star", 10)])
def test_polygons_have_their_corners(name: Any, num_corners: int) -> None:
    """The class is in the number of corners, and neighbouring corners stay apart."""
    u = np.random.Generator(np.random.PCG64(1)).random((300, NUM_PARAMETERS))
    path = KINDS[name].path(u)
    assert path.shape[1] == num_corners
    assert np.hypot(*np.moveaxis(path - np.roll(path, 1, axis=1), 2, 0)).min() > 0.4


def test_strange_settings_are_drawn_all_the_same() -> None:
    """The bounds of the settings are wide, and within them nothing fails."""
    for values in (
        {"image_size": 32, "min_extent": 0.25, "min_stroke": 0.002, "max_stroke": 0.002},
        {"image_size": 32, "min_extent": 0.9, "max_extent": 0.9, "max_iou": 0.5, "min_shapes": 6},
        {"image_size": 160, "min_extent": 0.05, "max_extent": 0.05, "max_stroke": 0.05, "max_motif": 0.1},
        {"jitter": 0.2, "style_change": 1.0, "noise": 64, "classes": ("bowtie", "freeform")},
    ):
        arrays = _render(_config(**values), 40)
        assert (arrays["labels"][:, 0] >= 0).all()
        assert (arrays["boxes"][:, 0, 2:] > 0).all()
