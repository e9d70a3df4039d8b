"""Scenes as a script in plain Python makes them: shape by shape and point by point.

They have what ours have: 1 to 6 shapes that are turned and stretched, placed so that their boxes overlap by 5 % at
most, drawn as lines, rows of motifs or zigzags, with boxes measured on the ink. There is no noise and no file.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

import aggdraw
import numpy as np

SIDE = 416
STYLES = (0, 0, 0, 0, 1, 2, 3, 4)  # outlines as often as all others: circles, squares, triangles, zigzag
CORNERS = {1: 8, 2: 4, 3: 3}

Path = list[tuple[float, float]]
Box = tuple[float, float, float, float]
Shape = tuple[bool, float, list[Path]]  # closed?, width, polygons or lines


class PlainScenes:
    """Makes one scene for each call."""

    def __init__(self, *, is_drawn: bool) -> None:
        self._rng = random.Random(0)  # noqa: S311 - not for secrets
        self._is_drawn = is_drawn

    def __call__(self, _: object) -> object:
        """Return a scene: its image and boxes, or only what is to be drawn."""
        shapes = self._lay_out()
        return draw(shapes) if self._is_drawn else shapes

    def _lay_out(self) -> list[Shape]:
        shapes: list[Shape] = []
        boxes: list[Box] = []
        for _ in range(self._rng.randint(1, 6)):
            path, is_closed = self._path(self._rng.randrange(10))
            placed = self._place(self._turned(path), boxes)
            if placed:
                shapes.append(self._styled(placed, is_closed=is_closed))
        return shapes

    def _path(self, kind: int) -> tuple[Path, bool]:
        rng = self._rng
        if kind < 5:
            corners = (3, 4, 5, 10, 6)[kind]
            angles = [(index + rng.uniform(-0.1, 0.1)) / corners * math.tau for index in range(corners)]
            reach = [0.4 if kind == 3 and index % 2 else 1.0 for index in range(corners)]
        else:
            turns = {5: 1.0, 6: 2.4}.get(kind, rng.uniform(0.4, 0.7))
            along = [index / 63 for index in range(64)]
            angles = [turns * math.tau * part for part in along]
            reach = [part if kind == 6 else 1 + 0.1 * math.sin(kind * math.tau * part) for part in along]
        path = [(r * math.cos(angle), r * math.sin(angle)) for r, angle in zip(reach, angles, strict=True)]
        return path, kind < 6

    def _turned(self, path: Path) -> Path:
        angle, stretch = self._rng.uniform(0, math.tau), self._rng.uniform(0.7, 1)
        cos, sin = math.cos(angle), math.sin(angle)
        bent = [(x + 0.03 * math.sin(5 * y), y + 0.03 * math.sin(5 * x)) for x, y in path]
        turned = [(cos * x - sin * stretch * y, sin * x + cos * stretch * y) for x, y in bent]
        left, top = min(x for x, _ in turned), min(y for _, y in turned)
        longer = max(max(x for x, _ in turned) - left, max(y for _, y in turned) - top)
        return [((x - left) / longer, (y - top) / longer) for x, y in turned]

    def _place(self, path: Path, boxes: list[Box]) -> Path:
        size = self._rng.uniform(0.1, 0.5) * SIDE
        for _ in range(12):
            width, height = size * max(x for x, _ in path), size * max(y for _, y in path)
            left, top = self._rng.uniform(15, SIDE - 15 - width), self._rng.uniform(15, SIDE - 15 - height)
            box = (left - 15, top - 15, left + width + 15, top + height + 15)
            if all(overlap(box, other) <= 0.05 for other in boxes):
                boxes.append(box)
                return [(left + size * x, top + size * y) for x, y in path]
            size *= 0.9
        return []

    def _styled(self, path: Path, *, is_closed: bool) -> Shape:
        width, motif = self._rng.uniform(3, 6.5), self._rng.uniform(7, 13)
        style = self._rng.choice(STYLES)
        whole = [*path, path[0]] if is_closed else path
        if style == 0:
            return is_closed, width, [path]
        if style == 4:
            ends = [
                (x - way * dy * motif * 0.4, y + way * dx * motif * 0.4)
                for x, y, dx, dy, way in walk(whole, motif * 0.4)
            ]
            return False, 0.6 * width, [list(leg) for leg in pairwise(ends)]
        angles = [index / CORNERS[style] * math.tau for index in range(CORNERS[style])]
        corners = [(motif / 2 * math.cos(angle), motif / 2 * math.sin(angle)) for angle in angles]
        marks = [
            [(x + a * dx - b * dy, y + a * dy + b * dx) for a, b in corners]
            for x, y, dx, dy, _ in walk(whole, motif * self._rng.uniform(1.05, 1.35))
        ]
        return True, 0.6 * width, marks


def walk(path: Path, pace: float) -> list[tuple[float, float, float, float, int]]:
    """Return places along `path`, that far apart, with the direction there, and 1 and -1 in turn."""
    places: list[tuple[float, float, float, float, int]] = []
    due = 0.0
    for (x, y), (next_x, next_y) in pairwise(path):
        length = math.hypot(next_x - x, next_y - y)
        while length and due <= length:
            dx, dy = (next_x - x) / length, (next_y - y) / length
            places.append((x + dx * due, y + dy * due, dx, dy, 1 if len(places) % 2 else -1))
            due += pace
        due -= length
    return places


def draw(shapes: list[Shape]) -> tuple[np.ndarray, list[Box]]:
    """Draw each shape by itself with aggdraw, measure its box, and lay it over the others."""
    image = np.full((SIDE, SIDE), 255, np.uint8)
    boxes = []
    for is_closed, width, marks in shapes:
        canvas = aggdraw.Draw("L", (SIDE, SIDE), 255)
        pen = aggdraw.Pen("black", width)
        for mark in marks:
            points = [coordinate for point in mark for coordinate in point]
            (canvas.polygon if is_closed else canvas.line)(points, pen)
        pixels = np.frombuffer(canvas.tobytes(), np.uint8).reshape(SIDE, SIDE)
        is_ink = pixels < 200
        (columns,), (rows,) = (np.nonzero(is_ink.any(axis=axis)) for axis in (0, 1))
        boxes.append((columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]))
        np.minimum(image, pixels, out=image)
    return image, boxes


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes given by their corners."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)
