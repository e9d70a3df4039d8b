"""The styles of strokes: a path drawn as a plain line, as a row of small motifs, or as a fine zigzag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.data_generation.draws import Floats

Canvas = Any  # aggdraw.Draw: the package publishes no types
Pen = Any


@dataclass(frozen=True)
class Stroke:
    """A path to be drawn: points [p, 2] in pixels; `spacing` of motifs is a multiple of their size `motif`."""

    points: Floats
    is_closed: bool
    motif: float
    spacing: float


def _outline(canvas: Canvas, stroke: Stroke, pen: Pen) -> None:
    if stroke.is_closed:
        canvas.polygon(stroke.points[:-1].ravel().tolist(), pen)
    else:
        canvas.line(stroke.points.ravel().tolist(), pen)


def _row_of(num_corners: int, *, turn: float) -> Callable[[Canvas, Stroke, Pen], None]:
    angles = (np.arange(num_corners) / num_corners + turn) * 2 * np.pi
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def draw(canvas: Canvas, stroke: Stroke, pen: Pen) -> None:
        length = _lengths(stroke.points)[-1]
        num_motifs = max(int(length / (stroke.motif * stroke.spacing)), 1)
        centres, tangents = _walk(stroke.points, (np.arange(num_motifs) + 0.5) / num_motifs)
        turned = corners[:, :1] * tangents[:, None] + corners[:, 1:] * _normals(tangents)[:, None]
        for motif in (centres[:, None] + turned * (stroke.motif / 2)).reshape(num_motifs, -1).tolist():
            canvas.polygon(motif, pen)

    return draw


def _zigzag(canvas: Canvas, stroke: Stroke, pen: Pen) -> None:
    length = _lengths(stroke.points)[-1]
    num_legs = max(int(length / (stroke.motif * 0.4)), 2)
    points, tangents = _walk(stroke.points, np.arange(num_legs + 1) / num_legs)
    reach = np.where(np.arange(num_legs + 1) % 2, 0.4, -0.4) * stroke.motif
    ends = points + _normals(tangents) * reach[:, None]
    # Leg by leg: drawn as one line, its mitred corners would stick out like thorns.
    for leg in np.concatenate([ends[:-1], ends[1:]], axis=1).tolist():
        canvas.line(leg, pen)


# In the order of `StyleWeights`; at these sizes eight corners make a circle.
STYLES = (_outline, _row_of(8, turn=0), _row_of(4, turn=1 / 8), _row_of(3, turn=0), _zigzag)


def _lengths(points: Floats) -> Floats:
    """Return how far along the path each point lies."""
    steps = np.diff(points, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def _walk(points: Floats, fractions: Floats) -> tuple[Floats, Floats]:
    """Return the places at these fractions of the path's length and the unit tangents there, both [n, 2]."""
    lengths = _lengths(points)
    wanted = fractions * lengths[-1]
    before = np.clip(np.searchsorted(lengths, wanted, side="right") - 1, 0, len(points) - 2)
    steps = (points[before + 1] - points[before]) / (lengths[before + 1] - lengths[before])[:, None]
    return points[before] + steps * (wanted - lengths[before])[:, None], steps


def _normals(tangents: Floats) -> Floats:
    return np.stack([-tangents[:, 1], tangents[:, 0]], axis=1)
