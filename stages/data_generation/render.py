"""Drawing: strokes become pixels, and boxes are measured from the pixels that were drawn."""

from __future__ import annotations

from collections.abc import Sequence

import aggdraw
import numpy as np
import numpy.typing as npt

from stages.chunks.chunk import Array
from stages.data_generation.config import MAX_SHAPES, DataGenerationConfig
from stages.data_generation.draws import NOISE_STREAM, rows_of_words
from stages.data_generation.scene import THINNEST, lay_out
from stages.data_generation.styles import Marks, make_marks

Box = tuple[int, int, int, int]  # x, y, width, height in pixels
Pixels = npt.NDArray[np.uint8]

WHITE = 255
INK_BELOW = 200  # grey levels that count as ink; the same bound gives the boxes of real Bongard-LOGO images
_BLOCK = 50  # samples laid out at a time: more do not go faster, and take more memory


def render_samples(config: DataGenerationConfig, *, first_sample_id: int, count: int) -> dict[str, Array]:
    """Return the arrays of consecutive samples: `image` [n, 1, side, side], `boxes` [n, 6, 4] and `labels` [n, 6].

    Boxes are x, y, width, height in pixels, 0 where there is no shape; labels are places in `classes`, or -1.
    """
    side = config.image_size
    arrays: dict[str, Array] = {
        "image": np.empty((count, 1, side, side), np.uint8),
        "boxes": np.zeros((count, MAX_SHAPES, 4), np.float32),
        "labels": np.full((count, MAX_SHAPES), -1, np.int64),
    }
    for start in range(0, count, _BLOCK):
        block = {name: array[start : start + _BLOCK] for name, array in arrays.items()}
        _draw_scenes(**block, config=config, first_sample_id=first_sample_id + start)
        _add_noise(block["image"], config, first_sample_id=first_sample_id + start)
    return arrays


def _draw_scenes(
    image: Pixels, boxes: Array, labels: Array, *, config: DataGenerationConfig, first_sample_id: int
) -> None:
    """Fill the arrays of consecutive samples; boxes and labels are those of no shape so far."""
    image.fill(WHITE)
    strokes = lay_out(config, first_sample_id=first_sample_id, count=len(image))
    kept: list[list[Box]] = [[] for _ in image]
    columns = (strokes.sample, strokes.label, strokes.sheet, strokes.width)
    shapes = zip(*(column.tolist() for column in columns), make_marks(strokes), strict=True)
    for sample, label, sheet, width, marks in shapes:
        pixels, box = draw_shape(marks, sheet=sheet, width=width)
        # The layout estimated the boxes; a shape that overlaps too much after all is left out.
        if any(_iou(box, other) > config.max_iou for other in kept[sample]):
            continue
        left, top, right, bottom = sheet
        part = image[sample, 0, top:bottom, left:right]
        np.minimum(part, pixels, out=part)
        boxes[sample, len(kept[sample])] = box
        labels[sample, len(kept[sample])] = label
        kept[sample].append(box)


def draw_shape(marks: Sequence[Marks], *, sheet: Sequence[int], width: float) -> tuple[Pixels, Box]:
    """Draw one shape on its sheet and return the pixels of that and, in the image, the box of its ink.

    `sheet` is the part of the image that holds the ink: left, top, right, bottom; `width` is that of a plain line.
    """
    left, top, right, bottom = sheet
    canvas = aggdraw.Draw("L", (right - left, bottom - top), WHITE)
    plain = aggdraw.Pen("black", width)
    fine = aggdraw.Pen("black", max(0.6 * width, THINNEST))
    for part in marks:
        draw, pen = canvas.polygon if part.are_polygons else canvas.line, fine if part.are_fine else plain
        for corners in part.corners.tolist():
            draw(corners, pen)
    pixels = np.frombuffer(canvas.tobytes(), np.uint8).reshape(bottom - top, right - left)
    x, y, ink_width, ink_height = _ink_box(pixels)
    return pixels, (left + x, top + y, ink_width, ink_height)


def _ink_box(pixels: Pixels) -> Box:
    """Return the box of the ink, of which there is some."""
    is_ink = pixels < INK_BELOW
    # Searching bytes takes a tenth of the time that `any` takes along rows.
    rows, columns = is_ink.tobytes(), is_ink.any(axis=0).tobytes()
    top, bottom = rows.find(1) // pixels.shape[1], rows.rfind(1) // pixels.shape[1]
    left, right = columns.find(1), columns.rfind(1)
    return left, top, right + 1 - left, bottom + 1 - top


def _iou(a: Box, b: Box) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


def _add_noise(image: Pixels, config: DataGenerationConfig, *, first_sample_id: int) -> None:
    """Move each pixel by up to a strength that is drawn for each image: after the boxes were measured."""
    if not config.noise:
        return
    num_words = -(-(config.image_size**2) // 32) * 4 + 4  # 8 pixels a word, whole steps of the generator
    wide, change = np.empty(image.shape[1:], np.uint16), np.empty(image.shape[1:], np.uint8)
    rows = rows_of_words(seed=config.seed, stream=NOISE_STREAM, first_sample_id=first_sample_id, width=num_words)
    for pixels, raw in zip(image, rows, strict=False):
        strength = int(raw[-1] % np.uint64(config.noise + 1))
        levels = raw[: config.image_size**2 // 8].view(np.uint8).reshape(pixels.shape)
        # Flipping bits of value `n` or less moves a grey level by `n` at most, and never out of its range.
        np.multiply(levels, np.uint16(strength + 1), out=wide)
        np.right_shift(wide, 8, out=wide)
        np.copyto(change, wide, casting="unsafe")
        np.bitwise_xor(pixels, change, out=pixels)
