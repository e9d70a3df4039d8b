"""Reads folders in the layout of the Bongard-LOGO release and derives the box of each shape from its ink.

    {ff,bd,hd}/images/<problem>/{0,1}/<0-6>.png      black shapes on white; 1: positive, 0: negative examples
    {ff,bd,hd}/<kind>_action_programs.json           {problem: [[7 positives], [7 negatives]]}, each a list of shapes

The generator of the release writes `png` instead of `images`; both are read. The programs tell how many shapes an
image has, but neither place nor size: those are in the pixels alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import UsageError
from stages.coco import Truth, truth_of
from stages.evaluation.real_image import RealImage, Unusable

_KINDS = ("ff", "bd", "hd")
_FOLDERS = ("images", "png")
_INK_BELOW = 200  # grey value; strokes are black, their edges smoothed
# In 420 images of 512 x 512 no two neighbouring parts of one shape needed more than 3 steps of dilation to grow
# together (gaps of up to 6 pixels); two shapes of one image needed 5 or more, unless they crossed.
_PART_STEPS = 3
_SIDE = 512


def is_bongard_logo(root: Path) -> bool:
    """Return whether `root` is laid out like the release, of which it may hold a part."""
    return any((root / kind / folder).is_dir() for kind in _KINDS for folder in _FOLDERS)


class BongardLogo:
    """The images in a folder of that layout; all their shapes are of one class."""

    classes = ("shape",)

    def __init__(self, root: Path) -> None:
        """List the images under `root`; raises UsageError where programs cannot be read."""
        programs_files = [root / kind / f"{kind}_action_programs.json" for kind in _KINDS]
        programs = {kind: _load_programs(file) for kind, file in zip(_KINDS, programs_files, strict=True)}
        paths = [path for kind in _KINDS for path in _pictures(root / kind)]
        names = [path.relative_to(root).as_posix() for path in paths]
        self.images = tuple(RealImage(index + 1, names[index], path) for index, path in enumerate(paths))
        self.files = (*(file for file in programs_files if file.is_file()), *paths)
        self._shape_counts = {
            image.image_id: _num_shapes(image.path, programs[image.name.partition("/")[0]]) for image in self.images
        }

    def truth(self, image: RealImage, picture: Image.Image) -> Truth:
        """Return the shapes of `image` as seen in `picture`; raises Unusable where they cannot be told apart."""
        boxes = derive_boxes(np.asarray(picture.convert("L")), num_shapes=self._shape_counts[image.image_id])
        return truth_of([image.image_id], boxes[None], np.zeros((1, len(boxes))))


def derive_boxes(grey: npt.NDArray[np.uint8], *, num_shapes: int | None) -> npt.NDArray[np.float64]:
    """Return the boxes [n, 4] (x, y, width, height in pixels) of the shapes drawn in `grey` [H, W].

    A lone shape is all the ink. Otherwise the ink is dilated until the parts of which shapes are made (dots, little
    triangles) have grown together, and each connected component is a shape. Where the number of shapes is known,
    dilation goes on step by step while there are more components than that.

    Raises:
        Unusable: there is no ink, or fewer components than shapes: they touch.
    """
    from scipy import ndimage

    ink = grey < _INK_BELOW
    if not ink.any():
        raise Unusable("no ink")
    if num_shapes == 1:
        return _extents(ndimage.find_objects(ink.astype(np.int8)))
    distance = ndimage.distance_transform_cdt(~ink, "chessboard")
    steps = round(_PART_STEPS * max(grey.shape) / _SIDE)
    components, num_components = _components(distance <= steps)
    while num_shapes is not None and num_components > num_shapes:
        steps += 1
        components, num_components = _components(distance <= steps)
    if num_shapes is not None and num_components < num_shapes:
        raise Unusable("shapes touch")
    return _extents(ndimage.find_objects(components * ink))


def _components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    from scipy import ndimage

    components, num_components = ndimage.label(mask, structure=np.ones((3, 3)))  # diagonal neighbours touch
    return components, num_components


def _extents(slices: Sequence[tuple[slice, slice]]) -> npt.NDArray[np.float64]:
    return np.array([(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in slices], np.float64)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for name in _FOLDERS for path in (folder / name).glob("*/[01]/*.png"))


def _num_shapes(path: Path, programs: Mapping[str, Any]) -> int | None:
    """Return how many shapes the program of the picture `<problem>/<label>/<index>.png` draws, where there is one."""
    try:
        return len(programs[path.parents[1].name][1 - int(path.parent.name)][int(path.stem)]) or None
    except (LookupError, TypeError, ValueError):
        return None


def _load_programs(path: Path) -> dict[str, Any]:
    hint = "fetch it again, or remove it: the number of shapes is then taken from the ink"
    try:
        programs = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not readable as JSON: {error}", code="E0264", hint=hint) from error
    if not isinstance(programs, dict):
        raise UsageError(f"{path} is not a mapping from problems to programs", code="E0269", hint=hint)
    return programs
