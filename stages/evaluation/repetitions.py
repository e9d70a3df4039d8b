"""One object, one detection: what a detector says of the same place under several classes."""

from __future__ import annotations

import torch
from torchvision.ops import batched_nms

from stages.coco import Detections
from stages.evaluation.tables import select

# The built-in detector keeps at most one box of a class within this IoU; here the same holds across classes.
_MAX_IOU = 0.6


def without_repetitions(detections: Detections) -> Detections:
    """Return the best of the boxes that lie on each other in one image, whatever their classes.

    Detectors name a place under every class that comes into question. That is right as long as classes are told apart;
    with all classes taken as one each further name would count as a mistake.
    """
    boxes = torch.from_numpy(detections.boxes)
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
    scores, image_ids = torch.from_numpy(detections.scores), torch.from_numpy(detections.image_ids)
    kept = batched_nms(corners, scores, image_ids, _MAX_IOU).sort().values
    return select(detections, kept.numpy())
