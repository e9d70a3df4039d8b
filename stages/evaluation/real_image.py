"""One real image: where it is, how it is read, and how it is made as large as the images of training."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_WHITE = 255
# What Pillow raises on files that are cut short, altered, not images at all, or too large to be meant.
_UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
# Whatever the name of a file says: of the other formats that Pillow knows, one (EPS) is a program that it would run.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


@dataclass(frozen=True)
class RealImage:
    """An image file; `name` is its path in the folder of the data set, `image_id` its id in COCO documents."""

    image_id: int
    name: str
    path: Path


class Unusable(Exception):
    """An image cannot be measured on; the text says why, in words that count alike for all such images."""


def read_picture(path: Path) -> Image.Image:
    """Read the image at `path` as grey (L) or RGB, what is transparent as white; raises Unusable."""
    if not path.is_file():
        raise Unusable("missing")
    try:
        with warnings.catch_warnings(), _opened(path) as image:
            if image.has_transparency_data:
                layers = image.convert("RGBA")
                paper = Image.new("RGBA", layers.size, (_WHITE,) * 4)
                return Image.alpha_composite(paper, layers).convert("RGB")
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except _UNREADABLE as error:
        raise Unusable("unreadable") from error


def _opened(path: Path) -> Image.Image:
    # Pillow only warns of images of 90 to 180 million pixels, which take up to 700 MB.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image.open(path, formats=_FORMATS)


def fit(picture: Image.Image, *, side: int, channels: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Scale `picture` so that its longer side is `side` pixels and fill up with white to the right or below.

    Returns:
        The pixels [channels, side, side], and how many of them are one pixel of `picture`.
    """
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # The mean over the area of each new pixel is what an exact renderer draws at that size.
    filtering = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    canvas = Image.new("L" if channels == 1 else "RGB", (side, side), "white")
    canvas.paste(picture.convert(canvas.mode).resize(size, filtering))
    pixels = np.asarray(canvas).reshape(side, side, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), scale
