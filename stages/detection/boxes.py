"""Arithmetic on boxes: corners are [left, top, right, bottom], sizes are [x, y, width, height], all in pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def corners_of(sizes: Tensor) -> Tensor:
    """Turn [..., 4] xywh into corners."""
    return torch.cat([sizes[..., :2], sizes[..., :2] + sizes[..., 2:]], dim=-1)


def sizes_of(corners: Tensor) -> Tensor:
    """Turn [..., 4] corners into xywh."""
    return torch.cat([corners[..., :2], corners[..., 2:] - corners[..., :2]], dim=-1)


def areas_of(corners: Tensor) -> Tensor:
    """Return the areas [...] of boxes [..., 4], 0 for a box turned inside out."""
    extent = (corners[..., 2:] - corners[..., :2]).clamp(min=0)
    return extent[..., 0] * extent[..., 1]


def overlaps_of(first: Tensor, second: Tensor, *, epsilon: float = 1e-7) -> tuple[Tensor, Tensor]:
    """Return the IoU and the generalised IoU [...] of boxes [..., 4] pair by pair.

    GIoU = IoU - (hull - union) / hull: Rezatofighi et al., "Generalized Intersection over Union", 2019, algorithm 1.
    """
    inner = torch.cat([torch.maximum(first, second)[..., :2], torch.minimum(first, second)[..., 2:]], dim=-1)
    outer = torch.cat([torch.minimum(first, second)[..., :2], torch.maximum(first, second)[..., 2:]], dim=-1)
    intersection, hull = areas_of(inner), areas_of(outer)
    union = areas_of(first) + areas_of(second) - intersection
    iou = intersection / (union + epsilon)
    return iou, iou - (hull - union) / (hull + epsilon)
