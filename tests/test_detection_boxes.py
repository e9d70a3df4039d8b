"""Arithmetic on boxes agrees with torchvision's."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou, generalized_box_iou

from stages.detection.boxes import areas_of, corners_of, overlaps_of, sizes_of


def random_corners(count: int, *, seed: int) -> torch.Tensor:
    """Return boxes of 1 to 31 pixels a side, in float64."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    return torch.cat([start, start + 1 + 30 * torch.rand(count, 2, generator=generator, dtype=torch.float64)], dim=-1)


def test_overlaps_equal_torchvision() -> None:
    """IoU and generalised IoU, pair by pair, are the diagonals of torchvision's tables."""
    first, second = random_corners(200, seed=1), random_corners(200, seed=2)
    iou, generalised = overlaps_of(first, second, epsilon=0)
    torch.testing.assert_close(iou, box_iou(first, second).diagonal())
    torch.testing.assert_close(generalised, generalized_box_iou(first, second).diagonal())


def test_overlaps_of_nothing_are_finite() -> None:
    """Boxes without area give finite overlaps and gradients, so that padding cannot spoil a sum."""
    empty = torch.zeros(3, 4, requires_grad=True)
    iou, generalised = overlaps_of(empty, torch.zeros(3, 4))
    torch.autograd.backward((iou + generalised).sum())
    assert iou.tolist() == [0.0] * 3
    assert empty.grad is not None
    assert torch.isfinite(empty.grad).all()


def test_corners_and_sizes_are_inverse() -> None:
    """Converting there and back changes nothing, and a box turned inside out has no area."""
    corners = random_corners(9, seed=3).round()
    assert torch.equal(corners_of(sizes_of(corners)), corners)
    assert areas_of(torch.tensor([5.0, 5.0, 3.0, 9.0])) == 0
