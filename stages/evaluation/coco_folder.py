"""Reads folders in the COCO layout: `annotations.json`, and the images that it lists in `images/`."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pipeline.errors import UsageError
from stages.coco import CocoSet, Truth, coco_set
from stages.evaluation.real_image import RealImage, Unusable
from stages.evaluation.tables import select

_ANNOTATIONS = "annotations.json"


def is_coco_folder(root: Path) -> bool:
    """Return whether `root` is laid out like this."""
    return (root / _ANNOTATIONS).is_file()


class CocoFolder:
    """The images of such a folder with their annotated boxes."""

    def __init__(self, root: Path) -> None:
        """Read the annotations; raises UsageError where they are malformed or lead out of the folder."""
        source = root / _ANNOTATIONS
        document = _load(source)
        self.classes = document.classes
        self.images = tuple(
            RealImage(image.id, image.file_name, root / "images" / _inside(image.file_name, source=source))
            for image in document.images
        )
        self.files = (source, *(image.path for image in self.images if image.path.is_file()))
        self._sizes = {image.id: (image.width, image.height) for image in document.images}
        if len(self._sizes) < len(self.images):
            raise UsageError(
                f"{source} gives two images the same id", code="E0267", hint="give each image an id of its own"
            )
        self._truth = select(document.truth, np.argsort(document.truth.image_ids, kind="stable"))

    def truth(self, image: RealImage, picture: Image.Image) -> Truth:
        """Return the annotated objects of `image`; raises Unusable where `picture` is not of the annotated size."""
        if picture.size != self._sizes[image.image_id]:
            raise Unusable("not of the annotated size")
        first, end = np.searchsorted(self._truth.image_ids, [image.image_id, image.image_id + 1])
        return select(self._truth, slice(first, end))


def _load(path: Path) -> CocoSet:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is missing", code="E0263", hint="a COCO folder holds annotations.json and images/"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not readable as JSON: {error}", code="E0264", hint="export the annotations again"
        ) from error
    return coco_set(document, source=str(path))


def _inside(file_name: str, *, source: Path) -> str:
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file_name:
        raise UsageError(
            f"{source} lists {file_name!r}, which is no file inside images/",
            code="E0268",
            hint="give each image a file_name relative to the images/ beside annotations.json",
        )
    return file_name
