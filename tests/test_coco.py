"""The COCO figures are those of the reference implementation, and documents are read back as they were written."""

from __future__ import annotations

import contextlib
import gc
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.errors import UsageError
from stages.coco import (
    CocoFigures,
    CocoImage,
    CocoSet,
    Detections,
    Truth,
    coco_figures,
    coco_set,
    detections_of,
    evaluate_agnostic,
    result_rows,
    truth_of,
)

CLASSES = ("arc", "star", "spiral")
IMAGE_IDS = tuple(range(10, 34))


def random_scene(seed: int, *, num_truth: int = 6, num_found: int = 12) -> tuple[Truth, Detections]:
    """Return boxes of all sizes in 24 images, detections of which about half lie near a true box, and padding."""
    rng = np.random.default_rng(seed)
    shape = (len(IMAGE_IDS), num_truth)
    boxes = np.concatenate([rng.uniform(0, 60, (*shape, 2)), np.exp(rng.uniform(1.5, 5.2, (*shape, 2)))], axis=-1)
    labels = rng.integers(-1, 2, shape)  # the last class has no truth
    picked = rng.integers(0, max(num_truth, 1), (len(IMAGE_IDS), num_found))
    rows = np.arange(len(IMAGE_IDS))[:, None]
    noise = rng.choice([0.02, 0.1, 3.0], (len(IMAGE_IDS), num_found, 1))
    found = np.abs(boxes[rows, picked] * (1 + noise * rng.normal(size=(*picked.shape, 4)))) if num_truth else None
    found = rng.uniform(1, 60, (*picked.shape, 4)) if found is None else found
    guess = np.where(rng.random(picked.shape) < 0.8, labels[rows, picked], 2) if num_truth else picked
    scores = rng.integers(0, 20, picked.shape) / 20  # many equal scores
    return truth_of(IMAGE_IDS, boxes, labels), detections_of(IMAGE_IDS, found, guess, scores)


