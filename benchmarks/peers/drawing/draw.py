"""How many images a second one process draws with a peer's library; prints the number.

    python draw.py METHOD SECONDS

Each image is 416 x 416 with 4 closed paths of 30 segments, 5 pixels wide, black on white, and ends as an array of
bytes; nothing else is done: no layout, no boxes, no noise, no file. `layout` and `scene` are the opposite: whole
scenes in plain Python (`plain.py`), up to the points to be drawn, and drawn with aggdraw.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable

import aggdraw
import cv2
import numpy as np
import plain
from PIL import Image, ImageDraw

SIDE = 416
WIDTH = 5
NUM_SHAPES = 4
NUM_SEGMENTS = 30
NUM_SCENES = 64  # drawn in turn

Path = list[tuple[float, float]]


def wavy_circle(rng: random.Random) -> Path:
    """Return a closed path of 30 segments somewhere in the image."""
    radius = rng.uniform(0.05, 0.25) * SIDE
    x, y = (rng.uniform(1.3 * radius, SIDE - 1.3 * radius) for _ in "xy")
    phase = rng.uniform(0, math.tau)
    angles = [index / NUM_SEGMENTS * math.tau for index in range(NUM_SEGMENTS)]
    reach = [radius * (1 + 0.2 * math.sin(3 * angle + phase)) for angle in angles]
    return [(x + r * math.cos(angle), y + r * math.sin(angle)) for r, angle in zip(reach, angles, strict=True)]


def opencv(scene: list[Path]) -> object:
    """Draw with OpenCV, smoothed, coordinates in sixteenths of a pixel."""
    image = np.full((SIDE, SIDE), 255, np.uint8)
    paths = [np.array(path, np.float32) for path in scene]
    for path in paths:
        cv2.polylines(image, [np.rint(path * 16).astype(np.int32)], True, 0, WIDTH, cv2.LINE_AA, shift=4)
    return image


def agg(scene: list[Path]) -> object:
    """Draw with aggdraw."""
    canvas = aggdraw.Draw("L", (SIDE, SIDE), 255)
    pen = aggdraw.Pen("black", WIDTH)
    for path in scene:
        canvas.polygon([coordinate for point in path for coordinate in point], pen)
    return np.frombuffer(canvas.tobytes(), np.uint8).reshape(SIDE, SIDE)


def pillow(scale: int) -> Callable[[list[Path]], object]:
    """Return drawing with Pillow, which smooths nothing: larger, and then made smaller."""

    def draw(scene: list[Path]) -> object:
        large = Image.new("L", (SIDE * scale, SIDE * scale), 255)
        canvas = ImageDraw.Draw(large)
        for path in scene:
            points = [(x * scale, y * scale) for x, y in path]
            canvas.line([*points, *points[:2]], fill=0, width=WIDTH * scale, joint="curve")
        return np.asarray(large.reduce(scale))

    return draw


METHODS: dict[str, Callable[[list[Path]], object]] = {
    "opencv": opencv,
    "aggdraw": agg,
    "pillow2x": pillow(2),
    "pillow4x": pillow(4),
    "layout": plain.PlainScenes(is_drawn=False),
    "scene": plain.PlainScenes(is_drawn=True),
}


def main(method: str, seconds: float) -> None:
    """Draw for that long and print images a second."""
    cv2.setNumThreads(1)
    rng = random.Random(0)  # noqa: S311
    scenes = [[wavy_circle(rng) for _ in range(NUM_SHAPES)] for _ in range(NUM_SCENES)]
    draw = METHODS[method]
    for scene in scenes:
        draw(scene)
    number, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        draw(scenes[number % NUM_SCENES])
        number += 1
    print(number / elapsed)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
