"""The network has the shapes that its settings ask for, and its weights are a function of the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stages.detection.config import DetectionConfig
from stages.detection.grid import grid_of
from stages.detection.model import Detector


@pytest.mark.parametrize(
    ("settings", "height", "width"),
    [
        ({"backbone": "resnet18", "num_levels": 1, "channels": 16}, 64, 64),
        ({"backbone": "resnet18", "num_levels": 3, "channels": 16, "num_convs": 0}, 72, 104),
        ({"backbone": "resnet50", "num_levels": 2, "channels": 8, "num_convs": 1}, 33, 65),
    ],
)
def test_each_cell_has_its_predictions(settings: dict[str, object], height: int, width: int) -> None:
    """For any number of levels and any size of image there is one row of predictions for each cell of the grid."""
    config = DetectionConfig.model_validate(settings)
    model = Detector(config, num_classes=5).eval()
    with torch.no_grad():
        output = model(torch.zeros(2, 1, height, width))
    grid = grid_of(height, width, num_levels=config.num_levels, device=torch.device("cpu"))
    assert [part.shape[:2] for part in output] == [(2, len(grid.centres))] * len(output)


def test_weights_are_function_of_seed() -> None:
    """Two models built after the same seed are equal, and another seed gives others."""

    def first_weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = Detector(DetectionConfig(channels=8, num_convs=1), num_classes=2)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(first_weights(1), first_weights(1))
    assert not torch.equal(first_weights(1), first_weights(2))


def test_cells_lie_where_convolutions_put_them() -> None:
    """A cell's centre is the middle of the pixels that its feature stands for, row by row, the finest level first."""
    grid = grid_of(32, 48, num_levels=2, device=torch.device("cpu"))
    assert len(grid.centres) == 4 * 6 + 2 * 3
    assert grid.centres[:2].tolist() == [[4, 4], [12, 4]]
    assert grid.centres[6].tolist() == [4, 12]
    assert grid.centres[24].tolist() == [8, 8]
    assert grid.strides.tolist() == [8] * 24 + [16] * 6


def test_network_is_one_graph() -> None:
    """A compiler captures the whole network at once: nothing in it depends on numbers."""
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    config = DetectionConfig.model_validate({"num_levels": 3, "channels": 8, "num_convs": 1})
    compiled = torch.compile(Detector(config, num_classes=5), dynamic=False, fullgraph=True, backend=count)
    compiled(torch.zeros(2, 1, 64, 64))
    assert len(graphs) == 1
