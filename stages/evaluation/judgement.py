"""What a detector got right and wrong on a data set, when only detections above one score count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.coco import CocoImage
from stages.evaluation.matching import Matches, best_threshold, confusions, match, rows_by_image
from stages.evaluation.measure import View


@dataclass(frozen=True)
class Judgement:
    """Detections that count, and what each of them found.

    Attributes:
        threshold: the least score that counts.
        counts: [D] bool. matches: of those that count.
        confused: [D], the object of another class that lies where a detection is; -1: none.
    """

    view: View
    threshold: float
    counts: npt.NDArray[np.bool_]
    matches: Matches
    confused: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """One image with its quality, 0 to 1, and the rows of its objects and of its detections that count."""

    image: CocoImage
    quality: float
    objects: npt.NDArray[np.int64]
    detections: npt.NDArray[np.int64]


def judge_view(view: View) -> Judgement:
    """Choose the score at which F1 is best, and judge every detection by it."""
    truth, found = view.seen.truth, view.found
    everything = np.ones(len(found.labels), bool)
    num_objects = int((~truth.is_crowd).sum())
    threshold = best_threshold(found, match(truth, found, counts=everything), num_objects=num_objects)
    counts = found.scores >= threshold
    matches = match(truth, found, counts=counts)
    return Judgement(view, threshold, counts, matches, confusions(truth, found, matches, counts=counts))


def confusion_counts(judgement: Judgement) -> npt.NDArray[np.int64]:
    """Return [K + 1, K + 1]: row: true class, column: predicted; the last of both stands for nothing."""
    truth, found = judgement.view.seen.truth, judgement.view.found
    nothing = len(judgement.view.seen.classes)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    named = np.where(judgement.matches.objects >= 0, judgement.matches.objects, judgement.confused)
    is_counted = judgement.counts & ~judgement.matches.is_ignored
    rows = np.where(named >= 0, truth.labels[named], nothing) if len(truth.labels) else np.full(len(named), nothing)
    np.add.at(counts, (rows[is_counted], found.labels[is_counted]), 1)
    is_missed = ~truth.is_crowd
    is_missed[named[is_counted & (named >= 0)]] = False
    np.add.at(counts[:, nothing], truth.labels[is_missed], 1)
    return counts


def worst_scenes(judgement: Judgement, *, number: int) -> list[Scene]:
    """Return the images of least quality, the worst first; of equal ones the one with the lower id.

    Quality is that of panoptic segmentation (Kirillov et al. 2019, "Panoptic Segmentation", eq. 1) for boxes: the sum
    of the overlaps of all that was found, over TP + FP / 2 + FN / 2. It is 1 where nothing is there and nothing found.
    """
    truth, found = judgement.view.seen.truth, judgement.view.found
    is_found = judgement.matches.is_found(len(truth.labels))
    there, seen = rows_by_image(truth.image_ids), rows_by_image(found.image_ids)
    scenes = []
    for image in judgement.view.seen.images:
        objects, detections = there.get(image.id, _NO_ROWS), seen.get(image.id, _NO_ROWS)
        detections = detections[judgement.counts[detections]]
        is_right = judgement.matches.objects[detections] >= 0
        num_wrong = int((~is_right & ~judgement.matches.is_ignored[detections]).sum())
        num_missed = int((~is_found[objects] & ~truth.is_crowd[objects]).sum())
        whole = int(is_right.sum()) + num_wrong / 2 + num_missed / 2
        quality = float(judgement.matches.overlaps[detections].sum() / whole) if whole else 1.0
        scenes.append(Scene(image, quality, objects, detections[np.argsort(-found.scores[detections], kind="stable")]))
    return sorted(scenes, key=lambda scene: (scene.quality, scene.image.id))[:number]


_NO_ROWS = np.zeros(0, np.int64)
