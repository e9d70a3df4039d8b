"""Measures on a data set: the COCO figures, and the COCO documents from which they can be computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.coco import (
    CocoEvaluation,
    CocoFigures,
    CocoImage,
    CocoSet,
    Detections,
    Truth,
    evaluate,
    evaluate_agnostic,
    result_rows,
)
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
        view: the same as what a report shows of it.
    """

    figures: dict[str, Any]
    truth: dict[str, Any]
    predictions: list[dict[str, Any]]
    view: View


@dataclass(frozen=True)
class View:
    """What was found and what is really there, and the figures of it: by class where that can be told.

    Where detector and data set share no class, all are taken as one. Crowds are in the truth as any object.

    Attributes:
        seen: images, classes and truth; labels are places in its classes.
        found: one row for each detection, labels as in the truth.
        evaluation: over the classes of `seen` whose places are in `shared`; None where nothing could be measured.
        num_skipped: images that were left out.
    """

    seen: CocoSet
    found: Detections
    evaluation: CocoEvaluation | None
    shared: tuple[int, ...]
    num_skipped: int


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
    shared, image_ids = data_set.vocabulary.shared, [image.id for image in images]
    known = replace(seen, truth=select(seen.truth, np.isin(seen.truth.labels, shared)))
    by_class = (
        evaluate(known.truth, detections, image_ids=image_ids, classes=seen.classes) if images and shared else None
    )
    single = concatenate(merged)
    agnostic = evaluate_agnostic(seen.truth, single, image_ids=image_ids) if images else None
    figures = _figures_by_class(seen, by_class, shared=shared) | _agnostic_figures(agnostic) | counts
    if by_class is None:
        view = _as_one(seen, single, agnostic, num_skipped=_num_skipped(data_set))
    else:
        view = View(known, detections, by_class, shared, _num_skipped(data_set))
    return Measurement(figures, seen.to_document(), result_rows(detections), view)


def _figures_by_class(seen: CocoSet, evaluation: CocoEvaluation | None, *, shared: tuple[int, ...]) -> dict[str, Any]:
    if evaluation is None:
        return _UNDEFINED.to_json()
    figures = evaluation.figures
    names = [seen.classes[label] for label in shared]
    return replace(figures, per_class={name: figures.per_class[name] for name in names}).to_json()


def _agnostic_figures(evaluation: CocoEvaluation | None) -> dict[str, Any]:
    figures = evaluation.figures if evaluation else _UNDEFINED
    return {f"agnostic_{name}": getattr(figures, name) for name in _AGNOSTIC}


def _as_one(seen: CocoSet, merged: Detections, evaluation: CocoEvaluation | None, *, num_skipped: int) -> View:
    """Return what was seen and found with all classes taken as one."""
    truth = replace(seen.truth, labels=np.zeros_like(seen.truth.labels))
    found = replace(merged, labels=np.zeros_like(merged.labels))
    return View(CocoSet(seen.images, ("object",), truth), found, evaluation, (0,), num_skipped)


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
