"""The cells that predict: where they lie, how large they are, and which sizes of objects are theirs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FINEST_STRIDE = 8
# A level predicts objects whose farthest side lies within this many strides of the cell: FCOS (Tian et al., 2019,
# section 3.2) has 64 pixels at stride 8, and twice as much for each level above it.
_REACH = 8.0


class Grid(NamedTuple):
    """The A cells of all levels: centres [A, 2] (x, y), strides [A] and reaches [A, 2] (from, to), in pixels."""

    centres: Tensor
    strides: Tensor
    reaches: Tensor


def grid_of(height: int, width: int, *, num_levels: int, device: torch.device) -> Grid:
    """Return the cells for images of this size, row by row, the finest level first."""
    levels = [_level(height, width, level=level, num_levels=num_levels, device=device) for level in range(num_levels)]
    return Grid(*(torch.cat(parts) for parts in zip(*levels, strict=True)))


def _level(height: int, width: int, *, level: int, num_levels: int, device: torch.device) -> Grid:
    stride = FINEST_STRIDE * 2**level
    y, x = (torch.arange(-(-side // stride), device=device) * stride + stride / 2 for side in (height, width))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack([columns.flatten(), rows.flatten()], dim=-1)
    nearest = _REACH * stride / 2 if level > 0 else 0.0
    farthest = _REACH * stride if level < num_levels - 1 else torch.inf
    strides = torch.full((len(centres),), float(stride), device=device)
    reaches = torch.stack([torch.full_like(strides, nearest), torch.full_like(strides, farthest)], dim=-1)
    return Grid(centres, strides, reaches)


def decoded(sides: Tensor, grid: Grid) -> Tensor:
    """Turn [B, A, 4], logarithms of the distances to the four sides in strides, into corners."""
    # exp(6) strides is 3,200 pixels at the finest level: only a diverging model meets this bound.
    distances = sides.clamp(max=6.0).exp() * grid.strides[:, None]
    return torch.cat([grid.centres - distances[..., :2], grid.centres + distances[..., 2:]], dim=-1)
