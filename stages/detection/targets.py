"""Which cell learns which object: centre sampling, for a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.detection.boxes import areas_of
from stages.detection.grid import Grid


class Targets(NamedTuple):
    """For each cell: whether it learns an object [B, A], and that object's corners [B, A, 4] and label [B, A]."""

    is_positive: Tensor
    corners: Tensor
    labels: Tensor


@torch.no_grad()
def assigned(corners: Tensor, labels: Tensor, *, grid: Grid, centre_radius: float) -> Targets:
    """Assign to each of the A cells one of the M objects of its image, the smallest of those it may learn.

    A cell may learn an object when its centre lies in the box and within `centre_radius` strides of the box's centre
    (Tian et al., "FCOS: A Simple and Strong Anchor-Free Object Detector", 2020, section 3.1), and the object is of
    the level's sizes. The boxes are given as corners [B, M, 4], padded, their labels [B, M] with -1 for no object.
    """
    is_candidate = _is_near(corners, grid=grid, centre_radius=centre_radius) & (labels >= 0)[..., None]
    # Ranks, not areas: no two costs are equal, so the choice never depends on how argmin treats ties.
    rank = areas_of(corners).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    cost = rank[..., None] + torch.where(is_candidate, 0, labels.shape[1])
    chosen = cost.argmin(dim=1)
    return Targets(
        is_candidate.any(dim=1),
        corners.gather(1, chosen[..., None].expand(-1, -1, 4)),
        labels.gather(1, chosen),
    )


def _is_near(corners: Tensor, *, grid: Grid, centre_radius: float) -> Tensor:
    """Return [B, M, A]."""
    start, end = corners[:, :, None, :2], corners[:, :, None, 2:]
    distances = torch.cat([grid.centres - start, end - grid.centres], dim=-1)
    offset = (grid.centres - (start + end) / 2).abs().amax(dim=-1)
    farthest = distances.amax(dim=-1)
    is_inside = distances.amin(dim=-1) > 0
    is_of_level = (farthest > grid.reaches[:, 0]) & (farthest <= grid.reaches[:, 1])
    return is_inside & is_of_level & (offset < centre_radius * grid.strides)
