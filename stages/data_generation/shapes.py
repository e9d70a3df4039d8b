"""The classes of shapes as paths of points, many at a time; a class is what its path looks like, up to bending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.data_generation.config import ShapeClass
from stages.data_generation.draws import Floats

NUM_POINTS = 64  # of the longest path; shorter ones repeat their last point
NUM_PARAMETERS = 14  # random numbers that a path may depend on
_TAU = 2 * np.pi


@dataclass(frozen=True)
class ShapeKind:
    """How shapes of one class are made.

    Attributes:
        path: random numbers in [0, 1), [n, NUM_PARAMETERS] -> points [n, p, 2], p <= NUM_POINTS, in any unit.
        is_closed: whether the path returns to its first point.
        detail: how much larger than the smallest shapes these must be to be told apart by eye.
    """

    path: Callable[[Floats], Floats]
    is_closed: bool
    detail: float


def make_paths(kinds: Sequence[ShapeKind], *, labels: npt.NDArray[np.int64], parameters: Floats) -> Floats:
    """Return x and y of the path of each shape, [n, 2, NUM_POINTS], given the place of its kind in `kinds`."""
    points = np.empty((len(parameters), 2, NUM_POINTS))
    for label, kind in enumerate(kinds):
        chosen = np.flatnonzero(labels == label)
        if not chosen.size:
            continue
        path = kind.path(parameters[chosen])
        points[chosen] = path[:, np.minimum(np.arange(NUM_POINTS), path.shape[1] - 1)].swapaxes(1, 2)
    return points


def _polygon(num_corners: int, *, angle_range: float, min_radius: float) -> Callable[[Floats], Floats]:
    def path(u: Floats) -> Floats:
        corners = np.arange(num_corners) / num_corners * _TAU + angle_range * (2 * u[:, :num_corners] - 1)
        radius = min_radius + (1 - min_radius) * u[:, num_corners : 2 * num_corners]
        return _polar(radius, corners)

    return path


def _star(u: Floats) -> Floats:
    angles = np.arange(10) / 10 * _TAU + 0.06 * (2 * u[:, :10] - 1)
    radius = np.where(np.arange(10) % 2, 0.36 + 0.12 * u[:, 10:11], 1.0)
    return _polar(radius, angles)


def _bowtie(u: Floats) -> Floats:
    """Two triangles that meet in a point; the second turned and sized on its own."""
    sizes = np.stack([np.ones(len(u)), 0.6 + 0.4 * u[:, 0]], 1)
    half_widths = 0.35 + 0.35 * u[:, 1:3]
    directions = np.stack([np.zeros(len(u)), np.pi + 0.7 * (2 * u[:, 3] - 1)], 1)
    angles = directions[:, :, None] + half_widths[:, :, None] * np.array([-1.0, 1.0])
    tips = _polar(np.repeat(sizes[:, :, None], 2, axis=2), angles)
    centre = np.zeros((len(u), 1, 2))
    return np.concatenate([centre, tips[:, 0], centre, tips[:, 1]], axis=1)


def _circle(u: Floats) -> Floats:
    return _polar(np.ones((len(u), 1)), np.arange(48) / 48 * _TAU + u[:, :1])


def _arc(u: Floats) -> Floats:
    sweep = np.radians(150 + 100 * u[:, :1])
    return _polar(np.ones((len(u), 1)), sweep * np.linspace(0, 1, 40))


def _spiral(u: Floats) -> Floats:
    turns = 2.0 + 0.8 * u[:, :1]
    along = np.linspace(0.03, 1, NUM_POINTS)
    return _mirrored(_polar(np.broadcast_to(along, (len(u), NUM_POINTS)), turns * _TAU * along), u[:, 1])


def _zigzag(u: Floats) -> Floats:
    """Four to six legs; those that are not wanted have no length."""
    num_legs = 4 + np.floor(3 * u[:, 0])
    corner = np.minimum(np.arange(7), num_legs[:, None])
    reach = np.where(corner % 2, 1.0, -1.0) * (0.75 + 0.25 * u[:, 1:8])
    reach = np.take_along_axis(reach, corner.astype(np.int64), axis=1)
    return np.stack([corner * (0.6 + 0.3 * u[:, 8:9]), reach], axis=2)


def _freeform(u: Floats) -> Floats:
    """One stroke of two or three pieces, straight and bent in turn, each beginning at an angle to the last."""
    num_pieces = 2 + np.floor(2 * u[:, :1])
    num_steps = NUM_POINTS // 3
    is_bent = (np.arange(3) + np.floor(2 * u[:, 1:2])) % 2 == 1
    turn = np.radians(50 + 90 * u[:, 2:5]) * np.where(u[:, 5:8] < 0.5, -1, 1)
    bend = np.where(is_bent, np.radians(150 + 150 * u[:, 8:11]), 0.0) * np.where(u[:, 11:14] < 0.5, -1, 1)
    length = np.where(is_bent, 0.45 * np.abs(bend), 0.7 + 0.6 * u[:, 8:11]) * (np.arange(3) < num_pieces)
    heading = np.cumsum(turn, axis=1) + np.cumsum(bend, axis=1) - bend
    within = (np.arange(num_steps) + 0.5) / num_steps
    direction = (heading[:, :, None] + bend[:, :, None] * within).reshape(len(u), -1)
    step = np.repeat(length / num_steps, num_steps, axis=1)
    return np.cumsum(_polar(step, direction), axis=1)


def _mirrored(points: Floats, u: Floats) -> Floats:
    sides = np.stack([np.ones(len(u)), np.where(u < 0.5, -1.0, 1.0)], axis=1)
    mirrored: Floats = points * sides[:, None]
    return mirrored


def _polar(radius: Floats, angle: Floats) -> Floats:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


KINDS: dict[ShapeClass, ShapeKind] = {
    "triangle": ShapeKind(_polygon(3, angle_range=0.35, min_radius=0.7), is_closed=True, detail=1.0),
    "quadrangle": ShapeKind(_polygon(4, angle_range=0.22, min_radius=0.85), is_closed=True, detail=1.1),
    "pentagon": ShapeKind(_polygon(5, angle_range=0.12, min_radius=0.92), is_closed=True, detail=1.7),
    "star": ShapeKind(_star, is_closed=True, detail=1.5),
    "bowtie": ShapeKind(_bowtie, is_closed=True, detail=1.6),
    "circle": ShapeKind(_circle, is_closed=True, detail=1.0),
    "arc": ShapeKind(_arc, is_closed=False, detail=1.0),
    "spiral": ShapeKind(_spiral, is_closed=False, detail=1.6),
    "zigzag": ShapeKind(_zigzag, is_closed=False, detail=1.5),
    "freeform": ShapeKind(_freeform, is_closed=False, detail=1.8),
}
