"""The styles of strokes: a path drawn as a plain line, as a row of small motifs, or as a fine zigzag.

Paths become marks (polygons and lines) for many shapes at once: shape by shape that took longer than drawing them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from stages.data_generation.draws import Floats
from stages.data_generation.parts import Parts, cut
from stages.data_generation.scene import Integers, Strokes


@dataclass(frozen=True)
class Marks:
    """What is drawn of one part of a path: a row of `corners` [n, 2 * p] is x, y, x, y … of a polygon or line."""

    are_polygons: bool
    are_fine: bool
    corners: Floats


def make_marks(strokes: Strokes) -> list[list[Marks]]:
    """Return for each shape the marks that draw it, in the order in which they are drawn."""
    parts = cut(strokes)
    marks_of: dict[int, Marks] = {}
    for style, draw in enumerate(STYLES):
        if (chosen := np.flatnonzero(parts.style == style)).size:
            marks_of |= zip(chosen.tolist(), draw(parts.rows(chosen)), strict=True)
    shapes: list[list[Marks]] = [[] for _ in strokes.sample]
    for part, shape in enumerate(parts.shape.tolist()):
        shapes[shape].append(marks_of[part])
    return shapes


def _outlines(parts: Parts) -> Iterator[Marks]:
    points = parts.points.reshape(len(parts.points), 1, -1)
    for path, num_points, is_loop in zip(points, parts.num_points.tolist(), parts.is_loop.tolist(), strict=True):
        # A polygon returns to its first point by itself.
        yield Marks(is_loop, False, path[:, : 2 * (num_points - is_loop)])


def _rows_of(num_corners: int, *, turn: float) -> Callable[[Parts], Iterator[Marks]]:
    angles = (np.arange(num_corners) / num_corners + turn) * 2 * np.pi
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def draw(parts: Parts) -> Iterator[Marks]:
        counts = np.maximum((parts.lengths[:, -1] / (parts.motif * parts.spacing)).astype(np.int64), 1)
        row, number = _numbered(counts)
        centres, tangents = parts.at(row, (number + 0.5) / counts[row])
        turned = corners[:, :1] * tangents[:, None] + corners[:, 1:] * _normals(tangents)[:, None]
        motifs = centres[:, None] + turned * (parts.motif / 2)[row, None, None]
        return _split(motifs.reshape(-1, 2 * num_corners), counts, are_polygons=True)

    return draw


def _zigzags(parts: Parts) -> Iterator[Marks]:
    counts = np.maximum((parts.lengths[:, -1] / (parts.motif * 0.4)).astype(np.int64), 2)
    row, number = _numbered(counts + 1)
    points, tangents = parts.at(row, number / counts[row])
    reach = np.where(number % 2, 0.4, -0.4) * parts.motif[row]
    ends = points + _normals(tangents) * reach[:, None]
    # Leg by leg: drawn as one line, its mitred corners would stick out like thorns.
    legs = np.concatenate([ends[:-1], ends[1:]], axis=1)[number[1:] > 0]
    return _split(legs, counts, are_polygons=False)


# In the order of `StyleWeights`; at these sizes eight corners make a circle.
STYLES = (_outlines, _rows_of(8, turn=0), _rows_of(4, turn=1 / 8), _rows_of(3, turn=0), _zigzags)


def _numbered(counts: Integers) -> tuple[Integers, Integers]:
    """Return `counts[0]` times row 0, `counts[1]` times row 1 …, and beside it numbers from 0 in each row."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - (np.cumsum(counts) - counts)[row]


def _split(corners: Floats, counts: Integers, *, are_polygons: bool) -> Iterator[Marks]:
    for first, end in pairwise(accumulate(counts.tolist(), initial=0)):
        yield Marks(are_polygons, True, corners[first:end])


def _normals(tangents: Floats) -> Floats:
    return np.stack([-tangents[:, 1], tangents[:, 0]], axis=1)
