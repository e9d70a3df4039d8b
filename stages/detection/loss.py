"""What the detector is trained to make small: one term for the class, one for the quality, one for the box."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from stages.detection.boxes import overlaps_of
from stages.detection.config import DetectionConfig
from stages.detection.grid import Grid, decoded
from stages.detection.model import Output
from stages.detection.targets import assigned


def detection_losses(
    output: Output, corners: Tensor, labels: Tensor, *, grid: Grid, config: DetectionConfig
) -> dict[str, Tensor]:
    """Return the weighted terms, float32 scalars, for true boxes [B, M, 4] with labels [B, M]: sums over the cells.

    All are divided by the number of cells that learn an object. Only those count for `class` (cross-entropy) and
    `box` (1 - GIoU); `quality` teaches every cell the IoU of its box, which is 0 where there is no object.
    """
    targets = assigned(corners, labels, grid=grid, centre_radius=config.centre_radius)
    iou, generalised_iou = overlaps_of(decoded(output.sides.float(), grid), targets.corners)
    quality = iou.detach() * targets.is_positive
    terms = {
        "class": config.class_weight * cross_entropy(output.classes.float(), targets.labels) * targets.is_positive,
        "quality": config.quality_weight * focal(output.quality.float(), quality, focus=config.focus),
        "box": config.box_weight * (1 - generalised_iou) * targets.is_positive,
    }
    num_positive = targets.is_positive.sum().clamp(min=1)
    return {name: term.sum() / num_positive for name, term in terms.items()}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [B, A] for logits [B, A, C]; written out, because torch's own has no deterministic form on CUDA."""
    is_label = labels[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    return -(logits.log_softmax(dim=-1) * is_label).sum(dim=-1)


def focal(logits: Tensor, quality: Tensor, *, focus: float) -> Tensor:
    """Return the binary cross-entropy of each logit with its quality, less where an empty cell is known to be empty.

    The weight of empty cells, score^focus, is that of varifocal loss (Zhang et al., "VarifocalNet", 2021, equation 2).
    Theirs for objects, the quality, is left out: it held back what was learned of objects in the first steps.
    """
    weight = torch.where(quality > 0, 1.0, logits.detach().sigmoid() ** focus)
    return weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
