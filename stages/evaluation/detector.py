"""The trained detector: a task's model with its weights, ready to predict on a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.errors import IntegrityError, StageFailed
from pipeline.memory import is_out_of_memory
from pipeline.stage import StageContext
from stages.chunks.manifest import load_manifest
from stages.coco import Detections, detections_of
from stages.device import choose_device
from stages.evaluation.sources import LabelledBatch
from stages.task import Task, build_task
from stages.tensors import load_tensors


class Detector:
    """A model that finds boxes, in full precision and the same ones every time."""

    def __init__(self, task: Task, weights: Path, *, device: torch.device) -> None:
        """Load `weights` into the task's model; raises IntegrityError where they are not its weights."""
        self._task = task
        self._device = device
        self._weights = weights
        self._model = _with_weights(task.build_model(), weights).to(device).eval()

    @torch.inference_mode()
    def detect(self, batch: LabelledBatch) -> Detections:
        """Return what is found in the images of `batch`, in pixels of the originals.

        Raises:
            StageFailed: a figure of it is not finite.
        """
        image_ids = np.array([image.id for image in batch.images], np.int64)
        arrays = {name: torch.from_numpy(array).to(self._device) for name, array in batch.arrays.items()}
        prepared = self._task.prepare(arrays, torch.from_numpy(image_ids).to(self._device), epoch=None, seed=0)
        found = {name: value.cpu().numpy() for name, value in self._task.predict(self._model, prepared).items()}
        boxes = found["boxes"] / batch.scales[:, None, None]
        detections = detections_of(image_ids, boxes, found["labels"], found["scores"])
        if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
            raise StageFailed(
                f"the detector with the weights {self._weights} predicts NaN or infinite values",
                code="E0151",
                hint="its training went wrong: look at its losses, lower the learning rate and train again",
            )
        return detections

    def cuda_peak_bytes(self) -> int:
        """Return the most memory that was held on the accelerator in this process; 0 without one."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0


def load_detector(context: StageContext, manifest_path: Path) -> Detector:
    """Return the detector that training left, on the device of the runtime options; raises UsageError without it."""
    task = build_task(context.inputs["training"].config["task"], load_manifest(manifest_path).meta)
    (weights,) = context.input_paths("training", "weights")
    return Detector(task, weights, device=choose_device(context.runtime.device))


def _with_weights(model: nn.Module, weights: Path) -> nn.Module:
    try:
        model.load_state_dict(load_tensors(weights.read_bytes(), name=str(weights)))
    except (RuntimeError, IntegrityError) as error:
        if is_out_of_memory(error):
            raise
        raise IntegrityError(
            f"{weights} does not hold the weights of this model: {error}",
            code="E0460",
            hint="train again with --force-train; the task's code may have changed since",
        ) from error
    return model
