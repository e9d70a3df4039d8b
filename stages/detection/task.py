"""The built-in task: what training and evaluation ask of the detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.coco import coco_figures, detections_of, truth_of
from stages.detection.augment import draws, reoriented
from stages.detection.boxes import corners_of, sizes_of
from stages.detection.config import DetectionConfig
from stages.detection.decode import detections
from stages.detection.grid import Grid, grid_of
from stages.detection.loss import detection_losses
from stages.detection.model import Detector
from stages.task import Metrics, Task, Tensors


class DetectionTask:
    """Finds objects of the given classes and their boxes; images of another size are resized on the way in and out."""

    def __init__(self, config: DetectionConfig, *, classes: tuple[str, ...], image_size: int) -> None:
        self.config = config
        self.classes = classes
        self.image_size = image_size
        self._grids: dict[tuple[int, int, torch.device], Grid] = {}

    def build_model(self) -> nn.Module:
        """Return a new detector; its weights are drawn from the global torch RNG."""
        return Detector(self.config, num_classes=len(self.classes))

    def prepare(self, arrays: Tensors, sample_ids: Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Return `image` float32 [B, 1, H, W], ink 1 on 0, and `boxes` (xywh, pixels) and `labels` where given."""
        image = 255 - arrays["image"]
        sizes = arrays["boxes"]
        if epoch is not None and self.config.augment_orientation:
            image, sizes = reoriented(image, sizes, draws(sample_ids, seed=seed, epoch=epoch))
        return {"image": image.float() / 255, "boxes": sizes, "labels": arrays["labels"]}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Return the terms `class`, `quality` and `box`."""
        output = model(batch["image"])
        with torch.autocast(batch["image"].device.type, enabled=False):
            corners = corners_of(batch["boxes"])
            return detection_losses(output, corners, batch["labels"], grid=self._grid(batch), config=self.config)

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return padded detections, best first, in pixels of the images that were prepared."""
        height, width = batch["image"].shape[-2:]
        found = detections(
            model(batch["image"]), grid=self._grid(batch), height=height, width=width, config=self.config
        )
        return {"boxes": sizes_of(found.corners), "scores": found.scores, "labels": found.labels}

    def new_metrics(self) -> Metrics:
        """Return empty COCO metrics."""
        return DetectionMetrics(self.classes)

    def _grid(self, batch: Tensors) -> Grid:
        # Kept, because it is the same at every step, and made of dozens of small operations.
        (height, width), device = batch["image"].shape[-2:], batch["image"].device
        grid = self._grids.get((height, width, device))
        if grid is None:
            grid = grid_of(height, width, num_levels=self.config.num_levels, device=device)
            self._grids[height, width, device] = grid
        return grid


class DetectionMetrics:
    """COCO's average precision over what was taken in, in memory until `compute`."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._truth: list[tuple[np.ndarray, ...]] = []
        self._found: list[tuple[np.ndarray, ...]] = []

    def update(self, predictions: Tensors, batch: Tensors) -> None:
        """Take in the detections for one prepared batch."""
        self._truth.append(tuple(batch[name].cpu().numpy() for name in ("boxes", "labels")))
        self._found.append(tuple(predictions[name].cpu().numpy() for name in ("boxes", "labels", "scores")))

    def compute(self) -> dict[str, float]:
        """Return `ap` (mean over IoU 0.50 to 0.95), `ap50` and `ap75`, 0 to 1; 0 where there is nothing to find."""
        if not self._truth:
            return dict.fromkeys(("ap", "ap50", "ap75"), 0.0)
        truth = [np.concatenate(parts) for parts in zip(*self._truth, strict=True)]
        found = [np.concatenate(parts) for parts in zip(*self._found, strict=True)]
        image_ids = np.arange(len(truth[0]))
        figures = coco_figures(
            truth_of(image_ids, *truth), detections_of(image_ids, *found), image_ids=image_ids, classes=self._classes
        )
        return {"ap": figures.ap or 0.0, "ap50": figures.ap50 or 0.0, "ap75": figures.ap75 or 0.0}


def build(config: Mapping[str, Any], meta: Mapping[str, Any]) -> Task:
    """Make the task from its settings and from the data set's meta: `classes` and `image_size`."""
    return DetectionTask(
        DetectionConfig.model_validate(config), classes=tuple(meta["classes"]), image_size=int(meta["image_size"])
    )
