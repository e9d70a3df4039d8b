"""The loss terms are what a sum over cells, taken one by one, gives."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou

from stages.detection.config import DetectionConfig
from stages.detection.grid import decoded, grid_of
from stages.detection.loss import cross_entropy, detection_losses
from stages.detection.model import Output
from stages.detection.targets import assigned

CONFIG = DetectionConfig(class_weight=0.5, quality_weight=3.0, box_weight=2.5, focus=1.5)
GRID = grid_of(64, 64, num_levels=2, device=torch.device("cpu"))
NUM_CLASSES = 4


def random_case(seed: int) -> tuple[Output, torch.Tensor, torch.Tensor]:
    """Return predictions for three images, and their true corners and labels."""
    generator = torch.Generator().manual_seed(seed)
    cells = len(GRID.centres)
    sides = torch.randn(3, cells, 4, generator=generator) / 2
    quality = torch.randn(3, cells, generator=generator)
    output = Output(torch.randn(3, cells, NUM_CLASSES, generator=generator), quality, sides)
    start = torch.rand(3, 5, 2, generator=generator) * 40
    corners = torch.cat([start, start + 9 + 20 * torch.rand(3, 5, 2, generator=generator)], dim=-1)
    return output, corners, torch.randint(-1, NUM_CLASSES, (3, 5), generator=generator)


def expected_terms(output: Output, corners: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return the terms, cell by cell, from torchvision's overlaps and the formulas of the logarithms."""
    targets = assigned(corners, labels, grid=GRID, centre_radius=CONFIG.centre_radius)
    sums = {"class": 0.0, "quality": 0.0, "box": 0.0}
    for image in range(len(corners)):
        for cell, box in enumerate(decoded(output.sides, GRID)[image]):
            score = 1 / (1 + math.exp(-float(output.quality[image, cell])))
            if not targets.is_positive[image, cell]:
                sums["quality"] -= score**CONFIG.focus * math.log(1 - score)
                continue
            true = targets.corners[image, cell]
            iou = float(box_iou(box[None], true[None]))
            chances = output.classes[image, cell].softmax(dim=0)
            sums["class"] -= math.log(float(chances[targets.labels[image, cell]]))
            sums["quality"] -= iou * math.log(score) + (1 - iou) * math.log(1 - score)
            sums["box"] += 1 - float(generalized_box_iou(box[None], true[None]))
    weights = {"class": CONFIG.class_weight, "quality": CONFIG.quality_weight, "box": CONFIG.box_weight}
    return {name: weights[name] * total / int(targets.is_positive.sum()) for name, total in sums.items()}


@pytest.mark.parametrize("seed", [1, 2])
def test_terms_equal_sums_over_cells(seed: int) -> None:
    """Each term is the weighted sum over cells divided by the number of those that learn an object."""
    output, corners, labels = random_case(seed)
    terms = detection_losses(output, corners, labels, grid=GRID, config=CONFIG)
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        expected_terms(output, corners, labels), rel=1e-4
    )


def test_half_precision_is_left_behind() -> None:
    """From outputs in bfloat16 the terms are computed in float32."""
    output, corners, labels = random_case(3)
    rounded = Output(*(part.bfloat16() for part in output))
    terms = detection_losses(rounded, corners, labels, grid=GRID, config=CONFIG)
    exact = detection_losses(Output(*(part.float() for part in rounded)), corners, labels, grid=GRID, config=CONFIG)
    for name, term in terms.items():
        assert term.dtype == torch.float32
        assert torch.equal(term, exact[name])


def test_scenes_without_objects_teach_emptiness() -> None:
    """Without any object only the quality term is left, and its gradient is finite."""
    output, corners, labels = random_case(4)
    quality = output.quality.requires_grad_()
    terms = detection_losses(output, corners, torch.full_like(labels, -1), grid=GRID, config=CONFIG)
    assert (float(terms["class"]), float(terms["box"])) == (0.0, 0.0)
    torch.autograd.backward(terms["quality"])
    assert quality.grad is not None
    assert (quality.grad > 0).all()


def test_quality_does_not_pull_boxes() -> None:
    """The quality term has no gradient for the boxes: they are not made worse to be easier to judge."""
    output, corners, labels = random_case(5)
    output.sides.requires_grad_()
    terms = detection_losses(output, corners, labels, grid=GRID, config=CONFIG)
    assert terms["box"].requires_grad
    assert not terms["quality"].requires_grad


def test_cross_entropy_equals_torch() -> None:
    """The written-out cross-entropy is torch's."""
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2, 9, 5, generator=generator)
    labels = torch.randint(0, 5, (2, 9), generator=generator)
    reference = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, labels), reference)
