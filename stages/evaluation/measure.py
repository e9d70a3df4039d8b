"""Measures on a data set: the COCO figures, and the COCO documents from which they can be computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.coco import CocoFigures, CocoImage, CocoSet, Detections, Truth, agnostic_figures, coco_figures, result_rows
from stages.evaluation.repetitions import without_repetitions
from stages.evaluation.sources import DataSet, LabelledBatch
from stages.evaluation.tables import concatenate, select

_AGNOSTIC = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
_UNDEFINED = CocoFigures({}, *[None] * 12)
_BOX_DECIMALS = 2  # a hundredth of a pixel; the figures are computed from what is written
_SCORE_DECIMALS = 5


@dataclass(frozen=True)
class Measurement:
    """What evaluation learned on one data set.

    Attributes:
        figures: the COCO figures, `agnostic_…` with all classes taken as one, `per_class`, and counts.
        truth: the COCO document of the images that were measured on.
        predictions: the COCO results document; category ids are those of `truth`.
    """

    figures: dict[str, Any]
    truth: dict[str, Any]
    predictions: list[dict[str, Any]]


def measure(
    data_set: DataSet,
    detect: Callable[[LabelledBatch], Detections],
    *,
    batch_size: int,
    on_progress: Callable[[int], None],
) -> Measurement:
    """Find what is in all images of `data_set` and compare; `on_progress` is told the number of images done."""
    images: list[CocoImage] = []
    truths = [_NO_TRUTH]
    found, merged = [_NO_DETECTIONS], [_NO_DETECTIONS]
    for batch in data_set.batches(batch_size):
        images += batch.images
        truths.append(batch.truth)
        found.append(_rounded(detect(batch)))
        merged.append(without_repetitions(found[-1]))
        on_progress(len(images) + _num_skipped(data_set))
    seen = CocoSet(tuple(images), data_set.vocabulary.classes, concatenate(truths))
    detections = concatenate(found)
    counts = {
        "num_images": len(images),
        "num_objects": len(seen.truth.labels),
        "num_detections": len(detections.labels),
        "num_skipped": _num_skipped(data_set),
        "skipped": {reason: len(names) for reason, names in data_set.skipped.items()},
    }
    figures = _figures_by_class(seen, detections, shared=data_set.vocabulary.shared)
    figures |= _agnostic_figures(seen, concatenate(merged))
    return Measurement(figures | counts, seen.to_document(), result_rows(detections))


def _figures_by_class(seen: CocoSet, detections: Detections, *, shared: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures over the classes that both the detector and the data set know."""
    if not seen.images or not shared:
        return _UNDEFINED.to_json()
    truth = select(seen.truth, np.isin(seen.truth.labels, shared))
    figures = coco_figures(truth, detections, image_ids=[image.id for image in seen.images], classes=seen.classes)
    names = [seen.classes[label] for label in shared]
    return replace(figures, per_class={name: figures.per_class[name] for name in names}).to_json()


def _agnostic_figures(seen: CocoSet, merged: Detections) -> dict[str, Any]:
    figures = _UNDEFINED
    if seen.images:
        figures = agnostic_figures(seen.truth, merged, image_ids=[image.id for image in seen.images])
    return {f"agnostic_{name}": getattr(figures, name) for name in _AGNOSTIC}


def _num_skipped(data_set: DataSet) -> int:
    return sum(map(len, data_set.skipped.values()))


def _rounded(detections: Detections) -> Detections:
    return replace(
        detections,
        boxes=detections.boxes.round(_BOX_DECIMALS),
        scores=detections.scores.astype(np.float64).round(_SCORE_DECIMALS),
    )


_NO_ROWS = np.zeros(0, np.int64)
_NO_BOXES = np.zeros((0, 4))
_NO_TRUTH = Truth(_NO_ROWS, _NO_BOXES, _NO_ROWS, np.zeros(0), np.zeros(0, bool))
_NO_DETECTIONS = Detections(_NO_ROWS, _NO_BOXES, _NO_ROWS, np.zeros(0))
