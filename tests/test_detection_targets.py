"""Cells are assigned to objects as the rule says, cell by cell, whatever the batch."""

from __future__ import annotations

import itertools

import pytest
import torch

from stages.detection.grid import Grid, grid_of
from stages.detection.targets import assigned

CPU = torch.device("cpu")


def random_objects(seed: int, *, batch: int = 5, most: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Return corners of boxes of 2 to 90 pixels a side, many of them overlapping, and labels, some of them padding."""
    generator = torch.Generator().manual_seed(seed)
    size = 2 + 88 * torch.rand(batch, most, 2, generator=generator) ** 2
    start = torch.rand(batch, most, 2, generator=generator) * 90
    labels = torch.randint(-1, 4, (batch, most), generator=generator)
    return torch.cat([start, start + size], dim=-1), labels


def expected_object(cell: int, grid: Grid, corners: list[list[float]], labels: list[int], *, radius: float) -> int:
    """Return the object that a cell should learn, -1 for none: the smallest that qualifies, the first of equals."""
    (x, y), stride, (least, most) = grid.centres[cell].tolist(), float(grid.strides[cell]), grid.reaches[cell].tolist()
    best, best_area = -1, float("inf")
    for index, ((left, top, right, bottom), label) in enumerate(zip(corners, labels, strict=True)):
        sides = (x - left, y - top, right - x, bottom - y)
        offset = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
        area = (right - left) * (bottom - top)
        is_fit = label >= 0 and min(sides) > 0 and least < max(sides) <= most and offset < radius * stride
        if is_fit and area < best_area:
            best, best_area = index, area
    return best


@pytest.mark.parametrize(("num_levels", "radius", "seed"), [(1, 1.5, 1), (3, 1.5, 2), (2, 2.5, 3), (3, 0.5, 4)])
def test_assignment_equals_rule_for_each_cell(num_levels: int, radius: float, seed: int) -> None:
    """The tensors of a whole batch say what the rule says of each cell and object by itself."""
    corners, labels = random_objects(seed)
    grid = grid_of(96, 128, num_levels=num_levels, device=CPU)
    targets = assigned(corners, labels, grid=grid, centre_radius=radius)
    assert targets.is_positive.any()
    for scene, cell in itertools.product(range(len(corners)), range(len(grid.centres))):
        wanted = expected_object(cell, grid, corners[scene].tolist(), labels[scene].tolist(), radius=radius)
        assert bool(targets.is_positive[scene, cell]) == (wanted >= 0)
        if wanted >= 0:
            assert torch.equal(targets.corners[scene, cell], corners[scene, wanted])
            assert targets.labels[scene, cell] == labels[scene, wanted]


def test_equal_boxes_go_to_the_first() -> None:
    """Of two objects with the same box the first is learned: no tie is left to chance."""
    corners = torch.tensor([[[10.0, 10, 40, 40]] * 3])
    grid = grid_of(64, 64, num_levels=1, device=CPU)
    targets = assigned(corners, torch.tensor([[-1, 2, 1]]), grid=grid, centre_radius=1.5)
    assert set(targets.labels[targets.is_positive].tolist()) == {2}


def test_scene_without_objects_has_no_target() -> None:
    """A scene of padding only teaches emptiness."""
    grid = grid_of(64, 64, num_levels=2, device=CPU)
    targets = assigned(torch.zeros(2, 6, 4), torch.full((2, 6), -1), grid=grid, centre_radius=1.5)
    assert not targets.is_positive.any()


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_every_object_has_a_cell(num_levels: int) -> None:
    """No object of at least the finest stride a side is without a cell, wherever it lies."""
    generator = torch.Generator().manual_seed(7)
    size = 9 + 110 * torch.rand(400, 1, 2, generator=generator)
    start = torch.rand(400, 1, 2, generator=generator) * (128 - size).clamp(min=0)
    corners = torch.cat([start, start + size], dim=-1)
    grid = grid_of(128, 128, num_levels=num_levels, device=CPU)
    targets = assigned(corners, torch.zeros(400, 1, dtype=torch.int64), grid=grid, centre_radius=1.5)
    assert targets.is_positive.any(dim=1).all()
