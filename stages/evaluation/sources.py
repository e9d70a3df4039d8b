"""The data sets that are measured on, as batches of images with what is really in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import IntegrityError
from stages.chunks.chunk import map_chunk
from stages.chunks.listed import ListedChunks
from stages.chunks.manifest import load_manifest
from stages.chunks.reader import ChunkReader, Damage
from stages.coco import CocoImage, Truth, truth_of
from stages.evaluation.config import SYNTHETIC, RealData
from stages.evaluation.real_folder import RealFolder, open_folder
from stages.evaluation.real_image import RealImage, Unusable, fit, read_picture
from stages.evaluation.tables import concatenate
from stages.evaluation.vocabulary import Vocabulary, bring_together


@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """Images as the task takes them, and what is really in them.

    Attributes:
        images: ids and sizes of the originals.
        arrays: what the task prepares: `image` uint8 [B, C, H, W], `boxes` [B, M, 4], `labels` [B, M].
        scales: [B], how many pixels in `arrays` one pixel of the original is.
        truth: in pixels of the originals, labels of the data set's vocabulary.
    """

    images: tuple[CocoImage, ...]
    arrays: Mapping[str, npt.NDArray[Any]]
    scales: npt.NDArray[np.float64]
    truth: Truth


class DataSet(Protocol):
    """Images to measure on; `skipped` holds the names of those that were left out, by reason, as far as was read."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def vocabulary(self) -> Vocabulary: ...  # noqa: D102
    @property
    def num_images(self) -> int: ...  # noqa: D102
    @property
    def skipped(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        """Yield all images that can be measured on, in order; arrays are valid until the next batch."""

    def picture(self, image: CocoImage) -> Image.Image:
        """Return one of the images of the batches, for people; raises IntegrityError or Unusable where it is gone."""


class HeldOutScenes:
    """The `test` split of the generated data; `meta` is what its manifest says of the samples."""

    name = SYNTHETIC
    skipped: Mapping[str, Sequence[str]] = {}

    def __init__(self, manifest_path: Path) -> None:
        manifest = load_manifest(manifest_path)
        self.meta = manifest.meta
        classes = tuple(self.meta["classes"])
        self.vocabulary = bring_together(classes, classes)
        self._chunks = ListedChunks(manifest, path=manifest_path, split="test")
        self.num_images = sum(self._chunks.counts)

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        """Yield the scenes by their ids; raises IntegrityError on the first damaged chunk."""
        reader = ChunkReader(self._chunks, batch_size=batch_size, seed=0, is_shuffled=False, on_damage=_give_up)
        for batch in reader:
            height, width = batch.arrays["image"].shape[2:]
            ids = batch.sample_ids.tolist()
            yield LabelledBatch(
                images=tuple(CocoImage(id=sample_id, width=width, height=height) for sample_id in ids),
                arrays=batch.arrays,
                scales=np.ones(len(ids)),
                truth=truth_of(batch.sample_ids, batch.arrays["boxes"], batch.arrays["labels"]),
            )

    def picture(self, image: CocoImage) -> Image.Image:
        """Return a scene; raises OSError or IntegrityError where its chunk cannot be read any more."""
        places = ((number, self._chunks.sample_ids(number)) for number in range(len(self._chunks.counts)))
        chunk_id, ids = next((number, ids) for number, ids in places if image.id in ids)
        pixels = map_chunk(self._chunks.path(chunk_id))["image"][image.id - ids.start]
        return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _give_up(damage: Damage) -> NoReturn:
    raise IntegrityError(
        f"{damage.file} is {damage.problem}",
        code="E0456",
        hint="run the same command again: the chunk will be generated anew",
    )


class RealImages:
    """The images of a real data set, scaled to the size (`side` pixels) that the detector was trained on."""

    def __init__(self, folder: RealFolder, *, name: str, detected: Sequence[str], side: int, channels: int) -> None:
        self.name = name
        self.vocabulary = bring_together(detected, folder.classes)
        self.num_images = len(folder.images)
        self.skipped: defaultdict[str, list[str]] = defaultdict(list)
        self._folder = folder
        self._side = side
        self._channels = channels

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        """Yield the images in the order of their folder; those that cannot be measured on go to `skipped`."""
        self.skipped.clear()
        loaded: list[_Loaded] = []
        for image in self._folder.images:
            try:
                loaded.append(self._load(image))
            except Unusable as reason:
                self.skipped[str(reason)].append(image.name)
            if len(loaded) == batch_size:
                yield _batch_of(loaded)
                loaded = []
        if loaded:
            yield _batch_of(loaded)

    def picture(self, image: CocoImage) -> Image.Image:
        """Return an image as its file has it; raises Unusable where it cannot be read any more."""
        return read_picture(next(one.path for one in self._folder.images if one.image_id == image.id))

    def _load(self, image: RealImage) -> _Loaded:
        picture = read_picture(image.path)
        truth = self._folder.truth(image, picture)
        pixels, scale = fit(picture, side=self._side, channels=self._channels)
        listed = CocoImage(id=image.image_id, width=picture.width, height=picture.height, file_name=image.name)
        return _Loaded(listed, pixels, scale, replace(truth, labels=self.vocabulary.labels[truth.labels]))


@dataclass(frozen=True)
class _Loaded:
    image: CocoImage
    pixels: npt.NDArray[np.uint8]
    scale: float
    truth: Truth


def _batch_of(loaded: Sequence[_Loaded]) -> LabelledBatch:
    return LabelledBatch(
        images=tuple(one.image for one in loaded),
        # The task is not told what is there: it only predicts.
        arrays={
            "image": np.stack([one.pixels for one in loaded]),
            "boxes": np.zeros((len(loaded), 1, 4), np.float32),
            "labels": np.full((len(loaded), 1), -1, np.int64),
        },
        scales=np.array([one.scale for one in loaded]),
        truth=concatenate([one.truth for one in loaded]),
    )


def open_data_sets(manifest_path: Path, real_data: Sequence[RealData]) -> list[DataSet]:
    """Return the held-out scenes and the real data sets, scaled to the size of the scenes.

    Raises:
        UsageError: a real data set is missing or cannot be read.
        IntegrityError: the manifest is not what was written.
    """
    scenes = HeldOutScenes(manifest_path)
    real = [
        RealImages(
            open_folder(one),
            name=one.name,
            detected=scenes.meta["classes"],
            side=scenes.meta["image_size"],
            channels=scenes.meta["channels"],
        )
        for one in real_data
    ]
    return [scenes, *real]
