"""Predictions become detections as a plain loop over images and classes would make them."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou

from stages.detection.config import DetectionConfig
from stages.detection.decode import detections
from stages.detection.grid import Grid, decoded, grid_of
from stages.detection.model import Output

SIDE = 48
CONFIG = DetectionConfig(score_threshold=0.3, nms_iou=0.4, max_detections=10)


def random_output(grid: Grid, *, batch: int = 4, num_classes: int = 3) -> Output:
    """Return what a network might say; every score occurs many times."""
    generator = torch.Generator().manual_seed(2)
    cells = len(grid.centres)
    classes = torch.randint(-1, 2, (batch, cells, num_classes), generator=generator) * 2.0
    quality = torch.randint(-2, 3, (batch, cells), generator=generator) * 2.0
    return Output(classes, quality, torch.randn(batch, cells, 4, generator=generator) / 2)


def expected(
    output: Output, grid: Grid, *, image: int, config: DetectionConfig
) -> list[tuple[float, int, list[float]]]:
    """Return score, label and corners of what should be found in one image, by greedy suppression in a loop."""
    corners = decoded(output.sides, grid)[image].clamp(min=0, max=SIDE)
    scores = output.classes[image].softmax(dim=-1) * output.quality[image].sigmoid()[:, None]
    pairs = [(cell, label) for cell in range(len(corners)) for label in range(scores.shape[1])]
    ranked = sorted(pairs, key=lambda pair: -float(scores[pair]))  # stable: equal scores keep their order
    kept: list[tuple[int, int]] = []
    for cell, label in ranked:
        rivals = [other for other, its_label in kept if its_label == label]
        is_repetition = any(float(box_iou(corners[[cell]], corners[[other]])) > config.nms_iou for other in rivals)
        if float(scores[cell, label]) > config.score_threshold and not is_repetition:
            kept.append((cell, label))
    return [(float(scores[pair]), pair[1], corners[pair[0]].tolist()) for pair in kept[: config.max_detections]]


@pytest.mark.parametrize("num_levels", [1, 2])
def test_detections_equal_greedy_suppression(num_levels: int) -> None:
    """Batched suppression keeps the same boxes, in the same order among equal scores, as a loop."""
    grid = grid_of(SIDE, SIDE, num_levels=num_levels, device=torch.device("cpu"))
    output = random_output(grid)
    found = detections(output, grid=grid, height=SIDE, width=SIDE, config=CONFIG)
    assert found.corners.shape == (4, CONFIG.max_detections, 4)
    for image in range(4):
        wanted = expected(output, grid, image=image, config=CONFIG)
        assert found.labels[image].tolist()[: len(wanted)] == [label for _, label, _ in wanted]
        torch.testing.assert_close(found.scores[image, : len(wanted)], torch.tensor([score for score, *_ in wanted]))
        torch.testing.assert_close(found.corners[image, : len(wanted)], torch.tensor([box for *_, box in wanted]))
        assert set(found.labels[image].tolist()[len(wanted) :]) <= {-1}


def test_nothing_found_is_padding() -> None:
    """Where no score is high enough there are only empty rows, also when fewer cells than rows exist."""
    grid = grid_of(16, 16, num_levels=1, device=torch.device("cpu"))
    output = Output(torch.zeros(2, 4, 3), torch.full((2, 4), -9.0), torch.zeros(2, 4, 4))
    found = detections(output, grid=grid, height=16, width=16, config=DetectionConfig(max_detections=100))
    assert found.corners.shape == (2, 100, 4)
    assert not found.corners.any()
    assert not found.scores.any()
    assert (found.labels == -1).all()


def test_boxes_end_at_image() -> None:
    """A box never reaches out of the image that it is in."""
    grid = grid_of(32, 64, num_levels=1, device=torch.device("cpu"))
    output = Output(torch.zeros(1, 32, 1), torch.full((1, 32), 3.0), torch.full((1, 32, 4), 9.0))
    found = detections(output, grid=grid, height=32, width=64, config=CONFIG)
    assert found.corners[0, 0].tolist() == [0, 0, 64, 32]