def reference(truth: Truth, found: Detections, *, is_agnostic: bool = False) -> tuple[list[float], list[list[float]]]:
    """Return pycocotools' twelve statistics, and ap, ap50, ap75 of each class; -1 where undefined."""
    document = {
        "images": [{"id": image_id} for image_id in IMAGE_IDS],
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASSES)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(truth.image_ids[row]),
                "category_id": 0 if is_agnostic else int(truth.labels[row]),
                "bbox": truth.boxes[row].tolist(),
                "area": float(truth.areas[row]),
                "iscrowd": int(truth.is_crowd[row]),
            }
            for row in range(len(truth.labels))
        ],
    }
    rows = [{**row, "category_id": 0 if is_agnostic else row["category_id"] - 1} for row in result_rows(found)]
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = document
        expected.createIndex()
        results = expected.loadRes(rows) if rows else _no_results(document)
        evaluation = COCOeval(expected, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    classes = [[precision[rows, :, index].mean() for rows in (slice(None), 0, 5)] for index in range(len(CLASSES))]
    return list(evaluation.stats), classes


def _no_results(document: dict[str, Any]) -> COCO:
    empty = COCO()
    empty.dataset = {**document, "annotations": []}
    empty.createIndex()
    return empty


def statistics(figures: CocoFigures) -> list[float]:
    """Return the twelve figures in COCO's order, with COCO's -1 for undefined."""
    values = list(figures.to_json().values())[1:]
    return [-1.0 if value is None else value for value in values]


@pytest.mark.parametrize(
    ("num_truth", "num_found"),
    [(6, 12), (6, 130), (0, 5), (6, 0), (0, 0)],
    ids=["usual", "more than count", "no truth", "no detections", "nothing"],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_figures_equal_reference(seed: int, num_truth: int, num_found: int) -> None:
    """Every statistic, also of each class, is the reference's, whatever is missing."""
    truth, found = random_scene(seed, num_truth=num_truth, num_found=num_found)
    figures = coco_figures(truth, found, image_ids=IMAGE_IDS, classes=CLASSES)
    expected, classes = reference(truth, found)
    assert statistics(figures) == pytest.approx(expected, abs=1e-12)
    for name, row in zip(CLASSES, classes, strict=True):
        one = figures.per_class[name]
        assert [-1.0 if value is None else value for value in (one.ap, one.ap50, one.ap75)] == pytest.approx(row)


def test_agnostic_figures_equal_reference_with_one_class() -> None:
    """Class-agnostic figures are the reference's after every label has been made the same."""
    truth, found = random_scene(4)
    expected, _ = reference(truth, found, is_agnostic=True)
    assert statistics(evaluate_agnostic(truth, found, image_ids=IMAGE_IDS).figures) == pytest.approx(
        expected, abs=1e-12
    )


def test_crowds_and_areas_count_as_in_reference() -> None:
    """A crowd is neither a miss nor a mistake, and the given area decides which size an object has."""
    truth, found = random_scene(5)
    is_crowd = np.arange(len(truth.labels)) % 3 == 0
    altered = Truth(truth.image_ids, truth.boxes, truth.labels, truth.areas / 3, is_crowd)
    figures = coco_figures(altered, found, image_ids=IMAGE_IDS, classes=CLASSES)
    assert statistics(figures) == pytest.approx(reference(altered, found)[0], abs=1e-12)
    assert statistics(figures) != statistics(coco_figures(truth, found, image_ids=IMAGE_IDS, classes=CLASSES))


def test_undefined_figures_are_none() -> None:
    """A figure about objects that do not occur is None: a mean over it must not take in a -1."""
    truth, found = random_scene(6)
    figures = coco_figures(truth, found, image_ids=IMAGE_IDS, classes=CLASSES)
    assert figures.per_class["spiral"].ap is None
    assert coco_figures(truth, found, image_ids=(), classes=CLASSES).ap is None
    json.dumps(figures.to_json(), allow_nan=False)


@pytest.mark.parametrize("image_ids", [IMAGE_IDS, ["no number"]])
def test_the_collector_is_left_as_it_was(image_ids: Any) -> None:
    """It rests while figures are computed, and never longer, also where they fail."""
    truth, found = random_scene(8)
    with contextlib.suppress(ValueError):
        coco_figures(truth, found, image_ids=image_ids, classes=CLASSES)
    assert gc.isenabled()


def test_images_without_objects_count() -> None:
    """A detection in an image without any object is a mistake only if that image is among those evaluated."""
    truth = truth_of([1], [[[0, 0, 9, 9]]], [[0]])
    found = detections_of([1, 2], [[[0, 0, 9, 9]]] * 2, [[0], [0]], [[0.5], [0.9]])
    both = coco_figures(truth, found, image_ids=[1, 2], classes=["arc"])
    assert (both.ap, coco_figures(truth, found, image_ids=[1], classes=["arc"]).ap) == (0.5, 1.0)


def test_document_is_read_back_as_written() -> None:
    """A document that was written, and one with other category ids and keys, give the same truth."""
    truth, _ = random_scene(7)
    images = tuple(CocoImage(id=number, width=128, height=96, file_name=f"{number}.png") for number in IMAGE_IDS)
    document = json.loads(json.dumps(CocoSet(images, CLASSES, truth).to_document()))
    read = coco_set(document, source="truth.json")
    assert read.images == images
    assert read.classes == CLASSES
    for name, column in vars(truth).items():
        np.testing.assert_array_equal(getattr(read.truth, name), column)
    other = {**document, "info": {}, "categories": [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}]}
    other["annotations"] = [{"id": 1, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "segmentation": []}]
    moved = coco_set(other, source="truth.json")
    assert (moved.classes, moved.truth.labels.tolist(), moved.truth.areas.tolist()) == (("a", "b"), [1], [12.0])


def _document(**changes: Any) -> dict[str, Any]:
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], **changes}
    return {
        "images": [{"id": 1, "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [row],
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the document"),
        ({"images": []}, "categories"),
        (_document(bbox=[0, 0, -2, 2]), "annotations.0.bbox.2"),
        (_document(bbox=[0, 0, 2]), "annotations.0.bbox"),
        (_document(bbox=[0, float("nan"), 2, 2]), "annotations.0.bbox.1"),
        (_document(image_id=2), "image 2"),
        (_document(category_id=5), "category 5"),
    ],
)
def test_unusable_document_is_refused(document: object, said: str) -> None:
    """A document that cannot be used is refused with its name and the place of the fault."""
    with pytest.raises(UsageError, match=r"truth\.json") as caught:
        coco_set(document, source="truth.json")
    assert said in caught.value.message
