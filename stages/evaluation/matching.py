"""Which detection found which object, image by image, as COCO matches them at one overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.coco import Detections, Truth

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MIN_IOU = 0.5


@dataclass(frozen=True)
class Matches:
    """For each detection the row of the object that it found (-1: none) and their overlap; what to leave out of count.

    Attributes:
        objects: [D]. overlaps: [D], 0 where nothing was found.
        is_ignored: [D], detections inside a crowd, which are no mistake.
    """

    objects: Rows
    overlaps: Floats
    is_ignored: Mask

    def is_found(self, num_objects: int) -> Mask:
        """Return for each object whether a detection found it."""
        found = np.zeros(num_objects, bool)
        found[self.objects[self.objects >= 0]] = True
        return found


def match(truth: Truth, found: Detections, *, counts: Mask) -> Matches:
    """Match the detections that `counts` [D] with objects of their class: the best scores first, each object once.

    What is then left of both is not matched across classes; see `confusions`.
    """
    objects, overlaps = np.full(len(found.labels), -1), np.zeros(len(found.labels))
    is_ignored = np.zeros(len(found.labels), bool)
    for there, all_seen in _by_image(truth, found):
        seen = _best_first(all_seen[counts[all_seen]], found)
        is_same = found.labels[seen][:, None] == truth.labels[there][None]
        iou = np.where(is_same & ~truth.is_crowd[there], overlap(found.boxes[seen], truth.boxes[there]), 0.0)
        _take_best(iou, seen, there, objects, overlaps)
        inside = overlap(found.boxes[seen], truth.boxes[there], is_crowd=True)
        in_crowd = (np.where(is_same & truth.is_crowd[there], inside, 0.0) >= MIN_IOU).any(axis=1)
        is_ignored[seen] = in_crowd & (objects[seen] < 0)
    return Matches(objects, overlaps, is_ignored)


def confusions(truth: Truth, found: Detections, matches: Matches, *, counts: Mask) -> Rows:
    """Return for each detection the object of another class that lies where it is (-1: none), of what was left over."""
    objects, overlaps = np.full(len(found.labels), -1), np.zeros(len(found.labels))
    is_free = ~matches.is_found(len(truth.labels)) & ~truth.is_crowd
    is_left = counts & (matches.objects < 0) & ~matches.is_ignored
    for all_there, all_seen in _by_image(truth, found):
        there, seen = all_there[is_free[all_there]], _best_first(all_seen[is_left[all_seen]], found)
        _take_best(overlap(found.boxes[seen], truth.boxes[there]), seen, there, objects, overlaps)
    return objects


def best_threshold(found: Detections, matches: Matches, *, num_objects: int) -> float:
    """Return the score from which on detections should count: where F1 = 2 TP / (2 TP + FP + FN) is greatest.

    Of equal ones the highest; 1 where nothing right was found.
    """
    rows = _best_first(np.flatnonzero(~matches.is_ignored), found)
    right = np.cumsum(matches.objects[rows] >= 0)
    if not len(rows) or not right[-1]:
        return 1.0
    f1 = 2 * right / (np.arange(1, len(rows) + 1) + num_objects)
    # Detections of one score stand or fall together.
    is_last = np.append(np.diff(found.scores[rows]) != 0, True)
    return float(found.scores[rows][np.argmax(np.where(is_last, f1, -1.0))])


def overlap(first: Floats, second: Floats, *, is_crowd: bool = False) -> Floats:
    """Return the IoU [n, m] of boxes [n, 4] and [m, 4] (x, y, width, height); of a crowd the part in it."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = first[:, 2:].prod(axis=1)[:, None]
    whole = areas if is_crowd else areas + second[:, 2:].prod(axis=1)[None] - common
    ratio: Floats = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return ratio


def _best_first(rows: Rows, found: Detections) -> Rows:
    return rows[np.argsort(-found.scores[rows], kind="stable")]


def _take_best(iou: Floats, seen: Rows, there: Rows, objects: Rows, overlaps: Floats) -> None:
    """Give each detection in turn the object of greatest overlap that is still free; writes to the last two."""
    iou = iou.copy()
    for place in np.flatnonzero((iou >= MIN_IOU).any(axis=1)):
        best = int(iou[place].argmax())
        if iou[place, best] >= MIN_IOU:
            objects[seen[place]], overlaps[seen[place]] = there[best], iou[place, best]
            iou[:, best] = 0.0


def rows_by_image(image_ids: Rows) -> dict[int, Rows]:
    """Return the rows of each image that has any, in their order."""
    order = np.argsort(image_ids, kind="stable")
    names, starts = np.unique(image_ids[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True)) if len(names) else {}


def _by_image(truth: Truth, found: Detections) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows of objects and detections of each image that has detections."""
    there = rows_by_image(truth.image_ids)
    for image_id, seen in rows_by_image(found.image_ids).items():
        yield there.get(image_id, _NO_ROWS), seen


_NO_ROWS = np.zeros(0, np.int64)
