"""Drawing: strokes become pixels, and boxes are measured from the pixels that were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aggdraw
import numpy as np
import numpy.typing as npt

from stages.chunks.chunk import Array
from stages.data_generation.config import MAX_SHAPES, DataGenerationConfig
from stages.data_generation.draws import NOISE_STREAM, words
from stages.data_generation.scene import NUM_PARTS, THINNEST, Strokes, lay_out
from stages.data_generation.shapes import KINDS
from stages.data_generation.styles import STYLES, Stroke

Box = tuple[int, int, int, int]  # x, y, width, height in pixels

WHITE = 255
INK_BELOW = 200  # grey levels that count as ink; the same bound gives the boxes of real Bongard-LOGO images


def render_samples(config: DataGenerationConfig, *, first_sample_id: int, count: int) -> dict[str, Array]:
    """Return the arrays of consecutive samples: `image` [n, 1, side, side], `boxes` [n, 6, 4] and `labels` [n, 6].

    Boxes are x, y, width, height in pixels, 0 where there is no shape; labels are places in `classes`, or -1.
    """
    side = config.image_size
    image = np.full((count, 1, side, side), WHITE, np.uint8)
    boxes = np.zeros((count, MAX_SHAPES, 4), np.float32)
    labels = np.full((count, MAX_SHAPES), -1, np.int64)
    num_drawn = [0] * count
    strokes = lay_out(config, first_sample_id=first_sample_id, count=count)
    is_closed = [KINDS[name].is_closed for name in config.classes]
    for index, (sample, label) in enumerate(zip(strokes.sample.tolist(), strokes.label.tolist(), strict=True)):
        pixels, box = draw_shape(strokes, index, is_closed=is_closed[label])
        row = num_drawn[sample]
        # The layout estimated the boxes; a shape that overlaps too much after all is left out.
        if any(_iou(box, other) > config.max_iou for other in boxes[sample, :row].tolist()):
            continue
        left, top, right, bottom = strokes.sheet[index].tolist()
        part = image[sample, 0, top:bottom, left:right]
        np.minimum(part, pixels, out=part)
        boxes[sample, row] = box
        labels[sample, row] = label
        num_drawn[sample] += 1
    _add_noise(image, config, first_sample_id=first_sample_id)
    return {"image": image, "boxes": boxes, "labels": labels}


def draw_shape(strokes: Strokes, index: int, *, is_closed: bool) -> tuple[npt.NDArray[np.uint8], Box]:
    """Draw one shape on a sheet of its own and return its pixels and, in the image, the box of its ink."""
    left, top, right, bottom = strokes.sheet[index].tolist()
    canvas = aggdraw.Draw("L", (right - left, bottom - top), WHITE)
    _stroke(canvas, strokes, index, is_closed=is_closed)
    pixels = np.frombuffer(canvas.tobytes(), np.uint8).reshape(bottom - top, right - left)
    is_ink = pixels < INK_BELOW
    columns, rows = np.asarray(is_ink.any(axis=0)), np.asarray(is_ink.any(axis=1))
    x, y = int(columns.argmax()), int(rows.argmax())
    width = right - left - x - int(columns[::-1].argmax())
    height = bottom - top - y - int(rows[::-1].argmax())
    return pixels, (left + x, top + y, width, height)


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


def _stroke(canvas: Any, strokes: Strokes, index: int, *, is_closed: bool) -> None:
    """Draw a path part by part, each in its style; neighbouring parts of one style are drawn as one."""
    points = strokes.points[index, :, : strokes.num_points[index]].T
    if is_closed:
        points = np.concatenate([points, points[:1]])
    styles = strokes.styles[index].tolist()
    starts = [part for part in range(NUM_PARTS) if not part or styles[part] != styles[part - 1]]
    bounds = [round(part / NUM_PARTS * (len(points) - 1)) for part in (*starts, NUM_PARTS)]
    plain = aggdraw.Pen("black", strokes.width[index])
    fine = aggdraw.Pen("black", max(0.6 * strokes.width[index], THINNEST))
    for start, first, last in zip(starts, bounds, bounds[1:], strict=False):
        if last > first:
            part = Stroke(
                points[first : last + 1],
                is_closed=is_closed and len(starts) == 1,
                motif=strokes.motif[index],
                spacing=strokes.spacing[index],
            )
            STYLES[styles[start]](canvas, part, fine if styles[start] else plain)


def _add_noise(image: npt.NDArray[np.uint8], config: DataGenerationConfig, *, first_sample_id: int) -> None:
    """Move each pixel by up to a strength that is drawn for each image: after the boxes were measured."""
    if not config.noise:
        return
    num_words = -(-(config.image_size**2) // 32) * 4 + 4  # 8 pixels a word, whole steps of the generator
    for index in range(len(image)):
        raw = words(
            seed=config.seed,
            stream=NOISE_STREAM,
            first_sample_id=first_sample_id + index,
            count=1,
            width=num_words,
        )[0]
        strength = int(raw[-1] % np.uint64(config.noise + 1))
        levels = raw[: config.image_size**2 // 8].view(np.uint8).reshape(image[index].shape)
        # Flipping bits of value `n` or less moves a grey level by `n` at most, and never out of its range.
        image[index] ^= ((levels * np.uint16(strength + 1)) >> 8).astype(np.uint8)
