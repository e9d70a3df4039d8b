"""The COCO document of a data set, read from its chunks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline import files
from stages.chunks.chunk import Array, map_chunk
from stages.chunks.manifest import Manifest, chunk_path
from stages.coco import CocoImage, CocoSet, truth_of


def save_annotations(path: Path, manifest: Manifest, *, manifest_path: Path) -> int:
    """Write the annotations of all samples durably and return how many shapes they tell.

    The id of an image is its sample id; its pixels are in the chunks. `split` says to which split it belongs.
    """
    columns: dict[str, list[Array]] = {"sample_id": [], "boxes": [], "labels": []}
    for entry in manifest.chunks:
        arrays = map_chunk(chunk_path(manifest_path, entry))
        for name, parts in columns.items():
            parts.append(arrays[name].copy())  # a view would keep the file mapped, and the number of those is limited
    ids, boxes, labels = (np.concatenate(parts) for parts in columns.values())
    side, classes = int(manifest.meta["image_size"]), tuple(manifest.meta["classes"])
    images = tuple(CocoImage(id=sample_id, width=side, height=side) for sample_id in ids.tolist())
    document = CocoSet(images, classes, truth_of(ids, boxes, labels)).to_document()
    splits = [entry.split for entry in manifest.chunks for _ in entry.sample_ids]
    document["images"] = [
        {"id": image.id, "width": side, "height": side, "split": split}
        for image, split in zip(images, splits, strict=True)
    ]
    files.write_bytes(path, json.dumps(document, separators=(",", ":")).encode())
    return len(document["annotations"])
