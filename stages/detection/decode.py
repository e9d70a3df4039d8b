"""From what the network says of its cells to a list of detections for each image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import batched_nms

from stages.detection.config import DetectionConfig
from stages.detection.grid import Grid, decoded
from stages.detection.model import Output

# Of each image so many (cell, class) pairs compete; the rest have no chance to be among the detections kept.
_NUM_CANDIDATES = 1000


class Found(NamedTuple):
    """Detections, best first, padded: corners [B, K, 4], scores [B, K] (0: none), labels [B, K] (-1: none)."""

    corners: Tensor
    scores: Tensor
    labels: Tensor


@torch.no_grad()
def detections(output: Output, *, grid: Grid, height: int, width: int, config: DetectionConfig) -> Found:
    """Return at most `max_detections` per image, after non-maximum suppression within each class.

    Equal scores keep the order of cells and classes, on every device.
    """
    num_classes = output.classes.shape[-1]
    limit = torch.tensor([width, height] * 2, device=grid.centres.device)
    corners = torch.minimum(decoded(output.sides.float(), grid).clamp(min=0), limit)
    scores = output.classes.float().softmax(dim=-1) * output.quality.float().sigmoid()[..., None]
    scores, order = scores.flatten(1).sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :_NUM_CANDIDATES], order[:, :_NUM_CANDIDATES]
    corners = corners.gather(1, (order // num_classes)[..., None].expand(-1, -1, 4))
    labels = order % num_classes
    is_kept = _is_kept(corners, scores, labels, config=config)
    return _packed(Found(corners, scores, labels), is_kept, limit=config.max_detections)


def _is_kept(corners: Tensor, scores: Tensor, labels: Tensor, *, config: DetectionConfig) -> Tensor:
    """Return [B, N]: which candidates are good enough and no repetition of a better one."""
    is_kept = scores > config.score_threshold
    image, candidate = is_kept.nonzero(as_tuple=True)
    group = image * (labels.max() + 1) + labels[image, candidate]
    kept = batched_nms(corners[image, candidate], scores[image, candidate], group, config.nms_iou)
    is_kept = torch.zeros_like(is_kept)
    is_kept[image[kept], candidate[kept]] = True
    return is_kept


def _packed(found: Found, is_kept: Tensor, *, limit: int) -> Found:
    """Move the kept candidates to the front, in their order, and cut or pad to `limit`."""
    order = (~is_kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :limit]
    is_kept = is_kept.gather(1, order)
    missing = limit - order.shape[1]
    corners = found.corners.gather(1, order[..., None].expand(-1, -1, 4)) * is_kept[..., None]
    scores = found.scores.gather(1, order) * is_kept
    labels = torch.where(is_kept, found.labels.gather(1, order), -1)
    return Found(
        functional.pad(corners, (0, 0, 0, missing)),
        functional.pad(scores, (0, missing)),
        functional.pad(labels, (0, missing), value=-1),
    )
