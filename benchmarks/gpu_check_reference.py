"""What the detector's operations should give, written out plainly in float64 with NumPy, one image after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def cells(side: int, *, num_levels: int) -> tuple[Floats, Floats, Floats]:
    """Return centres [A, 2], strides [A] and the least and greatest reach [A, 2] of the cells of a square image."""
    centres, strides, reaches = [], [], []
    for level in range(num_levels):
        stride = 8 * 2**level
        for row in range(-(-side // stride)):
            for column in range(-(-side // stride)):
                centres.append([(column + 0.5) * stride, (row + 0.5) * stride])
                strides.append(stride)
                reaches.append([4.0 * stride if level else 0.0, 8.0 * stride if level < num_levels - 1 else np.inf])
    return np.array(centres), np.array(strides, np.float64), np.array(reaches)


def assigned(corners: Array, labels: Array, *, side: int, num_levels: int, radius: float) -> npt.NDArray[np.int64]:
    """Return for each cell of an image the row of the object that it learns, -1 for none (FCOS, centre sampling)."""
    centres, strides, reaches = cells(side, num_levels=num_levels)
    chosen = np.full(len(centres), -1)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    for cell, (x, y) in enumerate(centres):
        for row in np.argsort(areas, kind="stable")[::-1]:  # the smallest last, which then has it
            left, top, right, bottom = corners[row]
            sides = (x - left, y - top, right - x, bottom - y)
            offset = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
            is_of_level = reaches[cell, 0] < max(sides) <= reaches[cell, 1]
            if labels[row] >= 0 and min(sides) > 0 and is_of_level and offset < radius * strides[cell]:
                chosen[cell] = row
    return chosen


def boxes_of(sides: Floats, *, side: int, num_levels: int) -> Floats:
    """Return the corners [A, 4] that logarithms of distances [A, 4], in strides, stand for."""
    centres, strides, _ = cells(side, num_levels=num_levels)
    distances = np.exp(np.minimum(sides, 6.0)) * strides[:, None]
    return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def iou(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return IoU and generalised IoU of boxes [N, 4], pair by pair."""
    inner = np.maximum(0, np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])).prod(1)
    hull = (np.maximum(first[:, 2:], second[:, 2:]) - np.minimum(first[:, :2], second[:, :2])).prod(1)
    union = (first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - inner
    return inner / (union + 1e-7), inner / (union + 1e-7) - (hull - union) / (hull + 1e-7)


def losses(
    output: tuple[Array, Array, Array],
    corners: Array,
    labels: Array,
    *,
    side: int,
    num_levels: int,
    radius: float,
    focus: float,
) -> dict[str, float]:
    """Return the three terms, without their weights, of a batch: classes [B, A, C], quality [B, A], sides [B, A, 4]."""
    sums = dict.fromkeys(("class", "quality", "box"), 0.0)
    num_positive = 0
    for classes, quality, sides, boxes, names in zip(*output, corners, labels, strict=True):
        chosen = assigned(boxes, names, side=side, num_levels=num_levels, radius=radius)
        is_positive = chosen >= 0
        num_positive += int(is_positive.sum())
        overlap, generalised = iou(boxes_of(sides, side=side, num_levels=num_levels), boxes[chosen])
        logits = classes[is_positive]
        shifted = logits - logits.max(axis=1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        sums["class"] -= float(logarithms[np.arange(len(logits)), names[chosen[is_positive]]].sum())
        sums["box"] += float((1 - generalised[is_positive]).sum())
        wanted = np.where(is_positive, overlap, 0.0)
        score = 1 / (1 + np.exp(-quality))
        entropy = np.logaddexp(0, quality) - quality * wanted
        sums["quality"] += float((np.where(wanted > 0, 1.0, score**focus) * entropy).sum())
    return {name: value / max(1, num_positive) for name, value in sums.items()}


def suppressed(corners: Floats, scores: Floats, labels: Array, *, iou_limit: float) -> list[int]:
    """Return the rows that non-maximum suppression within each class keeps, best first."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        others = [other for other in kept if labels[other] == labels[row]]
        pairs = np.repeat(corners[row : row + 1], len(others), axis=0)
        if not others or iou(pairs, corners[others])[0].max() <= iou_limit:
            kept.append(row)
    return kept


def reoriented(image: Array, sizes: Array, bits: int) -> tuple[Array, Array]:
    """Return an image [C, H, W] and its boxes xywh, mirrored by bits 0 and 1 and transposed by bit 2."""
    side, sizes = image.shape[-1], sizes.copy()
    for axis in (0, 1):
        if bits >> axis & 1:
            image = np.flip(image, -1 - axis)
            sizes[:, axis] = side - sizes[:, axis] - sizes[:, axis + 2]
    return (image.swapaxes(-1, -2), sizes[:, [1, 0, 3, 2]]) if bits >> 2 & 1 else (image, sizes)
