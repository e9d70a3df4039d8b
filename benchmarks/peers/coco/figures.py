"""The twelve COCO figures of arrays, as a user of one package computes them; prints seconds and figures as JSON.

    python figures.py PACKAGE ARRAYS.npz

`seconds` is all of it, from the arrays to the figures; `own_seconds` what the package takes once everything is laid
out for it (evaluate, accumulate, summarize). Imports are in neither.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from typing import Any

import numpy as np

NUM_FIGURES = 12
BATCH = 64  # images that torchmetrics is given at a time


def coco_api(arrays: dict[str, np.ndarray], coco_class: Any, evaluation_class: Any) -> dict[str, Any]:
    """Compute with pycocotools or faster-coco-eval: rows of the truth, results by `loadRes`."""
    started = time.perf_counter()
    columns = (arrays[f"truth_{name}"].tolist() for name in ("image_ids", "labels", "boxes", "areas"))
    truth = coco_class()
    truth.dataset = {
        "images": [{"id": image} for image in arrays["image_ids"].tolist()],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(int(arrays["num_classes"]))],
        "annotations": [
            {"id": number, "image_id": image, "category_id": label + 1, "bbox": box, "area": area, "iscrowd": 0}
            for number, (image, label, box, area) in enumerate(zip(*columns, strict=True), 1)
        ],
    }
    truth.createIndex()
    columns = (arrays[f"found_{name}"].tolist() for name in ("image_ids", "labels", "boxes", "scores"))
    found = truth.loadRes(
        [
            {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
            for image, label, box, score in zip(*columns, strict=True)
        ]
    )
    evaluation = evaluation_class(truth, found, "bbox")
    prepared = time.perf_counter()
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ended = time.perf_counter()
    figures = [float(value) for value in evaluation.stats[:NUM_FIGURES]]
    return {"seconds": ended - started, "own_seconds": ended - prepared, "figures": figures}


def with_torchmetrics(arrays: dict[str, np.ndarray], backend: str) -> dict[str, Any]:
    """Compute with torchmetrics and the backend of that name, batch by batch."""
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    started = time.perf_counter()
    metric = MeanAveragePrecision(box_format="xywh", backend=backend)
    ids = arrays["image_ids"]
    bounds = {side: np.searchsorted(arrays[f"{side}_image_ids"], [*ids, ids[-1] + 1]) for side in ("truth", "found")}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if array.ndim}
    named = {"truth": ("boxes", "labels"), "found": ("boxes", "labels", "scores")}
    for first in range(0, len(ids), BATCH):
        rows = range(first, min(first + BATCH, len(ids)))
        lists = {
            side: [
                {name: tensors[f"{side}_{name}"][bounds[side][row] : bounds[side][row + 1]] for name in names}
                for row in rows
            ]
            for side, names in named.items()
        }
        metric.update(lists["found"], lists["truth"])
    prepared = time.perf_counter()
    result = metric.compute()
    ended = time.perf_counter()
    names = "map map_50 map_75 map_small map_medium map_large mar_1 mar_10 mar_100 mar_small mar_medium mar_large"
    figures = [float(result[name]) for name in names.split()]
    return {"seconds": ended - started, "own_seconds": ended - prepared, "figures": figures}


def main(package: str, path: str) -> None:
    """Compute and print."""
    with np.load(path) as file:
        arrays = dict(file)
    with contextlib.redirect_stdout(io.StringIO()):
        if package == "faster-coco-eval":
            from faster_coco_eval import COCO, COCOeval_faster

            outcome = coco_api(arrays, COCO, COCOeval_faster)
        elif package == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

            outcome = coco_api(arrays, COCO, COCOeval)
        else:
            outcome = with_torchmetrics(arrays, package.removeprefix("torchmetrics-").replace("-", "_"))
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
