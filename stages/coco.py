"""The COCO figures of a set of detections, and COCO documents of boxes; torch-free.

Boxes are [x, y, width, height] in pixels, labels count from 0, category ids in documents from 1.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# What int64 holds, and lengths whose products float64 holds with room to spare: anything else is no annotation.
_Id = Annotated[int, Field(ge=-(2**62), lt=2**62)]
_Pixels = Annotated[float, Field(ge=-1e9, le=1e9)]
_Length = Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True)
class Truth:
    """What is really there in many images: one row for each object.

    Attributes:
        image_ids: [N]. boxes: [N, 4]. labels: [N].
        areas: [N] square pixels, which decide between small, medium and large.
        is_crowd: [N] bool; a crowd is no miss when it is not found, and what is found in it is no mistake.
    """

    image_ids: Integers
    boxes: Floats
    labels: Integers
    areas: Floats
    is_crowd: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Detections:
    """What was found in many images: image_ids [N], boxes [N, 4], labels [N] and scores [N]."""

    image_ids: Integers
    boxes: Floats
    labels: Integers
    scores: Floats


@dataclass(frozen=True)
class ClassFigures:
    """Average precision of one class; None where the truth has no object of it."""

    ap: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class CocoFigures:
    """The figures of each class, and the twelve COCO statistics in their order, 0 to 1; None: no such object."""

    per_class: Mapping[str, ClassFigures]
    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def truth_of(image_ids: npt.ArrayLike, boxes: npt.ArrayLike, labels: npt.ArrayLike) -> Truth:
    """Gather the truth from padded arrays: image_ids [B], boxes [B, M, 4], labels [B, M] with -1 for no object."""
    rows, flat = _unpad(image_ids, boxes, labels)
    return Truth(*flat, areas=flat[1][:, 2] * flat[1][:, 3], is_crowd=np.zeros(int(rows.sum()), bool))


def detections_of(
    image_ids: npt.ArrayLike, boxes: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike
) -> Detections:
    """Gather detections from padded arrays: as for `truth_of`, with scores [B, K]."""
    rows, flat = _unpad(image_ids, boxes, labels)
    return Detections(*flat, scores=np.asarray(scores, np.float64)[rows])


def _unpad(
    image_ids: npt.ArrayLike, boxes: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], tuple[Integers, Floats, Integers]]:
    padded = np.asarray(labels, np.int64)
    rows = padded >= 0
    ids = np.broadcast_to(np.asarray(image_ids, np.int64)[:, None], padded.shape)
    return rows, (ids[rows], np.asarray(boxes, np.float64)[rows], padded[rows])


@dataclass(frozen=True)
class CocoEvaluation:
    """The figures, and the precision that they are means of: [IoU .50 to .95, recall 0 to 1, class, area of COCO].

    It is the best precision at that recall or a higher one, and -1 where there is no such object.
    """

    figures: CocoFigures
    precision: Floats


def coco_figures(
    truth: Truth, detections: Detections, *, image_ids: npt.ArrayLike, classes: Sequence[str]
) -> CocoFigures:
    """Return the COCO figures over the images `image_ids`, those without any object among them.

    At most 100 detections an image count, the best of each class, as in COCO.
    """
    return evaluate(truth, detections, image_ids=image_ids, classes=classes).figures


def evaluate(
    truth: Truth, detections: Detections, *, image_ids: npt.ArrayLike, classes: Sequence[str]
) -> CocoEvaluation:
    """Return the figures of `coco_figures` with the precision by recall."""
    from faster_coco_eval import COCO, COCOeval_faster

    with _without_collection():
        expected = COCO(
            {"images": _images(image_ids), "categories": _categories(classes), "annotations": _truth_rows(truth)}
        )
        found = COCO({**expected.dataset, "annotations": _detection_rows(detections)})
        evaluation = COCOeval_faster(expected, found, iouType="bbox", print_function=_say_nothing)
        evaluation.run()
    precision = evaluation.eval["precision"][..., -1]
    per_class = {name: _class_figures(precision[:, :, index, 0]) for index, name in enumerate(classes)}
    return CocoEvaluation(CocoFigures(per_class, *(_known(value) for value in evaluation.stats)), precision)


def evaluate_agnostic(truth: Truth, detections: Detections, *, image_ids: npt.ArrayLike) -> CocoEvaluation:
    """Return the same as `evaluate` with all classes taken as one."""
    return evaluate(
        replace(truth, labels=np.zeros_like(truth.labels)),
        replace(detections, labels=np.zeros_like(detections.labels)),
        image_ids=image_ids,
        classes=("object",),
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from searching for cycles among hundreds of thousands of rows, which have none, as they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _say_nothing(*_: object) -> None:
    return None


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)  # COCO writes -1 for "undefined", which would spoil every mean


def _class_figures(precision: Floats) -> ClassFigures:
    # Rows are the IoU thresholds .50, .55 … .95; without truth of the class all of it is -1.
    if precision.min(initial=0.0) < 0:
        return ClassFigures(None, None, None)
    return ClassFigures(float(precision.mean()), float(precision[0].mean()), float(precision[5].mean()))


def _images(image_ids: npt.ArrayLike) -> list[dict[str, Any]]:
    return [{"id": image_id} for image_id in np.asarray(image_ids, np.int64).tolist()]


def _categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": index + 1, "name": name} for index, name in enumerate(classes)]


def _truth_rows(truth: Truth) -> list[dict[str, Any]]:
    # Numbered from 1: 0 means "unmatched" to the evaluation.
    numbers, areas, are_crowds = range(1, len(truth.labels) + 1), truth.areas.tolist(), truth.is_crowd.tolist()
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": int(is_crowd)}
        for number, (image, category, box), area, is_crowd in zip(numbers, _rows(truth), areas, are_crowds, strict=True)
    ]


def _detection_rows(detections: Detections) -> list[dict[str, Any]]:
    numbers, scores = range(1, len(detections.labels) + 1), detections.scores.tolist()
    areas = (detections.boxes[:, 2] * detections.boxes[:, 3]).tolist()
    # One literal: to complete the rows of `result_rows` takes a third longer.
    return [
        {"id": id_, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0, "score": score}
        for id_, (image, category, box), area, score in zip(numbers, _rows(detections), areas, scores, strict=True)
    ]


def _rows(table: Truth | Detections) -> Iterator[tuple[int, int, list[float]]]:
    """Yield image id, category id and box of each row."""
    return zip(table.image_ids.tolist(), (table.labels + 1).tolist(), table.boxes.tolist(), strict=True)


def result_rows(detections: Detections) -> list[dict[str, Any]]:
    """Return the detections as a COCO results document: image_id, category_id, bbox and score of each."""
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for (image, category, box), score in zip(_rows(detections), detections.scores.tolist(), strict=True)
    ]


class CocoImage(BaseModel):
    """An image of a COCO document: width and height in pixels, file_name relative to the folder of the images."""

    model_config = ConfigDict(frozen=True)

    id: _Id
    width: int = Field(ge=1, le=10**9)
    height: int = Field(ge=1, le=10**9)
    file_name: str = ""


@dataclass(frozen=True)
class CocoSet:
    """The images, classes (in the order of their category ids) and truth of a COCO document."""

    images: tuple[CocoImage, ...]
    classes: tuple[str, ...]
    truth: Truth

    def to_document(self) -> dict[str, Any]:
        """Return the COCO document, a JSON object."""
        return {
            "images": [image.model_dump() for image in self.images],
            "categories": _categories(self.classes),
            "annotations": _truth_rows(self.truth),
        }


class _Category(BaseModel):
    id: _Id
    name: str


class _Annotation(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    image_id: _Id
    category_id: _Id
    bbox: tuple[_Pixels, _Pixels, _Length, _Length]
    area: float | None = Field(None, ge=0, le=1e18)
    iscrowd: bool = False


class _Document(BaseModel):
    images: list[CocoImage]
    categories: list[_Category]
    annotations: list[_Annotation]


def coco_set(document: object, *, source: str) -> CocoSet:
    """Read a COCO document, a JSON object that was loaded from `source`; keys it does not need are left alone.

    Raises:
        UsageError: a part is missing or of the wrong type, or an annotation names an unknown image or category.
    """
    hint = "give a COCO detection file: images, categories, and annotations with bbox [x, y, width, height]"
    try:
        read = _Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(
            f"{source} is not a COCO document: {where}: {first['msg']}", code="E0265", hint=hint
        ) from error
    categories = sorted(read.categories, key=lambda category: category.id)
    index = {category.id: position for position, category in enumerate(categories)}
    known_images = {image.id for image in read.images}
    for row in read.annotations:
        if row.image_id not in known_images or row.category_id not in index:
            what = f"image {row.image_id} and category {row.category_id}"
            raise UsageError(
                f"{source}: an annotation names {what}, one of which it does not list", code="E0266", hint=hint
            )
    names = tuple(category.name for category in categories)
    return CocoSet(tuple(read.images), names, _truth_of_rows(read.annotations, index))


def _truth_of_rows(rows: Sequence[_Annotation], index: Mapping[int, int]) -> Truth:
    areas = [row.bbox[2] * row.bbox[3] if row.area is None else row.area for row in rows]
    return Truth(
        np.array([row.image_id for row in rows], np.int64),
        np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        np.array([index[row.category_id] for row in rows], np.int64),
        np.array(areas, np.float64),
        np.array([row.iscrowd for row in rows], bool),
    )
