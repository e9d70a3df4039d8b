"""Finding room for the shapes of a scene; all scenes of a chunk at once, each on its own numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.data_generation.draws import Floats

NUM_TRIES = 12  # places tried for a shape, which gets a little smaller each time
_SHRINK = 0.9


@dataclass(frozen=True)
class Places:
    """Where shapes come to lie, one row for each: point `p` of a unit path goes to `corner + scale * p`, in pixels."""

    is_found: npt.NDArray[np.bool_]
    scale: Floats
    corner: Floats


def place(
    *,
    spans: Floats,
    extent: Floats,
    smallest: Floats,
    breadth: Floats,
    reach: Floats,
    is_wanted: npt.NDArray[np.bool_],
    u: Floats,
    side: int,
    max_iou: float,
) -> Places:
    """Find places for the shapes of each scene, one after the other: the first of their tries that overlaps little.

    Boxes are estimated here, with all the room that ink may need, so that shapes mostly keep some distance, as on real
    images; they are measured when they are drawn. All ink stays in the image for sure.

    The arrays have a row for each shape, `is_wanted` [scenes, shapes] a row for each scene. `spans` [n, 2] are widths
    and heights of unit paths, `extent` the wanted longer side of the box, which tries lower down to `smallest`;
    `reach` is how far ink may come to lie outside of the path; `u` are random numbers, [n, 2 * NUM_TRIES].
    """
    shape = (*is_wanted.shape, NUM_TRIES)
    extents = np.maximum(extent[:, None] * _SHRINK ** np.arange(NUM_TRIES), smallest[:, None]) - breadth[:, None]
    scale = np.minimum(extents, side - 2 * reach[:, None]).reshape(shape)
    inner = spans.reshape(*is_wanted.shape, 1, 2) * scale[..., None]
    border = reach.reshape(*is_wanted.shape, 1, 1)
    low = border + u.reshape(*shape, 2) * (side - inner - 2 * border)
    boxes = np.concatenate([low - border, low + inner + border], axis=3)
    chosen = np.zeros(is_wanted.shape, np.int64)
    is_found = np.zeros(is_wanted.shape, bool)
    rows = np.arange(len(is_wanted))
    for slot in range(is_wanted.shape[1]):
        is_free = np.repeat(is_wanted[:, slot, None], NUM_TRIES, axis=1)
        for other in range(slot):
            ious = _ious(boxes[:, slot], boxes[rows, other, chosen[:, other]][:, None])
            is_free &= (ious <= max_iou) | ~is_found[:, other, None]
        chosen[:, slot] = is_free.argmax(axis=1)
        is_found[:, slot] = is_free.any(axis=1)
    taken = (rows[:, None], np.arange(is_wanted.shape[1]), chosen)
    return Places(is_found.ravel(), scale[taken].ravel(), low[taken].reshape(-1, 2))


def _ious(a: Floats, b: Floats) -> Floats:
    """Return the intersections over unions of boxes given by their corners, [..., 4]."""
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    overlap = sides[..., 0] * sides[..., 1]
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    ious: Floats = overlap / (areas[0] + areas[1] - overlap)
    return ious
