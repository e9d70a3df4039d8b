"""What the detector is trained to make small: a class term that expects the box's quality, and a box term."""

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
    """Return the weighted terms `class` and `box`, float32 scalars, for true boxes [B, M, 4] with labels [B, M]."""
    targets = assigned(corners, labels, grid=grid, centre_radius=config.centre_radius)
    iou, generalised_iou = overlaps_of(decoded(output.raw.float(), grid), targets.corners)
    logits = output.logits.float()
    is_class = targets.labels[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    quality = (iou.detach() * targets.is_positive)[..., None] * is_class
    share = 1 / targets.is_positive.sum().clamp(min=1)
    class_term = varifocal(logits, quality, alpha=config.negative_weight, gamma=config.focus).sum()
    box_term = ((1 - generalised_iou) * targets.is_positive).sum()
    return {"class": config.class_weight * share * class_term, "box": config.box_weight * share * box_term}


def varifocal(logits: Tensor, quality: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return the loss of each logit whose score should be `quality`, 0 for "not there".

    Zhang et al., "VarifocalNet", 2021, equation 2: binary cross-entropy, weighted by the quality itself where there
    is something, and by alpha * score^gamma elsewhere.
    """
    weight = torch.where(quality > 0, quality, alpha * logits.detach().sigmoid() ** gamma)
    return weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
